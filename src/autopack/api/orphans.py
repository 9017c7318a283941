"""What a doctor asks: rows that contradict each other, and leases that ran out."""

from fastapi import APIRouter

from autopack.api.deps import ClockDep, DatabaseDep
from autopack.db import orphans
from autopack.domain.doctor import Inspection

router = APIRouter(tags=["identity"])


@router.get("/inspection")
def inspection(database: DatabaseDep, clock: ClockDep) -> Inspection:
    """Rows that contradict each other, by kind, and the clocks. Reads whole tables: for a person who asks, not for a loop."""
    with database.transaction() as session:
        return orphans.inspect(session, now=clock.now())


@router.post("/leases/give-back")
def give_back(database: DatabaseDep, clock: ClockDep) -> dict[str, int]:
    """End the attempts, of all runs, whose lease ran out, as the next claim there would: their phases are due again."""
    return {"given_back": orphans.give_back_expired(database, clock.now)}
