"""What is claimed, in which order, and what is answered when nothing is."""

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from autopack.db import phases, runs
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.db.tables import EventRow
from autopack.domain.phases import (
    AttemptOutcome,
    Claim,
    FailureKind,
    Idle,
    IdleReason,
    PhaseState,
    RunState,
    StateCause,
)
from autopack.errors import DatabaseBusy, LeaseLost, PhaseBlocked
from tests.db.support_queue import ON_BOTH, ON_POSTGRESQL, Queue
from tests.support import phase, plan


def tiers(*names: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    made = [{"tier_id": f"T{index}", "phases": phases} for index, phases in enumerate(names, start=1)]
    return plan("r1", **more) | {"tiers": made}


def drain(queue: Queue) -> list[str]:
    """The phases in the order in which they are claimed, each completed at once."""
    order = []
    while isinstance(claim := queue.ask(), Claim):
        order.append(claim.phase.phase_id)
        queue.finish(claim)
    return order


@ON_BOTH
def test_phases_are_claimed_by_tier_then_priority_then_plan_order(queue: Queue) -> None:
    first = [phase("a"), phase("b", priority=5), phase("c", priority=-1), phase("d", priority=5)]
    queue.create(tiers(first, [phase("e", priority=100), phase("f")]))
    assert drain(queue) == ["b", "d", "a", "c", "e", "f"]
    assert queue.run()["state"] == RunState.DONE_SUCCESS
    assert queue.idle().reason is IdleReason.DONE


def test_a_claim_counts_the_attempt_now_and_starts_the_run_at_its_base(queue: Queue) -> None:
    queue.create(plan())
    claim = queue.claim()
    assert (claim.number, claim.phase.attempts, claim.phase.state) == (1, 1, PhaseState.EXECUTING)
    assert (claim.lease_expires_at - queue.now).total_seconds() == 60
    assert claim.run.base_commit == "b" * 40
    assert (queue.run()["state"], queue.run()["started_at"]) == (RunState.RUNNING, queue.now)


def test_the_base_of_a_run_is_that_of_its_first_claim(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    queue.claim()
    assert queue.claim(base_commit="d" * 40).run.base_commit == "b" * 40


@ON_BOTH
def test_a_phase_waits_for_what_it_depends_on(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1", depends_on=["p3"], priority=9), phase("p2"), phase("p3")]))
    assert drain(queue) == ["p2", "p3", "p1"]


@ON_BOTH
def test_a_later_tier_waits_for_what_is_executing_in_an_earlier_one(queue: Queue) -> None:
    queue.create(tiers([phase("a")], [phase("b")]))
    claim = queue.claim()
    idle = queue.idle()
    assert (idle.reason, idle.until) == (IdleReason.EXECUTING, claim.lease_expires_at)
    assert "a" in idle.detail
    queue.finish(claim)
    assert queue.claim().phase.phase_id == "b"


def test_a_failed_phase_holds_back_a_later_tier_until_it_is_skipped(queue: Queue) -> None:
    queue.create(tiers([phase("a", max_attempts=1)], [phase("b")]))
    queue.finish(queue.claim(), AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED)
    idle = queue.idle()
    assert idle.reason is IdleReason.FAILED
    assert "failed: a; 1 more phases are held back" in idle.detail
    assert queue.run()["state"] == RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW
    with queue.session() as session:
        phases.skip(session, "r1", "a", actor="test", now=queue.now)
    assert queue.claim().phase.phase_id == "b"


@ON_BOTH
def test_a_phase_is_not_claimed_before_its_time(queue: Queue) -> None:
    queue.create(plan())
    outcome = {"failure_kind": FailureKind.PROVIDER_LIMIT, "retry_after_seconds": 30.0}
    queue.finish(queue.claim(), AttemptOutcome.DEFERRED, **outcome)
    idle = queue.idle()
    assert idle.reason is IdleReason.NOT_BEFORE
    assert idle.until is not None
    assert (idle.until - queue.now).total_seconds() == 30
    queue.tick(seconds=29)
    assert queue.idle().reason is IdleReason.NOT_BEFORE
    queue.tick(seconds=1)
    assert queue.claim().phase.attempts == 1


def test_what_waits_for_approval_is_not_claimed(queue: Queue) -> None:
    queue.create(plan())
    queue.finish(queue.claim(), AttemptOutcome.NEEDS_APPROVAL)
    idle = queue.idle()
    assert (idle.reason, idle.detail) == (IdleReason.APPROVAL, "waiting for a person's approval: p1")


@ON_BOTH
def test_max_phases_pauses_the_run_and_leaves_the_next_phase_as_it_was(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2"), phase("p3")], max_phases=2))
    queue.finish(queue.claim(), AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED)
    again = queue.claim()
    assert (again.phase.phase_id, again.number) == ("p1", 2), "a second try is no further phase"
    queue.claim()
    idle = queue.idle()
    assert idle.reason is IdleReason.BUDGET
    assert (queue.run()["state"], queue.run()["state_cause"]) == (RunState.PAUSED, StateCause.MAX_PHASES)
    left = queue.phase("p3")
    assert (left.state, left.attempts) == (PhaseState.QUEUED, 0)
    assert queue.tries("p3") == []
    with queue.session() as session:
        runs.resume(session, "r1", caps={"max_phases": 3}, actor="test", now=queue.now)
    assert queue.claim().phase.phase_id == "p3"


def test_max_duration_pauses_the_run(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2")], max_duration_minutes=10))
    queue.finish(queue.claim())
    queue.tick(minutes=9, seconds=59)
    assert isinstance(queue.ask(), Claim)
    queue.tick(seconds=1)
    assert queue.idle().reason is IdleReason.BUDGET
    assert queue.run()["state_cause"] == StateCause.DURATION


def test_nothing_of_a_paused_run_is_claimed_until_it_is_resumed(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    executing = queue.claim()
    with queue.session() as session:
        runs.pause(session, "r1", actor="test", now=queue.now, cause=StateCause.PERSON, reason="lunch")
    idle = queue.idle()
    assert idle.reason is IdleReason.PAUSED
    assert "lunch" in idle.detail
    assert queue.finish(executing).state is PhaseState.COMPLETE, "what executes ends as it would"
    assert queue.run()["state"] == RunState.PAUSED
    with queue.session() as session:
        runs.resume(session, "r1", caps={}, actor="test", now=queue.now)
    assert queue.claim().phase.phase_id == "p2"


@ON_BOTH
def test_nothing_of_a_cancelled_run_is_claimed_and_what_executes_is_told(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    executing = queue.claim()
    assert queue.renew(executing).cancelled is False
    with queue.session() as session:
        runs.cancel(session, "r1", actor="test", now=queue.now)
    assert queue.idle().reason is IdleReason.CANCELLED
    assert queue.phase("p2").state is PhaseState.CANCELLED
    assert queue.renew(executing).cancelled is True
    assert queue.finish(executing, AttemptOutcome.CANCELLED).state is PhaseState.CANCELLED


@pytest.mark.parametrize("cause", [StateCause.TOKEN_CAP, StateCause.DAILY_CAP])
def test_a_run_that_is_cancelled_while_it_waits_for_a_higher_cap_has_exhausted_its_budget(
    queue: Queue, cause: StateCause
) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    executing = queue.claim()
    with queue.session() as session:
        runs.pause(
            session, "r1", actor="autopack", now=queue.now, cause=cause, reason="token cap of run r1: 5"
        )
        runs.cancel(session, "r1", actor="Ann", now=queue.now)
    run = queue.run()
    assert (run["state"], run["state_cause"]) == (RunState.DONE_FAILED_BUDGET_EXHAUSTED, cause)
    assert queue.renew(executing).cancelled is True, "told to stop, as of any cancelled run"
    assert queue.finish(executing, AttemptOutcome.INTERRUPTED).state is PhaseState.CANCELLED
    idle = queue.idle()
    assert (idle.reason, "token cap of run r1: 5" in idle.detail) == (IdleReason.BUDGET, True)
    assert queue.run()["state"] == RunState.DONE_FAILED_BUDGET_EXHAUSTED
    with queue.session() as session:
        phases.requeue(session, "r1", "p2", actor="Ann", now=queue.now)
    assert queue.run()["state"] == RunState.RUNNING


def test_a_try_that_is_given_back_to_a_cancelled_run_is_not_queued_again(queue: Queue) -> None:
    queue.create(plan())
    executing = queue.claim()
    with queue.session() as session:
        runs.cancel(session, "r1", actor="test", now=queue.now)
    assert queue.finish(executing, AttemptOutcome.INTERRUPTED).state is PhaseState.CANCELLED


@ON_BOTH
def test_a_claim_that_is_repeated_with_its_token_is_the_same_claim(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    first = queue.claim(lease_token="t" * 32)
    again = queue.claim(lease_token="t" * 32)
    assert again.attempt_id == first.attempt_id
    assert (again.phase.phase_id, again.phase.attempts) == ("p1", 1)
    assert len(queue.tries("p1")) == 1
    queue.finish(first)
    with pytest.raises(LeaseLost):
        queue.ask(lease_token="t" * 32)


@ON_BOTH
def test_a_phase_whose_lease_ran_out_is_claimed_again(queue: Queue) -> None:
    queue.create(plan())
    first = queue.claim()
    queue.tick(seconds=60)
    assert queue.idle().reason is IdleReason.EXECUTING
    queue.tick(seconds=1)
    second = queue.claim(worker="w2")
    assert (second.number, second.phase.attempts) == (2, 2)
    assert second.dead_attempts == (first.attempt_id,)
    lost, mine = queue.tries("p1")
    assert (lost.outcome, lost.failure_kind) == (AttemptOutcome.LOST, FailureKind.WORKER_LOST)
    assert mine.outcome is None


def test_a_renewed_lease_does_not_run_out(queue: Queue) -> None:
    queue.create(plan())
    claim = queue.claim()
    for _ in range(5):
        queue.tick(seconds=50)
        queue.renew(claim)
    assert queue.idle().reason is IdleReason.EXECUTING


@ON_BOTH
def test_a_phase_that_loses_its_worker_at_every_attempt_is_failed(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1", max_attempts=2)]))
    queue.claim()
    queue.tick(seconds=61)
    queue.claim()
    queue.tick(seconds=61)
    idle = queue.idle()
    assert (idle.reason, idle.detail) == (IdleReason.FAILED, "failed: p1")
    found = queue.phase("p1")
    assert (found.state, found.failure_kind) == (PhaseState.FAILED, FailureKind.WORKER_LOST)
    assert queue.run()["state"] == RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW


def test_a_worker_that_is_known_to_be_dead_gives_its_phase_back_at_once_and_once(queue: Queue) -> None:
    queue.create(plan())
    claim = queue.claim()
    assert queue.lost(claim, worker="another") is False
    assert queue.lost(claim) is True
    assert queue.lost(claim) is False
    assert queue.claim().number == 2


def test_a_named_phase_is_claimed_and_no_other(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    assert queue.claim(phase_id="p2").phase.phase_id == "p2"
    with pytest.raises(PhaseBlocked, match="is EXECUTING"):
        queue.ask(phase_id="p2")


def test_a_named_phase_that_is_held_back_is_refused_and_runs_with_force(queue: Queue) -> None:
    first = [phase("a"), phase("b", depends_on=["a"])]
    queue.create(tiers(first, [phase("c")]))
    with pytest.raises(PhaseBlocked, match="it depends on a, which is QUEUED"):
        queue.ask(phase_id="b")
    with pytest.raises(PhaseBlocked, match="the earlier tier T1 is open"):
        queue.ask(phase_id="c")
    assert queue.claim(phase_id="c", force=True).phase.phase_id == "c"
    assert queue.phase("a").state is PhaseState.QUEUED


@ON_BOTH
def test_a_named_phase_that_failed_is_queued_anew_with_all_its_attempts(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1", max_attempts=1)]))
    queue.finish(queue.claim(), AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED)
    assert queue.run()["state"] == RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW
    claim = queue.claim(phase_id="p1")
    assert (claim.number, claim.phase.attempts) == (2, 1)
    assert [each.failure_kind for each in claim.previous] == [FailureKind.CHECKS_FAILED]
    assert queue.run()["state"] == RunState.RUNNING


def test_a_named_phase_that_is_complete_is_refused(queue: Queue) -> None:
    queue.create(plan())
    queue.finish(queue.claim())
    with pytest.raises(PhaseBlocked, match="is COMPLETE; only QUEUED and FAILED"):
        queue.ask(phase_id="p1")


@ON_BOTH
def test_a_requeued_phase_is_claimed_again_and_a_skipped_one_is_not(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1", max_attempts=1), phase("p2"), phase("p3", depends_on=["p2"])]))
    queue.finish(queue.claim(), AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED)
    with queue.session() as session:
        phases.requeue(session, "r1", "p1", actor="test", now=queue.now)
        phases.skip(session, "r1", "p2", actor="test", now=queue.now)
    assert drain(queue) == ["p1", "p3"]
    assert queue.run()["state"] == RunState.DONE_SUCCESS


@ON_POSTGRESQL
def test_a_phase_that_another_is_just_claiming_is_neither_waited_for_nor_taken_for_done(
    queue: Queue,
) -> None:
    """On PostgreSQL the other's claim is not committed, so its attempt cannot be seen yet; SQLite has one writer."""
    queue.create(tiers([phase("z"), phase("a")], [phase("b")]))
    queue.finish(queue.claim())
    with queue.session() as first:
        assert isinstance(queue.claim_in(first), Claim)
        with queue.session() as second:
            second.execute(text("SET LOCAL lock_timeout = '5s'"))
            idle = queue.claim_in(second, worker="w2")
    assert isinstance(idle, Idle)
    assert idle.reason is IdleReason.EXECUTING, idle


@ON_POSTGRESQL
def test_a_failure_elsewhere_does_not_end_a_run_whose_last_phase_is_just_being_claimed(
    queue: Queue,
) -> None:
    queue.create(plan(phases=[phase("a", max_attempts=1), phase("b")]))
    queue.finish(queue.claim(), AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED)
    with queue.session() as first:
        assert isinstance(queue.claim_in(first), Claim)
        with queue.session() as second:
            second.execute(text("SET LOCAL lock_timeout = '5s'"))
            idle = queue.claim_in(second, worker="w2")
    assert isinstance(idle, Idle)
    assert idle.reason is IdleReason.EXECUTING, idle
    assert queue.run()["state"] == RunState.RUNNING


def test_every_claim_and_every_end_is_an_event(queue: Queue) -> None:
    queue.create(plan())
    queue.finish(queue.claim())
    assert [row["kind"] for row in queue.rows(EventRow)] == [
        "run_created", "run_state", "claimed", "finished", "run_state",
    ]  # fmt: skip


@pytest.mark.postgres
def test_of_two_transactions_that_wait_for_each_other_one_is_told_to_ask_again(
    postgres_url: str, tmp_path: Path
) -> None:
    both_hold_one, said = threading.Barrier(2), []

    def lock(first: int, second: int) -> None:
        try:
            with database.transaction() as session:
                session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": first})
                both_hold_one.wait(30)
                session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": second})
        except DatabaseBusy as error:
            said.append(str(error))

    with open_database(locate(postgres_url, tmp_path)) as database:
        threads = [threading.Thread(target=lock, args=keys) for keys in ((1, 2), (2, 1))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(said) == 1
    assert "ask again" in said[0]


def test_a_run_that_ended_after_its_time_is_done_and_no_conflict(queue: Queue) -> None:
    queue.create(plan(max_duration_minutes=1))
    claim = queue.claim()
    queue.tick(seconds=30)
    queue.renew(claim, lease_seconds=600)
    queue.tick(seconds=300)
    queue.finish(claim)
    idle = queue.ask()
    assert isinstance(idle, Idle)
    assert idle.reason is IdleReason.DONE
    assert queue.run()["state"] == RunState.DONE_SUCCESS
