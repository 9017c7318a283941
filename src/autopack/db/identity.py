"""Which database this is, and whether this code may work on it. Everything but `migrate` asks here first."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from autopack.db.engine import (
    Database,
    file_stamp,
    journal_mode,
    refusal_reason,
    runtime_engine,
    settle_journal,
)
from autopack.db.glance import IDENTITY, table_names
from autopack.db.location import Location
from autopack.db.tables import REVISION, TABLE_NAMES, DatabaseIdentityRow
from autopack.errors import DatabaseRefused

MIGRATE = "Run `autopack migrate` (or `make migrate`)"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """`database_id` is made by the first migration and is never changed; a copy carries the same one."""

    database_id: str
    epoch: int
    revision: str
    dialect: str
    url: str
    nonce: str | None = None
    path: str | None = None
    device: int | None = None
    inode: int | None = None
    sqlite_version: str | None = None
    journal_mode: str | None = None


@contextmanager
def open_database(
    location: Location, *, one_session: bool = False, synchronous: str = "FULL", read_only: bool = False
) -> Iterator[Database]:
    """The database, ready for work, closed at the end. Raises DatabaseRefused with what is wrong and what to do."""
    if location.path is not None:
        check_sqlite_file(location, read_only=read_only)
    engine = runtime_engine(location, synchronous=synchronous, read_only=read_only)
    try:
        with engine.connect() as connection:
            check_schema(connection, location)
        if location.path is not None and not read_only:
            settle_journal(engine)
    except DBAPIError as error:
        engine.dispose()
        reason = refusal_reason(error) or str(error.orig)
        raise DatabaseRefused(f"{location.masked}: {reason}") from error
    except BaseException:
        engine.dispose()
        raise
    database = Database(location, engine, one_session=one_session)
    try:
        yield database
    finally:
        database.close()


def check_sqlite_file(location: Location, *, read_only: bool = False) -> None:
    """Refuses what is no SQLite database, or somebody else's, without making or changing anything."""
    path = location.path
    assert path is not None
    if not path.exists():
        raise DatabaseRefused(
            f"there is no database at {path}. {MIGRATE} to make it, or name another with DATABASE_URL."
        )
    if not path.is_file():
        raise DatabaseRefused(f"{path} is not a file. Name a database file with DATABASE_URL.")
    file_stamp(path)
    if path.stat().st_size == 0:
        raise DatabaseRefused(
            f"the database {path} is empty. {MIGRATE} to fill in the schema, if this is the right file."
        )
    try:
        _refuse_foreign(path, table_names(path))
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except OSError as error:
        raise DatabaseRefused(f"{path} cannot be looked at ({error.strerror or error}).") from error
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname == "SQLITE_READONLY_ROLLBACK":
            _refuse_half_written(path, read_only=read_only)
            return
        reason = "is not a SQLite database" if "not a database" in str(error) else f"cannot be read ({error})"
        raise DatabaseRefused(
            f"{path} {reason}. Is this the file you meant? Name another with DATABASE_URL if not, and restore a backup if so."
        ) from error


def _refuse_half_written(path: Path, *, read_only: bool) -> None:
    """A writer was killed in the middle. Who opens the file to write takes that back first; a reader may not."""
    if read_only:
        raise DatabaseRefused(
            f"{path} was left in the middle of a write, which only a connection that writes can take back. Run "
            f"`autopack identity --database-url sqlite:///{path}`, and then this again."
        )


def check_schema(connection: Connection, location: Location) -> None:
    """Refuses a schema that is not this version's, whole."""
    where = location.path or location.masked
    tables = frozenset(inspect(connection).get_table_names())
    _refuse_foreign(where, tables)
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision != REVISION:
        raise DatabaseRefused(_other_revision(where, revision))
    if missing := sorted(TABLE_NAMES - tables):
        raise DatabaseRefused(
            f"the database {where} lacks {', '.join(missing)}: something dropped them. Restore a backup "
            "(they lie beside the database, named *.backup-*)."
        )
    if connection.execute(select(DatabaseIdentityRow.database_id)).scalar() is None:
        raise DatabaseRefused(f"the database {where} has lost its identity row. Restore a backup.")


def _refuse_foreign(where: object, tables: frozenset[str]) -> None:
    if not tables:
        raise DatabaseRefused(
            f"the database {where} has no tables. {MIGRATE} to make them, if this is the right one."
        )
    if not {IDENTITY, "alembic_version"} <= tables:
        raise DatabaseRefused(_foreign(where, tables))


def _foreign(where: object, tables: frozenset[str]) -> str:
    names = ", ".join(sorted(tables)[:6]) + (", ..." if len(tables) > 6 else "")
    if {"runs", "phases"} & tables:
        return (
            f"the database {where} holds tables of an earlier Autopack or a part of a schema ({names}), made without "
            f"migrations. Nothing was changed. `autopack migrate --adopt {where}` carries an earlier Autopack's into a copy "
            "beside it; or name another with DATABASE_URL."
        )
    return f"the database {where} belongs to another program ({names}). Nothing was changed. Name another with DATABASE_URL."


def _other_revision(where: object, revision: str | None) -> str:
    if revision is not None and revision > REVISION:
        return (
            f"the database {where} is at revision {revision}, newer than this Autopack knows ({REVISION}). "
            "Upgrade Autopack, or name another database."
        )
    return f"the database {where} is at revision {revision or 'none'}; this Autopack needs {REVISION}. {MIGRATE}; it makes a backup first."


def read_identity(session: Session, location: Location) -> Identity:
    row = session.scalars(select(DatabaseIdentityRow)).one()
    facts: dict[str, Any] = {}
    if location.path is not None:
        stamp = file_stamp(location.path)
        facts = {
            "path": str(location.path),
            "device": stamp.device,
            "inode": stamp.inode,
            "sqlite_version": sqlite3.sqlite_version,
            "journal_mode": journal_mode(),
        }
    return Identity(
        database_id=row.database_id, epoch=row.epoch, nonce=row.nonce, revision=REVISION,
        dialect=location.dialect, url=location.masked, **facts,
    )  # fmt: skip


def write_nonce(session: Session, nonce: str) -> None:
    """Leaves a mark that a server on the very same database can read back."""
    session.execute(update(DatabaseIdentityRow).values(nonce=nonce))
