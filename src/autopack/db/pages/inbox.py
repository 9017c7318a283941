"""Requests for a person's word, as the inbox lists them."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from autopack.db import approvals, runs
from autopack.db.tables import ApprovalRequestRow
from autopack.domain.phases import Approval

_Table = ApprovalRequestRow


def requests(
    session: Session, *, run_id: str | None, status: str, limit: int, now: datetime
) -> list[Approval]:
    """Pending ones: the overdue first, then as they were asked for. Others: the last ones first. Raises NotFound."""
    if run_id is not None:
        runs.row(session, run_id)
    approvals.expire_due(session, run_id, now=now)
    query = select(_Table).where(_Table.status == status).limit(limit)
    if run_id is not None:
        query = query.where(_Table.run_id == run_id)
    if status == "pending":
        query = query.order_by(
            _Table.timeout_at.is_(None), _Table.timeout_at > now, _Table.requested_at, _Table.id
        )
    else:
        query = query.order_by(_Table.requested_at.desc(), _Table.id.desc())
    return [approvals.to_domain(row, now) for row in session.scalars(query)]


def pending_count(session: Session) -> int:
    return session.scalar(select(func.count()).where(_Table.status == "pending")) or 0
