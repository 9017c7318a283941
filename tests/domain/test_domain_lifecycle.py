"""What a phase becomes after each outcome, and a run from its phases."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopack.domain.lifecycle import (
    BACKOFF,
    DONE_STATES,
    MAX_BACKOFF,
    PhaseStates,
    backoff,
    failure_signature,
    run_state,
    settle,
)
from autopack.domain.phases import AttemptOutcome, FailureKind, Outcome, Phase, PhaseState, RunState

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
EXECUTING = Phase(
    run_id="r1", phase_id="p1", tier_id="T1", tier_index=0, phase_index=0, name="p1", goal="g", task_category="docs",
    complexity="low", state=PhaseState.EXECUTING, attempts=1, max_attempts=3, created_at=NOW, updated_at=NOW,
    failure_kind=FailureKind.CHECKS_FAILED, failure_reason="before",
)  # fmt: skip


def executing(**more: object) -> Phase:
    return replace(EXECUTING, **more)


def after(outcome: AttemptOutcome, *, attempts: int = 1, **more: object) -> Phase:
    return settle(executing(attempts=attempts), Outcome(outcome=outcome, **more), NOW)


@pytest.mark.parametrize("outcome", [AttemptOutcome.COMPLETE, AttemptOutcome.NO_OP])
def test_a_try_that_passed_completes_the_phase_and_forgets_the_failure_before(outcome: AttemptOutcome):
    phase = after(outcome, result_commit="c" * 40)
    assert (phase.state, phase.completed_at, phase.result_commit) == (PhaseState.COMPLETE, NOW, "c" * 40)
    assert (phase.failure_kind, phase.failure_reason) == (None, None)


def test_a_failed_try_is_queued_again_while_attempts_are_left():
    phase = after(AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED, reason="red", attempts=2)
    assert (phase.state, phase.attempts, phase.not_before) == (PhaseState.QUEUED, 2, None)
    assert (phase.failure_kind, phase.failure_reason) == (FailureKind.CHECKS_FAILED, "red")


def test_the_last_try_fails_the_phase():
    phase = after(AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED, reason="red", attempts=3)
    assert (phase.state, phase.completed_at, phase.attempts) == (PhaseState.FAILED, NOW, 3)


def test_what_no_other_try_can_mend_fails_at_once():
    phase = after(AttemptOutcome.FAILED, failure_kind=FailureKind.OUT_OF_SCOPE, retryable=False)
    assert phase.state is PhaseState.FAILED


def test_a_provider_is_left_alone_for_a_while_and_longer_each_time():
    waits = [
        after(AttemptOutcome.FAILED, failure_kind=FailureKind.MODEL_ERROR, attempts=n).not_before
        for n in (1, 2)
    ]
    assert waits == [NOW + BACKOFF, NOW + 2 * BACKOFF]


def test_a_lost_worker_spends_its_attempt_and_is_not_waited_for():
    phase = after(AttemptOutcome.LOST, failure_kind=FailureKind.WORKER_LOST, attempts=1)
    assert (phase.state, phase.attempts, phase.not_before) == (PhaseState.QUEUED, 1, None)
    assert after(AttemptOutcome.LOST, attempts=3).state is PhaseState.FAILED


@pytest.mark.parametrize("outcome", [AttemptOutcome.INTERRUPTED, AttemptOutcome.DEFERRED])
@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_a_try_that_was_given_back_is_not_counted(outcome: AttemptOutcome, attempts: int):
    phase = after(outcome, attempts=attempts)
    assert (phase.state, phase.attempts, phase.not_before) == (PhaseState.QUEUED, attempts - 1, None)


def test_a_deferred_try_waits_as_long_as_the_provider_asked():
    phase = after(AttemptOutcome.DEFERRED, retry_after_seconds=90.0)
    assert phase.not_before == NOW + timedelta(seconds=90)


def test_work_that_needs_a_person_waits_in_the_gate_with_its_reason():
    phase = after(AttemptOutcome.NEEDS_APPROVAL, reason="Makefile")
    assert (phase.state, phase.failure_kind, phase.failure_reason) == (PhaseState.GATE, None, "Makefile")


def test_a_cancelled_try_cancels_the_phase():
    assert after(AttemptOutcome.CANCELLED).state is PhaseState.CANCELLED


OUTCOMES = st.builds(
    Outcome,
    outcome=st.sampled_from(AttemptOutcome),
    failure_kind=st.none() | st.sampled_from(FailureKind),
    reason=st.none() | st.text(max_size=10),
    retryable=st.booleans(),
    retry_after_seconds=st.none() | st.floats(0, 86_400),
)


@given(OUTCOMES, st.integers(1, 5), st.integers(1, 5))
def test_every_outcome_ends_the_execution_and_never_makes_done_what_is_not(
    outcome: Outcome, attempts: int, most: int
):
    phase = settle(replace(EXECUTING, attempts=attempts, max_attempts=most), outcome, NOW)
    assert phase.state is not PhaseState.EXECUTING
    assert (phase.state is PhaseState.COMPLETE) == (
        outcome.outcome in (AttemptOutcome.COMPLETE, AttemptOutcome.NO_OP)
    )
    assert attempts - 1 <= phase.attempts <= attempts
    assert phase.not_before is None or phase.not_before >= NOW
    if phase.state is PhaseState.QUEUED:
        assert phase.completed_at is None
        assert phase.attempts < phase.max_attempts or attempts > most


def test_backoff_doubles_up_to_a_limit():
    waits = [backoff(n) for n in range(100)]
    assert waits == sorted(waits)
    assert (waits[1], waits[2], waits[99]) == (BACKOFF, 2 * BACKOFF, MAX_BACKOFF)


OPEN = {PhaseState.QUEUED, PhaseState.EXECUTING, PhaseState.GATE}


@given(
    st.sampled_from(RunState),
    st.frozensets(st.sampled_from(PhaseState), min_size=1),
    st.booleans(),
    st.booleans(),
)
def test_a_run_is_what_its_phases_are(
    current: RunState, present: frozenset[PhaseState], policy: bool, undone: bool
):
    state = run_state(current, PhaseStates(present=present, policy_failures=policy, undone=undone))
    if current in (RunState.PAUSED, RunState.CANCELLED, RunState.DONE_FAILED_BUDGET_EXHAUSTED):
        assert state is current, "a person's word stays"
    elif present & OPEN:
        assert state is (RunState.QUEUED if current is RunState.QUEUED else RunState.RUNNING)
    else:
        assert state in DONE_STATES
    if state is RunState.DONE_SUCCESS:
        assert present <= {PhaseState.COMPLETE, PhaseState.SKIPPED}
    if state is RunState.DONE_FAILED_POLICY_VIOLATION:
        assert PhaseState.FAILED in present
        assert policy


@pytest.mark.parametrize(
    ("present", "policy", "state"),
    [
        ({PhaseState.COMPLETE}, False, RunState.DONE_SUCCESS),
        ({PhaseState.COMPLETE, PhaseState.SKIPPED}, False, RunState.DONE_SUCCESS),
        ({PhaseState.COMPLETE, PhaseState.FAILED}, False, RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW),
        ({PhaseState.COMPLETE, PhaseState.FAILED}, True, RunState.DONE_FAILED_POLICY_VIOLATION),
        ({PhaseState.COMPLETE, PhaseState.CANCELLED}, False, RunState.CANCELLED),
        ({PhaseState.FAILED, PhaseState.CANCELLED}, False, RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW),
        ({PhaseState.FAILED, PhaseState.QUEUED}, True, RunState.RUNNING),
        ({PhaseState.GATE, PhaseState.COMPLETE}, False, RunState.RUNNING),
    ],
)
def test_a_run_that_was_running_becomes(present: set[PhaseState], policy: bool, state: RunState):
    assert (
        run_state(RunState.RUNNING, PhaseStates(present=frozenset(present), policy_failures=policy)) is state
    )


@pytest.mark.parametrize(
    ("present", "state"),
    [
        ({PhaseState.CANCELLED, PhaseState.COMPLETE}, RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW),
        ({PhaseState.CANCELLED, PhaseState.QUEUED}, RunState.RUNNING),
    ],
)
@pytest.mark.parametrize("current", [RunState.RUNNING, RunState.DONE_SUCCESS])
def test_a_run_whose_work_was_taken_back_is_no_success(current, present: set[PhaseState], state: RunState):
    states = PhaseStates(present=frozenset(present), undone=True)
    assert run_state(current, states) is state


def test_a_run_without_phases_left_to_do_is_done_even_from_an_end_before():
    states = PhaseStates(present=frozenset({PhaseState.COMPLETE}))
    assert run_state(RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, states) is RunState.DONE_SUCCESS


CHECKS = FailureKind.CHECKS_FAILED


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("exit code 1", "exit code 2"),
        ("line 12 of a.py", "line 7 of a.py"),
        ("took 1.25 s", "took 13.5 s"),
        ("at 0xdeadbeef", "at 0x7f00"),
        ("commit 0123456789abcdef failed", "commit fedcba9876543210 failed"),
        ("/tmp/autopack-x1/tree/a.py: no", "/var/tmp/other/tree/a.py: no"),
        ("a  b\n c", "a b c"),
        ("at 12:30:01", "at 09:15:59"),
        ("at 2026-01-02T03:04:05.123Z", "at 2025-11-12 13:14:15+00:00"),
        ("on Mon Jan 3 10:00:00 2026", "on Tuesday February 14 09:30:00 2025"),
        ("src/a/b.py is missing", "docs/c.md is missing"),
        ("helper.py is missing", "other-util.py is missing"),
        ("C:\\a\\b.py is gone", "D:\\x is gone"),
        ("asked http://127.0.0.1:8000/v1?x=1", "asked https://api.example/v2"),
        ("id 550e8400-e29b-41d4-a716-446655440000", "id 6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        ("request req_011CSHoEeqs5C35K2UUqR7Fy", "request req_01ABCDEFeqs5C35K2UUqR7Zz"),
        ("worker a|b-1|pid:[1]|2|3 was lost", "worker host.x|c-d|pid:[22]|9|? was lost"),
    ],
)
def test_accidents_do_not_change_a_failures_signature(one: str, other: str):
    assert failure_signature(CHECKS, one) == failure_signature(CHECKS, other)


def test_causes_change_a_failures_signature():
    assert failure_signature(CHECKS, "NameError: x") != failure_signature(CHECKS, "TypeError: x")
    assert failure_signature(CHECKS, "no os.path") != failure_signature(CHECKS, "no sys.path")
    assert failure_signature(CHECKS, "same") != failure_signature(FailureKind.AUDIT_REJECTED, "same")
    assert failure_signature(None, "anything") is None
    assert failure_signature(CHECKS, None) == failure_signature(CHECKS, "")


@given(st.text(max_size=200), st.integers(0, 10**12), st.integers(0, 10**12))
def test_a_signature_is_short_and_ignores_numbers(text: str, one: int, other: int):
    signature = failure_signature(CHECKS, f"{text} {one}")
    assert signature == failure_signature(CHECKS, f"{text} {other}")
    assert len(signature or "") == 16
