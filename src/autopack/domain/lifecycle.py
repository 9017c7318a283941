"""What a phase and a run become. Pure: the database layer writes what is decided here, and nothing else does."""

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from autopack.domain.failures import Action, action, judges_the_work, retryable
from autopack.domain.phases import (
    CAP_CAUSES,
    AttemptOutcome,
    FailureKind,
    Outcome,
    Phase,
    PhaseState,
    RunState,
    StateCause,
)

BACKOFF = timedelta(seconds=5)
MAX_BACKOFF = timedelta(minutes=5)
# Only a provider needs time to recover; a red check is as red later.
_WAITS = frozenset({FailureKind.MODEL_ERROR, FailureKind.INTERNAL_ERROR})
_ASKS = "\nA person is needed: change what is in the way and requeue the phase, or skip it."
_GIVEN_BACK = frozenset({AttemptOutcome.INTERRUPTED, AttemptOutcome.DEFERRED})
REQUEUEABLE = frozenset({PhaseState.FAILED, PhaseState.SKIPPED, PhaseState.CANCELLED, PhaseState.GATE})
SKIPPABLE = frozenset({PhaseState.QUEUED, PhaseState.FAILED, PhaseState.GATE, PhaseState.CANCELLED})
ENDED_STATES = frozenset({PhaseState.COMPLETE, PhaseState.FAILED, PhaseState.SKIPPED, PhaseState.CANCELLED})
"""No try of such a phase is under way or to come, unless a person queues it anew. One in GATE will go on."""
DONE_STATES = frozenset(state for state in RunState if state.startswith("DONE_")) | {RunState.CANCELLED}
GIVEN_UP = frozenset({RunState.CANCELLED, RunState.DONE_FAILED_BUDGET_EXHAUSTED})
"""A person ended the run with work left."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How a try failed: the kind and reason without their accidents, and the edits that it was about."""

    signature: str | None
    plan_hash: str | None


def settle(
    phase: Phase, outcome: Outcome, now: datetime, *, before: Failure | None = None, spared: bool = False
) -> Phase:
    """What the phase becomes once an attempt has ended. A try that was given back is not counted.

    `before` is how the try before this one failed, since a person queued the phase last; `spared` gives back a try
    that would be counted by its outcome. A wish to pause after the phase holds until it has ended.
    """
    after = _settled(phase, outcome, now, before=before, spared=spared)
    return replace(after, pause_after=False) if after.state in ENDED_STATES else after


def _settled(phase: Phase, outcome: Outcome, now: datetime, *, before: Failure | None, spared: bool) -> Phase:
    phase = replace(phase, updated_at=now, not_before=None)
    if outcome.passed:
        return replace(
            phase, state=PhaseState.COMPLETE, result_commit=outcome.result_commit, completed_at=now,
            failure_kind=None, failure_reason=None,
        )  # fmt: skip
    if outcome.outcome is AttemptOutcome.NEEDS_APPROVAL:
        return replace(phase, state=PhaseState.GATE, failure_kind=None, failure_reason=outcome.reason)
    if outcome.outcome is AttemptOutcome.CANCELLED:
        return replace(phase, state=PhaseState.CANCELLED, completed_at=now, failure_reason=outcome.reason)
    if spared or is_given_back(outcome):
        return _given_back(phase, outcome, now)
    return _failed(phase, outcome, now, before)


def is_given_back(outcome: Outcome) -> bool:
    """Whether the try says nothing about the phase and spends nothing of it: no attempt, and no approval."""
    failed = outcome.outcome is AttemptOutcome.FAILED
    return outcome.outcome in _GIVEN_BACK or (failed and action(outcome.failure_kind) is Action.WAIT)


def keeps_approval(outcome: Outcome) -> bool:
    """Whether what a person approved is as good for another try: this one said nothing about it.

    A moved branch says nothing about the work, but would be in the way of the same edits again.
    """
    if outcome.approval_void_reason is not None:
        return False
    kind = outcome.failure_kind
    ended = outcome.outcome in (AttemptOutcome.FAILED, AttemptOutcome.LOST) and kind is not None
    unjudged = ended and kind is not FailureKind.BASE_MOVED and not judges_the_work(kind)
    return unjudged or is_given_back(outcome)


def _given_back(phase: Phase, outcome: Outcome, now: datetime) -> Phase:
    wait = outcome.retry_after_seconds
    if not wait and outcome.outcome is AttemptOutcome.FAILED:
        wait = backoff(phase.attempts).total_seconds()  # or it would be tried again and again without an end
    later = now + timedelta(seconds=wait) if wait else None
    return replace(phase, state=PhaseState.QUEUED, attempts=max(0, phase.attempts - 1), not_before=later)


def _failed(phase: Phase, outcome: Outcome, now: datetime, before: Failure | None) -> Phase:
    kind, reason = outcome.failure_kind, outcome.reason
    again = outcome.retryable and retryable(kind) and phase.attempts < phase.max_attempts
    if again and is_stuck(outcome, before):
        again = False
        reason = (
            f"the same edits failed twice in a row in the same way, {kind}: {reason or 'no reason given'}"
        )
        kind = FailureKind.STUCK
    if again:
        wait_until = now + backoff(phase.attempts) if kind in _WAITS else None
        return replace(
            phase, state=PhaseState.QUEUED, not_before=wait_until, failure_kind=kind, failure_reason=reason
        )
    return replace(
        phase, state=PhaseState.FAILED, completed_at=now, failure_kind=kind, failure_reason=with_advice(kind, reason)
    )  # fmt: skip


def with_advice(kind: FailureKind | None, reason: str | None) -> str | None:
    """The reason; where only a person can go on, with what a person can do."""
    return f"{reason or kind}{_ASKS}" if action(kind) is Action.ASK_PERSON else reason


def is_stuck(outcome: Outcome, before: Failure | None) -> bool:
    """Whether the try before made the very same edits, and they failed in the same way."""
    if before is None or before.plan_hash is None or not judges_the_work(outcome.failure_kind):
        return False
    signature = failure_signature(outcome.failure_kind, outcome.reason)
    return before == Failure(signature=signature, plan_hash=outcome.plan_hash)


def backoff(attempts: int) -> timedelta:
    """How long a provider is left alone after the n-th failed try."""
    doublings = min(10, max(0, attempts - 1))
    return min(MAX_BACKOFF, BACKOFF * float(2**doublings))


def given_up(state: RunState, cause: StateCause | None) -> RunState:
    """What a run becomes that a person cancels: of one that waits for a higher cap, the budget was the end."""
    is_capped = state is RunState.PAUSED and cause in CAP_CAUSES
    return RunState.DONE_FAILED_BUDGET_EXHAUSTED if is_capped else RunState.CANCELLED


@dataclass(frozen=True, kw_only=True)
class PhaseStates:
    """Which states occur among a run's phases."""

    present: frozenset[PhaseState]
    policy_failures: bool = False
    undone: bool = False
    """Whether a CANCELLED phase was complete, and its commit was taken back."""

    def has(self, *states: PhaseState) -> bool:
        return not self.present.isdisjoint(states)


def run_state(current: RunState, states: PhaseStates) -> RunState:
    """What the run is, from its phases. PAUSED, and what was given up, are a person's word and stay."""
    if current is RunState.PAUSED or current in GIVEN_UP:
        return current
    if states.has(PhaseState.QUEUED, PhaseState.EXECUTING, PhaseState.GATE):
        return RunState.QUEUED if current is RunState.QUEUED else RunState.RUNNING
    if states.has(PhaseState.FAILED):
        return (
            RunState.DONE_FAILED_POLICY_VIOLATION
            if states.policy_failures
            else RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW
        )
    if states.has(PhaseState.CANCELLED):
        return RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW if states.undone else RunState.CANCELLED
    return RunState.DONE_SUCCESS


# Each part begins where a word does, or looks at a bounded stretch: a reason is read in time linear in its length.
_NOISE = re.compile(
    r"""
      (?<!\S)[^\s|]*(?:\|[^\s|]*){4}                                                    # a worker's name
    | \b[a-z]{2,10}://\S+                                                              # an address
    | \b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b | 0x[0-9a-f]+ | \b[0-9a-f]{8,}\b  # ids in hexadecimal
    | \b(?-i:(?=\w*\d)(?=\w*[A-Z])(?=\w*[a-z]))\w{16,}\b                             # other ids: req_011CSHoEeqs5C35
    | \b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:\ ?(?:Z|UTC|[+-]\d\d:?\d\d))?\b  # moments
    | \b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?(?=\ \d)
    | \b(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6}(?=,?\ (?:[a-z]{3,9}\.?\ )?\d)
    | \b[a-z]:\\[^\s:*?"<>|]+                                                          # a path, of Windows or not
    | (?<![\w.@+-])[\w.@+-]*(?:(?:/[\w.@+-]+)+/?
        |\.(?:py|pyi|js|jsx|ts|tsx|json|toml|ya?ml|md|txt|html|css|sql|sh|go|rs|java|c|h|cpp|cfg|ini|lock)\b)
    | \d+(?:[.:,]\d+)*
    """,
    re.IGNORECASE | re.VERBOSE,
)


def failure_signature(kind: FailureKind | None, reason: str | None) -> str | None:
    """The failure without its accidents (numbers, ids, times, paths, addresses), hashed: equal for equal causes."""
    if kind is None:
        return None
    text = " ".join(_NOISE.sub("#", reason or "").split())[:2000]
    return hashlib.sha256(f"{kind}:{text}".encode()).hexdigest()[:16]
