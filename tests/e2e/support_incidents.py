"""Databases as the incident tests see them: from outside, row by row, with no code of Autopack's."""

import json
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, NullPool, create_engine, inspect, text

from autopack.clock import utc_now
from autopack.db.location import locate
from autopack.db.migrate import migrate
from tests.support import auditor_answer, builder_answer, phase, plan, run_script, write_cassette
from tests.support_warm import WarmProcess


def sqlite_path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


@contextmanager
def looking_at(url: str) -> Iterator[Connection]:
    """A connection that only reads, and is gone afterwards."""
    if url.startswith("sqlite:"):

        def connect() -> sqlite3.Connection:
            uri = f"{sqlite_path(url).as_uri()}?mode=ro"
            return sqlite3.connect(uri, uri=True, timeout=30, check_same_thread=False)

        engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    else:
        engine = create_engine(_psycopg(url), poolclass=NullPool)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def rows(url: str) -> dict[str, list[str]]:
    """Every row of every table, in an order that does not depend on the database."""
    with looking_at(url) as connection:
        return {
            table: sorted(repr(tuple(row)) for row in connection.execute(text(f"SELECT * FROM {table}")))
            for table in inspect(connection).get_table_names()
        }


def counts(url: str) -> dict[str, int]:
    with looking_at(url) as connection:
        return {
            table: connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
            for table in inspect(connection).get_table_names()
        }


def query(url: str, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
    with looking_at(url) as connection:
        return [tuple(row) for row in connection.execute(text(sql), parameters)]


def database_id(url: str) -> str:
    [(found,)] = query(url, "SELECT database_id FROM database_identity")
    return str(found)


def states(url: str, run_id: str) -> dict[str, str]:
    found = query(
        url, "SELECT phase_id, state FROM phases WHERE run_id = :run ORDER BY phase_index", run=run_id
    )
    return {str(phase_id): str(state) for phase_id, state in found}


class Growth:
    """A database whose rows may become more and never fewer, and which stays the same one."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.identity = database_id(url)
        self.seen = counts(url)

    def check(self) -> None:
        now = counts(self.url)
        lost = {
            table: (count, now.get(table)) for table, count in self.seen.items() if now.get(table, -1) < count
        }
        assert not lost, f"rows are gone: {lost}"
        assert database_id(self.url) == self.identity
        self.seen = now


@contextmanager
def another_database(url: str, name: str, *, copied: bool = False) -> Iterator[str]:
    """The URL of a second database of the same kind as `url`: migrated and empty, or an exact copy with the same identity."""
    if url.startswith("sqlite:"):
        path = sqlite_path(url).with_name(f"{name}.db")
        if copied:
            path.write_bytes(sqlite_path(url).read_bytes())
        other = f"sqlite:///{path}"
        migrate(locate(other, path.parent), now=utc_now)
        yield other
        return
    base, _, options = url.partition("?")
    first = base.rpartition("/")[2]
    second = f"{first}_{name}"
    admin = create_engine(_psycopg(f"{base.rpartition('/')[0]}/postgres?{options}"), isolation_level="AUTOCOMMIT", poolclass=NullPool)  # fmt: skip
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{second}" WITH (FORCE)'))
        connection.execute(text(f'CREATE DATABASE "{second}"' + (f' TEMPLATE "{first}"' if copied else "")))
    other = f"{base.rpartition('/')[0]}/{second}?{options}"
    try:
        migrate(locate(other, Path("/")), now=utc_now)
        yield other
    finally:
        with admin.connect() as connection:
            connection.execute(text(f'DROP DATABASE "{second}" WITH (FORCE)'))
        admin.dispose()


def _psycopg(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


def small_run(
    directory: Path, numbers: int, check: str, *, run_id: str = "r1", **more: Any
) -> tuple[Path, Path]:
    """A plan of phases p1, p2, ... that all run `check`, and the cassette that answers them. Files in `directory`."""
    names = [f"p{number}" for number in range(1, numbers + 1)]
    phases = [phase(name, checks=[check], **more) for name in names]
    plan_file = directory / "plan.json"
    plan_file.write_text(json.dumps(plan(run_id, phases)), encoding="utf-8")
    lines = [*(builder_answer(name) for name in names), auditor_answer()]
    return plan_file, write_cassette(directory / "cassette.jsonl", lines)


def seed(url: str, plan_file: Path) -> None:
    done = run_script(
        "autopack", "run", "create", str(plan_file), "--database-url", url, cwd=plan_file.parent, warm=True
    )
    assert done.returncode == 0, done.stderr


def until(
    condition: Callable[[], bool], process: subprocess.Popen[str] | WarmProcess, seconds: float = 60
) -> None:
    """Waits for what a running drain brings about."""
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            raise AssertionError(f"the drain ended with {process.returncode}: {process.communicate()}")
        assert time.monotonic() < end, "the drain did not come that far"
        time.sleep(0.02)


@contextmanager
def ended_at_last(process: subprocess.Popen[str] | WarmProcess) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def is_warm(url: str) -> bool:
    """On SQLite the scripts are started as a user starts them; the same story on PostgreSQL need not pay for that again."""
    return not url.startswith("sqlite:")


def outcome(done: subprocess.CompletedProcess[str]) -> str:
    return f"exit {done.returncode}\nstdout: {done.stdout}\nstderr: {done.stderr}"


def listing(directory: Path) -> Mapping[str, bytes | None]:
    """Every file below a directory with what is in it."""
    found = sorted(directory.rglob("*"))
    return {str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None for path in found}
