"""What the checks said of a base commit: stored once, by whoever was first."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from autopack.db import runs
from autopack.db.insert_once import insert_once
from autopack.db.tables import CheckBaselineRow
from autopack.domain.phases import JsonObject

_Table = CheckBaselineRow


def get(session: Session, run_id: str, base_commit: str, checks_hash: str) -> JsonObject | None:
    runs.row(session, run_id)
    return _report(session, run_id, base_commit, checks_hash)


def store(
    session: Session, run_id: str, base_commit: str, checks_hash: str, report: JsonObject, *, now: datetime
) -> JsonObject:
    """The report that is kept: of two that are stored at once, the first, and both workers go on with it."""
    runs.row(session, run_id)
    made = insert_once(
        session, _Table, run_id=run_id, base_commit=base_commit, checks_hash=checks_hash, report=report, created_at=now
    )  # fmt: skip
    session.execute(made)
    kept = _report(session, run_id, base_commit, checks_hash)
    assert kept is not None
    return kept


def _report(session: Session, run_id: str, base_commit: str, checks_hash: str) -> JsonObject | None:
    return session.scalar(
        select(_Table.report).where(
            _Table.run_id == run_id, _Table.base_commit == base_commit, _Table.checks_hash == checks_hash
        )
    )
