"""Databases of earlier revisions, with a run in the middle of its life."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, MetaData, create_engine, insert, select

from autopack.clock import utc_now
from autopack.db.location import Location, locate
from autopack.db.migrate import migrate, script_location

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PHASE = {
    "run_id": "r1", "tier_id": "T1", "tier_index": 0, "goal": "\u00fc", "task_category": "docs",
    "complexity": "low", "priority": 2, "priority_rank": -2, "max_attempts": 3, "attempts": 1,
    "scope": {"paths": ["a/"], "read_only_context": [], "deliverables": [], "checks": ["true"]},
    "created_at": AT, "updated_at": AT,
}  # fmt: skip
ATTEMPT = {"run_id": "r1", "worker": "w", "lease_expires_at": AT, "claimed_at": AT}
CALL = {
    "attempt_id": "a1", "run_id": "r1", "phase_id": "p1", "role": "builder", "request_key": "k", "request_max_tokens": 9,
}  # fmt: skip
USAGE = {
    **CALL, "ask": 1, "status": "answered", "provider": "openai", "model": "m", "provider_mode": "live",
    "reserved_tokens": 3, "created_at": AT,
}  # fmt: skip
ROWS: list[tuple[str, Mapping[str, Any]]] = [
    ("runs", {"id": "r1", "goal": "g", "state": "RUNNING", "plan_hash": "h", "safety_profile": "standard", "token_cap": 2**40,
              "base_commit": "b" * 40, "created_at": AT, "updated_at": AT}),
    ("tiers", {"run_id": "r1", "tier_id": "T1", "tier_index": 0, "name": "T1"}),
    ("phases", {**PHASE, "phase_id": "p1", "phase_index": 0, "name": "p1", "state": "COMPLETE", "result_commit": "c" * 40}),
    ("phases", {**PHASE, "phase_id": "p2", "phase_index": 1, "name": "p2", "state": "GATE"}),
    ("phase_dependencies", {"run_id": "r1", "phase_id": "p2", "depends_on": "p1"}),
    ("attempts", {**ATTEMPT, "id": "a1", "phase_id": "p1", "number": 1, "lease_token": "t1", "outcome": "COMPLETE",
                  "finished_at": AT, "check_report": {"passed": True}, "review": {"notes": "\U0001f600"}}),
    ("attempts", {**ATTEMPT, "id": "a2", "phase_id": "p2", "number": 1, "lease_token": "t2", "outcome": "NEEDS_APPROVAL",
                  "finished_at": AT}),
    ("llm_usage_events", {**USAGE, "call_id": "c1", "input_tokens": 2, "output_tokens": 1, "cost_usd": 0.125}),
    ("llm_responses", {**CALL, "call_id": "c1", "completion": {"text": "an answer"}, "created_at": AT}),
    ("approval_requests", {"id": "q1", "run_id": "r1", "phase_id": "p2", "attempt_id": "a2", "status": "pending",
                           "reasons": ["why"], "plan": {"summary": "s", "files": []}, "diff": "+x\n", "diff_hash": "d" * 64,
                           "base_commit": "b" * 40, "requested_at": AT}),
    ("events", {"run_id": "r1", "kind": "run_created", "actor": "me", "detail": {"x": [1, None]}, "created_at": AT}),
]  # fmt: skip


def revisions_until(directory: Path, newest: str) -> Path:
    """The revisions as they were when `newest` was."""
    scripts = directory / "scripts"
    (scripts / "versions").mkdir(parents=True)
    for source in script_location().rglob("*.*"):
        is_later = source.parent.name == "versions" and source.name[:4] > newest
        if "__pycache__" not in source.parts and not is_later:
            (scripts / source.relative_to(script_location())).write_bytes(source.read_bytes())
    return scripts


def make_old(
    url: str, directory: Path, revision: str, rows: Sequence[tuple[str, Mapping[str, Any]]]
) -> Location:
    """A database at that revision, filled."""
    location = locate(url, directory)
    assert migrate(location, now=utc_now, scripts=revisions_until(directory, revision)).after == revision
    engine = create_engine(location.url)
    with engine.begin() as connection:
        tables = MetaData()
        tables.reflect(connection)
        for name, values in rows:
            connection.execute(insert(tables.tables[name]).values(**values))
    engine.dispose()
    return location


def contents(location: Location) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, in the order of its key."""
    engine = create_engine(location.url)
    with engine.connect() as connection:
        found = _rows(connection)
    engine.dispose()
    return found


def _rows(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    tables = MetaData()
    tables.reflect(connection)
    return {
        name: [
            dict(row)
            for row in connection.execute(
                select(table).order_by(*table.primary_key.columns or table.columns)
            ).mappings()
        ]
        for name, table in tables.tables.items()
        if name != "alembic_version"
    }


def assert_kept(before: dict[str, list[dict[str, Any]]], after: dict[str, list[dict[str, Any]]]) -> None:
    """Every row and every value of before; after may have more columns."""
    for name, rows in before.items():
        kept = [{key: row[key] for key in old} for old, row in zip(rows, after[name], strict=True)]
        assert kept == rows, name
