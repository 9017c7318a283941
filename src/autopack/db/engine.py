"""One `Database` per process: one engine, transactions with one rule each for locks, DDL and replaced files."""

import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, NullPool, Pool, QueuePool, create_engine, event
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError
from sqlalchemy.orm import Session

from autopack.db.location import Location
from autopack.errors import AutopackError, DatabaseBusy, DatabaseRefused, DatabaseReplaced

BUSY_TIMEOUT_SECONDS = 30
_FUSE = frozenset(
    getattr(sqlite3, name)
    for name in dir(sqlite3)
    if name.startswith(("SQLITE_CREATE_", "SQLITE_DROP_")) or name in ("SQLITE_ALTER_TABLE", "SQLITE_ATTACH", "SQLITE_DETACH")
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FileStamp:
    """What tells a file from another of the same name."""

    device: int
    inode: int


def wal_is_safe(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite has the WAL-reset fix: 3.51.3, or 3.50.7 and 3.44.6 of their branches.

    Older versions can lose committed rows when several processes write (sqlite.org, release notes of 3.51.3).
    """
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


def journal_mode() -> str:
    return "wal" if wal_is_safe(sqlite3.sqlite_version_info[:3]) else "truncate"


class FairLock:
    """A lock handed over in the order in which it was asked for; `threading.Lock` lets the lucky starve the rest."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._held = False

    def __enter__(self) -> None:
        with self._guard:
            if not self._held:
                self._held = True
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        turn.acquire()

    def __exit__(self, *_: object) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._held = False


class Database:
    """The one way to a database. `transaction()` begins, commits, or rolls back; nobody else does.

    With `one_session`, every transaction of the process uses the same `Session`, one caller at a time.
    """

    def __init__(self, location: Location, engine: Engine, *, one_session: bool) -> None:
        self.location = location
        self.engine = engine
        self.stamp = file_stamp(location.path) if location.path else None
        self._lock = FairLock()
        self._session = Session(engine, expire_on_commit=True) if one_session else None

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session inside a transaction that commits at the end, and rolls back on any error.

        Raises DatabaseReplaced when the file was deleted or replaced, DatabaseRefused when it cannot be written.
        """
        with self._turn(), _refusals(self.location):
            self.check_file()
            session = self._session or Session(self.engine)
            try:
                with session.begin():
                    yield session
                    session.flush()
                    self.check_file()
            finally:
                session.expire_all() if self._session else session.close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """SQLite has one writer, and the one session has one user; a PostgreSQL server's requests run side by side."""
        if self._session is None and self.location.path is None:
            yield
        else:
            with self._lock:
                yield

    def check_file(self) -> None:
        """Refuses a SQLite file that is not the one that was opened: its writes would go to nobody."""
        if self.location.path is not None and file_stamp(self.location.path) != self.stamp:
            raise DatabaseReplaced(
                f"the database file {self.location.path} was replaced while it was in use. Nothing more is "
                "written; stop what replaced it, put the file back, and start again."
            )

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
        self.engine.dispose()


def file_stamp(path: Path) -> FileStamp:
    """Device and inode. Raises DatabaseReplaced when the file is gone, or has a second name to be written under."""
    try:
        status = path.stat()
    except OSError as error:
        raise DatabaseReplaced(
            f"the database file {path} is gone ({error.strerror}). Nothing is made in its place; put it back."
        ) from error
    if status.st_nlink > 1:
        raise DatabaseReplaced(
            f"the database file {path} has {status.st_nlink} hard links; SQLite's journal protects only one name. "
            "Keep one of them (copy the file instead of linking it)."
        )
    return FileStamp(device=status.st_dev, inode=status.st_ino)


def runtime_engine(location: Location, *, synchronous: str = "FULL", read_only: bool = False) -> Engine:
    """An engine that cannot make, change or drop a table, nor make a file; nor, with `read_only`, write a row.

    `synchronous` is SQLite's pragma: FULL keeps every acknowledged commit through a power cut. On PostgreSQL
    the fuse is the role's: see docs/operations.md.
    """
    if location.path is None:
        options = {"postgresql_readonly": True} if read_only else {}
        return create_engine(
            location.url, hide_parameters=True, pool_pre_ping=True, execution_options=options
        )
    mode = "ro" if read_only else "rw"
    return sqlite_engine(location.path, mode=mode, synchronous=synchronous, fuse=True)


def sqlite_engine(
    path: Path, *, mode: str, synchronous: str = "FULL", fuse: bool, foreign_keys: bool = True
) -> Engine:
    def connect() -> sqlite3.Connection:
        # isolation_level=None: the driver's own BEGIN comes late and loses concurrent read-modify-writes.
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_SECONDS
        )  # fmt: skip
        _configure(connection, synchronous=synchronous, foreign_keys=foreign_keys)
        if fuse:
            connection.set_authorizer(_deny_ddl)
        return connection

    pool: type[Pool] = QueuePool if fuse else NullPool
    engine = create_engine("sqlite://", creator=connect, poolclass=pool, hide_parameters=True)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _configure(connection: sqlite3.Connection, *, synchronous: str, foreign_keys: bool) -> None:
    try:
        connection.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        # Of this connection only. WAL is a mark in the file, and the file may be somebody else's: `settle_journal`.
        if "wal" not in (connection.execute("PRAGMA journal_mode").fetchone()[0], journal_mode()):
            connection.execute(f"PRAGMA journal_mode={journal_mode()}")
    except BaseException:
        connection.close()
        raise


def settle_journal(engine: Engine) -> None:
    """Puts the file itself into or out of WAL mode. Only for a SQLite database that is known to be ours."""
    with closing(engine.raw_connection()) as connection:
        driver = connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        try:
            driver.execute(f"PRAGMA journal_mode={journal_mode()}")
        except sqlite3.DatabaseError as error:
            raise DatabaseRefused(
                f"the journal mode of the database cannot be set to {journal_mode()} ({error}); is another program using it?"
            ) from error


def _begin_immediate(connection: Connection) -> None:
    # Read-then-write transactions fail with "database is locked"; BEGIN IMMEDIATE makes them wait instead.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _deny_ddl(
    action: int, first: str | None, _second: str | None, _db: str | None, _source: str | None
) -> int:
    if action in _FUSE or (action == sqlite3.SQLITE_PRAGMA and first == "writable_schema"):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


@contextmanager
def _refusals(location: Location) -> Iterator[None]:
    """What the driver says, in words: where, why, and what to do. Constraint violations are ours and stay."""
    try:
        yield
    except AutopackError:
        raise
    except (OperationalError, DatabaseError) as error:
        if "pk_runs" in str(error.orig):
            raise DatabaseBusy("another request created the same run at this moment; ask again") from error
        if "deadlock detected" in str(error.orig):
            raise DatabaseBusy(
                "two transactions waited for each other, and this one gave way; ask again"
            ) from error
        if isinstance(error, DBAPIError) and (reason := refusal_reason(error)):
            raise DatabaseRefused(f"{location.masked}: {reason}") from error
        raise


_REASONS = {
    "database is locked": f"another process kept it locked for {BUSY_TIMEOUT_SECONDS} seconds; look for a hung writer",
    "readonly": "it cannot be written; check the permissions of the file and of its directory",
    "unable to open": "it cannot be opened; check that the file exists and may be read and written",
    "disk is full": "the disk is full; free some space, then run this again: nothing was lost",
    "disk I/O error": "the disk reports an error; check it before going on",
    "malformed": "the file is damaged; restore a backup (autopack doctor says which there are)",
    "not a database": "the file is not a SQLite database",
    "not authorized": "only `autopack migrate` may change the schema",
    "permission denied": "the database role lacks a permission",
    "connection": "the server cannot be reached",
    "could not translate": "the server's name is unknown",
    "authentication failed": "the server refuses the user or the password",
    "does not exist": "the server does not know that database or role",
}


def refusal_reason(error: DBAPIError) -> str | None:
    """Our words for a failure of the environment; None for anything else (which is a bug, and stays loud)."""
    text = str(error.orig)
    for sign, reason in _REASONS.items():
        if sign in text:
            return f"{reason} ({text.strip().splitlines()[0]})"
    return None
