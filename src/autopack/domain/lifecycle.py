"""What a phase and a run become. Pure: the database layer writes what is decided here, and nothing else does."""

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from autopack.domain.phases import (
    AttemptOutcome,
    FailureKind,
    Outcome,
    Phase,
    PhaseState,
    RunState,
)

BACKOFF = timedelta(seconds=5)
MAX_BACKOFF = timedelta(minutes=5)
# Only a provider needs time to recover; a red check is as red later.
_WAITS = frozenset({FailureKind.MODEL_ERROR, FailureKind.INTERNAL_ERROR})
_GIVEN_BACK = frozenset({AttemptOutcome.INTERRUPTED, AttemptOutcome.DEFERRED})
REQUEUEABLE = frozenset({PhaseState.FAILED, PhaseState.SKIPPED, PhaseState.CANCELLED, PhaseState.GATE})
SKIPPABLE = frozenset({PhaseState.QUEUED, PhaseState.FAILED, PhaseState.GATE, PhaseState.CANCELLED})
DONE_STATES = frozenset(state for state in RunState if state.startswith("DONE_")) | {RunState.CANCELLED}


def settle(phase: Phase, outcome: Outcome, now: datetime) -> Phase:
    """What the phase becomes once an attempt has ended. A try that was given back is not counted."""
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
    if outcome.outcome in _GIVEN_BACK:
        wait = outcome.retry_after_seconds
        later = now + timedelta(seconds=wait) if wait else None
        return replace(phase, state=PhaseState.QUEUED, attempts=max(0, phase.attempts - 1), not_before=later)
    phase = replace(phase, failure_kind=outcome.failure_kind, failure_reason=outcome.reason)
    if outcome.retryable and phase.attempts < phase.max_attempts:
        wait_until = now + backoff(phase.attempts) if outcome.failure_kind in _WAITS else None
        return replace(phase, state=PhaseState.QUEUED, not_before=wait_until)
    return replace(phase, state=PhaseState.FAILED, completed_at=now)


def backoff(attempts: int) -> timedelta:
    """How long a provider is left alone after the n-th failed try."""
    doublings = min(10, max(0, attempts - 1))
    return min(MAX_BACKOFF, BACKOFF * float(2**doublings))


@dataclass(frozen=True, kw_only=True)
class PhaseStates:
    """Which states occur among a run's phases."""

    present: frozenset[PhaseState]
    policy_failures: bool = False

    def has(self, *states: PhaseState) -> bool:
        return not self.present.isdisjoint(states)


def run_state(current: RunState, states: PhaseStates) -> RunState:
    """What the run is, from its phases. PAUSED and CANCELLED are a person's word and stay."""
    if current in (RunState.PAUSED, RunState.CANCELLED):
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
        return RunState.CANCELLED
    return RunState.DONE_SUCCESS


_NOISE = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|(?:/[\w.@+-]+)+/?|\d+(?:[.:,]\d+)*", re.I)


def failure_signature(kind: FailureKind | None, reason: str | None) -> str | None:
    """The failure without its accidents (numbers, times, paths, addresses), hashed: equal for equal causes."""
    if kind is None:
        return None
    text = " ".join(_NOISE.sub("#", reason or "").split())[:2000]
    return hashlib.sha256(f"{kind}:{text}".encode()).hexdigest()[:16]
