"""The adoption of an earlier database: a new file beside it, whole or not there."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, exists, func, insert, select
from sqlalchemy.exc import DBAPIError

from autopack.db.adopt.carry import ESCALATIONS, ESTIMATIONS, USAGE, Carrier
from autopack.db.adopt.source import Source, label_of, open_source, refuse_no_database
from autopack.db.adopt.writer import SET_ASIDE, Tally, Writer
from autopack.db.backup import flush
from autopack.db.engine import refusal_reason, runtime_engine, sqlite_engine
from autopack.db.identity import check_sqlite_file
from autopack.db.location import located_file
from autopack.db.migrate import migrate
from autopack.db.tables import (
    DailyUsageRow,
    LegacyRow,
    LlmUsageEventRow,
    PhaseRow,
    RunRow,
    TierRow,
    TokenBudgetEscalationRow,
    TokenEstimationEventRow,
)
from autopack.domain.lifecycle import DONE_STATES
from autopack.domain.phases import PhaseState
from autopack.errors import DatabaseRefused

REPORT = "adoption"
"""The name under which the copy keeps the account of its own making. A table of the file may have the same."""
_ACCOUNT = "the account of the adoption"
_NOTHING = "The original was not changed."
_CARRIED_INTO: dict[str, Any] = {
    "runs": RunRow, "tiers": TierRow, "phases": PhaseRow, USAGE: LlmUsageEventRow, ESTIMATIONS: TokenEstimationEventRow,
    ESCALATIONS: TokenBudgetEscalationRow,
}  # fmt: skip


_HELD_BACK = select(func.count()).where(
    RunRow.state.in_(DONE_STATES),
    exists().where(PhaseRow.run_id == RunRow.id, PhaseRow.state == PhaseState.QUEUED),
)


@dataclass(frozen=True, kw_only=True)
class TableReport:
    """Rows of one table: `read` is `carried` and `set_aside` together."""

    table: str
    read: int
    carried: int
    set_aside: int
    reasons: dict[str, int]
    changes: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of every row. `label` names the content of the earlier file."""

    label: str
    tables: tuple[TableReport, ...]
    tiers_made: int
    total_tokens: int
    unknown_splits: int
    calls_of_unknown_usage: int
    not_read: tuple[str, ...]
    """Views, triggers and virtual tables; how they were made is kept."""
    runs_held_back: int = 0
    """Runs with QUEUED phases of which none can be claimed before a person has requeued or skipped another."""


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """`was_there` says that the copy had been made before, and nothing was done now."""

    original: Path
    copy: Path
    was_there: bool
    report: Report


def copy_of(original: Path) -> Path:
    return original.with_name(f"{original.stem}.adopted.db")


def adopt(original: Path, copy: Path | None = None, *, now: Callable[[], datetime]) -> Adopted:
    """Makes `copy` (else `copy_of`) at the present schema, with all that the earlier database holds.

    The original is only read. Done again, it finds the copy and does nothing. Raises DatabaseRefused, and then there
    is no copy.
    """
    # SQLite keeps its journals beside the file itself, not beside a link to it.
    original = original.resolve()
    copy = (copy or copy_of(original)).absolute()
    refuse_no_database(original)
    if copy.exists():
        return Adopted(original=original, copy=copy, was_there=True, report=_made_before(original, copy))
    try:
        with _scratch(copy) as scratch:
            report = _build(original, scratch, now)
            is_ours = _publish(scratch / "adopted.db", copy, mode=original.stat().st_mode)
    except DBAPIError as error:
        raise DatabaseRefused(
            f"{copy} could not be made: {refusal_reason(error) or error.orig}. {_NOTHING}"
        ) from error
    except OSError as error:
        raise DatabaseRefused(
            f"{copy} could not be made: {error.strerror or error}. {_NOTHING} Another place is named with --into."
        ) from error
    if not is_ours:
        report = _made_before(original, copy)
    return Adopted(original=original, copy=copy, was_there=not is_ours, report=report)


@contextmanager
def _scratch(copy: Path) -> Iterator[Path]:
    """A directory on the same disk, gone afterwards. One that a killed adoption left behind may be removed."""
    directory = Path(tempfile.mkdtemp(prefix=f".{copy.name}.partial-", dir=copy.parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _build(original: Path, scratch: Path, now: Callable[[], datetime]) -> Report:
    built = scratch / "adopted.db"
    with open_source(original, scratch) as source:
        migrate(located_file(built), now=now)
        # Rows are checked against each other at the end, when all of them are there.
        engine = sqlite_engine(built, mode="rw", fuse=True, foreign_keys=False)
        try:
            with engine.begin() as connection:
                return fill(source, connection, original, now())
        finally:
            engine.dispose()


def fill(source: Source, connection: Connection, original: Path, now: datetime) -> Report:
    writer = Writer(connection, source.label, now)
    carrier = Carrier(source, writer, now)
    carrier.carry()
    _count_by_day(connection)
    report = _report(source, writer, carrier.tiers.made)
    _verify(source, connection, report, original)
    kept = {
        "source": source.label, "table_name": REPORT, "row_key": original.name, "reason": _ACCOUNT,
        "row": asdict(report), "created_at": now,
    }  # fmt: skip
    connection.execute(insert(LegacyRow), [kept])
    return report


def _count_by_day(connection: Connection) -> None:
    """What was spent counts on its day, as a call that is made here does."""
    day = func.substr(LlmUsageEventRow.created_at, 1, 10)
    used = select(day, func.coalesce(func.sum(LlmUsageEventRow.total_tokens), 0)).group_by(day)
    connection.execute(insert(DailyUsageRow).from_select(["day", "tokens_used"], used))


def _report(source: Source, writer: Writer, tiers_made: int) -> Report:
    usage = LlmUsageEventRow
    total, rows, totals, parts = writer.connection.execute(
        select(func.coalesce(func.sum(usage.total_tokens), 0), func.count(), func.count(usage.total_tokens), func.count(usage.input_tokens))
    ).one()  # fmt: skip
    return Report(
        label=source.label, tables=tuple(_table_report(each) for each in writer.tallies.values()), tiers_made=tiers_made,
        total_tokens=total or 0, unknown_splits=rows - parts, calls_of_unknown_usage=rows - totals,
        not_read=tuple(f"{each.kind} {each.name}" for each in source.definitions if each.kind != "index" and not each.can_be_read),
        runs_held_back=writer.connection.scalar(_HELD_BACK) or 0,
    )  # fmt: skip


def _table_report(tally: Tally) -> TableReport:
    return TableReport(
        table=tally.table, read=tally.read, carried=tally.carried, set_aside=tally.set_aside, reasons=dict(tally.reasons.most_common()),
        changes=dict(tally.changes.most_common()),
    )  # fmt: skip


def _verify(source: Source, connection: Connection, report: Report, original: Path) -> None:
    """What must hold before the commit: no row is missing, and none points nowhere."""
    if len(report.tables) != sum(each.can_be_read for each in source.definitions):
        raise DatabaseRefused(f"{original}: a table would be lost, for two have one name. {_NOTHING}")
    for table in report.tables:
        made = report.tiers_made if table.table == "tiers" else 0
        there = _rows_in(connection, table.table) - made
        aside = connection.scalar(
            select(func.count()).where(LegacyRow.table_name == table.table, LegacyRow.reason.startswith(SET_ASIDE))
        )  # fmt: skip
        counted = (source.count(table.table), table.read, table.carried, table.set_aside)
        if counted != (table.read, there + (aside or 0), there, aside):
            raise DatabaseRefused(f"{original}: rows of {table.table} would be lost ({counted}). {_NOTHING}")
    if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall():
        raise DatabaseRefused(f"{original}: {len(broken)} rows would point nowhere. {_NOTHING}")


def _rows_in(connection: Connection, table: str) -> int:
    into = _CARRIED_INTO.get(table)
    return connection.scalar(select(func.count()).select_from(into)) or 0 if into else 0


def _publish(built: Path, copy: Path, *, mode: int) -> bool:
    """Gives the file its name; False where another one has it by now. Nobody may read more than could read the original."""
    built.chmod((mode & 0o666) | 0o600)
    flush(built)
    try:
        # The name is taken first: a rename alone would replace what came to be there. A link would need a file system that
        # has them, and would leave two names if this process were killed between.
        os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    try:
        built.replace(copy)
    except OSError:
        copy.unlink()
        raise
    flush(copy.parent)
    return True


def _made_before(original: Path, copy: Path) -> Report:
    """The account that the copy holds, if it is this original's."""
    if copy.is_file() and copy.stat().st_size == 0:
        raise DatabaseRefused(
            f"{copy} is there already, and empty: another adoption is about to fill it, or was killed before it could. Run "
            f"this again; if it is still empty then, remove it or name another file with --into. {_NOTHING}"
        )
    found = _stored_report(copy)
    if found is None:
        raise DatabaseRefused(
            f"{copy} is there already, and is no adopted copy: name another file with --into. {_NOTHING}"
        )
    if found.label != label_of(original):
        raise DatabaseRefused(
            f"{copy} was made from other content than {original} has now (its bytes and those of the -wal and -journal beside "
            f"it count, so that a log which was written back is other content): name another file with --into. {_NOTHING}"
        )
    return found


def _stored_report(copy: Path) -> Report | None:
    location = located_file(copy)
    engine = runtime_engine(location)
    account = select(LegacyRow.row).where(LegacyRow.table_name == REPORT, LegacyRow.reason == _ACCOUNT)
    try:
        check_sqlite_file(location)
        with engine.connect() as connection:
            row = connection.scalar(account)
    except (DatabaseRefused, DBAPIError):
        return None
    finally:
        engine.dispose()
    if row is None:
        return None
    tables = tuple(TableReport(**each) for each in row.pop("tables"))
    return Report(**row | {"tables": tables, "not_read": tuple(row["not_read"])})
