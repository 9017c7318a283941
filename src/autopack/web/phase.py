"""One phase: why it stands where it does, its attempts, and of one of them all that was kept."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from autopack.api.deps import ClockDep, DatabaseDep
from autopack.clock import Clock
from autopack.db import phase_log, phases, runs
from autopack.db.engine import Database
from autopack.db.looks import why
from autopack.db.pages import phase as stored
from autopack.db.pages.phase import AttemptLine, AttemptLook
from autopack.db.pages.pulse import last_event
from autopack.domain import evidence
from autopack.domain.kept_diff import PhaseDiff
from autopack.domain.lifecycle import ENDED_STATES, REQUEUEABLE, SKIPPABLE
from autopack.domain.looks.why import PhaseWhy, explain
from autopack.domain.phase_log import MAX_TAIL, PhaseLog
from autopack.domain.phases import Phase, PhaseState, Run
from autopack.domain.storable import MAX_INTEGER
from autopack.schemas import Id
from autopack.web import diffs
from autopack.web.live import Part, Shown, follow, stream_url
from autopack.web.rendering import command, page, render

router = APIRouter(prefix="/ui", include_in_schema=False)
TAIL = 100
Number = Annotated[int | None, Query(ge=1, le=MAX_INTEGER)]
Tail = Annotated[int, Query(ge=1, le=MAX_TAIL)]


@dataclass(frozen=True, kw_only=True)
class _Look:
    run: Run
    phase: Phase
    why: PhaseWhy | None
    approval_id: str | None
    lines: list[AttemptLine]
    attempt: AttemptLook | None
    diff: PhaseDiff | None
    log: PhaseLog
    event_id: int


@router.get("/runs/{run_id}/phases/{phase_id}")
def show(
    request: Request, run_id: Id, phase_id: Id, database: DatabaseDep, clock: ClockDep,
    attempt: Number = None, tail: Tail = TAIL,
) -> HTMLResponse:  # fmt: skip
    look = _read(database, clock, run_id, phase_id, attempt=attempt, tail=tail)
    live = _shown(look, attempt=attempt, tail=tail)
    stream = stream_url(f"/ui/stream/runs/{run_id}/phases/{phase_id}", live, attempt=attempt, tail=tail)
    return page(
        request, "phase.html", live=live, stream=stream, run=look.run, phase=look.phase, attempt=attempt,
        commands=_commands(look.phase, attempt),
    )  # fmt: skip


@router.get("/stream/runs/{run_id}/phases/{phase_id}", response_class=EventSourceResponse)
async def stream(
    request: Request, run_id: Id, phase_id: Id, database: DatabaseDep, clock: ClockDep,
    attempt: Number = None, tail: Tail = TAIL,
) -> AsyncIterator[ServerSentEvent]:  # fmt: skip
    async for event in follow(
        request, _reader(database, clock, run_id, phase_id, attempt=attempt, tail=tail)
    ):
        yield event


def _reader(
    database: Database, clock: Clock, run_id: str, phase_id: str, *, attempt: int | None, tail: int
) -> Callable[[], Shown]:
    def read() -> Shown:
        look = _read(database, clock, run_id, phase_id, attempt=attempt, tail=tail)
        return _shown(look, attempt=attempt, tail=tail)

    return read


def _read(
    database: Database, clock: Clock, run_id: str, phase_id: str, *, attempt: int | None, tail: int
) -> _Look:
    """`attempt` is the number of the one to show; None is the newest."""
    now = clock.now()
    with database.transaction() as session:
        found = phases.get(session, run_id, phase_id)
        told = explain(why.situation(session, run_id, now=now), now)
        lines = stored.attempt_lines(session, run_id, phase_id)
        opened = stored.attempt_look(session, lines, attempt)
        number = None if opened is None else opened.line.number
        return _Look(
            run=runs.get(session, run_id), phase=found, lines=lines, attempt=opened,
            why=next((each for each in told.phases if each.phase_id == phase_id), None),
            approval_id=stored.pending_approval(session, run_id, phase_id),
            diff=None if number is None else phase_log.diff(session, run_id, phase_id, attempt=number),
            log=phase_log.log(session, run_id, phase_id, attempt=attempt, tail=tail),
            event_id=last_event(session),
        )  # fmt: skip


def _shown(look: _Look, *, attempt: int | None, tail: int) -> Shown:
    phase, opened = look.phase, look.attempt
    known: dict[str, Any] = {"run": look.run, "phase": phase, "back": _address(phase, attempt)}
    told: dict[str, Any] = {"decision": None, "checks": None, "reviews": ()}
    if opened is not None:
        told["decision"] = evidence.decision(opened.verdict)
        told["checks"] = evidence.checks(opened.check_report)
        told["reviews"] = evidence.reviews(opened.review)
    parts = {
        "head": render(
            "phase/head.html", **known, why=look.why, approval_id=look.approval_id,
            can_requeue=phase.state in REQUEUEABLE, can_skip=phase.state in SKIPPABLE,
            can_pause_after=phase.state not in ENDED_STATES, is_complete=phase.state is PhaseState.COMPLETE,
        ),
        "attempts": render("phase/attempts.html", **known, lines=look.lines, opened=opened),
        "attempt": render("phase/attempt.html", **known, **told, opened=opened),
        "diff": render("phase/diff.html", **known, diff=look.diff, lines=_diff_lines(look.diff)),
        "log": render("phase/log.html", **known, log=look.log, tail=tail, attempt=attempt, most=MAX_TAIL),
    }  # fmt: skip
    return Shown(parts=[Part(id=name, html=html) for name, html in parts.items()], event_id=look.event_id)


def _diff_lines(diff: PhaseDiff | None) -> list[tuple[str, str]]:
    if diff is None or not diff.diff:
        return []
    whole = command("autopack", "phase", "diff", diff.run_id, diff.phase_id, "--attempt", diff.attempt or "")
    return diffs.lines(diff.diff.rstrip("\n"), whole)


def _address(phase: Phase, attempt: int | None) -> str:
    chosen = "" if attempt is None else f"?attempt={attempt}"
    return f"/ui/runs/{phase.run_id}/phases/{phase.phase_id}{chosen}"


def _commands(phase: Phase, attempt: int | None) -> list[tuple[str, str]]:
    """What repeats the phase, and what shows it elsewhere."""
    of = (phase.run_id, phase.phase_id)
    number = () if attempt is None else ("--attempt", attempt)
    return [
        ("work on it once more", command("autopack", "drain-one", "--run-id", of[0], "--phase-id", of[1])),
        ("show it", command("autopack", "phase", "show", *of)),
        ("its log", command("autopack", "phase", "log", *of, *number)),
        ("its diff", command("autopack", "phase", "diff", *of, *number)),
        ("judge it again", command("autopack", "audit", of[0])),
    ]
