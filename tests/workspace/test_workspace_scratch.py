"""Scratch directories: what a killed process left is swept by the next, and nothing else is."""

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from autopack.workspace import scratch
from autopack.workspace.liveness import identity
from autopack.workspace.scratch import mark_owner, scratch_directory, sweep_leftovers
from tests.support import clean_environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="who is alive is known from /proc")
KILLED = """
import os, signal, sys, anyio, tempfile
from pathlib import Path
from autopack.workspace.objects import private_directory
from autopack.workspace.scratch import scratch_directory
tempfile.tempdir = sys.argv[1]
async def main():
    async with scratch_directory() as directory, scratch_directory(keep=True):
        (directory / "tree/deep").mkdir(parents=True)
        (directory / "link").symlink_to(sys.argv[2])
        with private_directory():
            os.kill(os.getpid(), signal.SIGKILL)
anyio.run(main)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch) -> Path:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(place))
    return place


def dead() -> str:
    """The name of a process of this machine that is gone."""
    with subprocess.Popen(["sleep", "30"]) as process:
        name = identity(process.pid)
        process.kill()
    return name


def leftover(directory: Path, owner: str) -> Path:
    directory.mkdir()
    (directory / ".owner").write_text(owner)
    return directory


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_what_a_killed_process_left_is_swept_but_what_it_kept(temporary: Path, tmp_path: Path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(temporary), str(victim)], env=clean_environment(), check=False
    )
    assert done.returncode == -9
    assert [name[:15] for name in names(temporary)] == [
        "autopack-check-",
        "autopack-check-",
        "autopack-index-",
    ]
    assert sweep_leftovers() == 2
    assert [name[:15] for name in names(temporary)] == ["autopack-check-"]  # that was asked to be kept
    assert names(victim) == ["file"]


def test_the_living_are_left_alone(temporary: Path):
    async def sweep_within() -> tuple[int, bool]:
        async with scratch_directory() as directory:
            return sweep_leftovers(), directory.is_dir()

    assert anyio.run(sweep_within) == (0, True)
    assert names(temporary) == []


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("autopack-check-foreign", "elsewhere|boot|pid:[1]|1|1"),
        ("autopack-check-unknown", "what?"),
        ("autopack-check-empty", ""),
        ("other-check", None),
        ("autopack-checks", None),
    ],
)
def test_without_a_certain_death_nothing_is_removed(name: str, owner: str | None, temporary: Path):
    leftover(temporary / name, dead() if owner is None else owner)
    assert sweep_leftovers() == 0
    assert names(temporary) == [name]


def test_no_link_is_followed_and_no_trick_of_a_check_believed(temporary: Path, tmp_path: Path):
    victim = leftover(tmp_path / "victim", dead())
    (temporary / "autopack-check-link").symlink_to(victim)
    one, two, three = (temporary / f"autopack-check-{number}" for number in range(3))
    for directory in (one, two, three):
        directory.mkdir()
    (one / ".owner").symlink_to(victim / ".owner")
    os.mkfifo(two / ".owner")
    (three / ".owner").mkdir()
    assert sweep_leftovers() == 0
    assert len(names(temporary)) == 4
    assert names(victim) == [".owner"]


def test_a_missing_temporary_directory_is_nothing_to_sweep(temporary: Path):
    temporary.rmdir()
    assert sweep_leftovers() == 0


def test_the_owner_is_this_process(tmp_path: Path):
    mark_owner(tmp_path)
    assert (tmp_path / ".owner").read_text() == identity()
