"""The database and the app in this very process, and the proof that a server has the same database."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from fastapi import FastAPI

from autopack.api.app import create_app
from autopack.api.cleanup import CLEANUP_SECONDS
from autopack.api.guard import Access
from autopack.bootstrap import secret_of
from autopack.client import AutopackClient
from autopack.clock import Clock
from autopack.db.engine import Database
from autopack.db.identity import open_database, read_identity, write_nonce
from autopack.db.location import locate
from autopack.domain.addresses import shown_address
from autopack.errors import DatabaseMismatch, DatabaseRefused
from autopack.settings import DatabaseChoice, choose_database, load_settings

NONCE_TRIES = 5
REMEDY = "Nothing was claimed. Start the server on the same DATABASE_URL, or unset DATABASE_URL here."


def make_app(choice: DatabaseChoice | None = None) -> FastAPI:
    """The app that a server runs, with its pages: it opens the chosen database when it starts."""
    # Imported here: an app inside a worker's process has no pages, and need not wait for what makes them.
    from autopack import web

    app = create_app(
        lambda: open_chosen(choice or choose_database(None)), access=server_access, cleanup_seconds=CLEANUP_SECONDS
    )  # fmt: skip
    web.install(app)
    return app


def server_access() -> Access:
    """Who may use a server of this environment."""
    settings = load_settings()
    hosts = frozenset(host.strip().lower() for host in settings.allowed_hosts.split(",") if host.strip())
    return Access(api_key=secret_of(settings.api_key), allowed_hosts=hosts)


@contextmanager
def open_chosen(choice: DatabaseChoice, *, one_session: bool = False) -> Iterator[Database]:
    with open_database(locate(choice.url, choice.directory), one_session=one_session) as database:
        yield database


@contextmanager
def opened_app(choice: DatabaseChoice, *, api_key: str | None, clock: Clock | None) -> Iterator[FastAPI]:
    """An app over the one engine and the one session of this process."""
    with open_chosen(choice, one_session=True) as database:
        yield create_app(lambda: nullcontext(database), access=lambda: Access(api_key=api_key), clock=clock)


async def prove_same_database(
    client: AutopackClient, choice: DatabaseChoice, api_url: str, clock: Clock
) -> None:
    """Raises DatabaseMismatch unless server and `choice` are the same database, and not just copies of one.

    A mark written through our own engine must be read back by the server. None is written into a database of
    another identity: what is plainly not the server's is left as it was.
    """
    theirs = await client.connect()
    # Another drain may write its own mark between our write and the server's answer: that proves nothing.
    for _ in range(NONCE_TRIES):
        if await _reads_back(client, theirs, choice, api_url, clock):
            return
    raise DatabaseMismatch(
        f"the server at {shown_address(api_url)} works on {theirs['url']} (database {theirs['database_id']}), which is not "
        f"{locate(choice.url, choice.directory).masked}, named by {choice.rule}. {REMEDY}"
    )


async def _reads_back(
    client: AutopackClient, theirs: dict[str, Any], choice: DatabaseChoice, api_url: str, clock: Clock
) -> bool:
    """Whether the server reads what is written here. A database of another identity is not written into."""
    try:
        with open_chosen(choice) as database, database.transaction() as session:
            ours = read_identity(session, database.location)
            if ours.database_id != theirs["database_id"]:
                return False
            nonce = clock.new_id()
            write_nonce(session, nonce)
    except DatabaseRefused as error:
        raise DatabaseMismatch(
            f"the server at {shown_address(api_url)} works on {theirs['url']} (database {theirs['database_id']}), and {choice.rule} "
            f"names a database that cannot be compared with it: {error} {REMEDY}"
        ) from error
    return bool((await client.connect())["nonce"] == nonce)
