"""Revision 0003 on a database that 0002 made and filled: telemetry stands by itself, and nothing of it is lost."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from autopack.clock import utc_now
from autopack.db import attempts, calls, runs
from autopack.db.columns import Base
from autopack.db.engine import runtime_engine
from autopack.db.identity import open_database
from autopack.db.location import Location
from autopack.db.migrate import migrate
from autopack.db.tables import REVISION
from autopack.domain.phases import AttemptOutcome, IdleReason, Outcome, PhaseState
from tests.db.support_migrations import (
    ATTEMPT,
    CALL,
    PHASE,
    ROWS,
    USAGE,
    assert_kept,
    contents,
    make_old,
)
from tests.db.support_queue import Queue, answer

LATE = datetime(2026, 1, 3, 23, 59, 59, 999_999, tzinfo=UTC)
ESTIMATE = {
    "run_id": "r1", "phase_id": "p1", "timestamp": LATE, "category": "docs", "complexity": "low", "deliverable_count": 1,
    "deliverables_json": ["a/\u00fc.py"], "features_json": {"files": [["new", "py"]]}, "estimator_version": "linear-1",
    "predicted_output_tokens": 100, "selected_budget": 200, "truncated": False, "model": "m", "provider_mode": "live",
}  # fmt: skip
TELEMETRY: list[tuple[str, Mapping[str, Any]]] = [
    ("phases", {**PHASE, "phase_id": "p3", "phase_index": 2, "name": "p3", "state": "EXECUTING"}),
    ("attempts", {**ATTEMPT, "id": "a3", "phase_id": "p3", "number": 1, "lease_token": "t3"}),
    ("llm_usage_events", {**USAGE, "call_id": "c2", "attempt_id": "a3", "phase_id": "p3", "status": "reserved",
                          "reserved_tokens": 500, "reserved_cost_usd": 0.5}),
    ("llm_usage_events", {**USAGE, "call_id": "c3", "status": "failed", "error": "cut off \U0001f4a5", "usage_source": "missing"}),
    ("llm_usage_events", {**USAGE, "call_id": "c4", "status": "abandoned", "is_complete": False, "reserved_tokens": 2**40}),
    ("llm_usage_events", {**USAGE, "call_id": "c5", "provider_mode": "replay", "input_tokens": 7, "output_tokens": 5,
                          "cost_usd": 0.0, "cache_read_input_tokens": 7, "reasoning_output_tokens": 5}),
    ("llm_usage_events", {**USAGE, "call_id": "c6", "input_tokens": 9, "cost_usd": 0.1 + 0.2, "created_at": LATE,
                          "completed_at": LATE, "duration_seconds": 1.25, "retries": 2, "finish_reason": "length",
                          "is_truncated": True, "is_complete": True, "response_id": "x"}),
    ("token_estimation_v2_events", {**ESTIMATE, "call_id": "c1", "actual_output_tokens": 1, "stop_reason": "stop", "success": True}),
    ("token_estimation_v2_events", {**ESTIMATE, "call_id": "c3"}),
    ("token_estimation_v2_events", {**ESTIMATE, "call_id": "c5", "actual_output_tokens": 5, "stop_reason": "length",
                                    "truncated": True, "success": False}),
    ("token_estimation_v2_events", {**ESTIMATE, "call_id": "c6", "stop_reason": "stop"}),
    ("token_budget_escalation_events", {"call_id": "c5", "run_id": "r1", "phase_id": "p1", "timestamp": LATE, "model": "m",
                                        "reason": "truncated", "from_budget": 5, "to_budget": 10}),
]  # fmt: skip


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """A database at revision 0002: calls of every status, and a phase whose call is under way."""
    url = (
        f"sqlite:///{tmp_path}/old.db"
        if request.param == "sqlite"
        else request.getfixturevalue("empty_postgres_url")
    )
    (name, run), *others = ROWS
    held = {**run, "tokens_used": 3, "tokens_reserved": 500, "cost_usd": 0.425, "cost_reserved_usd": 0.5}
    return make_old(url, tmp_path, "0002", [(name, held), *others, *TELEMETRY])


@pytest.fixture
def migrated(old: Location) -> Iterator[Engine]:
    migrate(old, now=utc_now)
    engine = runtime_engine(old)
    yield engine
    engine.dispose()


def test_every_value_is_kept_and_what_follows_from_it_is_filled_in(old: Location) -> None:
    before = contents(old)
    assert sum(len(rows) for rows in before.values()) == len(ROWS) + len(TELEMETRY) + 1
    done = migrate(old, now=utc_now)
    assert (done.before, done.after, done.backup is not None) == ("0002", REVISION, old.path is not None)
    after = contents(old)
    assert_kept(before, after)
    assert [row["total_tokens"] for row in after["llm_usage_events"]] == [3, None, None, None, 12, None]
    assert [row["is_complete"] for row in after["token_estimation_v2_events"]] == [True, False, True, False]
    for name in ("llm_usage_events", "token_estimation_v2_events", "token_budget_escalation_events"):
        made = {(row["origin"], row["source_database_id"], row["source_row_id"]) for row in after[name]}
        assert made == {("local", None, None)}, name


def test_days_begin_with_what_live_calls_spent_and_hold(old: Location) -> None:
    migrate(old, now=utc_now)
    assert contents(old)["daily_usage"] == [
        {"day": "2026-01-02", "tokens_used": 3, "tokens_reserved": 500, "cost_usd": 0.125, "cost_reserved_usd": 0.5},
        {"day": "2026-01-03", "tokens_used": 0, "tokens_reserved": 0, "cost_usd": 0.1 + 0.2, "cost_reserved_usd": 0.0},
    ]  # fmt: skip


def test_the_schema_is_the_one_that_a_new_database_has(migrated: Engine) -> None:
    """Columns, indexes and foreign keys, also of the tables that SQLite rebuilt."""
    with migrated.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_every_rule_of_the_tables_holds(migrated: Engine) -> None:
    """A table that SQLite rebuilt would have lost the CHECKs that the revision does not write out."""
    local_needs = ("attempt_id", "run_id", "phase_id", "ask", "request_key", "request_max_tokens")
    wrong = (
        "UPDATE llm_usage_events SET status = 'perhaps'",
        "UPDATE llm_usage_events SET input_tokens = -1, total_tokens = NULL",
        "UPDATE llm_usage_events SET cache_write_input_tokens = 1 WHERE call_id = 'c5'",
        "UPDATE llm_usage_events SET reasoning_output_tokens = 6 WHERE call_id = 'c5'",
        "UPDATE llm_usage_events SET cost_usd = -0.1",
        "UPDATE llm_usage_events SET total_tokens = 4 WHERE call_id = 'c1'",
        "UPDATE llm_usage_events SET origin = 'elsewhere'",
        *(f"UPDATE llm_usage_events SET {name} = NULL" for name in local_needs),
        "UPDATE llm_usage_events SET attempt_id = 'nobody'",
        "UPDATE llm_usage_events SET call_id = 'c2' WHERE call_id = 'c3'",
        "DELETE FROM llm_usage_events WHERE call_id = 'c1'",
        "UPDATE llm_responses SET call_id = 'nothing'",
        "UPDATE token_estimation_v2_events SET origin = 'elsewhere'",
        "UPDATE token_estimation_v2_events SET call_id = 'c1'",
        "UPDATE token_budget_escalation_events SET origin = 'elsewhere'",
        "INSERT INTO token_budget_escalation_events (call_id, run_id, phase_id, timestamp, reason, from_budget, to_budget, model) "
        "SELECT call_id, run_id, phase_id, timestamp, reason, from_budget, to_budget, model FROM token_budget_escalation_events",
        "UPDATE daily_usage SET tokens_used = -1",
        "UPDATE daily_usage SET tokens_reserved = -1",
        "INSERT INTO daily_caps (singleton, updated_at, updated_by) VALUES (2, '2026-01-01 00:00:00', 'me')",
        "INSERT INTO triage_items (session_id, position, run_id, phase_id, started_at) "
        "VALUES ('nothing', 1, 'r1', 'p1', '2026-01-01 00:00:00')",
    )  # fmt: skip
    assert [statement for statement in wrong if not is_refused(migrated, statement)] == []


def is_refused(engine: Engine, statement: str) -> bool:
    try:
        with engine.begin() as connection:
            connection.execute(text(statement))
    except IntegrityError:
        return True
    return False


def test_a_row_that_was_made_elsewhere_needs_no_attempt_here(migrated: Engine) -> None:
    adopted = (
        "INSERT INTO llm_usage_events (call_id, role, status, provider, model, provider_mode, reserved_tokens, total_tokens, "
        "created_at, origin) VALUES ('e1', 'doctor', 'answered', 'openai', 'm', 'live', 0, 77, '2026-01-01 00:00:00', 'adopted')"
    )
    assert not is_refused(migrated, adopted)


def test_the_run_goes_on_where_it_was(old: Location) -> None:
    migrate(old, now=utc_now)
    with open_database(old) as database:
        queue = Queue(database, now=LATE)
        with queue.session() as session:
            calls.settle(session, "c2", "t3", answer(), now=LATE)
        with queue.session() as session:
            attempts.finish(
                session, "a3", "t3", Outcome(outcome=AttemptOutcome.COMPLETE), request_id="q2", now=LATE
            )
            assert runs.row(session, "r1").tokens_used == 45
            assert runs.row(session, "r1").tokens_reserved == 0
        assert queue.phase("p3").state is PhaseState.COMPLETE
        assert queue.idle().reason is IdleReason.APPROVAL
        (day, _) = contents(old)["daily_usage"]
        assert (day["day"], day["tokens_used"], day["tokens_reserved"]) == ("2026-01-02", 45, 0)
    assert CALL["attempt_id"] == contents(old)["llm_responses"][0]["attempt_id"]
