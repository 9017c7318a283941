"""Templates become pages. All text is escaped where it is printed; nothing from outside is ever marked as safe."""

import shlex
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import autopack
from autopack.domain import money
from autopack.domain.looks import progress
from autopack.domain.looks.words import process, span, spoken
from autopack.web import flash, who

NAV = (
    ("/ui/runs", "Runs"),
    ("/ui/approvals", "Approvals"),
    ("/ui/telemetry", "Telemetry"),
    ("/ui/workers", "Workers"),
    ("/ui/since", "Since you left"),
)


@cache
def environment() -> Environment:
    """One for the process: templates are compiled once."""
    made = Environment(
        loader=PackageLoader("autopack.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    made.filters |= {
        "when": when,
        "clock": clock,
        "tokens": tokens,
        "usd": usd,
        "lasted": lasted,
        "words": spoken,
        "worker": process,
    }
    made.globals |= {"command": command, "nav": NAV, "progress": progress, "version": autopack.__version__}
    return made


def render(template: str, **context: Any) -> Markup:
    """A part of a page."""
    return Markup(environment().get_template(template).render(context))


def page(request: Request, template: str, /, *, status: int = 200, **context: Any) -> HTMLResponse:
    """A whole page; `template` extends base.html."""
    text = environment().get_template(template).render(
        path=request.url.path, flash=flash.message(request.query_params), who=who.of(request),
        has_login=bool(request.cookies.get("autopack_key")), **context,
    )  # fmt: skip
    return HTMLResponse(text, status, headers={"Cache-Control": "no-store"})


def command(*words: object) -> str:
    """The command line that does the same, to be copied into a shell."""
    return shlex.join(str(word) for word in words)


def when(moment: datetime | None) -> str:
    """The day and the minute, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}" if moment else "–"


def clock(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%H:%M:%S}" if moment else "–"


def tokens(number: float | None) -> str:
    """Few digits: "1,234", "56.7k", "1.23M". Unknown is said, never 0."""
    if number is None:
        return "unknown"
    # From where three digits would round up to the next unit.
    for least, size, unit in ((999.5e6, 1e9, "G"), (999.5e3, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(number) >= least:
            return f"{number / size:.3g}{unit}"
    return f"{number:,.0f}"


def usd(amount: float | None) -> str:
    return "unknown" if amount is None else money.short(amount)


def lasted(length: timedelta | float | None) -> str:
    """A duration, or a number of seconds."""
    if length is None:
        return "–"
    return span(length if isinstance(length, timedelta) else timedelta(seconds=length))
