"""A drain in-process opens no port and starts nothing but git and the checks (incident A: a server of its own)."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from tests.e2e.support_incidents import ended_at_last, query, seed, small_run, states
from tests.support import command, start_script

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="sockets and children are read from /proc"),
]

SHORT_SECONDS = 0.5
IS_BAIT = re.compile(r"tcp 0100007F:|unix @autopack-probe-")
_LISTENS = "00010000"  # __SO_ACCEPTCON, in the flags of /proc/net/unix


@dataclass
class Sight:
    """What was seen of a process, sample by sample."""

    sockets: dict[str, datetime] = field(default_factory=dict)
    """When each was last there."""
    children: dict[tuple[int, float], list[tuple[float, tuple[str, ...]]]] = field(default_factory=dict)
    below_checks: set[str] = field(default_factory=set)
    samples: int = 0


def sockets_of(pid: int) -> Iterator[str]:
    """Each socket of the internet kind, and each of the unix kind that listens."""
    inodes = set(_inodes(pid))
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            if (fields := line.split())[9] in inodes:
                yield f"{kind} {fields[1]} state {fields[3]}"
    for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[6] in inodes and fields[3] == _LISTENS:
            yield f"unix {' '.join(fields[7:])}"


def _inodes(pid: int) -> Iterator[str]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target.removeprefix("socket:[").removesuffix("]")


def watch(process: subprocess.Popen[str]) -> Sight:
    sight, drain = Sight(), psutil.Process(process.pid)
    while process.poll() is None:
        try:
            sight.sockets.update(dict.fromkeys(sockets_of(process.pid), datetime.now(UTC)))
            for child in drain.children():
                look(child, sight)
        except (psutil.NoSuchProcess, OSError):
            continue
        sight.samples += 1
        time.sleep(0.01)
    return sight


def look(child: psutil.Process, sight: Sight) -> None:
    try:
        line = tuple(child.cmdline())
        sight.children.setdefault((child.pid, child.create_time()), []).append((time.monotonic(), line))
        if is_supervisor(line):
            sight.below_checks.update(grandchild.name() for grandchild in child.children(recursive=True))
    except psutil.NoSuchProcess:
        pass


def is_supervisor(line: tuple[str, ...]) -> bool:
    """The process that watches over one check (workspace/supervisor.py)."""
    return "import supervisor" in " ".join(line)


def is_git(line: tuple[str, ...]) -> bool:
    return Path(line[0]).name == "git"


def strangers(sight: Sight, *, own: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Children that are neither. One that has just been forked shows our own command line, for a moment."""
    found = []
    for seen in sight.children.values():
        as_us = [moment for moment, line in seen if line == own]
        named = [line for _, line in seen if line and line != own]
        found += [line for line in named if not (is_git(line) or is_supervisor(line))]
        if as_us and as_us[-1] - as_us[0] > SHORT_SECONDS:
            found.append(own)
    return found


def test_a_drain_opens_no_port_and_starts_only_git_and_the_checks(
    sqlite_url: str, workspace: Path, tmp_path: Path
) -> None:
    plan_file, cassette = small_run(tmp_path, 4, "sleep 0.4 && python3 -c 'import time; time.sleep(0.2)'")
    seed(sqlite_url, plan_file)
    env = {"DATABASE_URL": sqlite_url, "AUTOPACK_REPLAY": str(cassette)}
    drain = ("drain_queued_phases.py", "--run-id", "r1", "--batch-size", "2", "--concurrency", "2")
    process = start_script(*drain, cwd=workspace, env=env)
    with ended_at_last(process):
        sight = watch(process)
        _, told = process.communicate()
    assert process.returncode == 0, told
    assert set(states(sqlite_url, "r1").values()) == {"COMPLETE"}
    assert sight.samples > 20
    # The self-test of the sandbox has something to be kept from, which is gone before any work is taken.
    (claimed,) = query(sqlite_url, "SELECT min(claimed_at) FROM attempts")
    working = datetime.fromisoformat(claimed[0]).replace(tzinfo=UTC)
    assert [name for name, last in sight.sockets.items() if last >= working] == []
    assert [name for name in sight.sockets if not IS_BAIT.match(name)] == []
    assert strangers(sight, own=tuple(command(*drain))) == []
    # The watch sees what there is: git, the supervisor of a check, and the check below it.
    lines = {line for seen in sight.children.values() for _, line in seen if line}
    assert any(is_git(line) for line in lines)
    assert any(is_supervisor(line) for line in lines)
    assert {"sh", "sleep"} <= sight.below_checks
