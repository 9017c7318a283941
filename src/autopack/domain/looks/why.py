"""Why a run does not move, phase by phase, and the command that helps. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from autopack.domain.lifecycle import DONE_STATES
from autopack.domain.looks import stops
from autopack.domain.looks.stops import Pause
from autopack.domain.looks.words import at, command, count, first_line, process, span, spoken
from autopack.domain.looks.workers import Lease
from autopack.domain.phases import FailureKind, PhaseState, Run, RunState

_TAKEN_SOON = "is due, and is taken when a slot is free"
_NOBODY_DRAINS = "is due, and nothing drains this run"
WORKER_GONE = "its worker is gone; any drain takes it back"


class Hold(StrEnum):
    """What a phase that is not done waits for, in the order in which a person wants to know."""

    FAILED = "failed"
    APPROVAL = "approval"
    EXECUTING = "executing"
    DUE = "due"
    NOT_BEFORE = "not_before"
    DEPENDENCY = "dependency"
    TIER = "tier"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True)
class Blocker:
    """The phase that another one waits for."""

    phase_id: str
    state: PhaseState


@dataclass(frozen=True, kw_only=True)
class HeldPhase:
    """A phase that is not done, with what is known of what holds it."""

    phase_id: str
    tier_id: str
    state: PhaseState
    hold: Hold
    failure_kind: FailureKind | None = None
    failure_reason: str | None = None
    not_before: datetime | None = None
    worker: str | None = None
    lease: Lease | None = None
    approval_id: str | None = None
    blocker: Blocker | None = None


@dataclass(frozen=True, kw_only=True)
class OpenTier:
    """The lowest tier that is not done, and of it the phase that most needs something."""

    tier_id: str
    open_phases: int
    blocker: Blocker


@dataclass(frozen=True, kw_only=True)
class Situation:
    """A run as it stands: all that the answer is made from."""

    run: Run
    counts: Mapping[Hold, int]
    live_leases: int = 0
    ended_leases: int = 0
    next_due: datetime | None = None
    tier: OpenTier | None = None
    pause: Pause | None = None
    phases: tuple[HeldPhase, ...] = ()

    def has(self, hold: Hold) -> int:
        return self.counts.get(hold, 0)


@dataclass(frozen=True, kw_only=True)
class PhaseWhy:
    phase_id: str
    tier_id: str
    state: PhaseState
    hold: Hold
    text: str
    do: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Why:
    """`moves`: somebody works on it at this moment. Of phases that wait for the like, only the first are listed."""

    run_id: str
    state: RunState
    moves: bool
    text: str
    do: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    phases: tuple[PhaseWhy, ...] = ()
    not_listed: int = 0


def explain(found: Situation, now: datetime) -> Why:
    text, do = _of_run(found, now)
    open_phases = sum(found.counts.values())
    return Why(
        run_id=found.run.run_id, state=found.run.state, moves=found.live_leases > 0, text=text, do=do,
        counts={hold.value: found.has(hold) for hold in Hold if found.has(hold)},
        phases=tuple(_of_phase(each, found, now) for each in found.phases),
        not_listed=open_phases - len(found.phases),
    )  # fmt: skip


def without_workers(found: Why, gone: Collection[str], *, alive: int) -> Why:
    """As it is where the workers of the phases `gone` are known to have ended, though their leases have not yet."""
    if not gone:
        return found
    drain = command("drain", "--run-id", found.run_id)
    told = "its worker is gone" if len(gone) == 1 else "their workers are gone"
    told = f"{count(len(gone), 'phase')} {_are(len(gone))} marked as being worked on, but {told}; any drain takes the work back."
    goes_on = found.state not in DONE_STATES and found.state is not RunState.PAUSED
    phases = tuple(
        _without_worker(each, gone, drain, alive=alive > 0 or not goes_on) for each in found.phases
    )
    if alive or not goes_on:
        return replace(found, moves=alive > 0, text=f"{found.text} But {told}", phases=phases)
    text = " ".join(filter(None, [f"Nothing moves: {told}", _needs_a_person(found.counts)]))
    return replace(found, moves=False, text=text, do=(drain, *found.do), phases=phases)


def _without_worker(phase: PhaseWhy, gone: Collection[str], drain: str, *, alive: bool) -> PhaseWhy:
    if phase.phase_id in gone:
        return replace(phase, text=WORKER_GONE, do=(drain,))
    if alive or not phase.text.startswith(_TAKEN_SOON):
        return phase
    return replace(phase, text=phase.text.replace(_TAKEN_SOON, _NOBODY_DRAINS, 1), do=(drain,))


def _of_run(found: Situation, now: datetime) -> tuple[str, tuple[str, ...]]:
    run = found.run
    if run.state in DONE_STATES:
        return _ended(found)
    if run.state is RunState.PAUSED:
        text, do = stops.paused(run, found.pause, now)
        if found.live_leases:
            text += f" What is being worked on ({count(found.live_leases, 'phase')}) ends as it would."
        return text, do
    text, do = _under_way(found, now)
    return " ".join(filter(None, [text, _needs_a_person(found.counts)])), (*do, *_helps_a_person(found))


def _ended(found: Situation) -> tuple[str, tuple[str, ...]]:
    run, left = found.run, sum(found.counts.values())
    if run.state is RunState.DONE_SUCCESS:
        done = run.phase_counts.get(PhaseState.COMPLETE, 0)
        skipped = run.phase_counts.get(PhaseState.SKIPPED, 0)
        return f"Everything is done: {done} complete{f', {skipped} skipped' if skipped else ''}.", ()
    if run.state in (RunState.CANCELLED, RunState.DONE_FAILED_BUDGET_EXHAUSTED):
        why = f" ({first_line(run.state_reason)})" if run.state_reason else ""
        return f"The run was given up{why}; {count(left, 'phase')} of it {_are(left)} not done.", ()
    text = f"The run has ended with {count(found.has(Hold.FAILED), 'failed phase')}"
    held = left - found.has(Hold.FAILED) - found.has(Hold.CANCELLED)
    text += f"; {count(held, 'more phase')} {_are(held)} held back by that." if held else "."
    return text, _helps_a_person(found)


def _under_way(found: Situation, now: datetime) -> tuple[str, tuple[str, ...]]:
    drain = command("drain", "--run-id", found.run.run_id)
    due = found.has(Hold.DUE)
    if found.live_leases:
        more = f"; {count(due, 'more phase')} {_are(due)} due" if due else ""
        return (
            f"It moves: {count(found.live_leases, 'phase')} {_are(found.live_leases)} being worked on{more}.",
            (),
        )
    if found.ended_leases:
        gone = count(found.ended_leases, "worker")
        return f"{gone} did not renew in time and {_are(found.ended_leases)} taken for gone: any drain takes the work back, and none is running.", (drain,)  # fmt: skip
    if due:
        return f"{count(due, 'phase')} {_are(due)} due, and nothing drains this run.", (drain,)
    if found.next_due is not None:
        return f"Nothing is due before {at(found.next_due, now)}, in {span(found.next_due - now)}; a drain goes on then.", (drain,)  # fmt: skip
    return "Nothing can move without a person.", ()


def _needs_a_person(counts: Mapping[Hold, int] | Mapping[str, int]) -> str:
    by_name = {str(hold): number for hold, number in counts.items()}
    waiting, failed = by_name.get(Hold.APPROVAL, 0), by_name.get(Hold.FAILED, 0)
    told = []
    if waiting:
        told.append(f"{count(waiting, 'phase')} {'waits' if waiting == 1 else 'wait'} for your approval")
    if failed:
        told.append(f"{count(failed, 'phase')} failed")
    return f"{' and '.join(told)}." if told else ""


def _helps_a_person(found: Situation) -> tuple[str, ...]:
    run_id, do = found.run.run_id, []
    if found.has(Hold.APPROVAL):
        do.append(command("approvals", "list", "--run-id", run_id))
    if found.has(Hold.FAILED):
        do.append(command("phase", "requeue", run_id, "--failed"))
    return tuple(do)


def _of_phase(phase: HeldPhase, found: Situation, now: datetime) -> PhaseWhy:
    text, do = _EXPLAINED[phase.hold](phase, found, now)
    return PhaseWhy(
        phase_id=phase.phase_id, tier_id=phase.tier_id, state=phase.state, hold=phase.hold, text=text, do=do
    )


_Told = tuple[str, tuple[str, ...]]


def _failed(phase: HeldPhase, found: Situation, _now: datetime) -> _Told:
    why = first_line(phase.failure_reason)
    return (
        f"failed: {spoken(phase.failure_kind or 'no kind given')}{f': {why}' if why else ''}",
        _retry_or_skip(found.run.run_id, phase.phase_id),
    )


def _approval(phase: HeldPhase, found: Situation, _now: datetime) -> _Told:
    if phase.approval_id is None:
        text = "waits for approval, but nobody is asked any more; requeue it to be asked anew"
        return text, (command("phase", "requeue", found.run.run_id, phase.phase_id),)
    why = first_line(phase.failure_reason)
    text = f"waits for your approval (request {phase.approval_id}){f': {why}' if why else ''}"
    return text, tuple(
        command("approvals", *words)
        for words in (
            ("show", phase.approval_id),
            ("approve", phase.approval_id),
            ("reject", phase.approval_id, "--reason", "WHY"),
        )
    )


def _executing(phase: HeldPhase, found: Situation, now: datetime) -> _Told:
    lease = phase.lease
    if lease is None:
        return "is marked as being worked on, but no worker has it; doctor says more", (command("doctor"),)
    who = f"try {lease.number} by {process(phase.worker or '?')}"
    if lease.expired:
        text = f"its worker is gone: {who} did not renew since {at(lease.lease_expires_at, now)}; any drain takes it back"
        return text, (command("drain", "--run-id", found.run.run_id),)
    step = f", now: {first_line(lease.step)}" if lease.step else ""
    return f"is being worked on for {span(now - lease.claimed_at)} ({who}, since {at(lease.claimed_at, now)}){step}", ()  # fmt: skip


def _due(phase: HeldPhase, found: Situation, _now: datetime) -> _Told:
    again = f" (tried before: {spoken(phase.failure_kind)})" if phase.failure_kind else ""
    if found.run.state in DONE_STATES or found.run.state is RunState.PAUSED:
        return f"is due, but the run is {found.run.state}{again}", ()
    if found.live_leases:
        return f"{_TAKEN_SOON}{again}", ()
    return f"{_NOBODY_DRAINS}{again}", (command("drain", "--run-id", found.run.run_id),)


def _not_before(phase: HeldPhase, _found: Situation, now: datetime) -> _Told:
    kind = f" after {spoken(phase.failure_kind)}" if phase.failure_kind else ""
    why = first_line(phase.failure_reason)
    until = at(phase.not_before, now) if phase.not_before else "a later time"
    return f"waits until {until}{kind}{f': {why}' if kind and why else ''}", ()


def _dependency(phase: HeldPhase, found: Situation, _now: datetime) -> _Told:
    if phase.blocker is None:
        return "waits for a phase that it depends on", ()
    return f"depends on {phase.blocker.phase_id}, which is {phase.blocker.state}", _unblocks(
        found, phase.blocker
    )


def _tier(_phase: HeldPhase, found: Situation, _now: datetime) -> _Told:
    tier = found.tier
    if tier is None:
        return "waits for an earlier tier", ()
    text = f"waits for the earlier tier {tier.tier_id}: {count(tier.open_phases, 'phase')} of it {_are(tier.open_phases)} open"
    return f"{text}, {tier.blocker.phase_id} is {tier.blocker.state}", _unblocks(found, tier.blocker)


def _cancelled(phase: HeldPhase, found: Situation, _now: datetime) -> _Told:
    kind = f" ({spoken(phase.failure_kind)})" if phase.failure_kind else ""
    return f"was cancelled{kind}", _retry_or_skip(found.run.run_id, phase.phase_id)


_EXPLAINED = {
    Hold.FAILED: _failed, Hold.APPROVAL: _approval, Hold.EXECUTING: _executing, Hold.DUE: _due,
    Hold.NOT_BEFORE: _not_before, Hold.DEPENDENCY: _dependency, Hold.TIER: _tier, Hold.CANCELLED: _cancelled,
}  # fmt: skip


def _unblocks(found: Situation, blocker: Blocker) -> tuple[str, ...]:
    """What is under way, or comes when it is its turn, needs nothing done."""
    if blocker.state in (PhaseState.FAILED, PhaseState.CANCELLED):
        return _retry_or_skip(found.run.run_id, blocker.phase_id)
    if blocker.state is PhaseState.GATE:
        return (command("approvals", "list", "--run-id", found.run.run_id),)
    return ()


def _retry_or_skip(run_id: str, phase_id: str) -> tuple[str, ...]:
    return (
        command("phase", "requeue", run_id, phase_id),
        command("phase", "skip", run_id, phase_id),
    )


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
