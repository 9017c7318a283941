"""Revision 0002 on a database that 0001 made and filled: every row and every value is still there."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, create_engine, insert, select, text
from sqlalchemy.exc import IntegrityError

from autopack.clock import utc_now
from autopack.db import approvals, attempts, claims, phases
from autopack.db.identity import open_database
from autopack.db.location import Location, locate
from autopack.db.migrate import migrate, script_location
from autopack.db.tables import REVISION
from autopack.domain.phases import Claim, PhaseState

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PHASE = {
    "run_id": "r1", "tier_id": "T1", "tier_index": 0, "goal": "\u00fc", "task_category": "docs",
    "complexity": "low", "priority": 2, "priority_rank": -2, "max_attempts": 3, "attempts": 1,
    "scope": {"paths": ["a/"], "read_only_context": [], "deliverables": [], "checks": ["true"]},
    "created_at": AT, "updated_at": AT,
}  # fmt: skip
ATTEMPT = {"run_id": "r1", "worker": "w", "lease_expires_at": AT, "claimed_at": AT, "finished_at": AT}
CALL = {
    "attempt_id": "a1", "run_id": "r1", "phase_id": "p1", "role": "builder", "request_key": "k", "request_max_tokens": 9,
}  # fmt: skip
ROWS: list[tuple[str, Mapping[str, Any]]] = [
    ("runs", {"id": "r1", "goal": "g", "state": "RUNNING", "plan_hash": "h", "safety_profile": "standard", "token_cap": 2**40,
              "base_commit": "b" * 40, "created_at": AT, "updated_at": AT}),
    ("tiers", {"run_id": "r1", "tier_id": "T1", "tier_index": 0, "name": "T1"}),
    ("phases", {**PHASE, "phase_id": "p1", "phase_index": 0, "name": "p1", "state": "COMPLETE", "result_commit": "c" * 40}),
    ("phases", {**PHASE, "phase_id": "p2", "phase_index": 1, "name": "p2", "state": "GATE"}),
    ("phase_dependencies", {"run_id": "r1", "phase_id": "p2", "depends_on": "p1"}),
    ("attempts", {**ATTEMPT, "id": "a1", "phase_id": "p1", "number": 1, "lease_token": "t1", "outcome": "COMPLETE",
                  "check_report": {"passed": True}, "review": {"notes": "\U0001f600"}}),
    ("attempts", {**ATTEMPT, "id": "a2", "phase_id": "p2", "number": 1, "lease_token": "t2", "outcome": "NEEDS_APPROVAL"}),
    ("llm_usage_events", {**CALL, "call_id": "c1", "ask": 1, "status": "answered", "provider": "openai", "model": "m",
                          "provider_mode": "live", "reserved_tokens": 3, "input_tokens": 2, "output_tokens": 1,
                          "cost_usd": 0.125, "created_at": AT}),
    ("llm_responses", {**CALL, "call_id": "c1", "completion": {"text": "an answer"}, "created_at": AT}),
    ("approval_requests", {"id": "q1", "run_id": "r1", "phase_id": "p2", "attempt_id": "a2", "status": "pending",
                           "reasons": ["why"], "plan": {"summary": "s", "files": []}, "diff": "+x\n", "diff_hash": "d" * 64,
                           "base_commit": "b" * 40, "requested_at": AT}),
    ("events", {"run_id": "r1", "kind": "run_created", "actor": "me", "detail": {"x": [1, None]}, "created_at": AT}),
]  # fmt: skip


def until_0001(directory: Path) -> Path:
    """The revisions as they were when 0001 was the newest."""
    scripts = directory / "scripts"
    (scripts / "versions").mkdir(parents=True)
    for source in script_location().rglob("*.*"):
        if "__pycache__" not in source.parts and not source.name.startswith("0002"):
            (scripts / source.relative_to(script_location())).write_bytes(source.read_bytes())
    return scripts


def contents(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    found = MetaData()
    found.reflect(connection)
    return {
        name: [
            dict(row)
            for row in connection.execute(
                select(table).order_by(*table.primary_key.columns or table.columns)
            ).mappings()
        ]
        for name, table in found.tables.items()
        if name != "alembic_version"
    }


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """A database at revision 0001 with a run in the middle of its life."""
    url = (
        f"sqlite:///{tmp_path}/old.db"
        if request.param == "sqlite"
        else request.getfixturevalue("empty_postgres_url")
    )
    location = locate(url, tmp_path)
    assert migrate(location, now=utc_now, scripts=until_0001(tmp_path)).after == "0001"
    engine = create_engine(location.url)
    with engine.begin() as connection:
        tables = MetaData()
        tables.reflect(connection)
        for name, values in ROWS:
            connection.execute(insert(tables.tables[name]).values(**values))
    engine.dispose()
    return location


def test_what_0001_kept_is_kept_to_the_last_value(old: Location) -> None:
    engine = create_engine(old.url)
    with engine.connect() as connection:
        before = contents(connection)
    done = migrate(old, now=utc_now)
    assert (done.before, done.after) == ("0001", REVISION)
    with engine.connect() as connection:
        after = contents(connection)
    engine.dispose()
    assert sum(len(rows) for rows in before.values()) == len(ROWS) + 1
    assert set(after) - set(before) == {"check_baselines"}
    for name, rows in before.items():
        kept = [{key: row[key] for key in old_row} for old_row, row in zip(rows, after[name], strict=True)]
        assert kept == rows, name
    assert [(row["risk"], row["requeued_after"]) for row in after["phases"]] == [("normal", 0)] * 2
    assert after["approval_requests"][0]["on_timeout"] == "wait"
    news = ("policy_hash", "result_tree", "plan", "plan_hash", "changes", "inputs_hash")
    assert [after["attempts"][0][name] for name in news] == [None] * 6


def test_the_rules_of_the_tables_still_hold(old: Location) -> None:
    """A table that SQLite had rebuilt for a new column would have lost its CHECK constraints."""
    migrate(old, now=utc_now)
    engine = create_engine(old.url)
    for wrong in (
        "UPDATE phases SET state = 'NOWHERE'",
        "UPDATE phases SET attempts = -1",
        "UPDATE approval_requests SET status = 'perhaps'",
        "UPDATE phases SET phase_id = 'p1'",
    ):
        with pytest.raises(IntegrityError), engine.begin() as connection:
            connection.execute(text(wrong))
    engine.dispose()


def test_the_run_goes_on_where_it_was(old: Location) -> None:
    migrate(old, now=utc_now)
    with open_database(old) as database:
        with database.transaction() as session:
            (pending,) = approvals.page(session, run_id="r1", status="pending", now=utc_now())
            assert (pending.approval_id, pending.timeout_at, pending.overdue) == ("q1", None, False)
        with database.transaction() as session:
            approvals.decide(
                session, "q1", approvals.Decision(approved=True, by="Ann", method="test"), now=utc_now()
            )
        with database.transaction() as session:
            claim = claims.claim(
                session, run_id="r1", worker="w", attempt_id="a3", lease_token="t" * 16, lease_seconds=60, now=utc_now()
            )  # fmt: skip
            assert isinstance(claim, Claim)
            assert claim.approved is not None
            assert (claim.approved.policy_hash, claim.approved.checks_hash) == (None, None)
            assert phases.get(session, "r1", "p1").state is PhaseState.COMPLETE
            assert [each.number for each in attempts.of_phase(session, "r1", "p2")] == [1, 2]
