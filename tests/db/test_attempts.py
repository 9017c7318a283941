"""How an attempt ends: once, by its owner, and what the phase and the run become."""

from typing import Any

import pytest

from autopack.db import approvals, attempts
from autopack.db.approvals import Decision
from autopack.db.tables import ApprovalRequestRow, EventRow, TokenEstimationEventRow
from autopack.domain.calls import EstimateMade
from autopack.domain.phases import AttemptOutcome, FailureKind, PhaseState, RunState
from autopack.errors import LeaseLost, NotFound
from tests.db.support_queue import ON_BOTH, Queue
from tests.support import phase, plan

COMMIT = "c" * 40
APPROVAL = {
    "reasons": ["a person decides"], "plan": {"summary": "", "files": []}, "diff": "d", "diff_hash": "h",
    "base_commit": "b" * 40,
}  # fmt: skip
ESTIMATE = EstimateMade(predicted_output_tokens=10, version="v", features={})


@pytest.mark.parametrize(
    ("outcome", "more", "state", "spent"),
    [
        ("COMPLETE", {"result_commit": COMMIT}, "COMPLETE", 1),
        ("NO_OP", {}, "COMPLETE", 1),
        ("NEEDS_APPROVAL", {"approval": APPROVAL}, "GATE", 1),
        ("FAILED", {"failure_kind": FailureKind.CHECKS_FAILED}, "QUEUED", 1),
        ("FAILED", {"failure_kind": FailureKind.TRUNCATED, "retryable": False}, "FAILED", 1),
        ("INTERRUPTED", {"failure_kind": FailureKind.INTERRUPTED}, "QUEUED", 0),
        ("DEFERRED", {"failure_kind": FailureKind.PROVIDER_LIMIT, "retry_after_seconds": 7.0}, "QUEUED", 0),
        ("CANCELLED", {}, "CANCELLED", 1),
    ],
)
def test_each_outcome_settles_the_phase(
    queue: Queue, outcome: str, more: dict[str, Any], state: str, spent: int
) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    claim = queue.claim()
    queue.tick(seconds=3)
    answered = queue.finish(claim, AttemptOutcome(outcome), **more)
    assert answered == queue.phase("p1"), "what is answered is what is stored"
    assert (answered.state, answered.attempts) == (PhaseState(state), spent)
    (ended,) = queue.tries("p1")
    assert (ended.outcome, ended.finished_at) == (AttemptOutcome(outcome), queue.now)
    assert queue.run()["state"] == RunState.RUNNING
    assert queue.run()["head_commit"] == more.get("result_commit")


@ON_BOTH
@pytest.mark.parametrize("first", ["p1", "p2"])
def test_the_runs_head_is_the_last_commit_in_whatever_order_the_workers_tell(
    queue: Queue, first: str
) -> None:
    """Both were claimed on the first commit; p2's was made on p1's."""
    queue.create(plan(phases=[phase("p0"), phase("p1"), phase("p2")]))
    start, middle, last = "0" * 40, "1" * 40, "2" * 40
    queue.finish(queue.claim(), result_commit=start)
    claims = {claim.phase.phase_id: claim for claim in (queue.claim(), queue.claim())}
    told = {"p1": (middle, (start,)), "p2": (last, (middle, start))}
    for phase_id in sorted(told, reverse=first == "p2"):
        commit, holds = told[phase_id]
        queue.finish(claims[phase_id], result_commit=commit, holds=holds)
    assert queue.run()["head_commit"] == last


def test_a_provider_is_left_alone_longer_after_each_failure(queue: Queue) -> None:
    queue.create(plan())
    waits = []
    for _ in range(2):
        found = queue.finish(queue.claim(), AttemptOutcome.FAILED, failure_kind=FailureKind.MODEL_ERROR)
        assert found.not_before is not None
        waits.append((found.not_before - queue.now).total_seconds())
        queue.now = found.not_before
    assert waits == [5, 10]


def test_the_last_failure_fails_the_phase_with_its_reason(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1", max_attempts=2)]))
    for state in (PhaseState.QUEUED, PhaseState.FAILED):
        found = queue.finish(
            queue.claim(), AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED, reason="exit code 1"
        )
        assert found.state is state
    assert (found.failure_kind, found.failure_reason) == (FailureKind.CHECKS_FAILED, "exit code 1")
    assert queue.run()["state"] == RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW
    first, second = queue.tries("p1")
    assert first.failure_signature == second.failure_signature


def test_a_violated_policy_is_what_the_run_failed_of(queue: Queue) -> None:
    queue.create(plan())
    kind = FailureKind.POLICY_VIOLATION
    queue.finish(queue.claim(), AttemptOutcome.FAILED, failure_kind=kind, retryable=False)
    assert queue.run()["state"] == RunState.DONE_FAILED_POLICY_VIOLATION


@ON_BOTH
def test_a_finish_that_is_repeated_changes_nothing_and_is_answered_alike(queue: Queue) -> None:
    queue.create(plan())
    claim = queue.claim()
    first = queue.finish(claim, result_commit=COMMIT)
    events = queue.rows(EventRow)
    queue.tick(seconds=9)
    assert queue.finish(claim, result_commit=COMMIT) == first
    assert queue.rows(EventRow) == events
    assert queue.tries("p1")[0].finished_at == first.completed_at


def test_a_second_and_other_end_of_an_attempt_is_refused(queue: Queue) -> None:
    queue.create(plan())
    claim = queue.claim()
    queue.finish(claim)
    with pytest.raises(LeaseLost):
        queue.finish(claim, AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED)
    assert queue.phase("p1").state is PhaseState.COMPLETE


@ON_BOTH
def test_the_late_result_of_a_worker_that_lost_its_lease_is_refused(queue: Queue) -> None:
    queue.create(plan())
    slow = queue.claim()
    queue.tick(seconds=61)
    quick = queue.claim(worker="w2")
    for outcome in (AttemptOutcome.COMPLETE, AttemptOutcome.FAILED):
        with pytest.raises(LeaseLost):
            queue.finish(slow, outcome, result_commit="d" * 40)
    with pytest.raises(LeaseLost):
        queue.renew(slow)
    assert queue.phase("p1").state is PhaseState.EXECUTING
    assert queue.run()["head_commit"] is None
    assert queue.finish(quick, result_commit=COMMIT).result_commit == COMMIT


def test_a_stale_token_ends_nothing(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    first, second = queue.claim(), queue.claim()
    with queue.session() as session, pytest.raises(LeaseLost):
        attempts.owned(session, first.attempt_id, second.lease_token)
    with pytest.raises(NotFound):
        queue.settle(first, "no-such-call")


def test_an_approval_is_used_by_the_try_that_applies_it(queue: Queue) -> None:
    queue.create(plan())
    queue.finish(queue.claim(), AttemptOutcome.NEEDS_APPROVAL, approval=APPROVAL)
    (request,) = queue.rows(ApprovalRequestRow)
    with queue.session() as session:
        approvals.decide(
            session, request["id"], Decision(approved=True, by="me", method="test"), now=queue.now
        )
    claim = queue.claim()
    assert claim.approved is not None
    assert claim.approved.diff_hash == "h"
    assert claim.phase.attempts == 1, "waiting for a person spends no attempt"
    queue.finish(claim, result_commit=COMMIT)
    assert queue.rows(ApprovalRequestRow)[0]["status"] == "used"


@ON_BOTH
def test_an_approval_survives_a_try_that_is_given_back_and_not_one_that_fails(queue: Queue) -> None:
    queue.create(plan())
    queue.finish(queue.claim(), AttemptOutcome.NEEDS_APPROVAL, approval=APPROVAL)
    (request,) = queue.rows(ApprovalRequestRow)
    with queue.session() as session:
        approvals.decide(
            session, request["id"], Decision(approved=True, by="me", method="test"), now=queue.now
        )
    queue.finish(queue.claim(), AttemptOutcome.INTERRUPTED)
    lost = queue.claim()
    assert lost.approved is not None
    queue.lost(lost)
    again = queue.claim()
    assert again.approved is not None
    queue.finish(again, AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED)
    assert queue.rows(ApprovalRequestRow)[0]["status"] == "void"
    assert queue.claim().approved is None


@ON_BOTH
def test_the_answer_that_became_the_work_is_told_from_those_that_did_not(queue: Queue) -> None:
    queue.create(plan())
    failing = queue.claim()
    queue.settle(failing, queue.reserve(failing).call_id, estimate=ESTIMATE)
    queue.finish(failing, AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED)
    passing = queue.claim()
    for text in ("unusable", "used"):
        queue.tick(seconds=1)
        queue.settle(
            passing, queue.reserve(passing, request_key=text[0] * 64).call_id, text=text, estimate=ESTIMATE
        )
    queue.finish(passing, result_commit=COMMIT)
    assert [row["success"] for row in queue.rows(TokenEstimationEventRow)] == [False, False, True]


def test_work_that_a_dead_try_committed_is_credited_to_its_answer(queue: Queue) -> None:
    queue.create(plan())
    dead = queue.claim()
    queue.settle(dead, queue.reserve(dead).call_id, estimate=ESTIMATE)
    queue.lost(dead)
    assert [row["success"] for row in queue.rows(TokenEstimationEventRow)] == [None]
    queue.finish(queue.claim(), result_commit=COMMIT)
    assert [row["success"] for row in queue.rows(TokenEstimationEventRow)] == [True]
