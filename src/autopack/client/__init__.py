"""The one way to the queue, in-process and remote: the two differ by the transport only."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx

from autopack import __version__
from autopack.client.http import error_from
from autopack.client.looks import LookCalls
from autopack.client.orphans import OrphanCalls
from autopack.client.phase_log import PhaseLogCalls
from autopack.client.runs import RunCalls
from autopack.client.telemetry import TelemetryCalls
from autopack.client.triage import TriageCalls
from autopack.client.work import WorkCalls

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["AutopackClient", "error_from", "in_process", "remote"]


class AutopackClient(RunCalls, LookCalls, PhaseLogCalls, OrphanCalls, WorkCalls, TelemetryCalls, TriageCalls):
    """Typed calls of the API; raises the very class of `autopack.errors` that the server raised."""


@asynccontextmanager
async def in_process(app: "FastAPI", *, api_key: str | None = None) -> AsyncIterator[AutopackClient]:
    """A client of the app in this very process: no port, no second engine."""
    # raise_app_exceptions=False: a 500 looks like a remote 500.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    http = httpx.AsyncClient(transport=transport, base_url="http://autopack", headers=_headers(api_key))
    async with app.router.lifespan_context(app), http:
        client = AutopackClient(http)
        await client.connect()
        yield client


@asynccontextmanager
async def remote(
    url: str, *, api_key: str | None = None, patient: bool = True
) -> AsyncIterator[AutopackClient]:
    """A client of a server elsewhere. Raises ApiUnreachable at once when nobody answers at the start."""
    # trust_env=False: a proxy of the environment has no business between a drain and its queue.
    async with httpx.AsyncClient(
        base_url=url, headers=_headers(api_key), timeout=60.0, trust_env=False
    ) as http:
        hurried = AutopackClient(http, patient=False)
        await hurried.connect()
        client = AutopackClient(http, patient=patient)
        client.database_id, client.epoch = hurried.database_id, hurried.epoch
        yield client


def _headers(api_key: str | None) -> dict[str, str]:
    """What changes a person asks for is kept with where they came from: this client says that it is Autopack's."""
    of_ours = {"User-Agent": f"autopack/{__version__}"}
    return {**of_ours, "Authorization": f"Bearer {api_key}"} if api_key else of_ours
