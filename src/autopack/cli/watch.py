"""The command that shows a run while others work on it: a live table on a terminal, a line per change elsewhere."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from autopack.cli.common import ApiUrl, DatabaseUrl, Json, connection_for, result

if TYPE_CHECKING:
    from autopack.bootstrap import Connection
    from autopack.cli.watched import Watched
    from autopack.client import AutopackClient
    from autopack.settings import Settings


def watch(
    run_id: Annotated[str, typer.Argument(help="The run.")],
    interval: Annotated[
        float, typer.Option("--interval", min=0.2, max=3600, help="Seconds between two looks.")
    ] = 1.0,
    api_url: ApiUrl = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> int:
    """Watch a run until it has ended: a live table on a terminal, one line per change elsewhere. Changes nothing."""
    import anyio

    from autopack.cli import records

    connection, settings = connection_for(api_url, False, database_url, banner=False)
    records.launched("watch", as_json, connection, run_id=run_id)
    watched = anyio.run(_connected, connection, settings, run_id, interval, as_json)
    if as_json:
        records.ended("watch", {"run": watched.run}, watched.exit_code)
    else:
        result(watched.summary())
    return watched.exit_code


async def _connected(
    connection: "Connection", settings: "Settings", run_id: str, interval: float, as_json: bool
) -> "Watched":
    from autopack.bootstrap import open_client
    from autopack.cli.watched import Watched

    async with open_client(connection, settings) as client:
        watched = await Watched.of(client, run_id)
        if not as_json and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
            await _on_terminal(client, watched, interval)
        else:
            await _as_lines(client, watched, interval, as_json)
        return watched


async def _as_lines(client: "AutopackClient", watched: "Watched", interval: float, as_json: bool) -> None:
    import anyio

    from autopack.cli.common import to_json

    if not as_json and not watched.has_ended:
        result(watched.summary())
    while not watched.has_ended:
        await anyio.sleep(interval)
        for change in await watched.look(client):
            result(to_json(change.record(), indent=None) if as_json else change.line())


async def _on_terminal(client: "AutopackClient", watched: "Watched", interval: float) -> None:
    import anyio
    from rich.console import Console
    from rich.live import Live

    from autopack.cli.watch_table import screen

    console = Console()
    with Live(
        console=console,
        auto_refresh=False,
        transient=True,
        get_renderable=lambda: screen(watched, width=console.width, height=console.height),
    ) as live:
        while not watched.has_ended:
            await watched.forecast(client)
            live.refresh()
            await anyio.sleep(interval)
            await watched.look(client)
