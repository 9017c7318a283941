"""Regions of a page that follow the database: what is sent is what has changed, over one event stream per page.

A page is made of parts, each with an id. The stream reads and renders them again when something changed, compares them
with what it sent last, and sends those that differ as `<hx-partial>`, which htmx morphs into the page. Of a table whose
rows are the same ones as before, only the rows that differ are sent.

An event's id is `<events.id>.<digest of what the page shows>`: who comes back with it as Last-Event-ID is sent nothing
when nothing has changed, and everything otherwise.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

import anyio
import anyio.to_thread
from fastapi import Request
from fastapi.sse import ServerSentEvent
from markupsafe import Markup

from autopack.web.pulse import Pulse

_RETRY_MS = 500
_SHORT_RETRY_MS = 2000


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is inside the element `id`: either `html`, or the `rows` of a table's body by their ids."""

    id: str
    html: Markup = field(default_factory=Markup)
    rows: Mapping[str, Markup] | None = None

    def __html__(self) -> str:
        return self.html if self.rows is None else "".join(self.rows.values())


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The parts of one page, as they are at one moment. In a template: `{{ live.tiles }}`."""

    parts: Sequence[Part]
    event_id: int = 0
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        told = hashlib.sha256()
        for part in self.parts:
            told.update(f"{part.id}\0{part.__html__()}\0".encode())
        object.__setattr__(self, "digest", told.hexdigest()[:16])

    def __getitem__(self, name: str) -> Part:
        return next(part for part in self.parts if part.id == name)

    @property
    def id(self) -> str:
        return f"{self.event_id}.{self.digest}"


def stream_url(path: str, shown: Shown, **query: str | int | None) -> str:
    """Where the page that was just rendered goes on reading."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode({**given, 'seen': shown.id})}"


async def follow(request: Request, read: Callable[[], Shown]) -> AsyncIterator[ServerSentEvent]:
    """The events of one page. `read` runs in a worker thread, and shows what the database holds by then.

    A browser with too many streams open is sent what it missed and asked to come back in a moment.
    """
    pulse: Pulse = request.app.state.pulse
    last_id = _seen(request)
    before: Shown | None = None
    with pulse.stream_of(_browser(request)) as may_stay:
        pace = _RETRY_MS if may_stay else _SHORT_RETRY_MS
        yield ServerSentEvent(event="autopack:pace", raw_data="", retry=pace)
        while True:
            version = pulse.version
            shown = await _read(pulse, request, read, anew=before is None)
            if before is not None or shown.digest != last_id.rpartition(".")[2]:
                changed = fragments(before, shown)
                if changed:
                    yield ServerSentEvent(raw_data=changed, id=shown.id)
            before = shown
            if not may_stay or not await pulse.changed(version):
                return


async def _read(pulse: Pulse, request: Request, read: Callable[[], Shown], *, anew: bool) -> Shown:
    """One read at a time, and one for all tabs that show the same: they may not keep the workers' requests waiting.

    `anew`: a page that was just rendered may be newer than what others read.
    """
    query = [pair for pair in request.query_params.multi_items() if pair[0] != "seen"]
    key = f"{request.url.path}?{urlencode(query)}"
    async with pulse.reading:
        kept: Shown | None = pulse.kept.get(key)
        if kept is not None and not anew:
            return kept
        pulse.kept[key] = shown = await anyio.to_thread.run_sync(read)
        return shown


def fragments(before: Shown | None, shown: Shown) -> str:
    """The parts of `shown` that differ from `before`, as htmx takes them."""
    earlier = {part.id: part for part in before.parts} if before else {}
    return "\n".join(
        piece for part in shown.parts for piece in _changed(earlier.get(part.id), part)
    )  # fmt: skip


def _changed(before: Part | None, part: Part) -> Iterable[str]:
    if before == part:
        return
    if part.rows is None:
        yield _partial(part.id, "innerMorph", part.html)
    elif before is not None and before.rows is not None and list(before.rows) == list(part.rows):
        yield _partial(part.id, "rows", *(row for id_, row in part.rows.items() if before.rows[id_] != row))
    else:
        yield _partial(part.id, "rowset", *part.rows.values())


def _partial(id_: str, swap: str, *html: str) -> str:
    return f'<hx-partial hx-target="#{id_}" hx-swap="{swap}">{"".join(html)}</hx-partial>'


def _seen(request: Request) -> str:
    """What the page showed when it was rendered, or what it was sent last."""
    given = request.headers.get("last-event-id") or request.query_params.get("seen", "")
    return given if re.fullmatch(r"[0-9]{1,20}\.[0-9a-f]{16}", given) else ""


def _browser(request: Request) -> str:
    host = request.client.host if request.client else "?"
    return f"{host} {request.headers.get('user-agent', '')[:200]}"
