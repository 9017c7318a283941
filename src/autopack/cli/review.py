"""Commands that look back over a run's work in its workspace: undo a phase, audit every decision."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopack.cli.common import (
    ApiUrl,
    By,
    DatabaseUrl,
    Json,
    Workspace,
    body_of,
    result,
    result_json,
    with_client,
)

if TYPE_CHECKING:
    from autopack.client import AutopackClient
    from autopack.domain.phases import Phase
    from autopack.executor.auditing import Audited

RunArgument = Annotated[str, typer.Argument(help="The run.")]
PhaseArgument = Annotated[str, typer.Argument(help="The phase.")]


def undo(
    run_id: RunArgument, phase_id: PhaseArgument, by: By = "a person",
    reason: Annotated[str | None, typer.Option(help="Why; kept with the phase and the commit.")] = None,
    workspace: Workspace = Path(), api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Take a COMPLETE phase's commit back on the run's branch, unless later work depends on the same lines."""

    from autopack.schemas import ActorBody

    actor = body_of(ActorBody, by=by, reason=reason)

    async def do(client: "AutopackClient") -> tuple["Phase", str]:
        from autopack.clock import Clock
        from autopack.executor.undoing import undo_phase
        from autopack.workspace.git import GitWorkspace

        git = await GitWorkspace.open(workspace)
        return await undo_phase(client, git, Clock(), run_id=run_id, phase_id=phase_id, actor=actor)

    phase, commit = with_client(api_url, database_url, do)
    if as_json:
        result_json({"phase": phase, "undo_commit": commit})
    else:
        result(f"{run_id}/{phase_id}: {phase.state}, taken back by {commit}; requeue it to build it anew")


def audit(
    run_id: RunArgument, workspace: Workspace = Path(), api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False
) -> int:  # fmt: skip
    """Make every past decision of a run again from its trees and policies; exit code 1 at the first difference.

    Exit code 3 where there are decisions and none of them can be made again, as in another repository.
    """

    async def do(client: "AutopackClient") -> list["Audited"]:
        from autopack.executor.auditing import audit_run
        from autopack.workspace.git import GitWorkspace

        await client.run(run_id)
        found: list[Audited] = []
        async for each in audit_run(client, await GitWorkspace.open(workspace), run_id):
            found.append(each)
            if each.differences:
                break
        return found

    found = with_client(api_url, database_url, do)
    differing = [each for each in found if each.differences]
    again = sum(1 for each in found if each.skipped is None)
    if as_json:
        result_json({"run_id": run_id, "attempts": found, "agrees": not differing})
    else:
        for each in found:
            result(_line(each))
        result(
            f"{run_id}: {again} decisions made again, {len(differing)} differ, {len(found) - again} skipped"
        )
    if not again:
        return 3 if found else 0
    return 1 if differing else 0


def _line(each: "Audited") -> str:
    told: Any = each.skipped and f"skipped: {each.skipped}"
    if each.differences:
        told = "; ".join(f"{d.field} was {d.stored}, and is {d.now}" for d in each.differences)
    return f"{each.phase_id} attempt {each.number}: {told or 'agrees'}"
