"""All runs: what needs a person first."""

from collections.abc import AsyncIterator, Callable, Mapping

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from autopack.api.deps import DatabaseDep
from autopack.db.engine import Database
from autopack.db.pages import runs
from autopack.db.pages.pulse import last_event
from autopack.domain.phases import RunState
from autopack.web.forms import chosen, is_id
from autopack.web.live import Part, Shown, follow, stream_url
from autopack.web.rendering import page, render

router = APIRouter(prefix="/ui", include_in_schema=False)
STATES = ("open", "needs-you", *RunState)
PAGE = 100


@router.get("/runs")
def show(request: Request, database: DatabaseDep) -> HTMLResponse:
    query = request.query_params
    live = _reader(database, query)()
    again = {name: query.get(name) for name in ("state", "q", "after")}
    return page(
        request, "runs.html", live=live, stream=stream_url("/ui/stream/runs", live, **again), states=STATES,
        state=query.get("state", ""), q=query.get("q", ""),
    )  # fmt: skip


@router.get("/stream/runs", response_class=EventSourceResponse)
async def stream(request: Request, database: DatabaseDep) -> AsyncIterator[ServerSentEvent]:
    async for event in follow(request, _reader(database, request.query_params)):
        yield event


def _reader(database: Database, query: Mapping[str, str]) -> Callable[[], Shown]:
    state, text = chosen(query, "state", STATES), query.get("q", "").strip()[:200]
    after = query["after"] if is_id(query.get("after", "")) else None

    def read() -> Shown:
        with database.transaction() as session:
            event_id = last_event(session)
            found = runs.lines(session, state=state, text=text, after=after, limit=PAGE + 1)
        return Shown(parts=_parts(found, query), event_id=event_id)

    return read


def _parts(found: list[runs.RunLine], query: Mapping[str, str]) -> list[Part]:
    shown, more = found[:PAGE], found[PAGE:]
    # By its place in the list a row of another run would be drawn into this one's.
    rows = {f"run-{_dom(line.run.run_id)}": line for line in shown}
    is_filtered = any(query.get(name) for name in ("state", "q", "after"))
    return [
        Part(id="summary", html=render("runs/summary.html", lines=shown, filtered=is_filtered, more=bool(more))),
        Part(id="runs", rows={row_id: render("runs/row.html", line=line, row_id=row_id) for row_id, line in rows.items()}),
        Part(id="further", html=render("runs/further.html", lines=shown, filtered=is_filtered, more=bool(more), query=dict(query))),
    ]  # fmt: skip


def _dom(run_id: str) -> str:
    """An id of the page: of a run's characters only the dot means something to a selector."""
    return run_id.replace(".", "\u00b7")
