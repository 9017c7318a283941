"""A backup in the place of a database: the old file is kept under another name, and clients notice.

The new file is made beside the old one and takes its name at one moment: killed before it, the old one is there, whole;
killed after it, the new one.
"""

import dataclasses
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import cast

from sqlalchemy import Connection, Table, func, insert, inspect, update
from sqlalchemy.exc import DBAPIError

from autopack.db.backup import Copied, flush, read_copy, write_copy
from autopack.db.engine import refusal_reason, sqlite_engine
from autopack.db.glance import IDENTITY, table_names
from autopack.db.location import Location
from autopack.db.migrate import known_revisions
from autopack.db.openers import openers
from autopack.db.tables import AttemptRow, DatabaseIdentityRow, EventRow
from autopack.db.unfinished import kept_name, take_back_second_name, unfinished_name
from autopack.errors import DatabaseRefused, UsageError

_PATIENCE_SECONDS = 2.0
_MAGIC = b"SQLite format 3\0"
_BESIDE = ("-wal", "-journal")


@dataclass(frozen=True, kw_only=True)
class Restored:
    """`kept` is the file that was there before, under its new name; `given_back` counts attempts that were under way."""

    database: Copied
    backup: Path
    epoch_before: int
    given_back: int
    kept: Path | None = None


def restore(backup: Path, location: Location, *, replace: bool, actor: str, now: datetime) -> Restored:
    """Puts a copy of `backup` in the database's place. Raises DatabaseRefused, and then nothing was changed."""
    target = location.path
    assert target is not None
    _refuse_backup(backup, target)
    _refuse_target(target, replace=replace, moved=kept_name(target, now))
    partial = unfinished_name(target, now)
    try:
        write_copy(backup, partial)
        found = _known(backup, read_copy(partial))
        before = _refuse_another(target, found) if target.exists() else None
        epoch = _new_epoch(found.epoch, before or 0, now)
        given_back = _begin_anew(partial, epoch, backup, actor=actor, now=now)
        made = read_copy(partial)
        kept = _take_place(partial, target, now)
    except OSError as error:
        raise DatabaseRefused(
            f"{target} cannot be restored: {error.strerror or error}. It is as it was."
        ) from error
    finally:
        for suffix in ("", *_BESIDE):
            with suppress(OSError):
                partial.with_name(partial.name + suffix).unlink(missing_ok=True)
    flush(target.parent)
    return Restored(
        database=dataclasses.replace(made, path=target), backup=backup, epoch_before=found.epoch, given_back=given_back,
        kept=kept,
    )  # fmt: skip


def _refuse_backup(backup: Path, target: Path) -> None:
    if not backup.is_file():
        raise UsageError(f"there is no backup at {backup}" if not backup.exists() else f"{backup} is no file")
    if target.exists() and backup.samefile(target):
        raise UsageError(f"{backup} is the database itself; name a backup of it")
    if not target.parent.is_dir():
        raise DatabaseRefused(
            f"the directory {target.parent} does not exist. Make it, or name another with --to."
        )
    try:
        tables = table_names(backup)
    except (sqlite3.DatabaseError, OSError) as error:
        raise DatabaseRefused(f"{backup} is no SQLite database that can be read ({error})") from error
    if not {IDENTITY, "alembic_version"} <= tables:
        raise DatabaseRefused(f"{backup} is no backup of a database of Autopack's")


def _refuse_target(target: Path, *, replace: bool, moved: Path) -> None:
    if not target.exists():
        # Whatever file came under this name, SQLite would write their pages into it.
        if left := [part.name for part in _left_beside(target)]:
            raise DatabaseRefused(
                f"{', '.join(left)} lies in {target.parent}, left by a database that is gone, and would spoil the restored "
                "one. Nothing was changed; move it away first."
            )
        return
    if not target.is_file():
        raise DatabaseRefused(f"{target} is not a file. Name another place with --to.")
    if not replace:
        raise DatabaseRefused(
            f"there is a database at {target} already. Nothing was changed. With --replace it is kept as {moved.name}, "
            "once nobody uses it; or name another place with --to sqlite:///FILE."
        )
    take_back_second_name(target)
    if target.stat().st_nlink > 1:
        raise DatabaseRefused(f"{target} has several hard links. Keep one of them, then restore again.")
    if _is_damaged(target):
        return
    if (tables := table_names(target)) and IDENTITY not in tables:
        raise DatabaseRefused(
            f"the database {target} is not Autopack's. Nothing was changed; name another place with --to."
        )


def _is_damaged(target: Path) -> bool:
    """Whether this is, or was, a SQLite database that cannot be read. What never was one is somebody else's."""
    try:
        table_names(target)
    except (sqlite3.DatabaseError, OSError) as error:
        with target.open("rb") as opened:
            if opened.read(len(_MAGIC)) == _MAGIC:
                return True
        raise DatabaseRefused(
            f"{target} is no SQLite database ({error}). Nothing was changed; if it is a database that is damaged from its "
            "first byte on, move it away and restore again."
        ) from error
    return False


def _known(backup: Path, found: Copied) -> Copied:
    if found.revision not in known_revisions():
        raise DatabaseRefused(
            f"{backup} is at revision {found.revision}, which this Autopack does not know: it was written by a newer one. "
            "Nothing was changed. Upgrade Autopack first."
        )
    return found


def _refuse_another(target: Path, found: Copied) -> int | None:
    """The epoch of the database that is there, where that can be read."""
    try:
        with closing(
            sqlite3.connect(f"{target.as_uri()}?mode=ro", uri=True, timeout=_PATIENCE_SECONDS)
        ) as asked:
            row = asked.execute(f"SELECT database_id, epoch FROM {IDENTITY}").fetchone()
    except sqlite3.DatabaseError:
        return None
    if row is not None and row[0] != found.database_id:
        raise DatabaseRefused(
            f"the backup is of database {found.database_id}, and {target} is database {row[0]}. Nothing was changed. Name "
            "another place with --to, or move that database away first."
        )
    return None if row is None else int(row[1])


def _new_epoch(backed_up: int, replaced: int, now: datetime) -> int:
    """One that no restore has given before, also where the file of that restore is not there any more: the milliseconds."""
    return max(backed_up, replaced, int(now.timestamp() * 1000)) + 1


def _begin_anew(partial: Path, epoch: int, backup: Path, *, actor: str, now: datetime) -> int:
    """A new epoch, no lease that any worker still holds, and a word of it among the events. Returns how many leases."""
    engine = sqlite_engine(partial, mode="rw", fuse=True)
    attempts = cast(Table, AttemptRow.__table__)
    try:
        with engine.begin() as connection:
            connection.execute(update(DatabaseIdentityRow).values(epoch=epoch, nonce=None))
            # The plain tables: at an older revision some columns of today's are not there.
            given_back = connection.execute(
                update(attempts)
                .where(attempts.c.outcome.is_(None))
                .values(lease_token=func.lower(func.hex(func.randomblob(16))), lease_expires_at=now)
            ).rowcount
            if _keeps_events_of_all_runs(connection):
                detail = {"backup": backup.name, "epoch": epoch, "attempts_given_back": given_back}
                event = insert(cast(Table, EventRow.__table__)).values(kind="restored", actor=actor)
                connection.execute(event.values(run_id=None, detail=detail, created_at=now))
    except DBAPIError as error:
        raise DatabaseRefused(
            f"{partial}: {refusal_reason(error) or error.orig}; nothing was changed"
        ) from error
    finally:
        engine.dispose()
    flush(partial)
    return given_back


def _keeps_events_of_all_runs(connection: Connection) -> bool:
    return any(
        column["name"] == "run_id" and column["nullable"]
        for column in inspect(connection).get_columns("events")
    )


def _take_place(partial: Path, target: Path, now: datetime) -> Path | None:
    if not target.exists():
        os.link(partial, target)  # fails where somebody made one meanwhile
        return None
    kept = kept_name(target, now)
    with _alone_with(target):
        _give_owner(partial, target)
        os.link(target, kept)
        try:
            # It belongs to a file that is damaged; a well one has none by now.
            for part in _left_beside(target):
                part.rename(part.with_name(part.name.replace(target.name, kept.name, 1)))
            partial.rename(target)
        except OSError:
            kept.unlink()
            raise
    return kept


def _left_beside(path: Path) -> list[Path]:
    parts = (path.with_name(path.name + suffix) for suffix in _BESIDE)
    return [part for part in parts if part.exists() and part.stat().st_size]


def _give_owner(partial: Path, target: Path) -> None:
    """Whoever used the database may use the restored one."""
    status = target.stat()
    with suppress(OSError):
        os.chown(partial, status.st_uid, status.st_gid)
    partial.chmod(status.st_mode & 0o777)


@contextmanager
def _alone_with(target: Path) -> Iterator[None]:
    """While inside, nobody has the database open, and nobody can write. Raises DatabaseRefused where somebody has."""
    opened = sqlite3.connect(
        f"{target.as_uri()}?mode=rw", uri=True, timeout=_PATIENCE_SECONDS, isolation_level=None
    )
    with closing(opened) as connection:
        try:
            # Leaving WAL mode needs the file for oneself, and leaves nothing of it beside the file.
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise DatabaseRefused(_in_use(target)) from error
            raise DatabaseRefused(f"{target} cannot be opened ({error}). Nothing was changed.") from error
        except sqlite3.DatabaseError:
            pass  # damaged: nobody can work on it either
        if openers(target):
            raise DatabaseRefused(_in_use(target))
        yield


def _in_use(target: Path) -> str:
    users = (
        ", ".join(f"process {each.pid} ({each.name})" for each in openers(target))
        or "a process that is not seen from here"
    )
    return f"{target} is in use by {users}. Nothing was changed. Stop what uses it, then restore again."
