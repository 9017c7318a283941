"""What checks may not reach, probe by probe and level by level: each really tried, by a program run in the sandbox."""

import os
import sys
from dataclasses import replace
from enum import Enum
from pathlib import Path

import pytest

from autopack.workspace import landlock
from autopack.workspace.sandbox import Sandbox, SandboxLevel
from tests.workspace.support_sandbox import (
    CANARY,
    DAEMON,
    FOUR_LARGE,
    LARGE_FILE,
    MANY,
    ONE_LARGE,
    PYTHON,
    REACH,
    TIGHT,
    is_held,
    machine,
    may_unshare,
    outlives_its_executor,
    run_in,
    sandbox_of,
    view_in,
    yama,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has what the levels are made of"),
]
FULL, FILES, LIMITS = SandboxLevel.FULL, SandboxLevel.FILES, SandboxLevel.LIMITS


class Cell(Enum):
    STOPPED = "stopped"
    OPEN = "open"
    FROM_ABI_4 = "stopped where Landlock knows TCP (Linux 6.7), else open"
    FROM_ABI_6 = "stopped where Landlock knows scopes (Linux 6.12), else open"
    FOR_ROOT_STOPPED = (
        "open, but root's is stopped: without its capabilities it may not look into one that has them"
    )
    FOR_ROOT_OPEN = "stopped for ordinary users; root owns them"
    OF_THE_MACHINE = "open where the machine lets users do it"

    def stops(self, probe: str) -> bool:
        root = os.getuid() == 0
        return {
            Cell.STOPPED: True,
            Cell.OPEN: False,
            Cell.FROM_ABI_4: landlock.abi() >= 4,
            Cell.FROM_ABI_6: landlock.abi() >= 6,
            Cell.FOR_ROOT_STOPPED: root or (probe == "trace" and yama()),
            Cell.FOR_ROOT_OPEN: not root,
            Cell.OF_THE_MACHINE: not may_unshare(),
        }[self]


S, O = Cell.STOPPED, Cell.OPEN  # noqa: E741
# fmt: off
MATRIX = {
    #                               full files limits
    "read a key":                   (S, S, O),
    "read the database":            (S, S, O),
    "alter the database":           (S, S, O),
    "write outside":                (S, S, O),
    "write to the host's tmp":      (S, S, O),
    "secrets in the environment":   (S, S, S),
    "environment of another":       (S, S, Cell.FOR_ROOT_STOPPED),
    "TCP":                          (S, Cell.FROM_ABI_4, O),
    "UDP":                          (S, O, O),
    "unix socket":                  (S, O, O),
    "abstract socket":              (S, Cell.FROM_ABI_6, O),
    "signal":                       (S, Cell.FROM_ABI_6, O),
    "trace":                        (S, S, Cell.FOR_ROOT_STOPPED),
    "mount":                        (S, S, S),
    "user namespace":               (S, Cell.OF_THE_MACHINE, Cell.OF_THE_MACHINE),
    "hooks":                        (S, S, O),
    "kernel settings":              (S, S, Cell.FOR_ROOT_OPEN),
    "3 GB in one process":          (S, S, S),
    "a 200 MB file":                (S, S, S),
    "400 processes":                (S, S, S),
    "four processes of 600 MB":     (S, S, S),
    "leave a daemon behind":        (S, S, S),
    "outlive its time limit":       (S, S, S),
    "outlive the killed executor":  (S, S, S),
}
# fmt: on


@pytest.fixture
def person(tmp_path: Path, monkeypatch) -> None:
    """Whose home is the small machine's, and who has secrets in the environment."""
    monkeypatch.setenv("PYENV_ROOT", os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv")))
    monkeypatch.setenv("HOME", str(tmp_path / "machine/person"))
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{CANARY}")
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize("level", [FULL, FILES, LIMITS])
def test_each_probe_is_stopped_or_marked_open(level: SandboxLevel, tmp_path: Path):
    """One test for each level, so that its programs are launched once, wherever the tests run."""
    sandbox = sandbox_of(level)
    reached = {**_reach(sandbox, tmp_path), **_take(sandbox, tmp_path)}
    column = [FULL, FILES, LIMITS].index(level)
    expected = {probe: cells[column].stops(probe) for probe, cells in MATRIX.items()}
    assert {probe: not reached[probe] for probe in MATRIX} == expected


def _reach(sandbox: Sandbox, directory: Path) -> dict[str, bool]:
    """One launch tries everything that needs no special limit. The machine's own word goes before the program's."""
    (directory / "machine").mkdir()
    with machine(directory / "machine") as outside:
        view = view_in(directory / "reach", outside.workspace)
        result = run_in(sandbox, view, *PYTHON, REACH, *outside.facts())
        seen = outside.saw()
    assert "all tried" in result.output or seen["signal"], result
    told = {line.partition(": ")[2]: line.startswith("reached") for line in result.output.splitlines()}
    return {**told, **seen}


def _take(sandbox: Sandbox, directory: Path) -> dict[str, bool]:
    programs = {
        "3 GB in one process": ONE_LARGE,
        "a 200 MB file": LARGE_FILE,
        "400 processes": MANY,
        "four processes of 600 MB": FOUR_LARGE,
    }
    taken = {}
    for number, (probe, program) in enumerate(programs.items()):
        view = view_in(directory / f"take-{number}", directory / "shown")
        result = run_in(sandbox, view, *PYTHON, program)
        taken[probe] = "reached" in result.output
    for probe, seconds, limit in (
        ("leave a daemon behind", "0", 20.0),
        ("outlive its time limit", "300", 2.0),
    ):
        view = view_in(directory / probe, directory / "shown")
        limits = replace(TIGHT, wall_seconds=limit)
        result = run_in(sandbox, view, *PYTHON, DAEMON, seconds, limits=limits)
        assert result.survivors == 1, result
        assert result.timed_out == (limit < 20), result
        taken[probe] = is_held(view.tree / "lock")
    taken["outlive the killed executor"] = outlives_its_executor(sandbox, directory / "executor")
    return taken


def test_at_the_full_level_everything_is_stopped():
    assert {cells[0] for cells in MATRIX.values()} == {Cell.STOPPED}
