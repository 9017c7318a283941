"""Level full: bubblewrap with namespaces of its own for everything, and only the files that a check needs."""

import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from autopack.workspace import sandbox_seccomp
from autopack.workspace.plumbing import search_path
from autopack.workspace.process import Confinement
from autopack.workspace.toolchains import CONFIGURATION, PROCESSORS, SYSTEM

HOST = "autopack"
_USER = 1000
# Sizes of the only places that are memory and not disk: written there, nobody's resident memory grows.
_TMP_BYTES, _SHARED_BYTES = 256 << 20, 64 << 20
_ISOLATED = (
    *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net"),
    *("--unshare-cgroup-try", "--disable-userns", "--cap-drop", "ALL", "--hostname", HOST),
    *("--die-with-parent", "--new-session", "--clearenv"),
)
# When the command has ended and others are left, it stops itself: the supervisor counts and ends them, and lets it
# go on. Otherwise they would end with the namespace, unseen. /proc/1 is bubblewrap's, and one is the shell.
_PAUSING = '"$@"; code=$?; set -- /proc/[0-9]*; [ $# -le 2 ] || kill -STOP $$; exit $code'


def find_bwrap() -> str | None:
    return shutil.which("bwrap", path=search_path())


def user() -> int:
    """An ordinary user's number also where we are root: programs take root for somebody who may do anything."""
    return os.getuid() or _USER


def group() -> int:
    return os.getgid() or _USER


def arguments(
    program: str,
    command: Sequence[str],
    *,
    place: Path,
    environment: Mapping[str, str],
    writable: Mapping[Path, Path],
    read_only: Mapping[Path, Path],
    tools: Collection[Path],
) -> list[str]:
    """The whole command line. `writable` and `read_only` map a path inside to one outside; later ones lie above."""
    before = [tool for tool in tools if not tool.is_relative_to(place)]
    after = [tool for tool in tools if tool.is_relative_to(place)]
    return [
        *(program, *_ISOLATED, "--uid", str(user()), "--gid", str(group())),
        *(word for name, value in environment.items() for word in ("--setenv", name, value)),
        *(("--seccomp", str(_FILTER_FEED)) if sandbox_seccomp.program() else ()),
        *_system(),
        *_read_only({tool: tool for tool in before}),
        *(word for inside, outside in writable.items() for word in ("--bind", str(outside), str(inside))),
        *_read_only({tool: tool for tool in after}),
        *_read_only(read_only),
        *("--remount-ro", "/", "--chdir", str(place), "--", "/bin/sh", "-c", _PAUSING, "sh", *command),
    ]


def confinement(home: Path) -> Confinement:
    """What the supervisor adds: a few small files of /etc in which there is nobody but the check's own user."""
    passwd = f"root:x:0:0:root:/root:/bin/sh\n{HOST}:x:{user()}:{group()}:{HOST}:{home}:/bin/sh\n"
    groups = f"root:x:0:\n{HOST}:x:{group()}:\n"
    hosts = f"127.0.0.1 localhost {HOST}\n::1 localhost\n"
    names = "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n"
    texts = (text.encode() for text in (passwd, groups, hosts, names))
    return Confinement(keeps_capabilities=True, pauses=True, feeds=(*texts, sandbox_seccomp.program()))


_FEEDS = {"/etc/passwd": 3, "/etc/group": 4, "/etc/hosts": 5, "/etc/nsswitch.conf": 6}
_FILTER_FEED = 7


def _system() -> list[str]:
    # Read-only, because root without any capability still owns /proc/sys.
    words = ["--proc", "/proc", "--remount-ro", "/proc"]
    words += ["--dev", "/dev", "--size", str(_SHARED_BYTES), "--tmpfs", "/dev/shm"]
    words += ["--remount-ro", "/dev", "--size", str(_TMP_BYTES), "--perms", "1777", "--tmpfs", "/tmp"]
    words += ["--dir", "/run", "--dir", "/var", "--symlink", "../tmp", "/var/tmp"]
    for folder in SYSTEM:
        if folder.is_symlink():
            words += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            words += ["--ro-bind", str(folder), str(folder)]
    for path, feed in _FEEDS.items():
        words += ["--perms", "0444", "--file", str(feed), path]
    return words + _read_only({path: path for path in (*CONFIGURATION, PROCESSORS) if path.exists()})


def _read_only(places: Mapping[Path, Path]) -> list[str]:
    return [word for inside, outside in places.items() for word in ("--ro-bind", str(outside), str(inside))]
