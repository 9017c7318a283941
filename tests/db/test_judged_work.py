"""What an attempt leaves for the next one: its work, its failures, and how far up the ladder they lead."""

import threading
from typing import Any

import pytest
from sqlalchemy import text

from autopack.db import baselines, phases
from autopack.db.tables import AttemptRow, CheckBaselineRow
from autopack.domain.failures import ACTIONS, Action, judges_the_work
from autopack.domain.phases import AttemptOutcome, Claim, FailureKind, PhaseState, RunState
from autopack.errors import NotFound
from tests.db.support_queue import BASE, ON_BOTH, ON_POSTGRESQL, Queue
from tests.support import phase, plan

WORK: dict[str, Any] = {
    "policy_hash": "1" * 64, "result_tree": "2" * 40, "plan_hash": "3" * 64, "inputs_hash": "4" * 64,
    "plan": {"summary": "\u00fc", "files": [{"path": "a", "content": "x"}]},
    "changes": ({"path": "a", "before": None, "after": {"mode": "100644", "oid": "5" * 40}},),
}  # fmt: skip


def fail(queue: Queue, kind: FailureKind = FailureKind.CHECKS_FAILED, **more: Any) -> Claim:
    claim = queue.claim()
    queue.finish(claim, AttemptOutcome.FAILED, failure_kind=kind, **more)
    return claim


@ON_BOTH
def test_an_attempt_keeps_what_it_was_judged_by(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1", risk="high"), phase("p2")]))
    queue.finish(queue.claim(), **WORK)
    (attempt,) = queue.tries("p1")
    assert {name: getattr(attempt, name) for name in WORK} == WORK
    assert (queue.phase("p1").risk, queue.phase("p2").risk) == ("high", "normal")


@ON_BOTH
def test_what_an_attempt_did_not_say_is_null(queue: Queue) -> None:
    queue.create(plan())
    queue.finish(queue.claim(), AttemptOutcome.FAILED, failure_kind=FailureKind.PROSE_ONLY)
    with queue.session() as session:
        known = session.execute(
            text("SELECT count(plan) + count(changes) + count(plan_hash) + count(inputs_hash) FROM attempts")
        ).scalar_one()
    assert known == 0


@ON_BOTH
def test_a_claim_names_the_inputs_that_failed_and_counts_what_asks_for_a_better_model(queue: Queue) -> None:
    told = [
        (FailureKind.CHECKS_FAILED, "a" * 64),
        (FailureKind.MODEL_ERROR, "b" * 64),
        (FailureKind.OUT_OF_SCOPE, "c" * 64),
        (FailureKind.MALFORMED_ANSWER, "a" * 64),
        (FailureKind.BASE_MOVED, "d" * 64),
        (FailureKind.AUDIT_REJECTED, None),
    ]
    queue.create(plan(phases=[phase("p1", max_attempts=20)]))
    first = queue.claim()
    assert (first.failed_inputs, first.escalations) == ((), 0)
    queue.finish(first, AttemptOutcome.INTERRUPTED, inputs_hash="e" * 64)
    for kind, inputs in told:
        fail(queue, kind, inputs_hash=inputs, reason=str(inputs))
        queue.tick(minutes=10)
    claim = queue.claim()
    assert claim.failed_inputs == ("a" * 64, "c" * 64)
    assert claim.escalations == sum(ACTIONS[kind] is Action.ESCALATE_MODEL for kind, _ in told) == 4
    assert queue.claim_again(claim) == claim, "a repeat of the claim is answered alike"


@ON_BOTH
def test_after_a_persons_requeue_nothing_that_failed_before_stands_in_the_way(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1", max_attempts=2)]))
    for _ in range(2):
        fail(queue, inputs_hash="a" * 64, plan_hash="b" * 64, reason=f"red {_}" + "x" * _)
    with queue.session() as session:
        phases.requeue(session, "r1", "p1", actor="Ann", now=queue.now)
    claim = queue.claim()
    assert (claim.number, claim.failed_inputs, claim.escalations) == (3, (), 0)
    assert [each.number for each in claim.previous] == [1, 2], "the builder is still told"
    found = queue.finish(
        claim, AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED, plan_hash="b" * 64,
        inputs_hash="a" * 64, reason="red 1x",
    )  # fmt: skip
    assert found.state is PhaseState.QUEUED, "not stuck: a person asked for these tries"
    assert queue.claim().failed_inputs == ("a" * 64,)


@ON_BOTH
def test_the_same_edits_failing_in_the_same_way_stop_the_phase_early(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1", max_attempts=9)]))
    fail(queue, plan_hash="a" * 64, reason="exit code 1, 2.5 s")
    # Neither an interruption nor a provider's fault between the two says anything about the work.
    queue.finish(queue.claim(), AttemptOutcome.INTERRUPTED, failure_kind=FailureKind.INTERRUPTED)
    fail(queue, FailureKind.MODEL_ERROR, reason="500")
    queue.tick(minutes=10)
    fail(queue, plan_hash="a" * 64, reason="exit code 1, 9.9 s")
    stuck = queue.phase("p1")
    assert (stuck.state, stuck.failure_kind, stuck.attempts) == (PhaseState.FAILED, FailureKind.STUCK, 3)
    assert "in the same way, checks_failed: exit code 1" in (stuck.failure_reason or "")
    assert queue.tries("p1")[-1].failure_kind is FailureKind.CHECKS_FAILED, "the attempt keeps its own"
    assert queue.run()["state"] == RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW
    assert queue.claim(phase_id="p1").number == 5, "a person may try again"


@pytest.mark.parametrize("other", [{"plan_hash": "b" * 64}, {"reason": "another"}, {"plan_hash": None}])
def test_other_edits_or_another_failure_go_on(queue: Queue, other: dict[str, Any]) -> None:
    queue.create(plan(phases=[phase("p1", max_attempts=9)]))
    fail(queue, plan_hash="a" * 64, reason="red")
    fail(queue, **{"plan_hash": "a" * 64, "reason": "red", **other})
    assert queue.phase("p1").state is PhaseState.QUEUED


def test_a_failure_in_between_makes_it_no_row(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1", max_attempts=9)]))
    for edits in ("a", "b", "a"):
        fail(queue, plan_hash=edits * 64, reason="red")
    assert queue.phase("p1").state is PhaseState.QUEUED


def test_a_wait_that_is_reported_as_a_failure_spends_no_attempt_either(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1", max_attempts=1)]))
    fail(queue, FailureKind.PROVIDER_LIMIT, retry_after_seconds=90.0)
    found = queue.phase("p1")
    assert (found.state, found.attempts) == (PhaseState.QUEUED, 0)
    assert found.not_before is not None
    assert (found.not_before - queue.now).total_seconds() == 90
    queue.tick(seconds=90)
    assert queue.claim().failed_inputs == ()


def test_what_says_nothing_about_the_work_is_told_apart() -> None:
    waits = {kind for kind in FailureKind if ACTIONS[kind] is Action.WAIT}
    assert not any(judges_the_work(kind) for kind in waits)


# Baselines

KEY = ("r1", BASE, "c" * 64)


def store(queue: Queue, report: dict[str, Any], key: tuple[str, str, str] = KEY) -> dict[str, Any]:
    with queue.session() as session:
        return baselines.store(session, *key, report, now=queue.now)


@ON_BOTH
def test_a_baseline_is_stored_once_and_the_first_one_stays(queue: Queue) -> None:
    queue.create(plan())
    with queue.session() as session:
        assert baselines.get(session, *KEY) is None
    assert store(queue, {"passed": True, "n": [1, None]}) == {"passed": True, "n": [1, None]}
    assert store(queue, {"passed": False}) == {"passed": True, "n": [1, None]}
    for other in (("r1", "d" * 40, "c" * 64), ("r1", BASE, "d" * 64)):
        assert store(queue, {"of": other[1]}, other) == {"of": other[1]}
    assert len(queue.rows(CheckBaselineRow)) == 3
    with queue.session() as session, pytest.raises(NotFound, match="no run nowhere"):
        baselines.store(session, "nowhere", BASE, "c" * 64, {}, now=queue.now)
    with queue.session() as session, pytest.raises(NotFound, match="no run nowhere"):
        baselines.get(session, "nowhere", BASE, "c" * 64)


@ON_POSTGRESQL
def test_of_two_baselines_at_once_the_first_wins_and_both_go_on(queue: Queue) -> None:
    queue.create(plan())
    first_is_made, answers = threading.Event(), []

    def second() -> None:
        first_is_made.wait(30)
        answers.append(store(queue, {"by": "second"}))

    thread = threading.Thread(target=second)
    thread.start()
    with queue.session() as session:
        answers.append(baselines.store(session, *KEY, {"by": "first"}, now=queue.now))
        first_is_made.set()
        thread.join(0.5)
        assert thread.is_alive(), "it waits for what the first one will have stored"
    thread.join(30)
    assert answers == [{"by": "first"}, {"by": "first"}]
    assert len(queue.rows(AttemptRow)) == 0
