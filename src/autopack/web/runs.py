"""All runs: what needs a person first."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from autopack.api.deps import ClockDep, DatabaseDep
from autopack.db.pages import runs
from autopack.db.pages.pulse import last_event
from autopack.domain.phases import RunState
from autopack.web.filters import chosen, id_of, text_of
from autopack.web.live import Part, Shown, follow, stream_url
from autopack.web.rendering import page, render

router = APIRouter(prefix="/ui", include_in_schema=False)
STATES = ("open", "needs-you", *RunState)
PAGE = 100


async def _reader(request: Request, database: DatabaseDep, clock: ClockDep) -> Callable[[], Shown]:
    """A wrong filter is refused while that can still be said: a stream that has begun can only end."""
    query = request.query_params
    state, text, after = chosen(query, "state", STATES), text_of(query, "q"), id_of(query, "after")

    def read() -> Shown:
        with database.transaction() as session:
            event_id = last_event(session)
            found = runs.lines(session, state=state, text=text, after=after, limit=PAGE + 1, now=clock.now())
        return Shown(parts=_parts(found, query), event_id=event_id)

    return read


_ReaderDep = Annotated[Callable[[], Shown], Depends(_reader)]


@router.get("/runs")
def show(request: Request, read: _ReaderDep) -> HTMLResponse:
    query, live = request.query_params, read()
    again = {name: query.get(name) for name in ("state", "q", "after")}
    return page(
        request, "runs.html", live=live, stream=stream_url("/ui/stream/runs", live, **again), states=STATES,
        state=query.get("state", ""), q=query.get("q", ""),
    )  # fmt: skip


@router.get("/stream/runs", response_class=EventSourceResponse)
async def stream(request: Request, read: _ReaderDep) -> AsyncIterator[ServerSentEvent]:
    async for event in follow(request, read):
        yield event


def _parts(found: list[runs.RunLine], query: Mapping[str, str]) -> list[Part]:
    shown, more = found[:PAGE], found[PAGE:]
    # By its place in the list a row of another run would be drawn into this one's.
    is_filtered = any(query.get(name) for name in ("state", "q", "after"))
    # What was asked for by a filter, and a further page, keep their order; `shown` says where the next page begins.
    listed = shown if is_filtered else sorted(shown, key=lambda line: not line.is_first)
    rows = {f"run-{_dom(line.run.run_id)}": line for line in listed}
    return [
        Part(id="summary", html=render("runs/summary.html", lines=shown, filtered=is_filtered, more=bool(more))),
        Part(id="runs", rows={row_id: render("runs/row.html", line=line, row_id=row_id) for row_id, line in rows.items()}),
        Part(id="further", html=render("runs/further.html", lines=shown, filtered=is_filtered, more=bool(more), query=dict(query))),
    ]  # fmt: skip


def _dom(run_id: str) -> str:
    """An id of the page: of a run's characters only the dot means something to a selector."""
    return run_id.replace(".", "\u00b7")
