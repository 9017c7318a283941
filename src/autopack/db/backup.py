"""A copy of a SQLite database that is whole or not there."""

import os
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path


def backup_sqlite(path: Path, *, label: str, at: datetime) -> Path:
    """`VACUUM INTO` beside the database, flushed to the disk before it gets its name. Returns that name.

    Reads through a connection of its own, so that it may be called while another one holds the write lock.
    """
    target = path.with_name(f"{path.name}.backup-{label}-{at:%Y%m%dT%H%M%S%f}")
    partial = target.with_name(target.name + ".partial")
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
            connection.execute("VACUUM INTO ?", (str(partial),))
        flush(partial)
        partial.rename(target)
        flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)
    return target


def flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
