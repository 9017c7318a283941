"""Every kind of failure has one action, and what becomes of a phase follows from it."""

from itertools import product

import pytest

from autopack.domain.failures import ACTIONS, Action, action, judges_the_work, retryable
from autopack.domain.lifecycle import Failure, failure_signature, is_stuck, settle
from autopack.domain.phases import AttemptOutcome, FailureKind, Outcome, PhaseState
from tests.domain.test_domain_lifecycle import NOW, executing

TRIED_AGAIN = {Action.RETRY, Action.ESCALATE_BUDGET, Action.ESCALATE_MODEL}


def test_every_kind_has_one_action_and_every_action_a_kind():
    assert set(ACTIONS) == set(FailureKind)
    assert set(ACTIONS.values()) == set(Action)
    assert action(None) is Action.RETRY


@pytest.mark.parametrize("kind", FailureKind)
def test_a_kind_is_tried_again_exactly_where_its_action_says_so(kind: FailureKind):
    assert retryable(kind) == (ACTIONS[kind] in TRIED_AGAIN)


@pytest.mark.parametrize(
    "kind", ["base_moved", "model_error", "worker_lost", "internal_error", "provider_limit", "budget", "interrupted"]
)  # fmt: skip
def test_what_a_machine_or_a_provider_did_does_not_judge_the_work(kind: str):
    assert not judges_the_work(FailureKind(kind))
    assert judges_the_work(FailureKind.CHECKS_FAILED)
    assert not judges_the_work(None)


CASES = list(product(FailureKind, (True, False), (1, 2, 3)))


def test_what_a_failed_try_makes_of_its_phase_is_the_table_of_actions():
    """The whole product: every kind, retryable or not by the worker's word, on each of three attempts."""
    for kind, willing, attempts in CASES:
        outcome = Outcome(
            outcome=AttemptOutcome.FAILED, failure_kind=kind, retryable=willing, reason="because"
        )
        after = settle(executing(attempts=attempts), outcome, NOW)
        what = (kind, willing, attempts)
        if ACTIONS[kind] is Action.WAIT:
            assert (after.state, after.attempts) == (PhaseState.QUEUED, attempts - 1), what
            assert after.not_before is not None, "or it would be tried again and again without an end"
            assert after.not_before > NOW
        elif ACTIONS[kind] in TRIED_AGAIN and willing and attempts < 3:
            assert (after.state, after.attempts, after.failure_reason) == (
                PhaseState.QUEUED, attempts, "because",
            ), what  # fmt: skip
        else:
            assert (after.state, after.failure_kind, after.completed_at) == (
                PhaseState.FAILED, kind, NOW,
            ), what  # fmt: skip
            asks = ACTIONS[kind] is Action.ASK_PERSON
            assert (after.failure_reason or "").startswith("because"), what
            assert ("A person is needed" in (after.failure_reason or "")) == asks, what


def failed(kind: FailureKind = FailureKind.CHECKS_FAILED, **more: object) -> Outcome:
    values = {"reason": "exit code 1 after 2.5 s", "plan_hash": "a" * 64, **more}
    return Outcome(outcome=AttemptOutcome.FAILED, failure_kind=kind, **values)  # type: ignore[arg-type]


def as_failure(outcome: Outcome) -> Failure:
    signature = failure_signature(outcome.failure_kind, outcome.reason)
    return Failure(signature=signature, plan_hash=outcome.plan_hash)


@pytest.mark.parametrize(
    ("latest", "stuck"),
    [
        (failed(), True),
        (failed(reason="exit code 1 after 9.1 s"), True),
        (failed(reason="NameError: x"), False),
        (failed(plan_hash="b" * 64), False),
        (failed(plan_hash=None), False),
        (failed(FailureKind.AUDIT_REJECTED), False),
    ],
)
def test_the_same_edits_that_fail_twice_in_a_row_in_the_same_way_are_stuck(latest: Outcome, stuck: bool):
    assert is_stuck(latest, as_failure(failed())) == stuck
    after = settle(executing(attempts=1), latest, NOW, before=as_failure(failed()))
    assert after.state is (PhaseState.FAILED if stuck else PhaseState.QUEUED)
    if stuck:
        assert after.failure_kind is FailureKind.STUCK
        assert (after.failure_reason or "").startswith("the same edits failed twice in a row")
        assert "checks_failed: exit code 1" in (after.failure_reason or "")


@pytest.mark.parametrize("kind", [kind for kind in FailureKind if not judges_the_work(kind)])
def test_bad_luck_twice_is_not_stuck(kind: FailureKind):
    assert not is_stuck(failed(kind), as_failure(failed(kind)))


def test_without_edits_or_a_try_before_nothing_is_stuck():
    prose = failed(FailureKind.PROSE_ONLY, plan_hash=None)
    assert not is_stuck(prose, as_failure(prose))
    assert not is_stuck(failed(), None)


def test_the_last_try_fails_of_its_own_reason_stuck_or_not():
    after = settle(executing(attempts=3), failed(), NOW, before=as_failure(failed()))
    assert (after.failure_kind, after.failure_reason) == (
        FailureKind.CHECKS_FAILED, "exit code 1 after 2.5 s",
    )  # fmt: skip
