"""What a worker says about the phase that it owns: renewals, model calls, the end."""

from datetime import datetime

from fastapi import APIRouter, Response

from autopack.api.deps import ClockDep, DatabaseDep
from autopack.api.phases import take
from autopack.db import attempts, calls
from autopack.db.engine import Database
from autopack.domain.calls import Reservation
from autopack.domain.caps import day_named
from autopack.schemas import (
    BudgetBody,
    FinishAnswer,
    FinishBody,
    Id,
    LostBody,
    RenewAnswer,
    RenewBody,
    ReserveBody,
    SettleBody,
)

router = APIRouter(tags=["attempts"])


@router.post("/attempts/{attempt_id}/renew")
def renew(attempt_id: Id, body: RenewBody, database: DatabaseDep, clock: ClockDep) -> RenewAnswer:
    """Keeps the lease, tells what is being done, and learns whether a person cancelled the run or changed its concurrency."""
    with database.transaction() as session:
        renewed = attempts.renew(
            session, attempt_id, body.lease_token, lease_seconds=body.lease_seconds, step=body.step, now=clock.now()
        )  # fmt: skip
    return RenewAnswer(**vars(renewed))


@router.post("/attempts/{attempt_id}/calls")
def reserve(attempt_id: Id, body: ReserveBody, database: DatabaseDep, clock: ClockDep) -> Reservation:
    with database.transaction() as session:
        return calls.reserve(session, attempt_id, body.lease_token, body.request, now=clock.now())


@router.post("/calls/{call_id}/settle", status_code=204, response_class=Response)
def settle(call_id: Id, body: SettleBody, database: DatabaseDep, clock: ClockDep) -> None:
    with database.transaction() as session:
        calls.settle(session, call_id, body.lease_token, body.result, now=clock.now())


@router.post("/attempts/{attempt_id}/finish")
def finish(attempt_id: Id, body: FinishBody, database: DatabaseDep, clock: ClockDep) -> FinishAnswer:
    with database.transaction() as session:
        phase = attempts.finish(
            session, attempt_id, body.lease_token, body.outcome, request_id=clock.new_id(), now=clock.now()
        )  # fmt: skip
    # A transaction of its own: what was finished stays finished, whatever comes of the next claim.
    following = take(database, clock, body.claim_next) if body.claim_next else None
    return FinishAnswer(phase=phase, next=following)


@router.post("/attempts/{attempt_id}/lost")
def lost(attempt_id: Id, body: LostBody, database: DatabaseDep, clock: ClockDep) -> dict[str, bool]:
    """The worker's process is known to be gone: its phase need not wait for the lease to run out."""
    with database.transaction() as session:
        return {"given_back": attempts.give_back(session, attempt_id, worker=body.worker, now=clock.now())}


@router.post("/attempts/{attempt_id}/budget")
def budget(attempt_id: Id, body: BudgetBody, database: DatabaseDep, clock: ClockDep) -> dict[str, bool]:
    """A call did not fit a cap: the run is paused, unless it fits by now, or calls under way may still make room.

    What lost workers of other runs hold of a day is given back first: nobody may ever claim there again.
    """
    now, day = clock.now(), day_named(body.reason)
    if day is not None and _gives_back(database, day, now):
        return {"paused": False}
    with database.transaction() as session:
        attempts.owned(session, attempt_id, body.lease_token)
        paused = calls.pause_for_budget(session, attempt_id, body.reason, request=body.request, now=now)
        return {"paused": paused}


def _gives_back(database: Database, day: str, now: datetime) -> bool:
    """Whether lost workers held room in the day; each is given back in a transaction of its own."""
    found = False
    while True:
        with database.transaction() as session:
            if not attempts.end_one_that_holds(session, day, now=now):
                return found
        found = True
