"""Every try that is under way, by its worker."""

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from autopack.db.tables import AttemptRow, RunRow
from autopack.domain.looks.workers import Lease, WorkerLook, by_worker

# Without what a try has made, which may be megabytes.
LEASE = (
    AttemptRow.worker, AttemptRow.run_id, AttemptRow.phase_id, AttemptRow.id, AttemptRow.number, AttemptRow.step,
    AttemptRow.claimed_at, AttemptRow.lease_expires_at,
)  # fmt: skip
# From the runs: the index of open attempts begins with the run, and attempts alone would be read one and all.
_OPEN = (
    select(*LEASE)
    .select_from(RunRow)
    .join(AttemptRow, (AttemptRow.run_id == RunRow.id) & AttemptRow.outcome.is_(None))
    .order_by(AttemptRow.worker, AttemptRow.claimed_at, AttemptRow.id)
)


def look(session: Session, *, now: datetime, limit: int) -> list[WorkerLook]:
    """In order of the workers' names; no more than `limit` leases in all."""
    rows = session.execute(_OPEN.limit(limit))
    return by_worker((row.worker, lease(row, now)) for row in rows)


def lease(row: Any, now: datetime) -> Lease:
    """Of a row with the columns of `LEASE`."""
    return Lease(
        run_id=row.run_id, phase_id=row.phase_id, attempt_id=row.id, number=row.number, step=row.step,
        claimed_at=row.claimed_at, lease_expires_at=row.lease_expires_at, expired=row.lease_expires_at < now,
    )  # fmt: skip
