"""What a person changes while a run is drained: it holds from the next claim on, and the audit trail says who did it."""

from datetime import timedelta
from typing import Any

import pytest

from autopack.db import approvals, calls, daily, estimators, phases, runs
from autopack.db.approvals import Decision
from autopack.db.tables import ApprovalRequestRow, AttemptRow, EventRow, RunRow
from autopack.domain.control import PhaseAction
from autopack.domain.estimate import SHIPPED
from autopack.domain.phases import AttemptOutcome, FailureKind, IdleReason, PhaseState, RunState, StateCause
from autopack.errors import BudgetReached, Conflict, LeaseLost, NotFound
from tests.db.support_queue import ON_BOTH, Queue
from tests.support import phase, plan

WHO = "Ann (10.0.0.7 browser)"
RED = {"outcome": AttemptOutcome.FAILED, "failure_kind": FailureKind.CHECKS_FAILED, "reason": "red"}
ASKS = {
    "outcome": AttemptOutcome.NEEDS_APPROVAL,
    "approval": {
        "reasons": ["a person decides"], "plan": {"summary": "s", "files": []}, "diff": "+x\n", "diff_hash": "d" * 64,
        "base_commit": "b" * 40,
    },
}  # fmt: skip


def seeded(queue: Queue, *phase_ids: str, **more: Any) -> Queue:
    queue.create(
        plan(phases=[phase(each, max_attempts=1) for each in phase_ids or ("p1", "p2", "p3")], **more)
    )
    return queue


def change(queue: Queue, *, reason: str | None = None, **changes: Any) -> None:
    with queue.session() as session:
        runs.change(session, "r1", changes, actor=WHO, now=queue.now, reason=reason)


def pause_after(queue: Queue, phase_id: str = "p1", *, pause: bool = True) -> None:
    with queue.session() as session:
        phases.pause_after(session, "r1", phase_id, pause=pause, actor=WHO, now=queue.now, reason="to look")


def told(queue: Queue, kind: str) -> list[tuple[str | None, str, dict[str, Any]]]:
    rows = [row for row in queue.rows(EventRow) if row["kind"] == kind]
    return [(row["run_id"], row["actor"], row["detail"]) for row in rows]


@ON_BOTH
def test_the_next_claim_carries_what_was_set_and_the_event_says_what_it_was_before(queue: Queue) -> None:
    seeded(queue, token_cap=100)
    first = queue.claim()
    assert (first.run.concurrency, first.run.builder_model) == (None, None)
    change(queue, token_cap=None, cost_cap_usd=2.5, concurrency=4, builder_model="openai:x", reason="night")
    change(queue, concurrency=4)
    second = queue.claim().run
    assert (second.token_cap, second.cost_cap_usd) == (None, 2.5)
    assert (second.concurrency, second.builder_model) == (4, "openai:x")
    changed = {
        "token_cap": [100, None], "cost_cap_usd": [None, 2.5], "concurrency": [None, 4], "builder_model": [None, "openai:x"],
    }  # fmt: skip
    assert told(queue, "run_changed") == [("r1", WHO, {"changes": changed, "reason": "night"})]


@ON_BOTH
def test_a_cap_on_phases_that_comes_later_counts_those_that_were_started(queue: Queue) -> None:
    seeded(queue, "p1", "p2", "p3", "p4")
    queue.finish(queue.claim(), **RED)
    queue.finish(queue.claim())
    change(queue, max_phases=3)
    assert queue.run()["phases_started"] == 2
    queue.finish(queue.claim())
    assert queue.idle().reason is IdleReason.BUDGET
    change(queue, max_phases=4)
    assert queue.idle().reason is IdleReason.BUDGET, "a raised cap resumes nothing by itself"
    with queue.session() as session:
        runs.resume(session, "r1", actor=WHO, now=queue.now, reason="paid for")
    assert queue.claim().phase.phase_id == "p4"
    assert told(queue, "run_state")[-1] == ("r1", WHO, {"state": "RUNNING", "reason": "paid for"})


def test_a_run_that_has_ended_is_not_changed(queue: Queue) -> None:
    seeded(queue, "p1")
    queue.finish(queue.claim())
    with pytest.raises(Conflict, match="DONE_SUCCESS; there is nothing left to change"):
        change(queue, concurrency=2)
    with pytest.raises(NotFound), queue.session() as session:
        runs.change(session, "r2", {"concurrency": 2}, actor=WHO, now=queue.now)
    assert told(queue, "run_changed") == []


def test_a_cancel_keeps_the_reason(queue: Queue) -> None:
    seeded(queue)
    with queue.session() as session:
        runs.cancel(session, "r1", actor=WHO, now=queue.now, reason="wrong plan")
    assert queue.run()["state_reason"] == "wrong plan"
    assert told(queue, "run_state") == [("r1", WHO, {"state": "CANCELLED", "reason": "wrong plan"})]


@pytest.mark.parametrize("end", [{}, RED, {"outcome": AttemptOutcome.CANCELLED}], ids=repr)
@ON_BOTH
def test_the_run_pauses_when_the_phase_has_ended_however_it_ended(queue: Queue, end: dict[str, Any]) -> None:
    seeded(queue)
    pause_after(queue)
    first, second = queue.claim(), queue.claim()
    queue.finish(second)
    assert queue.run()["state"] == RunState.RUNNING
    assert queue.finish(first, **end).pause_after is False
    run = queue.run()
    assert (run["state"], run["state_cause"]) == (RunState.PAUSED, "person")
    assert run["state_reason"] == "phase p1 has ended, and the run was to pause after it"
    assert queue.phase("p1").pause_after is False
    assert queue.idle().reason is IdleReason.PAUSED
    assert told(queue, "pause_after") == [("r1", WHO, {"pause": True, "reason": "to look"})]
    with queue.session() as session:
        runs.resume(session, "r1", actor=WHO, now=queue.now)
    queue.finish(queue.claim())
    assert queue.idle().reason in (IdleReason.DONE, IdleReason.FAILED, IdleReason.CANCELLED)


def test_a_try_that_comes_again_is_no_end(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1", max_attempts=2), phase("p2")]))
    pause_after(queue)
    queue.finish(queue.claim(), **RED)
    assert queue.phase("p1").pause_after is True
    queue.finish(queue.claim())
    assert queue.run()["state"] == RunState.PAUSED


def test_after_the_last_phase_the_run_is_done_and_not_paused(queue: Queue) -> None:
    seeded(queue, "p1")
    pause_after(queue)
    queue.finish(queue.claim())
    assert queue.run()["state"] == RunState.DONE_SUCCESS
    assert queue.phase("p1").pause_after is False


@pytest.mark.parametrize("approved", [True, False])
@ON_BOTH
def test_a_phase_that_waits_for_a_person_has_not_ended(queue: Queue, approved: bool) -> None:
    seeded(queue, "p1", "p2")
    pause_after(queue)
    queue.finish(queue.claim(), **ASKS)
    assert (queue.run()["state"], queue.phase("p1").pause_after) == (RunState.RUNNING, True)
    (request,) = queue.rows(ApprovalRequestRow)
    said = Decision(approved=approved, by="Ann", method="10.0.0.7", reason="so")
    with queue.session() as session:
        approvals.decide(session, request["id"], said, now=queue.now, actor=WHO)
    assert told(queue, "approved" if approved else "rejected")[0][1] == WHO
    if approved:
        assert queue.run()["state"] == RunState.RUNNING
        queue.finish(queue.claim())
    assert queue.run()["state"] == RunState.PAUSED


def test_a_skip_ends_a_phase_after_which_the_run_pauses(queue: Queue) -> None:
    seeded(queue)
    pause_after(queue)
    with queue.session() as session:
        skipped = phases.skip(session, "r1", "p1", actor=WHO, now=queue.now, reason="not now")
    assert (skipped.pause_after, queue.run()["state"]) == (False, RunState.PAUSED)
    with queue.session() as session:
        runs.resume(session, "r1", actor=WHO, now=queue.now)
        assert phases.requeue(session, "r1", "p1", actor=WHO, now=queue.now).pause_after is False
    assert told(queue, "phase_state")[0] == ("r1", WHO, {"state": "SKIPPED", "reason": "not now"})


def test_nothing_pauses_after_a_phase_that_has_ended_and_the_wish_can_be_taken_back(queue: Queue) -> None:
    seeded(queue)
    queue.finish(queue.claim())
    with pytest.raises(Conflict, match="p1 of run r1 is COMPLETE: it has ended"):
        pause_after(queue)
    pause_after(queue, pause=False)
    pause_after(queue, "p2")
    pause_after(queue, "p2", pause=False)
    queue.finish(queue.claim())
    assert queue.run()["state"] == RunState.RUNNING
    assert [detail["pause"] for _, _, detail in told(queue, "pause_after")] == [True, False]


@ON_BOTH
def test_of_several_phases_each_is_changed_by_itself(queue: Queue) -> None:
    seeded(queue)
    for _ in range(2):
        queue.finish(queue.claim(), **RED)
    executing = queue.claim()
    with queue.session() as session:
        acted = phases.act(
            session, "r1", ["p1", "nope", "p3", "p2", "p1"], PhaseAction.REQUEUE, actor=WHO, now=queue.now, reason="again"
        )  # fmt: skip
    assert [(each.phase_id, each.done, each.state) for each in acted] == [
        ("p1", True, PhaseState.QUEUED), ("nope", False, None), ("p3", False, PhaseState.EXECUTING),
        ("p2", True, PhaseState.QUEUED),
    ]  # fmt: skip
    assert acted[1].detail == "run r1 has no phase nope"
    assert "is EXECUTING; only" in (acted[2].detail or "")
    assert [detail["reason"] for _, _, detail in told(queue, "phase_state")] == ["again", "again"]
    queue.finish(executing)
    assert [queue.claim().phase.phase_id for _ in range(2)] == ["p1", "p2"]
    with pytest.raises(NotFound), queue.session() as session:
        phases.act(session, "r2", ["p1"], PhaseAction.SKIP, actor=WHO, now=queue.now)


def test_several_that_are_requeued_open_a_run_that_had_ended(queue: Queue) -> None:
    seeded(queue, "p1", "p2")
    for _ in range(2):
        queue.finish(queue.claim(), **RED)
    assert queue.run()["state"] == RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW
    with queue.session() as session:
        phases.act(session, "r1", ["p1", "p2"], PhaseAction.REQUEUE, actor=WHO, now=queue.now)
    assert queue.run()["state"] == RunState.RUNNING


@ON_BOTH
def test_a_renewal_is_written_only_when_there_is_something_to_write(queue: Queue) -> None:
    seeded(queue)
    claim = queue.claim()
    queue.tick(seconds=1)
    assert queue.renew(claim).lease_expires_at == claim.lease_expires_at
    assert queue.rows(AttemptRow)[0]["step"] is None
    renewed = queue.renew(claim, step="checking")
    assert renewed.lease_expires_at == queue.now + timedelta(seconds=60)
    assert queue.tries("p1")[0].step == "checking"
    queue.tick(seconds=20)
    assert queue.renew(claim, step="checking").lease_expires_at == renewed.lease_expires_at
    queue.tick(seconds=1)
    assert queue.renew(claim).lease_expires_at == queue.now + timedelta(seconds=60)
    assert queue.tries("p1")[0].step == "checking", "left out, it is as it was"
    change(queue, concurrency=7)
    assert (queue.renew(claim).concurrency, queue.renew(claim).cancelled) == (7, False)
    queue.finish(claim)
    with pytest.raises(LeaseLost):
        queue.renew(claim)


@ON_BOTH
def test_what_concerns_all_runs_is_told_as_well(queue: Queue) -> None:
    with queue.session() as session:
        daily.set_caps(
            session, actor=WHO, now=queue.now, reason="month's end", token_cap=5, cost_cap_usd=None
        )
        daily.set_caps(session, actor=WHO, now=queue.now, token_cap=5)
        estimators.activate(session, SHIPPED.version, now=queue.now, actor=WHO)
    changed = {"changes": {"token_cap": [None, 5]}, "reason": "month's end"}
    assert told(queue, "daily_caps_changed") == [(None, WHO, changed)]
    assert told(queue, "estimator_activated") == [], "it was in force"
    assert queue.rows(RunRow) == []


@ON_BOTH
@pytest.mark.parametrize("of_the_day", [False, True], ids=["run", "day"])
def test_a_cap_that_is_raised_before_the_refusal_is_told_pauses_nothing(
    queue: Queue, of_the_day: bool
) -> None:
    seeded(queue)

    def cap(tokens: int) -> None:
        if of_the_day:
            with queue.session() as session:
                daily.set_caps(session, token_cap=tokens, actor=WHO, now=queue.now)
        else:
            change(queue, token_cap=tokens)

    cap(500)
    claim, request = queue.claim(), queue.request()
    with pytest.raises(BudgetReached) as refused, queue.session() as session:
        calls.reserve(session, claim.attempt_id, claim.lease_token, request, now=queue.now)

    def paused() -> bool:
        with queue.session() as session:
            return calls.pause_for_budget(
                session, claim.attempt_id, str(refused.value), request=request, now=queue.now
            )

    cap(100_000)
    assert not paused()
    assert queue.run()["state"] == RunState.RUNNING
    cap(600)
    assert paused()
    assert "600 tokens" in queue.run()["state_reason"], "the cap as it is, not as it was"


@ON_BOTH
def test_a_person_who_pauses_a_run_that_a_cap_holds_is_heard(queue: Queue) -> None:
    """Else whoever raises the cap would resume what another wished to stop."""
    seeded(queue, max_phases=1)
    queue.finish(queue.claim())
    assert queue.idle().reason is IdleReason.BUDGET

    def pause() -> None:
        with queue.session() as session:
            runs.pause(session, "r1", actor=WHO, now=queue.now, reason="hands off")

    pause()
    pause()
    run = queue.run()
    assert (run["state_cause"], run["state_reason"]) == (StateCause.PERSON, "hands off")
    assert queue.idle().reason is IdleReason.PAUSED
    assert [actor for _, actor, detail in told(queue, "run_state") if detail["state"] == "PAUSED"] == [
        "autopack",
        WHO,
    ]
    with queue.session() as session:
        runs.cancel(session, "r1", actor=WHO, now=queue.now)
    assert queue.run()["state"] == RunState.CANCELLED


@ON_BOTH
def test_who_wished_to_look_after_a_phase_still_does_when_it_is_tried_again_instead_of_approved(
    queue: Queue,
) -> None:
    seeded(queue)
    claim = queue.claim()
    pause_after(queue)
    queue.finish(claim, **ASKS)
    with queue.session() as session:
        assert phases.requeue(session, "r1", "p1", actor=WHO, now=queue.now).pause_after
    queue.finish(queue.claim())
    assert queue.run()["state"] == RunState.PAUSED
