"""The command that says why nothing moves."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from autopack.cli.common import ApiUrl, DatabaseUrl, Json, result, result_json, with_client
from autopack.cli.tables import columns

if TYPE_CHECKING:
    from autopack.client import AutopackClient
    from autopack.domain.looks.why import Why


def why(
    run_id: Annotated[str, typer.Argument(help="The run.")],
    api_url: ApiUrl = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Say in plain words why a run does not move, phase by phase, and which commands help."""

    async def do(client: "AutopackClient") -> "Why":
        from autopack.clock import utc_now
        from autopack.domain.looks.why import without_workers
        from autopack.executor.liveness import is_dead

        found = await client.why(run_id)
        if not found.moves:
            return found
        # What a database cannot know before the lease ends: that a process of this very machine is no more.
        now = utc_now()
        held = [each for each in await client.open_attempts(run_id) if each.lease_expires_at > now]
        gone = {each.phase_id for each in held if is_dead(each.worker)}
        return without_workers(found, gone, alive=len(held) - len(gone))

    found = with_client(api_url, database_url, do)
    if as_json:
        result_json(found)
        return
    for line in lines(found):
        result(line)


def lines(found: "Why") -> Iterable[str]:
    """The run first; each command once, where it is first of use."""
    told: set[str] = set()

    def commands(do: Iterable[str]) -> Iterable[str]:
        new = [each for each in do if each not in told]
        told.update(new)
        return [f"    {each}" for each in new]

    yield f"{found.run_id}  {found.state}"
    yield found.text
    yield from commands(found.do)
    if found.phases:
        yield ""
    heads = columns([("", "", ""), *((each.phase_id, each.state, each.text) for each in found.phases)])
    for phase, line in zip(found.phases, heads.splitlines()[1:], strict=True):
        yield line
        yield from commands(phase.do)
    if found.not_listed:
        whole = ", ".join(f"{number} {hold}" for hold, number in found.counts.items())
        yield f"and {found.not_listed} more that wait for the like ({whole} in all)"
