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
        return await client.why(run_id)

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
