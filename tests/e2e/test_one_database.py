"""A whole drain through one engine and one session, without DDL, on tables that only grow; and no update is lost."""

import gc
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import Engine, Pool, event, text
from sqlalchemy.orm import Session

from autopack.bootstrap import Connection, open_client
from autopack.cli.drain import Finished, run_drain
from autopack.db.engine import journal_mode, wal_is_safe
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.executor.worker import Request
from autopack.settings import DatabaseChoice, Settings
from tests.e2e.support_incidents import counts, query, seed, small_run, states
from tests.support import ROOT, clean_environment, git

pytestmark = pytest.mark.slow

_DDL = re.compile(r"\s*(CREATE|DROP|ALTER|TRUNCATE|ATTACH|DETACH|VACUUM|REINDEX)\b", re.IGNORECASE)
PROCESSES, THREADS, TIMES = 3, 2, 60


@dataclass
class Record:
    """What SQLAlchemy did in this process. The objects are kept, so that no id is given twice."""

    engines: set[Engine] = field(default_factory=set)
    connections: list[Any] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    commits: int = 0
    lost: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)


@contextmanager
def recorded(count_rows: Callable[[], dict[str, int]]) -> Iterator[Record]:
    """Listens to every engine, pool and session of the process, whoever makes them."""
    record = Record()

    def began(session: Session, *_: Any) -> None:
        record.sessions.append(session)

    def committed(_: Session) -> None:
        record.commits += 1
        now = count_rows()
        record.lost += [f"{table}: {count} -> {now.get(table)}" for table, count in record.seen.items() if now.get(table, -1) < count]  # fmt: skip
        record.seen = now

    def executed(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        record.statements.append(statement)

    def connected(connection: Any) -> None:
        record.engines.add(connection.engine)

    def pooled(driver: Any, _: Any) -> None:
        record.connections.append(driver)

    listeners: list[tuple[Any, str, Callable[..., None]]] = [
        (Session, "after_begin", began),
        (Session, "after_commit", committed),
        (Engine, "before_cursor_execute", executed),
        (Engine, "engine_connect", connected),
        (Pool, "connect", pooled),
    ]
    for target, name, listener in listeners:
        event.listen(target, name, listener)
    try:
        yield record
    finally:
        for target, name, listener in listeners:
            event.remove(target, name, listener)


def living_engines() -> set[Engine]:
    gc.collect()
    return {found for found in gc.get_objects() if isinstance(found, Engine)}


def counter(url: str) -> Callable[[], dict[str, int]]:
    """Row counts by the bare driver, so that counting leaves no trace in what is recorded."""
    if url.startswith("sqlite:"):
        connect: Callable[[], Any] = lambda: sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True, timeout=30)  # noqa: E731  # fmt: skip
    else:
        import psycopg

        connect = lambda: psycopg.connect(url)  # noqa: E731
    tables = list(counts(url))

    def count_rows() -> dict[str, int]:
        connection = connect()
        try:
            return {
                table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables
            }
        finally:
            connection.close()

    return count_rows


def test_a_drain_of_several_batches_uses_one_engine_and_one_session_and_makes_no_ddl(
    database_url: str, workspace: Path, tmp_path: Path
) -> None:
    plan_file, cassette = small_run(tmp_path, 5, "true")
    seed(database_url, plan_file)
    count_rows = counter(database_url)
    choice = DatabaseChoice(url=database_url, rule="the test's", directory=tmp_path)
    settings = Settings(replay=cassette)
    before = living_engines()
    made: set[Engine] = set()

    async def drain() -> Finished:
        async with open_client(Connection(api_url=None, choice=choice), settings) as client:
            request = Request(run_id="r1", batch_size=2, concurrency=2)
            finished = await run_drain(client, settings, workspace, request)
            made.update(living_engines() - before)
            return finished

    with recorded(count_rows) as record:
        finished = anyio.run(drain)

    assert finished.exit_code == 0
    assert finished.drained.batches >= 3
    assert set(states(database_url, "r1").values()) == {"COMPLETE"}
    assert len(git(workspace, "log", "--format=%s", "main..autopack/r1").splitlines()) == 5
    assert len(made) == 1
    assert record.engines == made
    assert len(record.connections) == 1
    assert len(record.sessions) > 30
    assert len({id(session) for session in record.sessions}) == 1
    assert [statement for statement in record.statements if _DDL.match(statement)] == []
    assert any(statement.startswith("UPDATE phases") for statement in record.statements)
    assert record.commits > 30
    assert record.lost == []


def test_read_modify_writes_of_three_processes_with_two_threads_each_are_all_kept(
    sqlite_url: str, tmp_path: Path
) -> None:
    plan_file, _ = small_run(tmp_path, 1, "true")
    seed(sqlite_url, plan_file)
    command = [sys.executable, "-m", "tests.e2e.support_counting", sqlite_url, "r1", str(THREADS), str(TIMES)]
    workers = [
        subprocess.Popen(command, cwd=ROOT, env=clean_environment(), stderr=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    told = [worker.communicate(timeout=120)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * PROCESSES, told
    assert query(sqlite_url, "SELECT tokens_used FROM runs") == [(PROCESSES * THREADS * TIMES,)]


def test_the_journal_mode_in_force_is_the_one_that_is_safe_with_this_sqlite(sqlite_url: str) -> None:
    wanted = "wal" if wal_is_safe(sqlite3.sqlite_version_info[:3]) else "truncate"
    assert journal_mode() == wanted
    with open_database(locate(sqlite_url, Path("/"))) as database, database.transaction() as session:
        facts = {name: session.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")}  # fmt: skip
    assert facts == {"journal_mode": wanted, "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


@pytest.mark.parametrize("at_first", ["wal", "delete"])
def test_a_database_of_ours_in_another_journal_mode_is_put_into_the_safe_one(
    sqlite_url: str, at_first: str
) -> None:
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    assert other.execute(f"PRAGMA journal_mode={at_first}").fetchone() == (at_first,)
    other.close()
    with open_database(locate(sqlite_url, Path("/"))) as database, database.transaction() as session:
        assert session.execute(text("PRAGMA journal_mode")).scalar() == journal_mode()
