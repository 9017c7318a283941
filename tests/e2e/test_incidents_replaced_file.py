"""INCIDENTS D8: the database file goes away, or another takes its place, while a drain in-process is under way."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autopack.clock import utc_now
from autopack.db.location import locate
from autopack.db.migrate import migrate
from tests.e2e.support_incidents import (
    ended_at_last,
    outcome,
    query,
    rows,
    seed,
    small_run,
    sqlite_path,
    states,
    until,
)
from tests.support import git, run_script, start_warm

pytestmark = pytest.mark.slow

AWAY = "kept.db"


class Drain:
    """A drain that is inside the check of its second phase, with nothing to write before that ends."""

    def __init__(self, url: str, workspace: Path, cassette: Path) -> None:
        self.url, self.workspace, self.path = url, workspace, sqlite_path(url)
        self.env = {"DATABASE_URL": url, "AUTOPACK_REPLAY": str(cassette)}
        self.process = start_warm(*self.command, cwd=workspace, env=self.env)

    command = ("drain_queued_phases.py", "--run-id", "r1", "--in-process")

    def wait_for_the_second_check(self) -> None:
        asked = "SELECT count(*) FROM llm_usage_events WHERE phase_id = 'p2' AND status = 'answered'"
        until(lambda: query(self.url, asked) == [(1,)], self.process)

    def take_away(self) -> dict[str, list[str]]:
        """The database gets another name. What it held at that moment is returned."""
        self.path.rename(self.path.with_name(AWAY))
        return rows(self.away)

    @property
    def away(self) -> str:
        return f"sqlite:///{self.path.with_name(AWAY)}"

    def end(self) -> str:
        _, told = self.process.communicate(timeout=60)
        assert self.process.returncode == 3, told
        assert "Traceback" not in told
        return told

    def bring_back_and_go_on(self) -> None:
        self.path.with_name(AWAY).rename(self.path)
        resumed = run_script(*self.command, cwd=self.workspace, env=self.env, warm=True)
        assert resumed.returncode == 0, outcome(resumed)
        assert set(states(self.url, "r1").values()) == {"COMPLETE"}
        assert len(git(self.workspace, "log", "--format=%s", "main..autopack/r1").splitlines()) == 3


@pytest.fixture
def drain(sqlite_url: str, workspace: Path, tmp_path: Path) -> Iterator[Drain]:
    plan_file, cassette = small_run(tmp_path, 3, "sleep 1")
    seed(sqlite_url, plan_file)
    started = Drain(sqlite_url, workspace, cassette)
    with ended_at_last(started.process):
        started.wait_for_the_second_check()
        yield started


def test_a_deleted_file_ends_the_drain_and_nothing_is_made_in_its_place(drain: Drain) -> None:
    before = drain.take_away()
    told = drain.end()
    assert f"the database file {drain.path} is gone" in told
    assert "Nothing is made in its place; put it back." in told
    assert not drain.path.exists()
    assert rows(drain.away) == before
    drain.bring_back_and_go_on()


def a_copy(path: Path) -> None:
    path.write_bytes(path.with_name(AWAY).read_bytes())


def a_new_one(path: Path) -> None:
    migrate(locate(f"sqlite:///{path}", path.parent), now=utc_now)


def an_empty_file(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize("put", [a_copy, a_new_one, an_empty_file])
def test_a_replaced_file_ends_the_drain_and_neither_file_is_written(
    drain: Drain, put: Callable[[Path], None]
) -> None:
    before = drain.take_away()
    put(drain.path)
    replacement = drain.path.read_bytes()
    told = drain.end()
    assert f"the database file {drain.path} was replaced while it was in use" in told
    assert "Nothing more is written; stop what replaced it, put the file back, and start again." in told
    assert drain.path.read_bytes() == replacement
    assert rows(drain.away) == before


def test_a_second_name_for_the_file_ends_the_drain(drain: Drain) -> None:
    before = rows(drain.url)
    drain.path.with_name("second.db").hardlink_to(drain.path)
    told = drain.end()
    assert f"the database file {drain.path} has 2 hard links" in told
    assert rows(drain.url) == before
