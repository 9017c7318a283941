"""One run: what needs a person, how far it is, what it costs, and its phases by tier."""

from collections.abc import AsyncIterator, Callable, Mapping
from functools import lru_cache
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import HTMLResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from markupsafe import Markup

from autopack.api.deps import ClockDep, DatabaseDep
from autopack.clock import Clock
from autopack.db import runs
from autopack.db.pages import run_board
from autopack.db.pages.run_board import Board, PhaseLine
from autopack.domain import event_words
from autopack.domain.lifecycle import DONE_STATES, REQUEUEABLE, SKIPPABLE
from autopack.domain.phases import CAP_CAUSES, PhaseState, RunState
from autopack.schemas import Id
from autopack.web import timeline
from autopack.web.filters import chosen, place_of, text_of
from autopack.web.live import Part, Shown, follow, stream_url
from autopack.web.rendering import page, render

router = APIRouter(prefix="/ui", include_in_schema=False)
RunId = Annotated[Id, Path()]
_CHOOSABLE = REQUEUEABLE | SKIPPABLE
_TO_PAUSE_AFTER = frozenset({PhaseState.QUEUED, PhaseState.EXECUTING, PhaseState.GATE})


async def _reader(
    request: Request, run_id: RunId, database: DatabaseDep, clock: ClockDep
) -> Callable[[], tuple[Board, Shown]]:
    query = request.query_params
    state, after = chosen(query, "state", list(PhaseState)), place_of(query, "after")
    text = text_of(query, "q")

    def read() -> tuple[Board, Shown]:
        with database.transaction() as session:
            board = run_board.read(
                session, run_id, now=clock.now(), state=PhaseState(state) if state else None, text=text,
                after=-1 if after is None else after,
            )  # fmt: skip
        return board, Shown(parts=_parts(board, clock, query), event_id=board.event_id)

    return read


_ReaderDep = Annotated[Callable[[], tuple[Board, Shown]], Depends(_reader)]


@router.get("/runs/{run_id}")
def show(request: Request, run_id: RunId, read: _ReaderDep) -> HTMLResponse:
    query = request.query_params
    board, live = read()
    again = {name: query.get(name) for name in ("state", "q", "after")}
    return page(
        request, "run.html", live=live, stream=stream_url(f"/ui/stream/runs/{run_id}", live, **again), run_id=run_id,
        states=list(PhaseState), state=query.get("state", ""), q=query.get("q", ""), run=board.run,
        is_done=board.run.state in DONE_STATES,
    )  # fmt: skip


async def _there(run_id: RunId, database: DatabaseDep) -> None:
    """404 while that can still be said: a stream that has begun can only end."""

    def look() -> None:
        with database.transaction() as session:
            runs.row(session, run_id)

    await anyio.to_thread.run_sync(look)


@router.get("/stream/runs/{run_id}", response_class=EventSourceResponse, dependencies=[Depends(_there)])
async def stream(request: Request, read: _ReaderDep) -> AsyncIterator[ServerSentEvent]:
    async for event in follow(request, lambda: read()[1]):
        yield event


def _parts(board: Board, clock: Clock, query: Mapping[str, str]) -> list[Part]:
    run, address = board.run, f"/ui/runs/{board.run.run_id}"
    given = {"board": board, "run": run, "address": address, "is_done": run.state in DONE_STATES,
             "helps": [("Helps", each) for each in board.why.do]}  # fmt: skip
    is_capped = run.state is RunState.PAUSED and run.state_cause in CAP_CAUSES
    # To the minute: a bar that grew at each look would be drawn at each look.
    now = clock.now().replace(second=0, microsecond=0)
    return [
        Part(id="head", html=render("run/head.html", **given)),
        Part(id="needs", html=render("run/needs.html", is_capped=is_capped, **given)),
        Part(id="tiles", html=render("run/tiles.html", **given)),
        Part(id="budget", html=render("run/budget.html", **given)),
        Part(id="actions", html=render("run/actions.html", **given)),
        Part(id="phases", rows=_rows(board, address)),
        Part(id="further", html=render("run/further.html", query=dict(query), **given)),
        Part(id="timeline", html=render("run/timeline.html", lines=timeline.lines(board.tries, now))),
        Part(id="events", html=render("run/events.html", told=event_words, **given)),
    ]


def _rows(board: Board, address: str) -> dict[str, Markup]:
    """The phases below their tiers. An id is made of the place in the plan, which is a phase's for ever."""
    rows: dict[str, Markup] = {}
    tier_id: str | None = None
    for line in board.phases:
        if line.tier_id != tier_id:
            tier_id = line.tier_id
            row_id = f"tier-of-{line.phase_index}"
            rows[row_id] = render("run/tier.html", row_id=row_id, tier_id=tier_id, name=board.tiers[tier_id])
        rows[f"phase-{line.phase_index}"] = _row(line, address)
    return rows


@lru_cache(maxsize=4096)
def _row(line: PhaseLine, address: str) -> Markup:
    """Kept: of a thousand rows few differ from what they were a second ago."""
    return render(
        "run/phase.html", line=line, address=address, run_id=address.rpartition("/")[2],
        choosable=line.state in _CHOOSABLE, may_pause_after=line.state in _TO_PAUSE_AFTER,
    )  # fmt: skip
