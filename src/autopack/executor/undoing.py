"""Taking back what a COMPLETE phase committed: on the branch first, then in the queue."""

from autopack.client import AutopackClient
from autopack.clock import Clock
from autopack.domain.phases import Phase, PhaseState
from autopack.errors import Conflict
from autopack.schemas import ActorBody
from autopack.workspace.git import GitWorkspace
from autopack.workspace.undo import Conflicts


class UndoRefused(Conflict):
    """The phase's work cannot be taken back; nothing was changed."""

    code = "undo_refused"


async def undo_phase(
    client: AutopackClient, git: GitWorkspace, clock: Clock, *, run_id: str, phase_id: str, actor: ActorBody
) -> tuple[Phase, str]:  # fmt: skip
    """The phase, CANCELLED from now on, and the commit on the run's branch that takes its work back.

    `actor` was validated by whoever made it: nothing that the queue would refuse is on the branch before it says so.

    Killed between the two steps, the same command finds the commit and goes on. Raises UndoRefused where later work
    depends on the same lines, or there is nothing to take back.
    """
    phase = await client.phase(run_id, phase_id)
    commit = phase.result_commit
    if phase.state is not PhaseState.COMPLETE or commit is None:
        what = "it changed nothing" if phase.state is PhaseState.COMPLETE else f"it is {phase.state}"
        raise UndoRefused(f"there is nothing of phase {phase_id} of run {run_id} to take back: {what}")
    message = f"Undo {phase_id}: {phase.name}\n\n{actor.reason or ''}"
    trailers = {"Autopack-Run": run_id, "Autopack-Phase": phase_id}
    undone = await git.undo(run_id, commit, message=message, trailers=trailers, at=clock.now())
    if isinstance(undone, Conflicts):
        raise UndoRefused(_in_the_way(phase_id, undone))
    run = await client.run(run_id)
    holds = await git.held(undone, run.head_commit or run.base_commit or commit)
    phase = await client.undone(
        run_id, phase_id, commit=commit, undo_commit=undone, by=actor.by, reason=actor.reason, holds=holds
    )
    return phase, undone


def _in_the_way(phase_id: str, conflicts: Conflicts) -> str:
    later = [
        f"{each.commit[:12]} ({f'phase {each.phase_id}' if each.phase_id else 'by a person'}) in {each.path}"
        for each in conflicts.later
    ]
    depends = "; ".join(later) or f"what is in {', '.join(conflicts.paths)} now"
    return (
        f"later work depends on what phase {phase_id} changed: {depends}. Nothing was changed. Undo that first, "
        "or revert by hand on the run's branch."
    )
