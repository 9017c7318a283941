"""Hostile commands: limited, seen, and gone entirely, whatever ends them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from autopack.errors import InvalidInput
from autopack.workspace import process
from autopack.workspace.process import Limits, ProcessResult, readable, run_limited

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="the whole process tree is found through /proc"),
]
SHORT = Limits(wall_seconds=20)
DAEMON = """
import os, sys, time, signal
for name in ("SIGTERM", "SIGHUP", "SIGINT"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    for number in range(3):
        if os.fork() == 0:
            os.setsid()
            with open(sys.argv[1], "a") as file:
                file.write(f"{os.getpid()}\\n")
            time.sleep(300)
    os._exit(0)
os.wait()
while not os.path.exists(sys.argv[1]) or len(open(sys.argv[1]).readlines()) < 3:
    time.sleep(0.01)
time.sleep(float(sys.argv[2]))
"""


async def run(tmp_path: Path, *command: str, limits: Limits = SHORT, **environment: str) -> ProcessResult:
    variables = {"PATH": os.defpath, **environment}
    return await run_limited(command, cwd=tmp_path, environment=variables, limits=limits)


def daemon(pids: Path, then_sleep: float) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", DAEMON, str(pids), str(then_sleep))


def alive(pids: Path) -> list[int]:
    return [int(pid) for pid in pids.read_text().split() if Path("/proc", pid).exists()]


def started(pids: Path) -> bool:
    return pids.exists() and len(alive(pids)) == 3


def soon(fact: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not fact() and time.monotonic() < end:
        time.sleep(0.02)
    return fact()


async def test_output_exit_code_and_signal_are_told(tmp_path: Path):
    result = await run(tmp_path, "/bin/sh", "-c", "pwd; echo err >&2; cat; exit 3")
    assert (result.exit_code, result.signal, result.timed_out) == (3, None, False)
    assert result.output == f"{tmp_path}\nerr\n"
    killed = await run(tmp_path, "/bin/sh", "-c", "kill -9 $$")
    assert (killed.exit_code, killed.signal) == (None, 9)


async def test_a_command_that_cannot_be_started_says_so(tmp_path: Path):
    missing = await run(tmp_path, "no-such-program")
    assert missing.exit_code == 127
    assert "cannot be started" in missing.output
    with pytest.raises(InvalidInput):
        await run(tmp_path, "a\0b")


async def test_the_command_gets_this_environment_and_no_descriptor(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "sqlite:///secret.db")
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        result = await run(tmp_path, "/bin/sh", "-c", "env; ls /proc/self/fd", ONE="ünï\n2")
    finally:
        os.close(reading)
        os.close(writing)
    assert result.output.splitlines()[-4:] == ["0", "1", "2", "3"]  # 3 is how ls lists them
    assert "ONE=ünï\n2\n" in result.output
    assert "DATABASE_URL" not in result.output


async def test_daemons_are_killed_at_the_end(tmp_path: Path):
    result = await run(tmp_path, *daemon(tmp_path / "pids", 0))
    assert result.exit_code == 0
    assert result.survivors == 3
    assert alive(tmp_path / "pids") == []


async def test_the_time_limit_ends_the_whole_tree(tmp_path: Path):
    limits = replace(SHORT, wall_seconds=1.0)
    result = await run(tmp_path, *daemon(tmp_path / "pids", 300), limits=limits)
    assert (result.exit_code, result.timed_out, result.survivors) == (None, True, 3)
    assert 1.0 <= result.duration_seconds < 5
    assert alive(tmp_path / "pids") == []


async def test_cancelling_leaves_nothing(tmp_path: Path):
    pids = tmp_path / "pids"
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: run(tmp_path, *daemon(pids, 300)))
        assert await anyio.to_thread.run_sync(soon, lambda: started(pids))
        group.cancel_scope.cancel()
    assert alive(pids) == []


EXECUTOR = """
import anyio, os, sys
from pathlib import Path
from autopack.workspace import process
from autopack.workspace.process import Limits, run_limited
async def main():
    await run_limited(sys.argv[1:], cwd=Path("/"), environment={}, limits=Limits(wall_seconds=300))
anyio.run(main)
"""


def test_a_killed_executor_takes_its_checks_with_it(tmp_path: Path):
    pids = tmp_path / "pids"
    with subprocess.Popen([sys.executable, "-c", EXECUTOR, *daemon(pids, 300)]) as executor:
        assert soon(lambda: started(pids))
        executor.send_signal(signal.SIGKILL)
    assert soon(lambda: alive(pids) == [], 3)


async def test_output_is_bounded_with_its_head_and_tail(tmp_path: Path):
    script = "echo first; head -c 50000000 /dev/zero | tr '\\0' x; echo; echo last"
    result = await run(tmp_path, "/bin/sh", "-c", script)
    assert result.output_truncated
    assert len(result.output) < 66_000
    assert result.output.startswith("first\nxxx")
    assert result.output.endswith("x\nlast\n")
    assert "bytes left out" in result.output


async def test_endless_output_does_not_outrun_the_time_limit(tmp_path: Path):
    result = await run(tmp_path, "/bin/sh", "-c", "yes", limits=replace(SHORT, wall_seconds=0.5))
    assert result.timed_out
    assert len(result.output) < 66_000


async def test_file_size_memory_and_descriptors_are_limited(tmp_path: Path):
    limits = replace(SHORT, file_bytes=1_000_000, memory_bytes=500_000_000, open_files=64)
    script = "head -c 5000000 /dev/zero > big; ulimit -n; ulimit -c; ulimit -v"
    result = await run(tmp_path, "/bin/sh", "-c", script, limits=limits)
    assert (tmp_path / "big").stat().st_size == 1_000_000
    assert result.output.split()[-3:] == ["64", "0", "488281"]


@pytest.mark.skipif(os.getuid() == 0, reason="RLIMIT_NPROC does nothing for root")
async def test_the_number_of_processes_is_limited(tmp_path: Path):
    script = "i=0; while [ $i -lt 60 ]; do sleep 60 & i=$((i+1)); done"
    result = await run(tmp_path, "/bin/sh", "-c", script, limits=replace(SHORT, processes=20))
    assert "fork" in result.output
    assert result.survivors <= 20


async def test_a_storm_of_forks_is_ended(tmp_path: Path):
    storm = "import os,time\nfor n in range(7):\n  if os.fork() == 0: os.setsid()\ntime.sleep(300)"
    limits = replace(SHORT, wall_seconds=1.5)
    result = await run(tmp_path, sys.executable, "-I", "-S", "-c", storm, limits=limits)
    assert (result.timed_out, result.survivors, result.unkilled) == (True, 127, 0)


async def test_a_chain_that_keeps_forking_is_ended(tmp_path: Path):
    """Each process lives for a moment only and leaves a child in a session of its own behind."""
    chain = "import os,time\nwhile True:\n  if os.fork(): os._exit(0)\n  os.setsid(); time.sleep(0.002)"
    script = (
        "import os,sys\n"
        + "if os.fork() == 0:\n  exec(sys.argv[1])\n"
        + "os.wait(); import time; time.sleep(.3)"
    )
    result = await run(tmp_path, sys.executable, "-I", "-S", "-c", script, chain)
    assert (result.exit_code, result.unkilled) == (0, 0)
    assert result.survivors >= 1


async def test_killing_the_supervisor_is_never_a_success(tmp_path: Path):
    result = await run(tmp_path, "/bin/sh", "-c", "kill -9 $PPID; exit 0")
    assert result.lost
    assert result.exit_code is None
    stopped = await run(tmp_path, "/bin/sh", "-c", "kill -TERM $PPID; sleep 60")
    assert stopped.exit_code is None


async def test_stopping_the_supervisor_does_not_stop_the_clock(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(process, "_PATIENCE_SECONDS", 1.0)
    script = f"kill -STOP $PPID; echo $$ > {tmp_path}/pids; sleep 300"
    result = await run(tmp_path, "/bin/sh", "-c", script, limits=replace(SHORT, wall_seconds=0.5))
    assert result.exit_code is None
    assert result.duration_seconds < 5
    assert alive(tmp_path / "pids") == []


async def test_the_report_cannot_be_forged(tmp_path: Path):
    """As root the supervisor's pipe can be opened through /proc; without its nonce that is no report."""
    script = "echo 'x 0 - 0 0.1 0 0 - 0 0' > /proc/$PPID/fd/1; kill -9 $PPID; exit 0"
    result = await run(tmp_path, "/bin/sh", "-c", script)
    assert result.exit_code is None


async def test_many_at_once_do_not_disturb_each_other(tmp_path: Path):
    results: dict[int, ProcessResult] = {}

    async def one(number: int) -> None:
        results[number] = await run(tmp_path, "/bin/sh", "-c", f"sleep 300 & echo {number}; exit {number}")

    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(one, number)
    assert {n: (r.exit_code, r.output, r.survivors) for n, r in results.items()} == {
        n: (n, f"{n}\n", 1) for n in range(12)
    }


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"a\0b\x07c\td\n", "abc\td\n"),
        (b"\x1b[31mred\x1b[0m \x1b]0;title\x07x", "red x"),
        (b"\xff\r\n10%\r20%", "\ufffd\n10%\n20%"),
        ("\u009b2J".encode(), "2J"),
    ],
)
def test_output_cannot_act_on_a_terminal(raw: bytes, text: str):
    assert readable(raw) == text
