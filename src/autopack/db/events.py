"""The append-only record of what happened to a run."""

from datetime import datetime
from typing import Any, cast

from sqlalchemy import Table, insert, select
from sqlalchemy.orm import Session

from autopack.db.tables import EventRow
from autopack.domain.phases import Event

_INSERT = insert(
    cast(Table, EventRow.__table__)
)  # the plain table: no object is made of what is only written


def record(
    session: Session, *, run_id: str | None, kind: str, actor: str, now: datetime,
    phase_id: str | None = None, attempt_id: str | None = None, **detail: Any,
) -> None:  # fmt: skip
    """`run_id` is None where it is about all runs."""
    session.execute(
        _INSERT,
        {
            "run_id": run_id, "phase_id": phase_id, "attempt_id": attempt_id, "kind": kind, "actor": actor,
            "detail": detail, "created_at": now,
        },
    )  # fmt: skip


def page(session: Session, run_id: str, *, after: int, limit: int) -> list[Event]:
    rows = session.scalars(
        select(EventRow)
        .where(EventRow.run_id == run_id, EventRow.id > after)
        .order_by(EventRow.id)
        .limit(limit)
    )
    return [
        Event(
            event_id=row.id, run_id=row.run_id, phase_id=row.phase_id, attempt_id=row.attempt_id,
            kind=row.kind, actor=row.actor, detail=row.detail, created_at=row.created_at,
        )
        for row in rows
    ]  # fmt: skip
