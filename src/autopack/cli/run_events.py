"""The audit trail of a run: what happened, when, and who did it."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import typer

from autopack.cli.common import ApiUrl, DatabaseUrl, Json, result, result_json, to_json, with_client

if TYPE_CHECKING:
    from autopack.client import AutopackClient
    from autopack.domain.phases import Event

FOLLOW_SECONDS = 1.0
_AT_ONCE = 1000


def run_events(
    run_id: Annotated[str, typer.Argument(help="The run.")],
    after: Annotated[int, typer.Option("--after", min=0, help="Only events with a greater number.")] = 0,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as they happen, until the run has ended. With --json one line for each.")
    ] = False,
    api_url: ApiUrl = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Show what happened to a run: number, time, who, and what, with the reason that a person gave."""

    async def do(client: "AutopackClient") -> None:
        found = 0
        pages = _followed(client, run_id, after) if follow else _pages(client, run_id, after)
        if as_json and not follow:
            result_json([event async for page in pages for event in page])
            return
        async for page in pages:
            for event in page:
                result(to_json(event, indent=None) if as_json else line(event))
            found += len(page)
        if not found and not as_json:
            result("no events" if after == 0 else f"no events after {after}")

    with_client(api_url, database_url, do)


def line(event: "Event") -> str:
    from autopack.domain.event_words import what, who

    return f"{event.event_id}  {event.created_at:%Y-%m-%d %H:%M:%S} UTC  {who(event)}  {what(event)}"


async def _pages(client: "AutopackClient", run_id: str, after: int) -> AsyncIterator[list["Event"]]:
    while True:
        page = await client.events(run_id, after=after)
        if page:
            after = page[-1].event_id
            yield page
        if len(page) < _AT_ONCE:
            return


async def _followed(client: "AutopackClient", run_id: str, after: int) -> AsyncIterator[list["Event"]]:
    """Ends once the run has ended, and all that led to it was told."""
    import anyio

    from autopack.domain.lifecycle import DONE_STATES

    while True:
        has_ended = (await client.run(run_id)).state in DONE_STATES
        async for page in _pages(client, run_id, after):
            after = page[-1].event_id
            yield page
        if has_ended:
            return
        await anyio.sleep(FOLLOW_SECONDS)
