"""The only thing that creates or changes a schema."""

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

import autopack
from autopack.db.backup import backup_sqlite
from autopack.db.engine import file_stamp, refusal_reason, sqlite_engine
from autopack.db.glance import IDENTITY, table_names
from autopack.db.identity import check_schema
from autopack.db.location import Location
from autopack.db.tables import REVISION
from autopack.errors import DatabaseRefused

# Alembic's context is global to a process; two migrations in two threads would share it.
_ONE_AT_A_TIME = threading.Lock()
_ADVISORY_KEY = 4_101_979_215
_BOOKKEEPING = frozenset({"alembic_version"})


@dataclass(frozen=True, kw_only=True)
class Migrated:
    """`backup` is None when there was nothing to back up; before equals after when nothing was to be done."""

    location: Location
    before: str | None
    after: str
    backup: Path | None = None

    @property
    def changed(self) -> bool:
        return self.before != self.after


def script_location() -> Path:
    """`alembic/` of the checkout, or the copy inside an installed wheel."""
    package = Path(autopack.__file__).parent
    packed = package / "_alembic"
    return packed if packed.is_dir() else package.parents[1] / "alembic"


def _config(scripts: Path | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts or script_location()).replace("%", "%%"))
    return config


def known_revisions() -> frozenset[str]:
    """Those that this Autopack can bring up to date."""
    directory = ScriptDirectory.from_config(_config())
    return frozenset(script.revision for script in directory.walk_revisions())


def migrate(location: Location, *, now: Callable[[], datetime], scripts: Path | None = None) -> Migrated:
    """Brings the database to the newest revision, in one transaction, or leaves it as it was.

    Makes a missing SQLite file; backs an existing one up first. Safe in several threads and processes at
    once: they wait, then find nothing to do. Raises DatabaseRefused for what is not Autopack's, is newer, or
    would lose rows.
    """
    config = _config(scripts)
    directory = ScriptDirectory.from_config(config)
    try:
        with _ONE_AT_A_TIME, _locked(location) as connection:
            return _migrate(location, connection, config, directory, now)
    except DBAPIError as error:
        reason = refusal_reason(error) or str(error.orig)
        raise DatabaseRefused(
            f"{location.masked}: the migration failed and nothing was changed: {reason}"
        ) from error
    except CommandError as error:
        raise DatabaseRefused(
            f"{location.masked}: the migration failed and nothing was changed: {error}"
        ) from error


@contextmanager
def _locked(location: Location) -> Iterator[Connection]:
    """One transaction that nobody else's migration runs beside, committed at the end."""
    if location.path is not None:
        _prepare_file(location.path)
        # Foreign keys off before BEGIN: a batch migration of a parent table would otherwise delete its children.
        engine = sqlite_engine(location.path, mode="rwc", fuse=False, foreign_keys=False)
    else:
        engine = create_engine(location.url, hide_parameters=True)
    try:
        with engine.begin() as connection:
            if location.path is None:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_KEY})
            yield connection
    finally:
        engine.dispose()


def _prepare_file(path: Path) -> None:
    if not path.parent.is_dir():
        raise DatabaseRefused(
            f"the directory {path.parent} does not exist. Make it, or name another with DATABASE_URL."
        )
    if path.exists():
        if not path.is_file():
            raise DatabaseRefused(f"{path} is not a file. Name a database file with DATABASE_URL.")
        file_stamp(path)
        if path.stat().st_size:
            _refuse_file(path)


def _refuse_file(path: Path) -> None:
    """What is no database, or somebody else's: before it is opened to write, which alone may change it."""
    try:
        tables = table_names(path)
    except (sqlite3.DatabaseError, OSError) as error:
        reason = "is not a SQLite database" if "not a database" in str(error) else f"cannot be read ({error})"
        raise DatabaseRefused(
            f"{path} {reason}. Nothing was changed; name another with DATABASE_URL."
        ) from error
    if tables - _BOOKKEEPING and IDENTITY not in tables:
        raise DatabaseRefused(_of_no_migration(path, tables))


def _migrate(
    location: Location,
    connection: Connection,
    config: Config,
    directory: ScriptDirectory,
    now: Callable[[], datetime],
) -> Migrated:
    head = directory.get_current_head()
    assert head is not None
    tables = set(inspect(connection).get_table_names())
    before = (
        MigrationContext.configure(connection).get_current_revision() if "alembic_version" in tables else None
    )
    _refuse_unknown(location, tables, before, directory)
    if before == head:
        if head == REVISION:
            check_schema(connection, location)  # what was taken out of it since is not made up here
        return Migrated(location=location, before=before, after=head)
    backup = None
    if location.path is not None and before is not None:
        backup = backup_sqlite(location.path, label=before, at=now())
    counts, identity = _row_counts(connection, tables), _identity(connection, tables)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    _verify(location, connection, directory, before, counts, identity)
    return Migrated(location=location, before=before, after=head, backup=backup)


def _refuse_unknown(
    location: Location, tables: set[str], before: str | None, directory: ScriptDirectory
) -> None:
    where = location.path or location.masked
    if before is None and tables - _BOOKKEEPING:
        raise DatabaseRefused(_of_no_migration(where, tables))
    if before is not None and before not in {script.revision for script in directory.walk_revisions()}:
        raise DatabaseRefused(
            f"the database {where} is at revision {before}, which this Autopack does not know: it was written by a "
            "newer one. Nothing was changed. Upgrade Autopack, or name another database."
        )


def _of_no_migration(where: object, tables: Collection[str]) -> str:
    names = ", ".join(sorted(tables)[:6]) + (", ..." if len(tables) > 6 else "")
    return (
        f"the database {where} holds tables that no migration made ({names}): an earlier Autopack's, a part of a "
        "schema, or another program's. Nothing was changed and no row was lost. Name another database with "
        "DATABASE_URL; `autopack migrate --adopt FILE` carries an earlier Autopack's SQLite file into a copy."
    )


def _row_counts(connection: Connection, tables: set[str]) -> dict[str, int]:
    quote = connection.dialect.identifier_preparer.quote
    return {
        name: connection.execute(text(f"SELECT count(*) FROM {quote(name)}")).scalar_one()
        for name in sorted(tables - _BOOKKEEPING)
    }


def _identity(connection: Connection, tables: set[str]) -> str | None:
    if IDENTITY not in tables:
        return None
    return connection.execute(text("SELECT database_id FROM database_identity")).scalar()


def _verify(
    location: Location,
    connection: Connection,
    directory: ScriptDirectory,
    before: str | None,
    counts: dict[str, int],
    identity: str | None,
) -> None:
    """What must hold before the commit; raising here rolls everything back."""
    if location.path is not None:
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise DatabaseRefused(
                f"{location.path}: the migration would leave {len(broken)} rows pointing nowhere; nothing was changed"
            )
    tables = set(inspect(connection).get_table_names())
    may_shrink = _may_lose_rows(directory, before)
    after = _row_counts(connection, tables)
    lost = {
        name: (count, after.get(name, 0))
        for name, count in counts.items()
        if after.get(name, 0) < count and name not in may_shrink
    }
    if lost:
        raise DatabaseRefused(
            f"{location.masked}: the migration would lose rows ({lost}); nothing was changed"
        )
    if identity is not None and _identity(connection, tables) != identity:
        raise DatabaseRefused(
            f"{location.masked}: the migration would change the identity; nothing was changed"
        )


def _may_lose_rows(directory: ScriptDirectory, before: str | None) -> set[str]:
    """Tables that the revisions to come declare in `MAY_LOSE_ROWS`."""
    return {
        name
        for script in directory.iterate_revisions("head", before or "base")
        for name in getattr(script.module, "MAY_LOSE_ROWS", ())
    }
