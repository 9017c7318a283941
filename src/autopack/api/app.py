"""The FastAPI app over a database that its maker opens and closes."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager

from fastapi import FastAPI

import autopack
from autopack.api import (
    approvals,
    attempts,
    baselines,
    description,
    estimates,
    estimator,
    identity,
    looks,
    metrics,
    orphans,
    phase_log,
    phases,
    problems,
    runs,
    telemetry,
    triage,
    usage,
)
from autopack.api.cleanup import cleaned_up
from autopack.api.guard import Access, Guard
from autopack.clock import Clock
from autopack.db.engine import Database
from autopack.db.identity import read_identity


def create_app(
    open_database: Callable[[], AbstractContextManager[Database]],
    *,
    access: Callable[[], Access] = Access,
    clock: Clock | None = None,
    cleanup_seconds: float | None = None,
) -> FastAPI:
    """Nothing is opened before the app starts. A shared database: `create_app(lambda: nullcontext(database))`.

    With `cleanup_seconds`, for a server: how often it marks what ran out. An app in a worker's process does so when asked.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.access = access()
        with open_database() as database:
            app.state.database = database
            with database.transaction() as session:
                identity = read_identity(session, database.location)
            app.state.database_id, app.state.epoch = identity.database_id, identity.epoch
            async with cleaned_up(database, app.state.clock, every_seconds=cleanup_seconds):
                yield

    # FastAPI's own pages about the API fetch their scripts from elsewhere; a server with pages has one of its own.
    app = FastAPI(
        title="Autopack", version=autopack.__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.clock = clock or Clock()
    app.add_middleware(Guard)
    problems.install(app)
    for part in (
        identity,
        orphans,
        runs,
        phases,
        looks,
        phase_log,
        attempts,
        approvals,
        baselines,
        estimates,
        estimator,
        telemetry,
        metrics,
        usage,
        triage,
    ):
        # Not include_router: it would build every route once more for each app, at its first request.
        app.router.routes.extend(part.router.routes)
    description.install(app)
    return app
