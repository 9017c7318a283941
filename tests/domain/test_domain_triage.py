"""What a try is worth, and when two failures are of one class."""

import pytest

from autopack.domain.phases import AttemptOutcome, FailureKind, PhaseState
from autopack.domain.triage import Before, End, Trial, Why, failure_class, totals, trial

KEY = ("r1", "p1")
FAILED = AttemptOutcome.FAILED


def before(state: PhaseState = PhaseState.FAILED, **more: object) -> Before:
    values = {"attempts": 3, "llm_usage_events": 6, "token_estimation_v2_events": 3, "signature": None}
    return Before(state=state, **(values | more))  # type: ignore[arg-type]


def tried(
    now: PhaseState, end: End, *, calls: int = 0, events: int = 0, attempts: int = 1, **more: object
) -> Trial:
    after = before(
        now, attempts=3 + attempts, llm_usage_events=6 + calls, token_estimation_v2_events=3 + events
    )
    was = before(signature=more.pop("was", None))
    return trial(KEY, was, after, end, seconds=30.0, known=more.pop("known", frozenset()))  # type: ignore[arg-type]


def failed(kind: FailureKind, reason: str = "red") -> End:
    return End(outcome=FAILED, failure_kind=kind, reason=reason)


DONE = End(outcome=AttemptOutcome.COMPLETE)
LIMIT = End(outcome=AttemptOutcome.DEFERRED, failure_kind=FailureKind.PROVIDER_LIMIT)
BUDGET = End(outcome=AttemptOutcome.DEFERRED, failure_kind=FailureKind.BUDGET)
CUT_OFF = End(outcome=AttemptOutcome.INTERRUPTED, failure_kind=FailureKind.INTERRUPTED, timed_out=True)


@pytest.mark.parametrize(
    ("state", "end", "calls", "why"),
    [
        (PhaseState.COMPLETE, DONE, 0, Why.SUCCESS_NO_LLM_CALLS),
        (PhaseState.COMPLETE, DONE, 1, None),
        (PhaseState.FAILED, failed(FailureKind.CHECKS_VOID), 0, Why.FAILED_BEFORE_LLM),
        (PhaseState.FAILED, failed(FailureKind.MODEL_ERROR), 1, Why.LLM_BOUNDARY_HIT),
        (PhaseState.FAILED, failed(FailureKind.TOO_LARGE), 0, Why.LLM_BOUNDARY_HIT),
        (PhaseState.QUEUED, LIMIT, 1, Why.LLM_BOUNDARY_HIT),
        (PhaseState.QUEUED, BUDGET, 0, Why.LLM_BOUNDARY_HIT),
        (PhaseState.QUEUED, CUT_OFF, 1, Why.TIMEOUT),
        (PhaseState.FAILED, failed(FailureKind.INTERNAL_ERROR), 1, Why.EXECUTION_ERROR),
        (PhaseState.QUEUED, End(error="no such branch"), 0, Why.EXECUTION_ERROR),
    ],
)
def test_a_try_without_telemetry_says_why(state: PhaseState, end: End, calls: int, why: Why | None):
    assert tried(state, end, calls=calls).why is why
    assert tried(state, end, calls=calls + 1, events=1).why is None


def test_a_phase_that_ended_just_in_time_did_not_run_out_of_it():
    done = End(outcome=AttemptOutcome.COMPLETE, timed_out=True)
    assert not tried(PhaseState.COMPLETE, done, calls=1).timed_out
    assert tried(PhaseState.QUEUED, CUT_OFF).timed_out


def test_what_had_to_wait_or_was_stopped_is_looked_at_again_and_says_nothing_of_its_run():
    interrupted = End(outcome=AttemptOutcome.INTERRUPTED, stopped=True)
    for end in (LIMIT, BUDGET, interrupted, End(error="not this workspace")):
        assert tried(PhaseState.QUEUED, end).again
        assert not tried(PhaseState.QUEUED, end).judged
    unclaimed = tried(PhaseState.FAILED, End(outcome=AttemptOutcome.DEFERRED), attempts=0)
    assert (unclaimed.again, unclaimed.judged) == (True, False)
    for end, state in ((CUT_OFF, PhaseState.QUEUED), (failed(FailureKind.CHECKS_FAILED), PhaseState.FAILED)):
        assert not tried(state, end).again
        assert tried(state, end).judged


def test_a_failure_is_new_when_neither_the_phase_nor_the_session_has_seen_it():
    end = failed(FailureKind.CHECKS_FAILED, "NameError: x")
    seen = failure_class(end.failure_kind, end.reason, KEY)
    assert tried(PhaseState.FAILED, end).new_failure
    assert not tried(PhaseState.FAILED, end, was=seen).new_failure
    assert not tried(PhaseState.FAILED, end, known=frozenset({seen})).new_failure
    assert tried(PhaseState.FAILED, failed(FailureKind.CHECKS_FAILED, "TypeError"), was=seen).new_failure
    assert tried(PhaseState.COMPLETE, DONE).signature is None


def test_a_class_of_failures_is_without_the_names_of_its_phase_and_run():
    kind = FailureKind.CHECKS_FAILED
    one = failure_class(kind, "phase 'alpha-one' of run night wrote /a/b", ("night", "alpha-one"))
    other = failure_class(kind, "phase 'beta' of run day wrote /c", ("day", "beta"))
    assert one == other
    assert failure_class(kind, "phase 'alpha-one'", ("night", "beta")) != one
    assert failure_class(None, None, KEY) is None
    assert failure_class(None, "an old text", KEY) is not None, "a phase of an earlier database names no kind"


def test_totals_keep_tries_of_unknown_time_out_of_the_yield():
    one = tried(PhaseState.COMPLETE, DONE, calls=2, events=1)
    other = trial(KEY, before(), before(token_estimation_v2_events=5), End(), seconds=None, known=frozenset())
    sums = totals([one, other])
    assert (sums.tried, sums.token_estimation_v2_events, sums.seconds, sums.of_unknown_seconds) == (2, 3, 30.0, 1)  # fmt: skip
    assert (one.yield_per_minute, other.yield_per_minute, sums.yield_per_minute) == (2.0, None, 2.0)
    assert totals([]).yield_per_minute is None
