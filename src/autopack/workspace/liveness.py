"""Who a process is, and whether it still lives: so that what a killed one left is found at once, and a live one is left alone."""

import os
import socket
from pathlib import Path


def identity(pid: int | None = None) -> str:
    """host|boot|pid namespace|pid|start: no other process, before or after, has the same."""
    pid = os.getpid() if pid is None else pid
    return "|".join([socket.gethostname(), _boot_id(), _pid_namespace(), str(pid), started(pid) or "?"])


def is_dead(name: str) -> bool:
    """True only when it is certain: a process of this very machine that is gone."""
    parts = name.split("|")
    if not _is_here(parts):
        return False
    pid = int(parts[3])
    return _gone(pid) or started(pid) not in (None, parts[4])


def is_alive(name: str) -> bool:
    """True only when that is certain; of a process elsewhere nothing is."""
    parts = name.split("|")
    return _is_here(parts) and started(int(parts[3])) == parts[4]


def _is_here(parts: list[str]) -> bool:
    """Whether a name is of this machine since it was started, and says enough to find the process."""
    if len(parts) != 5 or not parts[3].isdigit() or "?" in (parts[1], parts[2], parts[4]):
        return False
    return parts[:3] == [socket.gethostname(), _boot_id(), _pid_namespace()]


def _gone(pid: int) -> bool:
    """No such process, or a zombie. One that may not be looked at is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return bool(fields) and fields[0] in ("Z", "X")


def _boot_id() -> str:
    return _read(Path("/proc/sys/kernel/random/boot_id"))[:13] or "?"


def _pid_namespace() -> str:
    try:
        return Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return "?"


def started(pid: int) -> str | None:
    """Clock ticks from boot to the start of a process; None when it is gone or a zombie (Linux: proc(5), stat)."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return None if len(fields) < 20 or fields[0] in ("Z", "X") else fields[19]


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
