"""The order of a triage session: which failed phase is tried next, and why another is left alone. Pure.

Sample first: of each run one phase is tried. The run is promising where that one was completed, made telemetry, ran out
of time or failed in a new way; only then is more of it tried.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from autopack.domain import lifecycle
from autopack.domain.failures import Action, action, judges_the_work
from autopack.domain.looks.words import count
from autopack.domain.phases import FailureKind, PhaseState, RunState
from autopack.domain.triage import DONE, Candidate, Key, Options, Trial


class Place(StrEnum):
    AGAIN = "again"
    """It was under way, or had to wait, when the session stopped."""
    SAMPLE = "sample"
    NEXT = "next"
    """Its run is promising."""
    WAITS = "waits"
    """For the sample of its run."""
    LEFT = "left"


_TAKEN = frozenset({Place.AGAIN, Place.SAMPLE, Place.NEXT})


@dataclass(frozen=True, kw_only=True)
class Look:
    """Where a phase stands in the order, and why."""

    candidate: Candidate
    place: Place
    reason: str


@dataclass(kw_only=True)
class History:
    """What a session knows: `trials` in order, those of this call from `began` on; and what it leaves alone, with why."""

    trials: list[Trial] = field(default_factory=list)
    began: int = 0
    left_runs: dict[str, str] = field(default_factory=dict)
    left_phases: dict[Key, str] = field(default_factory=dict)

    @property
    def mine(self) -> Sequence[Trial]:
        return self.trials[self.began :]

    @property
    def signatures(self) -> frozenset[str | None]:
        return frozenset(each.signature for each in self.trials)

    @property
    def done(self) -> int:
        """How many phases this call is done with: not those that had to wait, or were interrupted."""
        return sum(not each.again for each in self.mine)

    @property
    def zero_yields(self) -> int:
        """How many tries of this call, the last ones, brought no estimation event; those that had to wait are none."""
        count = 0
        for each in reversed(self.mine):
            if each.token_estimation_v2_events > 0:
                break
            count += not each.again
        return count


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """What of a history is asked about every candidate."""

    last: Mapping[Key, Trial]
    mine: frozenset[Key]
    timeouts: Mapping[str, int]
    repeats: Mapping[str | None, int]
    samples: Mapping[str, Trial]


def _sums(history: History) -> _Sums:
    samples: dict[str, Trial] = {}
    for each in history.trials:
        if each.judged:
            samples.setdefault(each.run_id, each)
    return _Sums(
        last={each.key: each for each in history.trials}, mine=frozenset(each.key for each in history.mine),
        timeouts=Counter(each.run_id for each in history.trials if each.timed_out),
        repeats=Counter(each.signature for each in history.trials if each.signature and not each.again), samples=samples,
    )  # fmt: skip


def outlook(candidates: Sequence[Candidate], history: History, options: Options) -> list[Look]:
    """Every candidate in the order in which the session will come to it; what is left alone comes last."""
    sums = _sums(history)
    ordered = sorted(candidates, key=lambda each: (each.key not in sums.last, *_order_in_run(each)))
    sampled = set(sums.samples)
    looks = []
    for each in ordered:
        look = _look(each, history, options, sums, is_sample=each.run_id not in sampled)
        if look.place in (Place.SAMPLE, Place.AGAIN):
            sampled.add(each.run_id)
        looks.append(look)
    return sorted(looks, key=lambda look: _order(look, sums))


def choose(candidates: Sequence[Candidate], history: History, options: Options) -> Look | None:
    """The phase to try next; None where nothing is left to try."""
    looks = outlook(candidates, history, options)
    return looks[0] if looks and looks[0].place in _TAKEN else None


def _look(candidate: Candidate, history: History, options: Options, sums: _Sums, *, is_sample: bool) -> Look:
    def at(place: Place, reason: str) -> Look:
        return Look(candidate=candidate, place=place, reason=reason)

    if reason := _left(_Case(phase=candidate, history=history, options=options, sums=sums)):
        return at(Place.LEFT, reason)
    if candidate.key in sums.last:
        return at(Place.AGAIN, "it was not through when the session stopped")
    sample = sums.samples.get(candidate.run_id)
    if sample is not None:
        return at(Place.NEXT, f"its run is promising: {sample.phase_id} {_promise(sample)}")
    if is_sample:
        return at(Place.SAMPLE, "the first of its run decides whether more of it is tried")
    return at(Place.WAITS, "for the sample of its run")


def _promise(sample: Trial) -> str:
    if sample.after in DONE:
        return f"became {sample.after}"
    if sample.token_estimation_v2_events:
        return "made telemetry"
    return "ran out of time" if sample.timed_out else "failed in a new way"


_ORDER = {Place.AGAIN: 0, Place.SAMPLE: 1, Place.NEXT: 2, Place.WAITS: 3, Place.LEFT: 4}


def _order(look: Look, sums: _Sums) -> tuple[object, ...]:
    """Samples by how much another try may help; then the runs whose sample did best, each in its own order."""
    each = look.candidate
    if look.place in (Place.AGAIN, Place.SAMPLE):
        return (_ORDER[look.place], _hopeless(each), each.run_id, *_order_in_run(each))
    sample = sums.samples.get(each.run_id)
    worth = (sample.after in DONE, sample.token_estimation_v2_events > 0) if sample else (False, False)
    return (_ORDER[look.place], not worth[0], not worth[1], each.run_id, *_order_in_run(each))


def _order_in_run(each: Candidate) -> tuple[int, int, int]:
    """Earlier tiers first, for later ones build on them; then by how much another try may help; then as planned."""
    return (each.tier_index, _hopeless(each), each.phase_index)


_HOPELESS = {Action.ASK_PERSON: 2, Action.GIVE_UP: 3}


def _hopeless(candidate: Candidate) -> int:
    """0 where the work was not at fault, 1 where another answer may do, 2 and 3 where a person or a rule was asked for."""
    kind = candidate.failure_kind
    if kind is not None and not judges_the_work(kind):
        return 0
    return _HOPELESS.get(action(kind), 1)


# Why a phase is left alone


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A phase, and all that decides about it."""

    phase: Candidate
    history: History
    options: Options
    sums: _Sums


def _left(case: _Case) -> str | None:
    for rule in (_by_run, _by_state, _by_session, _by_limits, _by_sample):
        if reason := rule(case):
            return reason
    return None


def _by_run(case: _Case) -> str | None:
    phase, options = case.phase, case.options
    prefix = next((prefix for prefix in options.skip_run_prefixes if phase.run_id.startswith(prefix)), None)
    if prefix is not None:
        return f"--skip-run-prefix {prefix}"
    if phase.run_state is RunState.PAUSED or phase.run_state in lifecycle.GIVEN_UP:
        return f"the run is {phase.run_state}"
    if not phase.has_base and phase.run_id not in options.run_ids:
        return "the run was never started here, so no workspace is known to be its own; name it with --run-id"
    return case.history.left_runs.get(phase.run_id)


def _by_state(case: _Case) -> str | None:
    last = case.sums.last.get(case.phase.key)
    if case.phase.state is not PhaseState.FAILED and (last is None or not last.again):
        return f"it is {case.phase.state}: a drain takes it"
    if case.phase.failure_kind is FailureKind.APPROVAL_REJECTED:
        return "a person rejected it; `autopack phase requeue` has it tried again"
    return None


def _by_session(case: _Case) -> str | None:
    key = case.phase.key
    last = case.sums.last.get(key)
    if last is not None and (key in case.sums.mine or not last.again):
        return "this session has tried it"
    return case.history.left_phases.get(key)


def _by_limits(case: _Case) -> str | None:
    phase, options, sums = case.phase, case.options, case.sums
    if phase.tried >= options.max_attempts_per_phase:
        return f"triage has made {count(phase.tried, 'attempt')} at it (--max-attempts-per-phase)"
    if sums.timeouts.get(phase.run_id, 0) >= options.max_timeouts_per_run:
        return f"{count(sums.timeouts[phase.run_id], 'phase')} of its run ran out of time (--max-timeouts-per-run)"
    repeats = sums.repeats.get(phase.signature, 0) if phase.signature else 0
    if repeats >= options.max_fingerprint_repeats:
        return f"its failure was seen {count(repeats, 'time')} in this session (--max-fingerprint-repeats)"
    return None


def _by_sample(case: _Case) -> str | None:
    sample = case.sums.samples.get(case.phase.run_id)
    if sample is None or sample.promising or sample.key == case.phase.key:
        return None
    return f"its run is not promising: {sample.phase_id} failed again without anything new"


# When a call ends


class Stop(StrEnum):
    """Why a call of a session ended."""

    NOTHING_LEFT = "nothing left"
    BATCH_SIZE = "batch size"
    TIME = "time"
    ZERO_YIELD = "zero yield"
    QUOTA = "quota"
    INTERRUPTED = "interrupted"


def enough(history: History, options: Options, minutes: float) -> tuple[Stop, str] | None:
    """Why no further phase is begun, although some may be left."""
    if history.done >= options.batch_size:
        done = (
            "1 phase was asked for, and is"
            if options.batch_size == 1
            else f"{options.batch_size} phases were asked for, and are"
        )
        return Stop.BATCH_SIZE, f"{done} done"
    if options.max_total_minutes is not None and minutes >= options.max_total_minutes:
        return Stop.TIME, f"{options.max_total_minutes:g} minutes are over (--max-total-minutes)"
    most = options.max_consecutive_zero_yield
    if most is not None and history.zero_yields >= most:
        return (
            Stop.ZERO_YIELD,
            f"{count(history.zero_yields, 'phase')} in a row made no telemetry (--max-consecutive-zero-yield)",
        )
    return None
