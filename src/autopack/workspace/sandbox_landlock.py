"""Level files: Landlock takes from a command all files but those that it needs. No program is needed for it."""

from collections.abc import Iterable
from pathlib import Path

from autopack.workspace.process import Confinement
from autopack.workspace.toolchains import CONFIGURATION, PROCESSORS, SYSTEM

# Who else is known on this machine is no secret that Landlock could keep: /proc and the times of files tell it too.
_NAMES = tuple(Path("/etc", name) for name in ("passwd", "group", "hosts", "nsswitch.conf"))
_READABLE = (
    *SYSTEM,
    *CONFIGURATION,
    *_NAMES,
    PROCESSORS,
    Path("/proc"),
    Path("/dev/random"),
    Path("/dev/urandom"),
)
# Without /dev/shm no program can have a lock that its processes share. No /dev/pts: the person's terminal is there.
_WRITABLE = tuple(Path("/dev", name) for name in ("null", "zero", "full", "tty", "shm"))


def confinement(*, readable: Iterable[Path], writable: Iterable[Path]) -> Confinement:
    return Confinement(landlock=True, readable=(*_READABLE, *readable), writable=(*_WRITABLE, *writable))
