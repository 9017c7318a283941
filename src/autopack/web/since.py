"""Since you left: what waits for a person, what happened, what it cost, from the moment at which somebody looked last."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from autopack.api.deps import ClockDep, DatabaseDep, Moment
from autopack.clock import Clock
from autopack.db.engine import Database
from autopack.db.looks import digest
from autopack.db.pages.pulse import last_event
from autopack.domain import event_words
from autopack.domain.looks import figures
from autopack.domain.moments import moment
from autopack.errors import UsageError
from autopack.web.forms import FormDep, back
from autopack.web.live import Part, Shown, follow, stream_url
from autopack.web.rendering import command, page, render

router = APIRouter(prefix="/ui", include_in_schema=False)
COOKIE = "autopack_seen"
FIRST_VISIT = timedelta(hours=24)
_YEAR_SECONDS = 365 * 86_400


@router.get("/since")
def show(
    request: Request, database: DatabaseDep, clock: ClockDep,
    since: Annotated[str, Query(max_length=40)] = "", until: Annotated[str, Query(max_length=40)] = "",
) -> HTMLResponse:  # fmt: skip
    """From `since`, else from when somebody said that they had seen it all, else of the last 24 hours."""
    now = clock.now()
    begin, end = moment("since", since.strip() or None, now), moment("until", until.strip() or None, now)
    seen = _seen(request, now)
    begun = begin or seen or now - FIRST_VISIT
    live = _reader(database, clock, begun, end)()
    again = {"since": begun.isoformat(), "until": end.isoformat() if end else None}
    stream = stream_url("/ui/stream/since", live, **again)
    return page(
        request, "since.html", live=live, stream=stream, since=since.strip(), until=until.strip(),
        from_cookie=begin is None and seen is not None,
    )  # fmt: skip


@router.get("/stream/since", response_class=EventSourceResponse)
async def stream(
    request: Request, database: DatabaseDep, clock: ClockDep, since: Moment, until: Moment | None = None
) -> AsyncIterator[ServerSentEvent]:
    async for event in follow(request, _reader(database, clock, since, until)):
        yield event


@router.post("/since/seen")
def seen(given: FormDep, clock: ClockDep) -> RedirectResponse:
    """The next visit begins at the end of what was shown, not at the click: what came in between was not seen."""
    now = clock.now()
    until = moment("until", given.get("until") or None, now) or now
    answer = back(given, "/ui/since", "seen")
    answer.set_cookie(
        COOKIE, min(until, now).astimezone(UTC).isoformat(), max_age=_YEAR_SECONDS, path="/ui", httponly=True,
        samesite="strict",
    )  # fmt: skip
    return answer


def _seen(request: Request, now: datetime) -> datetime | None:
    """A cookie that is no moment, or is one to come, is as none."""
    try:
        found = moment(COOKIE, request.cookies.get(COOKIE), now)
    except UsageError:
        return None
    return found if found is not None and found <= now else None


def _reader(database: Database, clock: Clock, since: datetime, until: datetime | None) -> Callable[[], Shown]:
    def read() -> Shown:
        with database.transaction() as session:
            event_id = last_event(session)
            found = digest.digest(session, since=since, until=until, now=clock.now())
        to = ("--until", f"{until:%Y-%m-%dT%H:%M:%SZ}") if until else ()
        cli = command("autopack", "report", "--since", f"{since:%Y-%m-%dT%H:%M:%SZ}", *to)
        html = render("since/digest.html", digest=found, figures=figures, told=event_words, cli=cli)
        return Shown(parts=[Part(id="digest", html=html)], event_id=event_id)

    return read
