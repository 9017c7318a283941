"""The telemetry tables, page by page in the order of their ids, and how far each export has come."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from sqlalchemy import ColumnElement, Select, select, text, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from autopack.db.columns import Base
from autopack.db.insert_once import insert_once
from autopack.db.tables import (
    AttemptRow,
    ExportCursorRow,
    LlmUsageEventRow,
    TokenBudgetEscalationRow,
    TokenEstimationEventRow,
)
from autopack.domain.telemetry import (
    ESCALATIONS,
    ESTIMATIONS,
    USAGE,
    E,
    ExportCursor,
    Selection,
    TelemetryTable,
    UsageEvent,
)
from autopack.errors import Conflict

SETTLING_SECONDS = 10
"""PostgreSQL gives out ids before it commits them: a row this young may still be overtaken by one before it."""
# The transactions of others that may have rows with ids that are not seen yet. A role that may not know since when
# they run hears of them all.
_WRITERS = text("""
    SELECT count(*) FROM pg_locks LEFT JOIN pg_stat_activity AS session USING (pid)
    WHERE pg_locks.relation = 'llm_usage_events'::regclass AND pg_locks.mode = 'RowExclusiveLock'
      AND pid <> pg_backend_pid()
      AND coalesce(session.xact_start, '-infinity') <= clock_timestamp() - make_interval(secs => :seconds)
""")


@dataclass(frozen=True, kw_only=True)
class _Stored:
    row: type[Base]
    position: InstrumentedAttribute[int]
    made_at: InstrumentedAttribute[datetime]


_STORED = {
    USAGE.name: _Stored(
        row=LlmUsageEventRow, position=LlmUsageEventRow.id, made_at=LlmUsageEventRow.created_at
    ),
    ESTIMATIONS.name: _Stored(
        row=TokenEstimationEventRow, position=TokenEstimationEventRow.event_id,
        made_at=TokenEstimationEventRow.timestamp,
    ),
    ESCALATIONS.name: _Stored(
        row=TokenBudgetEscalationRow, position=TokenBudgetEscalationRow.event_id,
        made_at=TokenBudgetEscalationRow.timestamp,
    ),
}  # fmt: skip


def page(
    session: Session, table: TelemetryTable[E], selection: Selection, *, after: int, limit: int
) -> list[E]:
    query = _selected(table, selection, after=after, limit=limit)
    return [table.kind(**dict(zip(table.columns, row, strict=True))) for row in session.execute(query)]


def final_usage(session: Session, *, after: int, limit: int, now: datetime) -> list[UsageEvent]:
    """Calls up to the first that is still under way, or that is too young to be sure of the ones before it.

    A call whose worker's lease has run out is final: it is abandoned as soon as somebody claims again.
    """
    calls = page(session, USAGE, Selection(), after=after, limit=limit)
    if session.get_bind().dialect.name == "postgresql" and calls:
        if _is_being_written(session, calls):
            return []
        # Once more: those who wrote when the page was read may have committed rows within it since.
        last = calls[-1].id
        calls = [
            call for call in page(session, USAGE, Selection(), after=after, limit=limit) if call.id <= last
        ]
    under_way = _under_way(session, calls, now)
    settled = now - timedelta(seconds=SETTLING_SECONDS)
    return list(takewhile(lambda call: call.created_at <= settled and call.call_id not in under_way, calls))


def _is_being_written(session: Session, calls: Sequence[UsageEvent]) -> bool:
    """Whether somebody may still commit a row before these. The date of a row from elsewhere says nothing of when it came."""
    local = all(call.origin == "local" for call in calls)
    return bool(session.scalar(_WRITERS, {"seconds": SETTLING_SECONDS if local else 0}))


def _under_way(session: Session, calls: Sequence[UsageEvent], now: datetime) -> set[str]:
    """The calls of living workers that have no answer yet."""
    reserved = [call for call in calls if call.status == "reserved"]
    owners = select(AttemptRow.id).where(
        AttemptRow.id.in_([call.attempt_id for call in reserved]),
        AttemptRow.outcome.is_(None),
        AttemptRow.lease_expires_at > now,
    )
    running = set(session.scalars(owners)) if reserved else set()
    return {call.call_id for call in reserved if call.attempt_id in running}


def _selected(table: TelemetryTable[Any], selection: Selection, *, after: int, limit: int) -> Select[Any]:
    stored = _STORED[table.name]
    columns = stored.row.__table__.c
    query = select(*(columns[name] for name in table.columns)).where(stored.position > after)
    conditions: list[ColumnElement[bool]] = []
    if selection.run_id is not None:
        conditions.append(columns["run_id"] == selection.run_id)
    if selection.phase_id is not None:
        conditions.append(columns["phase_id"] == selection.phase_id)
    if selection.since is not None:
        conditions.append(stored.made_at >= selection.since)
    if selection.until is not None:
        conditions.append(stored.made_at < selection.until)
    return query.where(*conditions).order_by(stored.position).limit(limit)


def cursor(session: Session, name: str) -> ExportCursor | None:
    row = session.get(ExportCursorRow, name)
    if row is None:
        return None
    return ExportCursor(
        name=row.name, position=row.position, mapping_version=row.mapping_version, updated_at=row.updated_at
    )


def move_cursor(
    session: Session, name: str, *, expected: int | None, position: int, mapping_version: str, now: datetime
) -> ExportCursor:
    """Moves the cursor from `expected` (None: there is none yet). Raises Conflict when another export moved it meanwhile."""
    table = ExportCursorRow
    values = {"position": position, "mapping_version": mapping_version, "updated_at": now}
    if expected is None:
        made = insert_once(session, table, name=name, **values)
        moved = session.scalar(made.returning(table.name))
    else:
        changed = update(table).where(table.name == name, table.position == expected).values(**values)
        moved = session.scalar(changed.returning(table.name))
    if moved is None:
        raise Conflict(
            f"another export moved the cursor {name} meanwhile: what was sent may have been sent twice, under the "
            "same ids. Run one export at a time, or give each a --name of its own."
        )
    return ExportCursor(name=name, position=position, mapping_version=mapping_version, updated_at=now)
