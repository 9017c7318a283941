"""What a process that died leaves beside a SQLite file, as SQLite itself wrote it."""

import shutil
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path


def state_of(directory: Path) -> dict[str, str]:
    """Every file and its content."""
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


def write_log(path: Path, table: str = "llm_usage_events") -> None:
    """A commit of one row that is in the log beside the file, and not in the file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"INSERT INTO {table} (id) VALUES (77)")
        connection.commit()
        _keep(path, "-wal")
    _put_back(path, "-wal")


def write_journal(path: Path, table: str = "llm_usage_events", column: str = "role") -> None:
    """A transaction that was cut off half-way: the file holds some of it, the journal takes it back."""
    whole = path.stat().st_size
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA cache_size=1")
        connection.execute("BEGIN")
        connection.executemany(f"INSERT INTO {table} ({column}) VALUES (?)", [("x" * 3000,)] * 50)
        assert path.stat().st_size > whole
        _keep(path, "-journal")
    _put_back(path, "-journal")


def write_mark(path: Path, _table: str = "") -> None:
    """Nothing is left but the mark that the file is in WAL mode."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _keep(path: Path, beside: str) -> None:
    for suffix in ("", beside):
        shutil.copy(f"{path}{suffix}", f"{path}.kept{suffix}")


def _put_back(path: Path, beside: str) -> None:
    for suffix in ("", beside):
        Path(f"{path}.kept{suffix}").replace(f"{path}{suffix}")
