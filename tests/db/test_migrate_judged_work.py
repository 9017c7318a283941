"""Revision 0002 on a database that 0001 made and filled: every row and every value is still there."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

from autopack.clock import utc_now
from autopack.db import approvals, attempts, claims, phases
from autopack.db.identity import open_database
from autopack.db.location import Location
from autopack.db.migrate import migrate
from autopack.db.tables import REVISION
from autopack.domain.phases import Claim, PhaseState
from tests.db.support_migrations import ROWS, assert_kept, contents, make_old


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """A database at revision 0001 with a run in the middle of its life."""
    url = (
        f"sqlite:///{tmp_path}/old.db"
        if request.param == "sqlite"
        else request.getfixturevalue("empty_postgres_url")
    )
    return make_old(url, tmp_path, "0001", ROWS)


def test_what_0001_kept_is_kept_to_the_last_value(old: Location) -> None:
    before = contents(old)
    done = migrate(old, now=utc_now)
    assert (done.before, done.after) == ("0001", REVISION)
    after = contents(old)
    assert sum(len(rows) for rows in before.values()) == len(ROWS) + 1
    assert "check_baselines" in set(after) - set(before)
    assert_kept(before, after)
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
