"""The server, when a person asks for one: it says where to look, and ends at once when it is told to."""

import errno
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from autopack.cli.common import DatabaseUrl, say

if TYPE_CHECKING:
    from fastapi import FastAPI

    from autopack.settings import DatabaseChoice

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
SHORTEST_KEY = 16
GRACE_SECONDS = 5
"""How long requests that are under way may take once the server was told to stop; streams end at once."""


def serve(
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The port; 0 takes any that is free.")
    ] = 8000,
    database_url: DatabaseUrl = None,
) -> None:
    """Serve the API and the web page. Autopack never does this by itself."""
    from autopack.bootstrap.local import open_chosen, server_access
    from autopack.db.location import locate
    from autopack.errors import UsageError
    from autopack.settings import choose_database

    choice = choose_database(database_url)
    access = server_access()
    if host not in _LOOPBACK:
        if access.api_key is None:
            raise UsageError(f"serving on {host} needs a key: set AUTOPACK_API_KEY, or listen on 127.0.0.1")
        if len(access.api_key) < SHORTEST_KEY:
            raise UsageError(
                f"serving on {host} needs a key that nobody guesses: AUTOPACK_API_KEY has {len(access.api_key)} characters, "
                f"{SHORTEST_KEY} are the least (make 32 random ones with `openssl rand -hex 16`)"
            )
    say(f"database: {locate(choice.url, choice.directory).masked} ({choice.rule})")
    for other in choice.overruled:
        say(f"  note: {other}")
    with open_chosen(choice):
        pass  # refuses here, in words, what the server's start would end in a traceback
    # Before the app is made: whether the port is free is known at once.
    with listener(host, port) as bound:
        _run(_app(choice), bound, address_of(host, bound))


def _app(choice: "DatabaseChoice") -> "FastAPI":
    from autopack.bootstrap.local import make_app

    return make_app(choice)


def listener(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises UsageError for what is no address, NotReady where it cannot be had."""
    from autopack.errors import NotReady, UsageError

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is too long, or empty in parts"
        raise UsageError(f"--host {host!r} is no address to listen on: {why}") from None
    bound = socket.socket(family, kind, protocol)
    try:
        # A server that ended just now keeps nobody from starting the next one.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(socket.SOMAXCONN)
    except OSError as error:
        bound.close()
        raise NotReady(_not_bound(host, port, error)) from None
    return bound


def _not_bound(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} has a server already (address already in use). Stop that one, or choose another with "
            "--port (0 takes any that is free). Nothing was started."
        )
    if error.errno == errno.EACCES:
        return f"port {port} may not be listened on by this user; choose one above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine; 127.0.0.1 is, and 0.0.0.0 means all it has"
    return f"{host} port {port} cannot be listened on: {error.strerror}"


def address_of(host: str, bound: socket.socket) -> str:
    """Where a browser of this machine finds it."""
    port = bound.getsockname()[1]
    shown = _EVERYWHERE.get(host, host)
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def _run(app: "FastAPI", bound: socket.socket, address: str) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        """Says where to look once it listens, and ends open streams before it waits for connections to close."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            say(f"look at {address}/ui/runs   (API: {address}/docs; Ctrl-C stops)")

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.closing.set()
            await super().shutdown(sockets)

    # Without a configuration of its own its records reach our handler, which takes secrets out of them.
    config = uvicorn.Config(
        app, log_level="warning", log_config=None, timeout_graceful_shutdown=GRACE_SECONDS, access_log=False
    )
    Server(config).run(sockets=[bound])
