"""Puts the pages onto the app of a server. An app inside a worker's process has none: nobody looks at it."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.staticfiles import StaticFiles

from autopack.web import (
    approvals,
    docs,
    errors,
    headers,
    login,
    phase,
    run,
    run_actions,
    runs,
    since,
    telemetry,
    workers,
)
from autopack.web.pulse import Pulse

STATIC = Path(__file__).parent / "static"
PARTS = (login, runs, run_actions, run, phase, docs, approvals, telemetry, workers, since)


def install(app: FastAPI) -> None:
    """To be called once, before the app starts. Adds `app.state.closing`: who stops the server sets it."""
    app.add_middleware(headers.PageHeaders)
    errors.install(app)
    app.router.lifespan_context = _with_pulse(app, app.router.lifespan_context)
    app.add_api_route("/", _home, methods=["GET", "HEAD"], include_in_schema=False)
    for part in PARTS:
        app.router.routes.extend(map(_with_head, part.router.routes))
    app.mount("/ui/static", StaticFiles(directory=STATIC), name="static")


def _with_head(route: BaseRoute) -> BaseRoute:
    """What is looked at answers HEAD, too: the server leaves the body out. A stream has no end, and no head."""
    if isinstance(route, APIRoute) and "GET" in (route.methods or ()) and "/stream/" not in route.path:
        route.methods = {*(route.methods or ()), "HEAD"}
    return route


async def _home() -> RedirectResponse:
    return RedirectResponse("/ui/runs", 303)


def _with_pulse(app: FastAPI, inner: Any) -> Any:
    @asynccontextmanager
    async def lifespan(started: FastAPI) -> AsyncIterator[Any]:
        opened: AbstractAsyncContextManager[Any] = inner(started)
        async with opened as state, anyio.create_task_group() as group:
            app.state.pulse = pulse = Pulse()
            app.state.closing = pulse.closing
            group.start_soon(pulse.run, app.state.database)
            yield state
            pulse.closing.set()
            group.cancel_scope.cancel()

    return lifespan
