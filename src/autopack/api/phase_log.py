"""What a phase did, for a person to read: what an attempt changed, and the log."""

from typing import Annotated

from fastapi import APIRouter, Query

from autopack.api.deps import DatabaseDep
from autopack.db import phase_log
from autopack.domain.kept_diff import PhaseDiff
from autopack.domain.phase_log import MAX_TAIL, PhaseLog
from autopack.domain.storable import MAX_INTEGER
from autopack.schemas import Id

router = APIRouter(tags=["phases"])
AttemptNumber = Annotated[
    int | None, Query(ge=1, le=MAX_INTEGER, description="The number of an attempt of this phase.")
]
Tail = Annotated[int, Query(ge=1, le=MAX_TAIL, description="How many lines at most: the last ones.")]


@router.get("/runs/{run_id}/phases/{phase_id}/diff")
def diff(run_id: Id, phase_id: Id, database: DatabaseDep, attempt: AttemptNumber = None) -> PhaseDiff:
    """What an attempt changed, as a unified diff without secrets. `cut` says whether it was too long to be kept whole.

    Without `attempt`: of the one whose work is the phase's, else of the last that left a diff. `diff` is null where none
    was kept: the attempt made nothing, or is still under way.
    """
    with database.transaction() as session:
        return phase_log.diff(session, run_id, phase_id, attempt=attempt)


@router.get("/runs/{run_id}/phases/{phase_id}/log")
def log(
    run_id: Id, phase_id: Id, database: DatabaseDep, attempt: AttemptNumber = None, tail: Tail = 200
) -> PhaseLog:
    """The last lines about the phase, or one attempt of it: events, model calls, steps, checks and their output, verdicts.

    Oldest first. `cut` says whether there are lines before these, `step` what the attempt under way is doing.
    """
    with database.transaction() as session:
        return phase_log.log(session, run_id, phase_id, attempt=attempt, tail=tail)
