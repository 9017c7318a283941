"""A phase whose commit was taken back is not done, and is not found again as done."""

from typing import Any

import pytest

from autopack.db import phases, undo
from autopack.db.tables import EventRow
from autopack.db.undo import Undone
from autopack.domain.phases import (
    AttemptOutcome,
    FailureKind,
    IdleReason,
    Phase,
    PhaseState,
    RunState,
    StateCause,
)
from autopack.errors import Conflict, NotFound
from tests.db.support_queue import ON_BOTH, Queue
from tests.support import phase, plan

COMMIT, BACK = "c" * 40, "e" * 40


def take_back(queue: Queue, phase_id: str = "p1", **more: Any) -> Phase:
    how = {"commit": COMMIT, "undo_commit": BACK, "by": "Ann", "reason": "it was wrong", "holds": (COMMIT,)}
    told = Undone(**{**how, **more})
    with queue.session() as session:
        return undo.record(session, "r1", phase_id, told, actor="Ann (test)", now=queue.now)


def requeue(queue: Queue) -> None:
    with queue.session() as session:
        phases.requeue(session, "r1", "p1", actor="Ann", now=queue.now)


@ON_BOTH
def test_a_run_with_undone_work_is_no_success_and_goes_on_when_the_phase_is_requeued(queue: Queue) -> None:
    queue.create(plan())
    queue.finish(queue.claim(), result_commit=COMMIT)
    assert queue.run()["state"] == RunState.DONE_SUCCESS
    queue.tick(seconds=5)
    undone = take_back(queue)
    assert undone == queue.phase("p1")
    assert (undone.state, undone.failure_kind, undone.failure_reason, undone.result_commit) == (
        PhaseState.CANCELLED, FailureKind.UNDONE, "undone by Ann: it was wrong", None,
    )  # fmt: skip
    run = queue.run()
    assert (run["state"], run["head_commit"]) == (RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, BACK)
    (event,) = [row for row in queue.rows(EventRow) if row["kind"] == "undone"]
    assert (event["actor"], event["detail"]["undo_commit"], event["detail"]["commit"]) == (
        "Ann (test)", BACK, COMMIT,
    )  # fmt: skip
    assert queue.idle().reason is IdleReason.CANCELLED
    requeue(queue)
    assert queue.run()["state"] == RunState.RUNNING
    queue.finish(queue.claim(), result_commit="f" * 40, holds=(BACK,))
    run = queue.run()
    assert (run["state"], run["head_commit"]) == (RunState.DONE_SUCCESS, "f" * 40)


@ON_BOTH
def test_it_is_recorded_once_however_often_it_is_told(queue: Queue) -> None:
    queue.create(plan())
    queue.finish(queue.claim(), result_commit=COMMIT)
    first = take_back(queue)
    events = queue.rows(EventRow)
    queue.tick(seconds=9)
    assert take_back(queue) == first
    assert queue.rows(EventRow) == events
    requeue(queue)
    assert take_back(queue).state is PhaseState.QUEUED, "told late, it does not take back what came after"


@ON_BOTH
def test_an_undo_that_is_told_late_does_not_take_the_run_back(queue: Queue) -> None:
    """Killed between git and the queue; meanwhile another phase was committed on top, and done."""
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    queue.finish(queue.claim(), result_commit=COMMIT)
    later = "d" * 40
    queue.finish(queue.claim(), result_commit=later, holds=(COMMIT, BACK))
    for holds in ((), (COMMIT,)):
        assert take_back(queue, holds=holds).state is PhaseState.CANCELLED
        assert queue.run()["head_commit"] == later


def test_only_the_phases_own_commit_can_be_undone(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    with pytest.raises(Conflict, match="is QUEUED and it has no commit"):
        take_back(queue)
    queue.finish(queue.claim(), result_commit=COMMIT)
    with pytest.raises(
        Conflict, match=f"is COMPLETE and its commit is {COMMIT}; {'d' * 40} cannot be undone"
    ):
        take_back(queue, commit="d" * 40)
    with pytest.raises(NotFound):
        take_back(queue, "p9")
    assert queue.phase("p1").state is PhaseState.COMPLETE


def test_what_comes_after_an_undone_phase_is_held_back_and_the_run_says_so(queue: Queue) -> None:
    queue.create(plan() | {"tiers": [{"tier_id": f"T{n}", "phases": [phase(f"p{n}")]} for n in (1, 2)]})
    queue.finish(queue.claim(), result_commit=COMMIT)
    take_back(queue)
    assert queue.run()["state"] == RunState.RUNNING, "there is work left"
    idle = queue.idle()
    assert (idle.reason, "cancelled: p1; 1 more phases are held back" in idle.detail) == (
        IdleReason.CANCELLED, True,
    )  # fmt: skip
    assert queue.run()["state"] == RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW
    requeue(queue)
    queue.finish(queue.claim(), result_commit="f" * 40)
    assert queue.claim().phase.phase_id == "p2"


def test_a_paused_run_stays_paused(queue: Queue) -> None:
    from autopack.db import runs

    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    queue.finish(queue.claim(), result_commit=COMMIT)
    with queue.session() as session:
        runs.pause(session, "r1", actor="Ann", now=queue.now, cause=StateCause.PERSON, reason="lunch")
    take_back(queue)
    assert (queue.run()["state"], queue.run()["head_commit"]) == (RunState.PAUSED, BACK)


@ON_BOTH
def test_a_requeued_phase_does_not_take_the_undone_commit_for_its_own(queue: Queue) -> None:
    """The first try died after its commit, the second found that: nothing of either may come back."""
    queue.create(plan())
    dead = queue.claim()
    queue.settle(dead, queue.reserve(dead).call_id)
    queue.lost(dead)
    recovering = queue.claim()
    assert recovering.dead_attempts == (dead.attempt_id,)
    queue.finish(recovering, result_commit=COMMIT)
    take_back(queue)
    requeue(queue)
    again = queue.claim()
    assert (again.number, again.dead_attempts, again.resume_base) == (3, (), None)
    assert queue.reserve(again).completion is None, "the answer that led to the undone work is not used again"
    (lesson,) = again.previous
    assert (lesson.number, lesson.failure_kind, lesson.reason) == (
        2, FailureKind.UNDONE, "undone by Ann: it was wrong",
    )  # fmt: skip
    queue.lost(again)
    assert queue.claim().dead_attempts == (again.attempt_id,), "a try that died since is"
    assert [each.outcome for each in queue.tries("p1")][:2] == [AttemptOutcome.LOST, AttemptOutcome.COMPLETE]
