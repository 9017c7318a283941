"""What the next builder call should be allowed, from what came of all earlier ones."""

from fastapi import APIRouter

from autopack.api.deps import DatabaseDep
from autopack.db import estimates
from autopack.domain.estimate import Estimate
from autopack.schemas.telemetry import EstimateBody

router = APIRouter(tags=["estimates"])


@router.post("/estimates")
def estimate(body: EstimateBody, database: DatabaseDep) -> Estimate:
    """Nothing is written: what was asked for is recorded with the call."""
    with database.transaction() as session:
        return estimates.estimate(
            session, body.features.to_domain(), body.model, output_limit=body.output_limit, target=body.target
        )
