"""What a database is like inside: read without changing anything, beside those who work on it."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from autopack.db.engine import journal_mode, wal_is_safe
from autopack.db.glance import IDENTITY, table_names

_WAIT_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Integrity:
    """`damage` is of the structure; `dangling` counts rows that refer to one that is not there, by table."""

    damage: str | None = None
    dangling: tuple[tuple[str, int], ...] = ()


def integrity(path: Path) -> Integrity:
    """Reads the whole file, with a reader's lock: who writes waits meanwhile."""
    try:
        with closing(
            sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_WAIT_SECONDS)
        ) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
            if found != ["ok"]:
                return Integrity(damage="; ".join(found))
            tables = [row[0] for row in connection.execute("PRAGMA foreign_key_check")]
    except sqlite3.DatabaseError as error:
        return Integrity(damage=str(error))
    return Integrity(dangling=tuple((name, tables.count(name)) for name in sorted(set(tables))))


def is_damaged_one_of_ours(path: Path) -> bool:
    """Whether restoring a backup may be the remedy. What can be read and is another program's is not opened."""
    try:
        tables = table_names(path)
    except sqlite3.DatabaseError:
        return True
    return IDENTITY in tables and integrity(path).damage is not None


def journal_in_force(session: Session) -> str:
    """The mode, and why it is that one."""
    found = session.connection().exec_driver_sql("PRAGMA journal_mode").scalar()
    version = sqlite3.sqlite_version
    if wal_is_safe(sqlite3.sqlite_version_info[:3]):
        why = f"SQLite {version} has the fix of its WAL mode"
    else:
        why = f"the WAL mode of SQLite {version} can lose rows when several processes write"
    unwanted = "" if found == journal_mode() else f"; {journal_mode()} is wanted"
    return f"journal {found}: {why}{unwanted}"


def may_change_schema(session: Session) -> bool:
    """Of PostgreSQL: whether this role could drop what it works on."""
    asked = "SELECT has_schema_privilege(current_schema(), 'CREATE')"
    owns = "SELECT EXISTS (SELECT 1 FROM pg_tables WHERE tablename = 'runs' AND pg_has_role(tableowner, 'MEMBER'))"
    return bool(session.scalar(text(asked)) or session.scalar(text(owns)))


def server_version(session: Session) -> str:
    return str(session.scalar(text("SHOW server_version")))
