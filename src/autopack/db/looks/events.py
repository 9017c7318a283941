"""The record of what happened, over all runs."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from autopack.db import runs
from autopack.db.tables import EventRow
from autopack.domain.phases import Event

_LAST = select(func.max(EventRow.id))


def page(
    session: Session, *, after: int, limit: int, run_id: str | None = None, since: datetime | None = None
) -> list[Event]:
    """In the order in which they were written; `after` is the id of the last one seen."""
    query = select(EventRow).where(EventRow.id > after)
    if run_id is not None:
        runs.row(session, run_id)
        query = query.where(EventRow.run_id == run_id)
    if since is not None:
        query = query.where(EventRow.created_at >= since)
    return to_domain(session.scalars(query.order_by(EventRow.id).limit(limit)).all())


def last_id(session: Session) -> int:
    """Of the newest one; 0 where nothing has happened yet."""
    return session.scalar(_LAST) or 0


def to_domain(rows: Sequence[EventRow]) -> list[Event]:
    return [
        Event(
            event_id=row.id, run_id=row.run_id, phase_id=row.phase_id, attempt_id=row.attempt_id, kind=row.kind,
            actor=row.actor, detail=row.detail, created_at=row.created_at,
        )
        for row in rows
    ]  # fmt: skip
