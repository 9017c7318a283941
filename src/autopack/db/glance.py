"""Which tables a SQLite file holds: a look that changes nothing, neither in the file nor beside it.

Opening a file is enough to change it: SQLite writes back a log and takes back a transaction that somebody left, and
makes files beside one in WAL mode even to read it. So whose file it is has to be known before.
"""

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

IDENTITY = "database_identity"
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
_WAIT_SECONDS = 30
_WAL_VERSION = 2


def table_names(path: Path) -> frozenset[str]:
    """As they are once everything that lies beside the file is taken into account. Raises sqlite3.DatabaseError."""
    found = _at_the_file_alone(path)
    if found is not None and IDENTITY in found:
        return found
    if _beside(path, "-wal").exists() or (found and _is_in_wal_mode(path)):
        return found or _of_a_copy(path)
    try:
        # With locks: the file alone may show a transaction that is being written at this moment.
        return _names(path, "mode=ro")
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname != "SQLITE_READONLY_ROLLBACK":
            raise
        return _of_a_copy(path)


def _at_the_file_alone(path: Path) -> frozenset[str] | None:
    try:
        return _names(path, "mode=ro&immutable=1")
    except sqlite3.DatabaseError:
        return None


def _names(path: Path, how: str) -> frozenset[str]:
    with closing(sqlite3.connect(f"{path.as_uri()}?{how}", uri=True, timeout=_WAIT_SECONDS)) as connection:
        connection.text_factory = lambda raw: raw.decode(errors="replace")
        return frozenset(name for (name,) in connection.execute(_TABLES))


def _is_in_wal_mode(path: Path) -> bool:
    with path.open("rb") as opened:
        return _WAL_VERSION in opened.read(20)[18:]


def _of_a_copy(path: Path) -> frozenset[str]:
    """What a dead process left is put right in a copy."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy.db"
        for suffix in ("", "-wal", "-journal"):
            if (part := _beside(path, suffix)).exists():
                shutil.copyfile(part, _beside(copy, suffix))
        return _names(copy, "mode=rw")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
