"""What really holds: one program, run in a sandbox, that tries to get out of it."""

import os
import secrets
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from autopack.workspace import liveness
from autopack.workspace.process import ProcessResult

LINUX = sys.platform == "linux"
_HELD = ("read", "write", "connect", "abstract", "process")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was seen in one try. `held` are the attempts that failed, as they must."""

    works: bool
    """The program ran, and could do what a check must be able to do."""
    ended: bool
    """A daemon, twice forked into a session of its own, was counted, and is gone."""
    held: frozenset[str]
    words: str
    """What was said instead where it does not work."""

    @property
    def files(self) -> bool:
        return self.works and self.ended and {"read", "write"} <= self.held

    @property
    def full(self) -> bool:
        return self.files and self.held == frozenset(_HELD)

    @property
    def gaps(self) -> str:
        """Why it is not more, in a few words."""
        if not self.works:
            return self.words or "it does not start"
        tries = [name for name in _HELD if name not in self.held]
        return ", ".join([*([] if self.ended else ["a process that outlives the command"]), *tries])


@dataclass(frozen=True, kw_only=True)
class Bait:
    """Things outside the sandbox that must not be reached."""

    canary: Path
    outside: Path
    port: int
    abstract: str

    def command(self, interpreter: Path, results: Path) -> Sequence[str]:
        pid = os.getpid()
        started = liveness.started(pid) or "?"
        facts = (self.canary, self.outside, self.port, self.abstract, pid, started, results)
        return [str(interpreter), "-I", "-S", "-c", _PROGRAM, *map(str, facts)]


@contextmanager
def bait(directory: Path) -> Iterator[Bait]:
    """A secret file, a place to write, a TCP and an abstract socket that really answer."""
    directory.mkdir(mode=0o700)
    (directory / "canary").write_text(secrets.token_hex(16))
    name = f"autopack-probe-{secrets.token_hex(8)}"
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        if LINUX:
            unix.bind(f"\0{name}")
            unix.listen()
        yield Bait(
            canary=directory / "canary",
            outside=directory / "written",
            port=tcp.getsockname()[1],
            abstract=name,
        )


def judge(result: ProcessResult, bait: Bait, tree: Path) -> Seen:
    told = dict(line.split("=", 1) for line in result.output.splitlines() if "=" in line)
    held = {name for name in _HELD if told.get(name) == "held"}
    if bait.outside.exists():
        held.discard("write")
        with suppress(OSError):
            bait.outside.unlink()
    return Seen(
        works=told.get("works") == "yes",
        ended=result.exit_code == 0
        and result.survivors == 1
        and result.unkilled == 0
        and _unlocked(tree / "lock"),
        held=frozenset(held),
        words=" ".join(result.output.split())[:200],
    )


def _unlocked(path: Path) -> bool:
    """The daemon holds this lock as long as it lives."""
    import fcntl  # not there on Windows

    with suppress(OSError), path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def interpreter() -> Path:
    """The one below our virtual environment: that is where a check's own may come from, too."""
    base = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    return base if base.exists() else Path(sys.executable).resolve()


_PROGRAM = """
import fcntl, os, sys, time
import _socket as socket
canary, outside, port, abstract, pid, started, results = sys.argv[1:]
def tried(name, act):
    try:
        act()
    except OSError:
        return print(name + "=held")
    print(name + "=open")
def connect(family, address):
    client = socket.socket(family, socket.SOCK_STREAM)
    client.settimeout(2)
    client.connect(address)
def process():
    line = open("/proc/" + pid + "/stat").read()
    if line.rpartition(")")[2].split()[19] != started:
        raise OSError("another process of that number")
tried("read", lambda: open(canary).read())
tried("write", lambda: open(outside, "x").close())
tried("connect", lambda: connect(socket.AF_INET, ("127.0.0.1", int(port))))
tried("abstract", lambda: connect(socket.AF_UNIX, chr(0) + abstract))
tried("process", process)
for place in (".", os.environ["HOME"], os.environ["TMPDIR"], results):
    open(place + "/probe", "w").close()
lock = open("lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
os.wait()
print("works=yes", flush=True)
"""
