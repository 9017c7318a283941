"""Approvals: listed, and decided once, by a person."""

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from autopack.db import events, phases, runs
from autopack.db.tables import ApprovalRequestRow, PhaseRow
from autopack.domain.phases import Approval, FailureKind, PhaseState
from autopack.errors import Conflict, NotFound


def page(session: Session, *, run_id: str | None, status: str | None) -> list[Approval]:
    query = select(ApprovalRequestRow).order_by(ApprovalRequestRow.requested_at)
    if run_id is not None:
        query = query.where(ApprovalRequestRow.run_id == run_id)
    if status is not None:
        query = query.where(ApprovalRequestRow.status == status)
    return [_to_domain(row) for row in session.scalars(query.limit(500))]


def decide(
    session: Session,
    approval_id: str,
    *,
    approved: bool,
    by: str,
    method: str,
    reason: str | None,
    now: datetime,
) -> Approval:
    """Approved: the phase is due again and will apply exactly the approved plan. Rejected: the phase is FAILED.

    Raises Conflict when the request was decided before, or the phase no longer waits for it.
    """
    row = session.get(ApprovalRequestRow, approval_id, populate_existing=True)
    if row is None:
        raise NotFound(f"there is no approval request {approval_id}")
    decided = session.execute(
        update(ApprovalRequestRow)
        .where(ApprovalRequestRow.id == approval_id, ApprovalRequestRow.status == "pending")
        .values(
            status="approved" if approved else "rejected", responded_at=now, responded_by=by,
            response_method=method, response_reason=reason,
        )
        .returning(ApprovalRequestRow.id)
    ).first()  # fmt: skip
    if decided is None:
        raise Conflict(f"approval request {approval_id} is {row.status}, not pending")
    _release_phase(session, row, approved=approved, reason=reason, now=now)
    events.record(
        session, run_id=row.run_id, phase_id=row.phase_id, kind="approved" if approved else "rejected", actor=by,
        now=now, approval_id=approval_id, reason=reason,
    )  # fmt: skip
    runs.settle(session, row.run_id, actor=by, now=now)
    return _to_domain(row)


def _release_phase(
    session: Session, row: ApprovalRequestRow, *, approved: bool, reason: str | None, now: datetime
) -> None:
    phase = phases.get(session, row.run_id, row.phase_id)
    if phase.state is not PhaseState.GATE:
        raise Conflict(
            f"phase {row.phase_id} of run {row.run_id} is {phase.state}; it no longer waits for approval"
        )
    values = {"state": PhaseState.QUEUED, "attempts": max(0, phase.attempts - 1)} if approved else {
        "state": PhaseState.FAILED, "failure_kind": FailureKind.APPROVAL_REJECTED, "completed_at": now,
        "failure_reason": reason or "a person rejected the edits",
    }  # fmt: skip
    session.execute(
        update(PhaseRow)
        .where(
            PhaseRow.run_id == row.run_id,
            PhaseRow.phase_id == row.phase_id,
            PhaseRow.state == PhaseState.GATE,
        )
        .values(updated_at=now, **values)
    )
    session.flush()
    session.refresh(row)


def _to_domain(row: ApprovalRequestRow) -> Approval:
    return Approval(
        approval_id=row.id, run_id=row.run_id, phase_id=row.phase_id, status=row.status, reasons=tuple(row.reasons),
        diff=row.diff, diff_hash=row.diff_hash, base_commit=row.base_commit, requested_at=row.requested_at,
        responded_at=row.responded_at, responded_by=row.responded_by, response_method=row.response_method,
        response_reason=row.response_reason,
    )  # fmt: skip
