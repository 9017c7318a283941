"""What the checks said of a base commit, for all workers of a run."""

from fastapi import APIRouter

from autopack.api.deps import ClockDep, DatabaseDep
from autopack.db import baselines
from autopack.schemas import BaselineAnswer, BaselineBody, Commit, Digest, Id

router = APIRouter(prefix="/runs/{run_id}/baselines/{base_commit}/{checks_hash}", tags=["baselines"])


@router.get("")
def get(run_id: Id, base_commit: Commit, checks_hash: Digest, database: DatabaseDep) -> BaselineAnswer:
    with database.transaction() as session:
        return BaselineAnswer(report=baselines.get(session, run_id, base_commit, checks_hash))


@router.put("")
def store(
    run_id: Id, base_commit: Commit, checks_hash: Digest, body: BaselineBody, database: DatabaseDep, clock: ClockDep
) -> BaselineAnswer:  # fmt: skip
    """The first one stored is kept, and is what everybody is answered."""
    with database.transaction() as session:
        kept = baselines.store(session, run_id, base_commit, checks_hash, body.report, now=clock.now())
    return BaselineAnswer(report=kept)
