"""Triage of failed phases: what a session is, what it tries, and what a try was worth. Pure; the order is `triage_order`'s."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from autopack.domain.lifecycle import failure_signature
from autopack.domain.phases import AttemptOutcome, FailureKind, JsonObject, PhaseState, RunState

DONE = frozenset({PhaseState.COMPLETE, PhaseState.GATE})
"""The work is made; in GATE a person decides about it."""
Key = tuple[str, str]
"""A phase: run id and phase id."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How far a session goes. None is no limit. `run_ids`, when empty, are all."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    run_ids: tuple[str, ...] = ()
    skip_run_prefixes: tuple[str, ...] = ()
    batch_size: int = 10
    phase_timeout_seconds: float = 900.0
    max_total_minutes: float | None = None
    max_timeouts_per_run: int = 2
    max_attempts_per_phase: int = 3
    max_fingerprint_repeats: int = 3
    max_consecutive_zero_yield: int | None = None


class Why(StrEnum):
    """Why a try brought no estimation event."""

    SUCCESS_NO_LLM_CALLS = "success_no_llm_calls"
    FAILED_BEFORE_LLM = "failed_before_llm"
    LLM_BOUNDARY_HIT = "llm_boundary_hit"
    TIMEOUT = "timeout"
    EXECUTION_ERROR = "execution_error"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A phase that a session may try, with how it failed last."""

    run_id: str
    run_state: RunState
    has_base: bool
    """Whether the run was ever started: only then does a workspace prove to be its own."""
    phase_id: str
    tier_index: int
    phase_index: int
    task_category: str
    state: PhaseState
    failure_kind: FailureKind | None
    failure_reason: str | None
    signature: str | None
    tried: int
    """Attempts that sessions of triage have made, leaving out those that had to wait."""

    @property
    def key(self) -> Key:
        return (self.run_id, self.phase_id)


@dataclass(frozen=True, kw_only=True)
class Before:
    """What a phase was when a session began to try it; the counts are of rows."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    state: PhaseState
    attempts: int
    llm_usage_events: int
    token_estimation_v2_events: int
    signature: str | None


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of trying one phase. The counts are of what this try added."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    run_id: str
    phase_id: str
    before: PhaseState
    after: PhaseState
    attempts: int
    llm_usage_events: int
    token_estimation_v2_events: int
    seconds: float | None
    """None where the try's process was killed: nobody took the time."""
    failure_kind: FailureKind | None = None
    signature: str | None = None
    new_failure: bool = False
    timed_out: bool = False
    again: bool = False
    """It says nothing about the phase: it had to wait, or was interrupted. A later call of the session begins with it."""
    why: Why | None = None
    detail: str = ""

    @property
    def key(self) -> Key:
        return (self.run_id, self.phase_id)

    @property
    def judged(self) -> bool:
        """Whether it says something about its run."""
        return self.attempts > 0 and not self.again

    @property
    def promising(self) -> bool:
        made_something = self.after in DONE or self.token_estimation_v2_events > 0
        return made_something or self.timed_out or self.new_failure

    @property
    def yield_per_minute(self) -> float | None:
        """New estimation events; None where no time is known to have passed."""
        return _rate(self.token_estimation_v2_events, self.seconds or 0.0)


@dataclass(frozen=True, kw_only=True)
class Item:
    """A row of a session: `result` is a Trial once it has finished, until then who tries it and its Before."""

    session_id: str
    position: int
    run_id: str
    phase_id: str
    result: JsonObject | None
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Session:
    """`reason` says why the last call of it stopped; `ended_at` is set once nothing is left to try."""

    session_id: str
    options: JsonObject
    reason: str | None
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None


def failure_class(kind: FailureKind | None, reason: str | None, key: Key) -> str | None:
    """The signature of a failure, without the names of the phase and run that it happened to; None without a failure."""
    if kind is None and not reason:
        return None
    text = reason or ""
    for name in sorted(key, key=len, reverse=True):
        text = text.replace(name, "#")
    return failure_signature(kind or FailureKind.INTERNAL_ERROR, text)


# What a try was worth

_AT_THE_BOUNDARY = frozenset(
    {FailureKind.MODEL_ERROR, FailureKind.PROVIDER_LIMIT, FailureKind.BUDGET, FailureKind.TOO_LARGE}
)
_BROKEN = frozenset({FailureKind.INTERNAL_ERROR, FailureKind.WORKER_LOST})


@dataclass(frozen=True, kw_only=True)
class End:
    """How the last attempt of a try ended; `error` is what ended the try itself, where something did."""

    outcome: AttemptOutcome | None = None
    failure_kind: FailureKind | None = None
    reason: str | None = None
    error: str | None = None
    timed_out: bool = False
    stopped: bool = False
    """The session was told to stop, or its process ended, before the phase was through."""


def trial(
    key: Key, before: Before, now: Before, end: End, *, seconds: float | None, known: frozenset[str | None]
) -> Trial:
    """What the try was worth, from what the phase was before and is now. `known` are failures seen earlier."""
    done = now.state in DONE
    failed = not done and end.outcome in (AttemptOutcome.FAILED, AttemptOutcome.LOST)
    signature = failure_class(end.failure_kind, end.reason, key) if failed else None
    unsaid = end.outcome is AttemptOutcome.DEFERRED or end.stopped or end.error is not None
    made = now.attempts - before.attempts
    timed_out = end.timed_out and (now.state is PhaseState.QUEUED or made == 0)
    waits = now.state in (PhaseState.QUEUED, PhaseState.EXECUTING) or made == 0
    gained = now.token_estimation_v2_events - before.token_estimation_v2_events
    calls = now.llm_usage_events - before.llm_usage_events
    return Trial(
        run_id=key[0], phase_id=key[1], before=before.state, after=now.state, attempts=made,
        llm_usage_events=calls, token_estimation_v2_events=gained, seconds=None if seconds is None else round(seconds, 3),
        failure_kind=None if done else end.failure_kind, signature=signature,
        new_failure=signature is not None and signature not in known | {before.signature}, timed_out=timed_out,
        again=waits and not timed_out and unsaid,
        why=None if gained > 0 else _why(done=done, calls=calls, end=end, timed_out=timed_out),
        detail="" if done else _first_line(end.error or end.reason),
    )  # fmt: skip


def _why(*, done: bool, calls: int, end: End, timed_out: bool) -> Why | None:
    if timed_out:
        return Why.TIMEOUT
    if done:
        return Why.SUCCESS_NO_LLM_CALLS if calls == 0 else None
    if end.error is not None or end.failure_kind in _BROKEN:
        return Why.EXECUTION_ERROR
    if calls > 0 or end.failure_kind in _AT_THE_BOUNDARY:
        return Why.LLM_BOUNDARY_HIT
    return Why.FAILED_BEFORE_LLM


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n", 1)[0][:300]


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Sums over tries. `seconds` and the yield are of those whose time is known."""

    tried: int
    attempts: int
    states: Mapping[str, int]
    timeouts: int
    llm_usage_events: int
    token_estimation_v2_events: int
    seconds: float
    of_unknown_seconds: int
    yield_per_minute: float | None
    nothing_gained: Mapping[str, int]


def totals(trials: Sequence[Trial]) -> Totals:
    timed = [each for each in trials if each.seconds is not None]
    seconds = sum(each.seconds or 0.0 for each in timed)
    return Totals(
        tried=len(trials), attempts=sum(each.attempts for each in trials),
        states=dict(sorted(Counter(str(each.after) for each in trials).items())),
        timeouts=sum(each.timed_out for each in trials), llm_usage_events=sum(each.llm_usage_events for each in trials),
        token_estimation_v2_events=sum(each.token_estimation_v2_events for each in trials), seconds=round(seconds, 3),
        of_unknown_seconds=len(trials) - len(timed),
        yield_per_minute=_rate(sum(each.token_estimation_v2_events for each in timed), seconds),
        nothing_gained=dict(sorted(Counter(str(each.why) for each in trials if each.why).items())),
    )  # fmt: skip


def _rate(events: int, seconds: float) -> float | None:
    return round(events * 60 / seconds, 2) if seconds > 0 else None
