"""What a person is told while a run is drained elsewhere: which event asks for it, and the envelope that is sent. Pure."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from autopack.domain.lifecycle import DONE_STATES
from autopack.domain.looks.why import Why
from autopack.domain.looks.words import command, first_line
from autopack.domain.phases import CAP_CAUSES, Event, JsonObject, Phase, PhaseState, Run, RunState

_SHORT = 300


class Happening(StrEnum):
    """Why somebody is told."""

    NEEDS_ME = "needs_me"
    FAILED = "failed"
    DONE = "done"
    BUDGET = "budget"
    TEST = "test"


@dataclass(frozen=True, kw_only=True)
class Notice:
    """`notice_id` is made from the event: the same event, told by two drains, is told under one id."""

    notice_id: str
    happening: Happening
    at: datetime
    database_id: str | None
    text: str
    run: Run | None = None
    phase: Phase | None = None
    do: tuple[str, ...] = ()


def calls_for_a_notice(event: Event) -> bool:
    """Whether a person may want to know; what has become of the run and the phase since decides."""
    if event.phase_id is None:
        return event.kind == "run_state" and event.detail.get("state") in (RunState.PAUSED, *DONE_STATES)
    ended = event.kind == "finished" and event.detail.get("state") in (PhaseState.GATE, PhaseState.FAILED)
    return ended or event.kind == "approval_expired"


def notice_of(
    event: Event, database_id: str | None, run: Run, phase: Phase | None, why: Why
) -> Notice | None:
    """None where it is not so any more: a phase that was requeued meanwhile, or a run that was resumed."""
    told = _of_run(event, run, why) if phase is None else _of_phase(event, phase, why)
    if told is None:
        return None
    happening, text, do = told
    return Notice(
        notice_id=notice_id(database_id, str(event.event_id)), happening=happening, at=event.created_at, database_id=database_id,
        text=text, run=run, phase=phase, do=do,
    )  # fmt: skip


_Told = tuple[Happening, str, tuple[str, ...]]


def _of_phase(event: Event, phase: Phase, why: Why) -> _Told | None:
    """In the words of `why`, where the phase is among those that it lists."""
    happening = {PhaseState.GATE: Happening.NEEDS_ME, PhaseState.FAILED: Happening.FAILED}.get(phase.state)
    if happening is None or event.detail.get("state", phase.state) != phase.state:
        return None
    listed = next((each for each in why.phases if each.phase_id == phase.phase_id), None)
    if listed is not None:
        text, do = listed.text, listed.do
    else:
        waits = (
            "waits for your approval" if phase.state is PhaseState.GATE else f"failed: {phase.failure_kind}"
        )
        text, do = f"{waits}: {first_line(phase.failure_reason)}", why.do
    log = command("phase", "log", phase.run_id, phase.phase_id)
    return happening, f"run {phase.run_id}, phase {phase.phase_id}: it {text}", (*do, log)


def _of_run(event: Event, run: Run, why: Why) -> _Told | None:
    if event.detail.get("state") != run.state:
        return None
    is_capped = run.state is RunState.PAUSED and run.state_cause in CAP_CAUSES
    paused = Happening.BUDGET if is_capped else Happening.NEEDS_ME
    happening = paused if run.state is RunState.PAUSED else Happening.DONE
    show = command("run", "show", run.run_id)
    return happening, f"run {run.run_id} is {run.state}. {why.text}", (*why.do, show)


def notice_id(database_id: str | None, about: str) -> str:
    return hashlib.sha256(f"{database_id}:{about}".encode()).hexdigest()[:32]


def envelope(notice: Notice) -> JsonObject:
    """What a hook reads on stdin and a webhook in its body: version 1. Fields may be added, none is taken away."""
    return {
        "autopack": 1,
        "id": notice.notice_id,
        "event": notice.happening.value,
        "at": notice.at.isoformat(),
        "database_id": notice.database_id,
        "run": None if notice.run is None else _run(notice.run),
        "phase": None if notice.phase is None else _phase(notice.phase),
        "text": _one_line(notice.text, 2 * _SHORT),
        "do": list(notice.do),
    }


def _run(run: Run) -> JsonObject:
    return {
        "run_id": run.run_id, "goal": _one_line(run.goal), "state": run.state.value,
        "state_cause": None if run.state_cause is None else run.state_cause.value,
        "state_reason": None if run.state_reason is None else _one_line(run.state_reason),
        "phase_counts": dict(run.phase_counts), "tokens_used": run.tokens_used, "token_cap": run.token_cap,
        "cost_usd": run.cost_usd, "cost_cap_usd": run.cost_cap_usd, "calls_of_unknown_usage": run.calls_of_unknown_usage,
    }  # fmt: skip


def _phase(phase: Phase) -> JsonObject:
    return {
        "phase_id": phase.phase_id, "tier_id": phase.tier_id, "name": _one_line(phase.name), "state": phase.state.value,
        "attempts": phase.attempts, "max_attempts": phase.max_attempts,
        "failure_kind": None if phase.failure_kind is None else phase.failure_kind.value,
        "reason": None if phase.failure_reason is None else _one_line(phase.failure_reason),
    }  # fmt: skip


def _one_line(text: str, longest: int = _SHORT) -> str:
    """Goals and reasons are written by models and programs too: nothing of them acts on a terminal or begins a line."""
    plain = " ".join("".join(_plain(text)).split())
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"


def _plain(text: str) -> Iterator[str]:
    yield from (char if char.isprintable() else " " for char in text)
