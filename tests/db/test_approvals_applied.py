"""What becomes of an approval in the try that is to apply it: used, void, or as good as before."""

from typing import Any

import pytest

from autopack.db.tables import EventRow
from autopack.domain.phases import AttemptOutcome, Claim, FailureKind, PhaseState
from tests.db.support_queue import ON_BOTH, Queue
from tests.db.test_approvals import ASKED, decide, requests, wait_in_gate
from tests.support import phase, plan

COMMIT = "c" * 40


def approved(queue: Queue, **more: Any) -> Claim:
    """The try that is to apply what a person approved."""
    queue.create(plan(phases=[phase("p1", **more)]))
    decide(queue, wait_in_gate(queue))
    claim = queue.claim()
    assert claim.approved is not None
    return claim


def request(queue: Queue) -> tuple[str, str | None]:
    first = requests(queue)[0]
    return first["status"], first["void_reason"]


@ON_BOTH
@pytest.mark.parametrize(
    "outcome", ["COMPLETE", "NO_OP", "FAILED", "NEEDS_APPROVAL", "CANCELLED", "INTERRUPTED"]
)
def test_what_differs_from_what_was_approved_voids_the_approval_however_the_try_ends(
    queue: Queue, outcome: str
) -> None:
    why = "changed since it was approved: the policy"
    asked = {"approval": ASKED} if outcome == "NEEDS_APPROVAL" else {}
    kind = {"failure_kind": FailureKind.INTERNAL_ERROR} if outcome == "FAILED" else {}
    queue.finish(approved(queue), AttemptOutcome(outcome), approval_void_reason=why, **asked, **kind)
    assert request(queue) == ("void", why)
    assert [row["detail"]["reason"] for row in queue.rows(EventRow) if row["kind"] == "approval_void"] == [
        why
    ]


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        (FailureKind.MODEL_ERROR, True),
        (FailureKind.INTERNAL_ERROR, True),
        (FailureKind.PROVIDER_LIMIT, True),
        (FailureKind.CHECKS_FAILED, False),
        (FailureKind.BASE_MOVED, False),
        (None, False),
    ],
)
def test_a_try_that_says_nothing_of_the_work_takes_no_approval_away(
    queue: Queue, kind: FailureKind | None, kept: bool
) -> None:
    found = queue.finish(approved(queue), AttemptOutcome.FAILED, failure_kind=kind, reason="502")
    assert found.state is PhaseState.QUEUED
    queue.tick(minutes=1)
    assert (queue.claim().approved is not None) == kept
    why = None if kept else "the attempt that was to apply it ended as FAILED: 502"
    assert request(queue) == ("approved" if kept else "void", why)


def test_the_last_try_takes_the_approval_with_it(queue: Queue) -> None:
    claim = approved(queue, max_attempts=1)
    found = queue.finish(claim, AttemptOutcome.FAILED, failure_kind=FailureKind.MODEL_ERROR, reason="502")
    assert found.state is PhaseState.FAILED
    assert request(queue) == ("void", "the attempt that was to apply it ended as FAILED: 502")


@ON_BOTH
def test_a_worker_that_is_lost_with_an_approved_plan_spends_no_try(queue: Queue) -> None:
    """It may have committed already: the next try finds that, or applies the plan, and asks no model."""
    dead = approved(queue, max_attempts=1)
    queue.lost(dead)
    assert (queue.phase("p1").state, queue.phase("p1").attempts) == (PhaseState.QUEUED, 0)
    again = queue.claim()
    assert again.approved is not None
    assert dead.attempt_id in again.dead_attempts
    queue.finish(again, result_commit=COMMIT)
    assert request(queue) == ("used", None)
    assert queue.phase("p1").state is PhaseState.COMPLETE


@pytest.mark.parametrize("most", [1, 2])
def test_a_plan_that_ends_worker_after_worker_comes_to_an_end(queue: Queue, most: int) -> None:
    claim = approved(queue, max_attempts=most)
    for _ in range(most):
        queue.tick(seconds=61)
        claim = queue.claim()
        assert claim.approved is not None
    assert queue.lost(claim)
    found = queue.phase("p1")
    assert (found.state, found.failure_kind) == (PhaseState.FAILED, FailureKind.WORKER_LOST)
    assert request(queue) == (
        "void", "the attempt that was to apply it ended as LOST: worker w1 was lost: its process is gone",
    )  # fmt: skip


def test_without_an_approval_a_lost_worker_spends_a_try_as_before(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1", max_attempts=2)]))
    for state in (PhaseState.QUEUED, PhaseState.FAILED):
        queue.lost(queue.claim())
        assert queue.phase("p1").state is state
