"""What happened in a stretch of time, and what waits for a person now: values, and the words for them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from autopack.domain.looks import stops
from autopack.domain.looks.stops import Pause
from autopack.domain.looks.words import command, count, first_line, span, spoken
from autopack.domain.phases import Event, FailureKind, PhaseState, Run, RunState
from autopack.domain.usage import Cost, Tokens, UsageTotal
from autopack.errors import InvalidInput

_NAMED = 3


class Need(StrEnum):
    """Why a person is needed."""

    APPROVAL = "approval"
    PAUSED = "paused"
    FAILED = "failed"
    STALLED = "stalled"


@dataclass(frozen=True, kw_only=True)
class NeedsYou:
    """`at` is since when."""

    need: Need
    run_id: str
    phase_id: str | None = None
    approval_id: str | None = None
    at: datetime | None = None
    text: str
    do: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What calls that were reserved in the time used; what is unknown is never counted as 0."""

    calls: int
    tokens: Tokens
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class RunDigest:
    """`state_before` is at the beginning of the time, None where the run was not there yet; `state` is at its end.

    `phase_counts` are of now; `finished` and `failed` count phases that ended in the time and are so still.
    """

    run_id: str
    goal: str
    state_before: RunState | None
    state: RunState
    phase_counts: Mapping[str, int]
    finished: int
    failed: int
    spent: Spent
    replayed: Spent


@dataclass(frozen=True, kw_only=True)
class PhaseEnded:
    run_id: str
    phase_id: str
    state: PhaseState
    at: datetime
    result_commit: str | None = None
    failure_kind: FailureKind | None = None
    reason: str | None = None
    """The first line."""


@dataclass(frozen=True, kw_only=True)
class ApprovalWaiting:
    approval_id: str
    run_id: str
    phase_id: str
    requested_at: datetime
    timeout_at: datetime | None
    overdue: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Digest:
    """Lists are bounded; `counts` says how many there are in all of each. `attempts` counts tries by how they ended."""

    since: datetime
    until: datetime
    needs_you: tuple[NeedsYou, ...]
    runs: tuple[RunDigest, ...]
    finished: tuple[PhaseEnded, ...]
    failed: tuple[PhaseEnded, ...]
    approvals_waiting: tuple[ApprovalWaiting, ...]
    spent: Spent
    replayed: Spent
    attempts: Mapping[str, int]
    caps_reached: tuple[Event, ...]
    by_people: tuple[Event, ...]
    counts: Mapping[str, int]


def check_time(since: datetime, until: datetime | None, now: datetime) -> datetime:
    """The end of the time. Raises InvalidInput where nothing can have happened in it."""
    if since > now:
        raise InvalidInput(
            f"since: {since:%Y-%m-%d %H:%M} UTC is still to come; it is {now:%Y-%m-%d %H:%M} UTC"
        )
    if until is not None and until <= since:
        raise InvalidInput(
            f"until: {until:%Y-%m-%d %H:%M} UTC is not after since, {since:%Y-%m-%d %H:%M} UTC"
        )
    return now if until is None else min(until, now)


NOTHING_SPENT = Spent(calls=0, tokens=Tokens(known=0), cost=Cost(known_usd=0.0))


def spent(totals: Sequence[UsageTotal], mode: str) -> Spent:
    """Of one provider mode."""
    found = next((each for each in totals if each.provider_mode == mode), None)
    if found is None:
        return NOTHING_SPENT
    return Spent(calls=found.calls, tokens=found.total_tokens, cost=found.cost)


def approval(waiting: ApprovalWaiting, now: datetime) -> NeedsYou:
    why = first_line(waiting.reasons[0]) if waiting.reasons else ""
    more = f" and {count(len(waiting.reasons) - 1, 'more reason')}" if len(waiting.reasons) > 1 else ""
    late = ", overdue" if waiting.overdue else ""
    text = f"{waiting.phase_id} waits for your approval for {span(now - waiting.requested_at)}{late}: {why}{more}"
    return NeedsYou(
        need=Need.APPROVAL, run_id=waiting.run_id, phase_id=waiting.phase_id, approval_id=waiting.approval_id,
        at=waiting.requested_at, text=text,
        do=tuple(
            command("approvals", *words)
            for words in (
                ("show", waiting.approval_id),
                ("approve", waiting.approval_id),
                ("reject", waiting.approval_id, "--reason", "WHY"),
            )
        ),
    )  # fmt: skip


def paused(run: Run, pause: Pause | None, now: datetime) -> NeedsYou:
    text, do = stops.paused(run, pause, now)
    return NeedsYou(need=Need.PAUSED, run_id=run.run_id, at=pause.at if pause else None, text=text, do=do)


def failed(run_id: str, phases: Sequence[PhaseEnded], number: int) -> NeedsYou:
    """`phases` are some of the `number` that failed in the run."""
    named = "; ".join(f"{each.phase_id} ({_kind(each)})" for each in phases[:_NAMED])
    more = number - len(phases[:_NAMED])
    one = phases[0].phase_id if number == 1 and phases else None
    retry = (
        command("phase", "requeue", run_id, one) if one else command("phase", "requeue", run_id, "--failed")
    )
    return NeedsYou(
        need=Need.FAILED, run_id=run_id, phase_id=one, at=phases[0].at if phases else None,
        text=f"{count(number, 'phase')} failed: {named}{f' and {more} more' if more else ''}", do=(command("why", run_id), retry),
    )  # fmt: skip


def stalled(run_id: str, due: int, lost: int) -> NeedsYou:
    """Work is due, and no worker has a lease that holds."""
    told = f"{count(due, 'phase')} {'is' if due == 1 else 'are'} due" if due else "work has begun"
    gone = f"; {count(lost, 'worker')} did not renew in time" if lost else ""
    return NeedsYou(
        need=Need.STALLED, run_id=run_id, text=f"{told}, and nothing drains this run{gone}",
        do=(command("drain", "--run-id", run_id),),
    )  # fmt: skip


def _kind(phase: PhaseEnded) -> str:
    kind = spoken(phase.failure_kind or "no kind given")
    return f"{kind}: {phase.reason}" if phase.reason else kind
