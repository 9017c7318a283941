"""What waits for a person, and the person's word."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from autopack.api.deps import ClockDep, DatabaseDep, OriginDep
from autopack.clock import Clock
from autopack.db import approvals
from autopack.db.approvals import Decision
from autopack.db.engine import Database
from autopack.domain.phases import Approval
from autopack.schemas import DecideBody, Id

Status = Literal["pending", "approved", "rejected", "expired", "void", "used"]
router = APIRouter(prefix="/approvals", tags=["approvals"])


@router.get("")
def page(
    database: DatabaseDep,
    clock: ClockDep,
    run_id: Id | None = None,
    status: Status | None = None,
    after: Id | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[Approval]:
    """In the order in which they were asked for; `after` is the approval_id of the last one seen."""
    with database.transaction() as session:
        return approvals.page(
            session, run_id=run_id, status=status, after=after, limit=limit, now=clock.now()
        )


@router.get("/{approval_id}")
def get(approval_id: Id, database: DatabaseDep, clock: ClockDep) -> Approval:
    with database.transaction() as session:
        return approvals.get(session, approval_id, now=clock.now())


@router.post("/{approval_id}/approve")
def approve(
    approval_id: Id, body: DecideBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep
) -> Approval:
    return _decide(database, clock, approval_id, _decision(body, origin, approved=True), origin)


@router.post("/{approval_id}/reject")
def reject(
    approval_id: Id, body: DecideBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep
) -> Approval:
    return _decide(database, clock, approval_id, _decision(body, origin, approved=False), origin)


def _decision(body: DecideBody, origin: str, *, approved: bool) -> Decision:
    return Decision(approved=approved, by=body.by, method=origin[:40], reason=body.reason, run_id=body.run_id)


def _decide(database: Database, clock: Clock, approval_id: str, decision: Decision, origin: str) -> Approval:
    with database.transaction() as session:
        approvals.get(session, approval_id, now=clock.now())  # what ran out is marked, whatever is answered
    with database.transaction() as session:
        return approvals.decide(
            session, approval_id, decision, now=clock.now(), actor=f"{decision.by} ({origin})"
        )
