"""What a server does now and then without being asked: requests that ran out are marked as that."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread

from autopack.clock import Clock
from autopack.db import approvals
from autopack.db.engine import Database
from autopack.errors import AutopackError

log = logging.getLogger(__name__)
CLEANUP_SECONDS = 60.0


@asynccontextmanager
async def cleaned_up(database: Database, clock: Clock, *, every_seconds: float | None) -> AsyncIterator[None]:
    """While inside, requests that ran out are marked at once and then every so often; None: never."""
    if every_seconds is None:
        yield  # no task group either: it would wrap what a caller in this very process raises through here
        return
    async with anyio.create_task_group() as group:
        group.start_soon(_clean_up, database, clock, every_seconds)
        yield
        group.cancel_scope.cancel()


async def _clean_up(database: Database, clock: Clock, every_seconds: float) -> None:
    while True:
        await clean_up_once(database, clock)
        await anyio.sleep(every_seconds)


async def clean_up_once(database: Database, clock: Clock) -> None:
    """An error is logged and is no reason to end: the next time may find the database well."""
    try:
        # abandon_on_cancel: a server that is told to stop does not wait for a database that is locked.
        expired = await anyio.to_thread.run_sync(
            approvals.expire_everywhere, database, clock.now, abandon_on_cancel=True
        )
    except (AutopackError, OSError, ValueError, LookupError):
        log.exception("clean-up failed; it is tried again later")
        return
    if expired:
        log.info("approval requests ran out", extra={"expired": expired})
