"""Telemetry of one database carried into another: each row once, with where it was made; or nothing at all."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import Column, RowMapping, Table, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from autopack.db.apart import refuse_same_identity
from autopack.db.columns import Base
from autopack.db.engine import Database, refusal_reason
from autopack.db.identity import read_identity
from autopack.db.location import Location
from autopack.db.tables import LlmUsageEventRow, TokenBudgetEscalationRow, TokenEstimationEventRow
from autopack.errors import Conflict, DatabaseRefused

PAGE_ROWS = 1000
MAX_TOLD = 20
_ADVISORY_KEY = 4_101_979_216

Row = RowMapping

# Where a row lies and comes from; the attempt is a row of its own database only.
_PLACE = frozenset({"id", "event_id", "attempt_id", "origin", "source_database_id", "source_row_id"})
# What is known of a request before it is sent; all else comes when it ends, perhaps late.
_ASKED = frozenset(
    {
        "call_id", "run_id", "phase_id", "role", "ask", "provider", "provider_mode", "request_key",
        "request_max_tokens", "reserved_tokens", "reserved_cost_usd", "created_at",
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MergedTable:
    """`already_there` counts rows that are the same, and those that the target knows in a later state."""

    table: str
    read: int
    added: int
    updated: int
    already_there: int


@dataclass(frozen=True, kw_only=True)
class Merged:
    """`open_calls` are not finished at the source: a later merge carries them."""

    source_database_id: str
    target_database_id: str
    tables: tuple[MergedTable, ...]
    open_calls: int


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """A table that is merged. Columns in `changing` may change until a row has reached its highest `stage`."""

    table: Table
    changing: frozenset[str] = frozenset()
    stage: Callable[[Row], int] = lambda _: 0

    @cached_property
    def key(self) -> Column[int]:
        (key,) = self.table.primary_key.columns
        return key

    @cached_property
    def content(self) -> list[str]:
        return [column.name for column in self.table.columns if column.name not in _PLACE]


def _table(row: type[Base]) -> Table:
    return Base.metadata.tables[row.__tablename__]


def _usage_stage(row: Row) -> int:
    """A call that was given up may still be answered."""
    return 0 if row["status"] == "abandoned" else 1


def _estimation_stage(row: Row) -> int:
    """An answer is judged when its attempt ends, and a later try or a person may still make it the phase's work."""
    success: bool | None = row["success"]
    return 0 if success is None else 1 + success


_USAGE = _table(LlmUsageEventRow)
_CLOSED = _USAGE.c.status != "reserved"
KINDS = (
    _Kind(table=_USAGE, changing=frozenset(_USAGE.columns.keys()) - _ASKED - _PLACE, stage=_usage_stage),
    _Kind(table=_table(TokenEstimationEventRow), changing=frozenset({"success"}), stage=_estimation_stage),
    _Kind(table=_table(TokenBudgetEscalationRow)),
)


def merge(source: Database, target: Database, *, run_id: str | None = None) -> Merged:
    """Carries the telemetry of `source` (of one run, where named) into `target`, in one transaction of the target.

    Merging twice adds nothing. Raises Conflict, and changes nothing, when the two contradict each other;
    DatabaseRefused when they are one database or copies of one.
    """
    with source.transaction() as session:
        source_id = read_identity(session, source.location).database_id
    try:
        with target.transaction() as session:
            target_id = read_identity(session, target.location).database_id
            refuse_same_identity(source.location, source_id, target.location, target_id)
            if target.location.path is None:
                # Two merges at once would both find a row missing; the second one waits here.
                session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_KEY})
            merging = _Merging(session, source_id=source_id, target_id=target_id)
            tables = tuple(merging.carry(kind, _pages(source, kind, run_id)) for kind in KINDS)
            merging.refuse_conflicts(source.location, target.location)
    except DBAPIError as error:
        reason = refusal_reason(error) or str(error.orig).strip()
        raise DatabaseRefused(f"{target.location.masked}: nothing was merged into it: {reason}") from error
    return Merged(
        source_database_id=source_id, target_database_id=target_id, tables=tables, open_calls=_open_calls(source, run_id)
    )  # fmt: skip


def _pages(source: Database, kind: _Kind, run_id: str | None) -> Iterator[Sequence[Row]]:
    """What is closed, oldest first. A transaction for each page: the source's own writers never wait for long."""
    after = -1
    while True:
        query = select(kind.table).where(kind.key > after)
        if kind.table is _USAGE:
            query = query.where(_CLOSED)
        if run_id is not None:
            query = query.where(kind.table.c.run_id == run_id)
        with source.transaction() as session:
            rows = session.execute(query.order_by(kind.key).limit(PAGE_ROWS)).mappings().all()
        if not rows:
            return
        yield rows
        after = rows[-1][kind.key.name]


def _open_calls(source: Database, run_id: str | None) -> int:
    query = select(func.count()).select_from(_USAGE).where(_USAGE.c.status == "reserved")
    if run_id is not None:
        query = query.where(_USAGE.c.run_id == run_id)
    with source.transaction() as session:
        return session.scalar(query) or 0


class _Merging:
    """One merge under way: it writes until the first contradiction, and from then on only looks for more."""

    def __init__(self, session: Session, *, source_id: str, target_id: str) -> None:
        self._session = session
        self._source_id = source_id
        self._target_id = target_id
        self._conflicts: list[str] = []
        self._conflict_count = 0

    def carry(self, kind: _Kind, pages: Iterator[Sequence[Row]]) -> MergedTable:
        read = added = updated = 0
        for rows in pages:
            there = self._there(kind, rows)
            new = [row for row in rows if row["call_id"] not in there]
            known = [row for row in rows if row["call_id"] in there]
            later = [row for row in known if self._is_later(kind, there[row["call_id"]], row)]
            read, added, updated = read + len(rows), added + len(new), updated + len(later)
            if not self._conflict_count:
                self._add(kind, new)
                self._update(kind, later)
        return MergedTable(
            table=kind.table.name, read=read, added=added, updated=updated, already_there=read - added - updated
        )  # fmt: skip

    def _there(self, kind: _Kind, rows: Sequence[Row]) -> dict[str, Row]:
        query = select(kind.table).where(kind.table.c.call_id.in_([row["call_id"] for row in rows]))
        return {row["call_id"]: row for row in self._session.execute(query).mappings()}

    def _is_later(self, kind: _Kind, there: Row, coming: Row) -> bool:
        """Whether the source knows more of the row. What contradicts is noted."""
        where, whence = _made_in(kind, there, self._target_id), _made_in(kind, coming, self._source_id)
        if where != whence:
            self._note(kind, coming, f"made as {_shown(whence)}, there as {_shown(where)}")
            return False
        different = [name for name in kind.content if there[name] != coming[name]]
        if not different:
            return False
        ahead = kind.stage(coming) - kind.stage(there)
        if ahead == 0 or not kind.changing.issuperset(different):
            self._note(kind, coming, f"differs in {', '.join(different)}")
            return False
        # What was made in the target itself is known there better than anywhere.
        return ahead > 0 and there["origin"] != "local"

    def _note(self, kind: _Kind, row: Row, what: str) -> None:
        self._conflict_count += 1
        if len(self._conflicts) < MAX_TOLD:
            self._conflicts.append(f"{kind.table.name} call_id {row['call_id']}: {what}")

    def _add(self, kind: _Kind, rows: Sequence[Row]) -> None:
        if rows:
            self._session.execute(insert(kind.table), [self._carried(kind, row) for row in rows])

    def _carried(self, kind: _Kind, row: Row) -> dict[str, Any]:
        database_id, row_id = _made_in(kind, row, self._source_id)
        return {
            **{name: row[name] for name in kind.content},
            "origin": "merged" if row["origin"] == "local" else row["origin"],
            "source_database_id": database_id,
            "source_row_id": row_id,
        }

    def _update(self, kind: _Kind, rows: Sequence[Row]) -> None:
        for row in rows:
            change = update(kind.table).where(kind.table.c.call_id == row["call_id"])
            self._session.execute(change.values({name: row[name] for name in kind.changing}))

    def refuse_conflicts(self, source: Location, target: Location) -> None:
        if not self._conflict_count:
            return
        more = self._conflict_count - len(self._conflicts)
        told = [*self._conflicts, *([f"... and {more} more"] if more else [])]
        raise Conflict(
            f"nothing was merged: {self._conflict_count} rows of {source.masked} contradict those of the same call_id in "
            f"{target.masked}. One of the two was changed by hand or made from the other; find out which, and put it "
            "right or merge into a new database.\n  " + "\n  ".join(told)
        )


def _made_in(kind: _Kind, row: Row, database_id: str) -> tuple[str, int | None]:
    """The database that a row was made in, and its number there; a row that came from nowhere else was made here."""
    if row["source_database_id"] is None:
        return database_id, row[kind.key.name]
    return row["source_database_id"], row["source_row_id"]


def _shown(made_in: tuple[str, int | None]) -> str:
    return f"row {made_in[1]} of database {made_in[0]}"
