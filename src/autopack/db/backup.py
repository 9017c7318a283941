"""A copy of a SQLite database that is whole or not there, taken while others work on it."""

import os
import shlex
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.engine import URL

from autopack.db.glance import IDENTITY
from autopack.db.location import Location
from autopack.errors import DatabaseRefused

_WAIT_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Copied:
    """What a copy holds, as it was read back from the copy itself."""

    path: Path
    bytes: int
    database_id: str
    epoch: int
    revision: str | None
    rows: dict[str, int]


def backup_sqlite(path: Path, *, label: str, at: datetime) -> Path:
    """A copy beside the database. Returns its name.

    Reads through a connection of its own, so that it may be called while another one holds the write lock.
    """
    target = beside(path, label=label, at=at)
    copy_whole(path, target)
    return target


def beside(path: Path, *, at: datetime, label: str | None = None) -> Path:
    return path.with_name(f"{path.name}.backup-{f'{label}-' if label else ''}{at:%Y%m%dT%H%M%S%f}")


def copy_whole(source: Path, target: Path) -> None:
    """`VACUUM INTO`, looked through and flushed to the disk before it gets its name. Only its owner may read it.

    Raises DatabaseRefused where something has that name already, the source is damaged, or there is no room.
    """
    partial = target.with_name(target.name + ".partial")
    try:
        write_copy(source, partial)
        flush(partial)
        _give_name(partial, target)
        flush(target.parent)
    except OSError as error:
        raise DatabaseRefused(
            f"no copy can be written to {target}: {error.strerror or error}. Nothing was changed."
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_copy(source: Path, partial: Path) -> None:
    """Makes `partial`, which must not exist yet, and looks it through."""
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        reading = f"{source.as_uri()}?mode=ro"
        with closing(sqlite3.connect(reading, uri=True, timeout=_WAIT_SECONDS)) as connection:
            connection.execute("VACUUM INTO ?", (str(partial),))
    except sqlite3.DatabaseError as error:
        raise DatabaseRefused(_not_copied(source, partial, error)) from error
    if fault := damage(partial):
        raise DatabaseRefused(f"the copy of {source} is damaged ({fault}): so is the database, or the disk")


def _not_copied(source: Path, partial: Path, error: sqlite3.DatabaseError) -> str:
    if "full" in str(error):
        return f"there is no room for a copy in {partial.parent} (the disk is full). Nothing was changed."
    if "locked" in str(error):
        return f"{source} was locked for {_WAIT_SECONDS} seconds by a writer that did not end; look for it, then try again"
    return f"{source} cannot be copied ({error}). Nothing was changed; `autopack doctor` says more."


def damage(path: Path) -> str | None:
    """What SQLite finds wrong with the structure of a file that nobody writes to."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
            return None if found == ["ok"] else "; ".join(found)
    except sqlite3.DatabaseError as error:
        return str(error)


def _give_name(partial: Path, target: Path) -> None:
    """Never takes a name away from another file."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise DatabaseRefused(f"{target} exists already. Nothing was changed; name another file.") from None
    except OSError:  # a file system without hard links
        if target.exists():
            raise DatabaseRefused(
                f"{target} exists already. Nothing was changed; name another file."
            ) from None
        partial.rename(target)
        return
    partial.unlink()


def read_copy(path: Path) -> Copied:
    """What a whole copy holds, at whichever revision."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        database_id, epoch = connection.execute(f"SELECT database_id, epoch FROM {IDENTITY}").fetchone()
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY name"
        ).fetchall()
        rows = {
            name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in tables
        }
    return Copied(
        path=path, bytes=path.stat().st_size, database_id=database_id, epoch=epoch,
        revision=revision[0] if revision else None, rows=rows,
    )  # fmt: skip


def flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# PostgreSQL has tools of its own, which know its roles, its versions and its large tables.


def dump_command(location: Location, target: Path | None) -> str:
    """The command that backs this very database up. Without the password: the tool asks for it."""
    file = target or Path(f"{location.url.database}.dump")
    return shlex.join(["pg_dump", "--format=custom", f"--file={file}", f"--dbname={_plain(location)}"])


def restore_commands(location: Location, backup: Path) -> list[str]:
    """The second one tells clients that were connected before that the database is not as they knew it."""
    dbname = f"--dbname={_plain(location)}"
    moment = (
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"  # as `restore` of a SQLite database does it
    )
    epoch = f"UPDATE {IDENTITY} SET epoch = greatest(epoch, {moment}) + 1, nonce = NULL"
    leases = "UPDATE attempts SET lease_token = gen_random_uuid()::text, lease_expires_at = now() WHERE outcome IS NULL"
    return [
        shlex.join(["pg_restore", "--clean", "--if-exists", "--single-transaction", dbname, str(backup)]),
        shlex.join(["psql", "--single-transaction", dbname, f"--command={epoch}", f"--command={leases}"]),
    ]


def _plain(location: Location) -> str:
    url = location.url.difference_update_query(["password"])
    return URL.create(
        "postgresql", username=url.username, host=url.host, port=url.port, database=url.database, query=url.query
    ).render_as_string()  # fmt: skip
