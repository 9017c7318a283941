"""Revision 0004 on a database that 0003 made and filled: what a person sees and changes has its place, and nothing is lost."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from autopack.clock import utc_now
from autopack.db import approvals, phases, runs
from autopack.db.approvals import Decision
from autopack.db.columns import Base
from autopack.db.engine import runtime_engine
from autopack.db.identity import open_database
from autopack.db.location import Location
from autopack.db.migrate import migrate
from autopack.db.tables import REVISION, EventRow
from autopack.domain.phases import RunState
from tests.db.support_migrations import ATTEMPT, PHASE, ROWS, assert_kept, contents, make_old
from tests.db.support_queue import Queue
from tests.db.test_migrate_telemetry import LATE

MORE = [
    ("phases", {**PHASE, "phase_id": "p3", "phase_index": 2, "name": "p3", "state": "EXECUTING"}),
    ("attempts", {**ATTEMPT, "id": "a3", "phase_id": "p3", "number": 1, "lease_token": "t3"}),
    ("phases", {**PHASE, "phase_id": "p4", "phase_index": 3, "name": "p4", "state": "QUEUED"}),
    ("events", {"run_id": "r1", "phase_id": "p3", "attempt_id": "a3", "kind": "claimed", "actor": "w \U0001f600",
                "detail": {"number": 1}, "created_at": LATE}),
    ("daily_caps", {"singleton": 1, "token_cap": 7, "updated_at": LATE, "updated_by": "Ann"}),
]  # fmt: skip


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """A database at revision 0003, with a phase that is executing and one that waits for a person."""
    on_sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/old.db" if on_sqlite else request.getfixturevalue("empty_postgres_url")
    return make_old(url, tmp_path, "0003", [*ROWS, *MORE])


def test_nothing_is_lost_and_the_run_goes_on_under_the_new_controls(old: Location) -> None:
    before = contents(old)
    done = migrate(old, now=utc_now)
    assert (done.before, done.after) == ("0003", REVISION)
    after = contents(old)
    assert_kept(before, after)
    assert {(row["concurrency"], row["builder_model"]) for row in after["runs"]} == {(None, None)}
    assert {row["pause_after"] for row in after["phases"]} <= {False}
    assert {(row["step"], row["diff"]) for row in after["attempts"]} == {(None, None)}
    _assert_schema(old)
    _assert_controls(old, len(before["events"]))


def _assert_schema(location: Location) -> None:
    """Also of the table that SQLite rebuilt: the one that a new database has, with its foreign key and its numbers."""
    engine = runtime_engine(location)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        last = connection.scalar(text("SELECT max(id) FROM events"))
        made = connection.execute(
            text(
                "INSERT INTO events (kind, actor, detail, created_at) "
                "VALUES ('restored', 'me', '{}', '2026-01-01 00:00:00') RETURNING id, run_id"
            )
        ).one()
        connection.rollback()
    engine.dispose()
    assert (made.id, made.run_id) == (last + 1, None)


def _assert_controls(location: Location, events: int) -> None:
    with open_database(location) as database:
        queue = Queue(database, now=LATE)
        with queue.session() as session:
            runs.change(session, "r1", {"concurrency": 2, "builder_model": "openai:x"}, actor="Ann", now=LATE)
            phases.pause_after(session, "r1", "p2", actor="Ann", now=LATE)
        assert queue.claim().run.concurrency == 2
        said = Decision(approved=False, by="Ann", method="test", reason="no")
        with queue.session() as session:
            approvals.decide(session, "q1", said, now=LATE)
        assert queue.run()["state"] == RunState.PAUSED
        kinds = [row["kind"] for row in queue.rows(EventRow)][events:]
        assert kinds[:2] == ["run_changed", "pause_after"]
