"""Which other processes have a file open, as far as this user may see (Linux)."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Opener:
    pid: int
    name: str


def openers(path: Path) -> list[Opener]:
    """Those with an open descriptor of it; their command lines, which may hold secrets, are not shown."""
    wanted = path.stat()
    found = []
    for pid in _processes():
        if pid != os.getpid() and _has_open(pid, (wanted.st_dev, wanted.st_ino)):
            found.append(Opener(pid=pid, name=_name(pid)))
    return found


def _processes() -> list[int]:
    try:
        return sorted(int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit())
    except OSError:
        return []


def _has_open(pid: int, wanted: tuple[int, int]) -> bool:
    with suppress(OSError):  # another user's, or gone
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                status = each.stat()
                if (status.st_dev, status.st_ino) == wanted:
                    return True
    return False


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"
