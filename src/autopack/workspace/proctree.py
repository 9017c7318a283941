"""What runs below this process, and how much memory it has, read from /proc. For the supervisor: no other import."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing typing costs time at every start
if TYPE_CHECKING:
    from collections.abc import Iterator

LINUX = sys.platform == "linux"
CHUNK = 65536
PAGE = os.sysconf("SC_PAGE_SIZE")


class Process:
    """One row of /proc. `state` Z is already dead, T is stopped; `started` is in ticks since the boot."""

    __slots__ = ("parent", "pid", "resident_bytes", "started", "state")

    def __init__(self, pid: int, fields: list[str]) -> None:
        self.pid = pid
        self.state, self.parent = fields[0], int(fields[1])
        self.started, self.resident_bytes = int(fields[19]), int(fields[21]) * PAGE


def rows() -> Iterator[tuple[os.DirEntry[str], list[str]]]:
    """Each /proc/PID with the fields of its stat after the name: state, parent, ..."""
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                try:
                    line = read(f"/proc/{entry.name}/stat").decode("latin-1")
                except OSError:
                    continue
                # The name is in brackets and may hold anything, brackets too.
                yield entry, line[line.rindex(")") + 2 :].split()


def read(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, CHUNK)
    finally:
        os.close(file)


def descendants() -> dict[int, Process]:
    """Every process below this one."""
    found: dict[int, Process] = {}
    children: dict[int, list[int]] = {}
    for entry, fields in rows():
        process = Process(int(entry.name), fields)
        found[process.pid] = process
        children.setdefault(process.parent, []).append(process.pid)
    below: dict[int, Process] = {}
    todo = children.get(os.getpid(), [])
    while todo:
        pid = todo.pop()
        below[pid] = found[pid]
        todo.extend(children.get(pid, []))
    return below


def memory(below: dict[int, Process], allowed: int) -> int:
    """Bytes that they hold together.

    Shared pages are counted once, but only when the quick sum, which counts them for each, is above `allowed`.
    """
    quick = sum(process.resident_bytes for process in below.values())
    if quick <= allowed:
        return quick
    # Where some end while we count, the others' shares grow, and the sum is too large: the second is not.
    return min(sum(_share(process) for process in below.values()) for _ in range(2))


def _share(process: Process) -> int:
    """The process's proportional share; what was resident where it hides that from us, nothing once it is gone."""
    try:
        facts = read(f"/proc/{process.pid}/smaps_rollup")
    except ProcessLookupError:
        return 0
    except OSError:
        gone = not os.path.exists(f"/proc/{process.pid}")  # noqa: PTH110 (pathlib takes time at every start)
        return 0 if gone else process.resident_bytes
    shares = [int(line.split()[1]) << 10 for line in facts.splitlines() if line.startswith(b"Pss:")]
    return sum(shares) if shares else process.resident_bytes


def own_threads() -> int:
    """RLIMIT_NPROC counts all threads of the user, not only ours."""
    if not LINUX:
        return 0
    count = 1
    for entry, fields in rows():
        try:
            if entry.stat().st_uid == os.getuid():
                count += int(fields[17])
        except OSError:
            continue
    return count
