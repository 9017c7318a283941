"""A process that is killed in the middle of a write leaves a database that can be opened, as it was before."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select

from autopack.clock import utc_now
from autopack.db.identity import open_database
from autopack.db.location import locate, located_file
from autopack.db.migrate import migrate
from autopack.db.tables import RunRow
from autopack.errors import DatabaseRefused

# The cache is small, so that the write has reached the file before it is cut off.
KILLED = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode=TRUNCATE")
connection.execute("PRAGMA cache_size=5")
connection.execute("BEGIN IMMEDIATE")
connection.executemany(
    "INSERT INTO runs (id, goal, state, plan_hash, safety_profile, created_at, updated_at) "
    "VALUES (?, ?, 'QUEUED', 'h', 'standard', '2026-01-01 00:00:00', '2026-01-01 00:00:00')",
    ((f"r{n}", "g" * 500) for n in range(500)),
)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_write_that_was_cut_off_is_taken_back_by_the_next_who_writes(sqlite_url: str) -> None:
    location = locate(sqlite_url, Path("/"))
    assert location.path is not None
    killed = subprocess.run([sys.executable, "-c", KILLED, str(location.path)], check=False)
    assert killed.returncode == -9
    left = location.path.with_name(location.path.name + "-journal")
    assert left.stat().st_size > 0

    cut_off = r"middle of a write.*autopack identity --database-url sqlite:///"
    with pytest.raises(DatabaseRefused, match=cut_off), open_database(location, read_only=True):
        pass
    with open_database(location) as database, database.transaction() as session:
        assert session.scalar(select(func.count()).select_from(RunRow)) == 0
    with open_database(location, read_only=True):
        pass


KILLED_IN_ITS_FIRST_MIGRATION = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size=1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("CREATE TABLE alembic_version (version_num)")
connection.execute("CREATE TABLE runs (id, goal)")
connection.executemany("INSERT INTO runs VALUES (?, ?)", ((n, "g" * 3000) for n in range(50)))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_tables_of_a_migration_that_was_cut_off_are_not_taken_for_another_programs(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_ITS_FIRST_MIGRATION, str(path)], check=False)
    assert killed.returncode == -9
    assert path.stat().st_size > 50_000
    with pytest.raises(DatabaseRefused, match=r"has no tables. Run `autopack migrate`"), open_database(located_file(path)):  # fmt: skip
        pass
    assert migrate(located_file(path), now=utc_now).before is None
    with open_database(located_file(path)):
        pass
