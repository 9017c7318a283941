"""Limits of all processes of a command together: they hold at every level, for root too, and are told when passed."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autopack.workspace.process import Limits
from autopack.workspace.sandbox import SandboxLevel, View
from tests.workspace.support_sandbox import PYTHON, TIGHT, run_in, sandbox_of, view_in

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="they are counted through /proc")
every_level = pytest.mark.parametrize("level", [SandboxLevel.FULL, SandboxLevel.FILES, SandboxLevel.LIMITS])


@pytest.fixture
def view(tmp_path: Path) -> View:
    return view_in(tmp_path / "scratch", tmp_path / "person/project")


LARGE_AND_SHARED = """
import os, time
held = bytearray(b"x" * (150 << 20))
for _ in range(6):
    if os.fork() == 0:
        time.sleep(0.5)
        os._exit(0)
for _ in range(6):
    os.wait()
print("done")
"""


@every_level
def test_shared_memory_counts_once(level: SandboxLevel, view: View):
    result = run_in(sandbox_of(level), view, *PYTHON, LARGE_AND_SHARED)
    assert (result.output, result.over_limit) == ("done\n", None)


@every_level
def test_too_much_memory_of_all_together_ends_everything_and_is_told(level: SandboxLevel, view: View):
    program = LARGE_AND_SHARED.replace(
        "time.sleep(0.5)", "own = bytearray(b'y' * (150 << 20)); time.sleep(9)"
    )
    result = run_in(sandbox_of(level), view, *PYTHON, program)
    assert result.over_limit is not None
    assert result.over_limit.endswith("of memory in all, 400 MiB are allowed")
    assert (result.exit_code, result.timed_out, result.unkilled) == (None, False, 0)


@every_level
@pytest.mark.skipif(os.getuid() != 0, reason="for ordinary users fork itself fails")
def test_too_many_processes_end_everything_and_are_told(level: SandboxLevel, view: View):
    script = "i=0; while [ $i -lt 60 ]; do sleep 60 & i=$((i+1)); done; wait"
    result = run_in(sandbox_of(level), view, "/bin/sh", "-c", script, limits=replace(TIGHT, processes=20))
    assert result.over_limit is not None
    assert result.over_limit.endswith(" processes at once, 20 are allowed")
    assert (result.exit_code, result.unkilled) == (None, 0)
    assert result.survivors >= 20


def test_a_sensible_share_of_the_machine_is_the_default():
    limits = Limits()
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert limits.total_memory_bytes is not None
    assert 0 < limits.total_memory_bytes <= min(4 << 30, machine)
    assert (limits.processes, limits.file_bytes) == (512, 1 << 30)
