"""The composition root: settings become a client (here), a database and an app (`local`), models and a worker.

What only some commands need is in modules of its own: one that looks at a run through a server must not wait for the
imports of a database, an app and everything that drains.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from autopack.client import AutopackClient, in_process, remote
from autopack.clock import Clock
from autopack.settings import DatabaseChoice, Settings, choose_database, explicit_database


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A way to the queue. `api_url` is None in-process; `choice` is the database that was named or defaulted to."""

    api_url: str | None
    choice: DatabaseChoice | None


def choose_connection(
    *, api_url: str | None, in_process: bool, database_url: str | None, settings: Settings
) -> Connection:
    """In-process unless an API is named. Remote keeps a named database only to compare identities."""
    url = api_url or (None if in_process else settings.api_url)
    if url is None:
        return Connection(api_url=None, choice=choose_database(database_url))
    return Connection(api_url=url.rstrip("/"), choice=explicit_database(database_url))


@asynccontextmanager
async def open_client(
    connection: Connection, settings: Settings, *, clock: Clock | None = None
) -> AsyncIterator[AutopackClient]:
    """The client, connected. In-process it owns the one engine and the one session of this process."""
    key = secret_of(settings.api_key)
    # Imported here: whoever works through a server waits for no database and no app.
    if connection.api_url is not None:
        async with remote(connection.api_url, api_key=key) as client:
            if connection.choice is not None:
                from autopack.bootstrap.local import prove_same_database

                await prove_same_database(client, connection.choice, connection.api_url, clock or Clock())
            yield client
        return
    from autopack.bootstrap.local import opened_app

    assert connection.choice is not None
    with opened_app(connection.choice, api_key=key, clock=clock) as app:
        async with in_process(app, api_key=key) as client:
            yield client


def secret_of(value: object) -> str | None:
    return value.get_secret_value() if hasattr(value, "get_secret_value") else None
