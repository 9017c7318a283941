"""What waits for a person, and the person's word."""

from typing import Literal

from fastapi import APIRouter

from autopack.api.deps import ClockDep, DatabaseDep, OriginDep
from autopack.db import approvals
from autopack.domain.phases import Approval
from autopack.schemas import ActorBody, Id

Status = Literal["pending", "approved", "rejected", "expired", "void", "used"]
router = APIRouter(prefix="/approvals", tags=["approvals"])


@router.get("")
def page(database: DatabaseDep, run_id: Id | None = None, status: Status | None = None) -> list[Approval]:
    with database.transaction() as session:
        return approvals.page(session, run_id=run_id, status=status)


@router.post("/{approval_id}/approve")
def approve(
    approval_id: Id, body: ActorBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep
) -> Approval:
    with database.transaction() as session:
        return approvals.decide(
            session, approval_id, approved=True, by=body.by, method=origin[:40], reason=body.reason, now=clock.now()
        )  # fmt: skip


@router.post("/{approval_id}/reject")
def reject(
    approval_id: Id, body: ActorBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep
) -> Approval:
    with database.transaction() as session:
        return approvals.decide(
            session, approval_id, approved=False, by=body.by, method=origin[:40], reason=body.reason, now=clock.now()
        )  # fmt: skip
