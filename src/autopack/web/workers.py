"""Who works on what, and whose lease has ended."""

from collections.abc import AsyncIterator, Callable

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from autopack.api.deps import ClockDep, DatabaseDep
from autopack.clock import Clock
from autopack.db.engine import Database
from autopack.db.looks import workers
from autopack.db.pages.pulse import last_event
from autopack.web.live import Part, Shown, follow, stream_url
from autopack.web.rendering import page, render

router = APIRouter(prefix="/ui", include_in_schema=False)
MOST = 500


@router.get("/workers")
def show(request: Request, database: DatabaseDep, clock: ClockDep) -> HTMLResponse:
    live = _reader(database, clock)()
    return page(request, "workers.html", live=live, stream=stream_url("/ui/stream/workers", live))


@router.get("/stream/workers", response_class=EventSourceResponse)
async def stream(request: Request, database: DatabaseDep, clock: ClockDep) -> AsyncIterator[ServerSentEvent]:
    async for event in follow(request, _reader(database, clock)):
        yield event


def _reader(database: Database, clock: Clock) -> Callable[[], Shown]:
    def read() -> Shown:
        with database.transaction() as session:
            event_id = last_event(session)
            found = workers.look(session, now=clock.now(), limit=MOST + 1)
        leases = sum(len(worker.leases) for worker in found)
        ended = [(worker.worker, lease) for worker in found for lease in worker.leases if lease.expired]
        html = render("workers/table.html", workers=found, ended=ended, leases=leases, most=MOST)
        return Shown(parts=[Part(id="workers", html=html)], event_id=event_id)

    return read
