"""A person's machine in small, the programs that try to reach it from a sandbox, and what it saw of them."""

import ctypes
import fcntl
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from autopack.workspace import landlock
from autopack.workspace.process import Limits, ProcessResult
from autopack.workspace.sandbox import Sandbox, SandboxLevel, View, check_environment, open_sandbox
from autopack.workspace.sandbox_probe import interpreter
from autopack.workspace.scratch import make_private

CANARY = "canary-4711"
PYTHON = (str(interpreter()), "-I", "-S", "-c")
TIGHT = Limits(wall_seconds=20, total_memory_bytes=400 << 20, file_bytes=50 << 20, processes=100)


def view_in(directory: Path, shown_at: Path) -> View:
    directory.mkdir(mode=0o700, exist_ok=True)
    names = ("tree", "home", "tmp", "results")
    tree, home, tmp, results = (directory / name for name in names)
    make_private(tree, home, tmp, results)
    return View(tree=tree, shown_at=shown_at, home=home, tmp=tmp, results=results)


def python_environment(view: View, **host: str) -> dict[str, str]:
    """As for any check, with this Python's own directory on PATH, for it may be anywhere."""
    base = str(interpreter().parent)
    path = os.pathsep.join([base, os.environ["PATH"]])
    return check_environment({**os.environ, **host, "PATH": path}, home=view.home, tmp=view.tmp, extra={})


def run_in(
    sandbox: Sandbox, view: View, *command: str, limits: Limits = TIGHT, **environment: str
) -> ProcessResult:
    async def run() -> ProcessResult:
        variables = {**python_environment(view), **environment}
        return await sandbox.run(command, view=view, environment=variables, limits=limits)

    return anyio.run(run)


def is_held(lock: Path) -> bool:
    """Whether any process still lives that has locked the file: numbers of processes say nothing across namespaces."""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def soon(fact: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not fact() and time.monotonic() < end:
        time.sleep(0.02)
    return fact()


@dataclass
class Machine:
    """What a check must not reach, each thing with a way to see whether it was reached."""

    root: Path
    tcp: socket.socket
    udp: socket.socket
    unix: socket.socket
    abstract: socket.socket
    victim: subprocess.Popen[bytes]
    host_tmp: Path = field(init=False)

    def __post_init__(self) -> None:
        self.host_tmp = Path("/tmp", f"autopack-matrix-{os.getpid()}-{self.victim.pid}")

    @property
    def home(self) -> Path:
        return self.root / "person"

    @property
    def workspace(self) -> Path:
        return self.home / "project"

    @property
    def database(self) -> Path:
        return self.home / "autopack.db"

    def facts(self) -> Sequence[str]:
        ports = (self.tcp.getsockname()[1], self.udp.getsockname()[1])
        places = (self.home / ".ssh/key", self.database, self.home / "written", self.host_tmp)
        sockets = (self.unix.getsockname(), self.abstract.getsockname()[1:].decode())
        rest = (self.workspace / ".git/hooks/pre-commit", self.victim.pid)
        return [str(each) for each in (*places, *ports, *sockets, *rest)]

    def saw(self) -> dict[str, bool]:
        """Probe by probe, whether it was reached: what the machine knows, not what the program says."""
        with sqlite3.connect(self.database) as connection:
            altered = connection.execute("SELECT count(*) FROM t").fetchone() != (1,)
        connection.close()
        return {
            "alter the database": altered,
            "write outside": (self.home / "written").exists(),
            "write to the host's tmp": self.host_tmp.exists(),
            "TCP": _answered(self.tcp),
            "UDP": _answered(self.udp),
            "unix socket": _answered(self.unix),
            "abstract socket": _answered(self.abstract),
            "signal": soon(lambda: self.victim.poll() is not None, 0.3),
            "hooks": (self.workspace / ".git/hooks/pre-commit").exists(),
        }


def _answered(service: socket.socket) -> bool:
    service.settimeout(0.05)
    with suppress(TimeoutError):
        if service.type == socket.SOCK_DGRAM:
            return service.recv(100) != b""
        service.accept()[0].close()
        return True
    return False


@contextmanager
def machine(root: Path) -> Iterator[Machine]:
    hooks = root / "person/project/.git/hooks"
    hooks.mkdir(parents=True)
    (root / "person/.ssh").mkdir()
    (root / "person/.ssh/key").write_text(CANARY)
    with sqlite3.connect(root / "person/autopack.db") as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (1)")
    connection.close()
    kinds = ((socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM))
    tcp, udp = (socket.socket(*kind) for kind in kinds)
    unix, abstract = (socket.socket(socket.AF_UNIX) for _ in range(2))
    victim = subprocess.Popen(["sleep", "300"], env={"PATH": os.defpath, "SECRET": CANARY})
    try:
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", 0))
        unix.bind(str(root / "service.sock"))
        abstract.bind(f"\0autopack-matrix-{victim.pid}")
        for service in (tcp, unix, abstract):
            service.listen()
        found = Machine(root, tcp, udp, unix, abstract, victim)
        yield found
    finally:
        for service in (tcp, udp, unix, abstract):
            service.close()
        victim.kill()
        victim.wait()
        with suppress(FileNotFoundError):
            found.host_tmp.unlink()


REACH = f"""
import ctypes, os, sqlite3, sys
import _socket as socket
key, database, outside, host_tmp, tcp, udp, unix, abstract, hook, victim = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
def tried(name, act):
    try:
        reached = act()
    except Exception:
        reached = False
    print(("reached: " if reached else "not: ") + name, flush=True)
def write(path):
    with open(path, "x") as file:
        file.write("x")
    return True
def alter():
    with sqlite3.connect(database) as connection:
        connection.execute("INSERT INTO t VALUES (2)")
    return True
def connect(family, address):
    client = socket.socket(family, socket.SOCK_STREAM)
    client.settimeout(2)
    client.connect(address)
    return True
def send():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"hello", ("127.0.0.1", int(udp)))
    return True
def in_child(act):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if act() == 0 else 1)
    return os.waitpid(pid, 0)[1] == 0
def settings():
    value = open("/proc/sys/vm/swappiness").read()
    with open("/proc/sys/vm/swappiness", "w") as file:
        file.write(value)
    return True
tried("read a key", lambda: "{CANARY}" in open(key).read())
tried("read the database", lambda: open(database, "rb").read(6) == b"SQLite")
tried("alter the database", alter)
tried("write outside", lambda: write(outside))
tried("write to the host's tmp", lambda: write(host_tmp))
tried("secrets in the environment", lambda: "{CANARY}" in repr(dict(os.environ)))
tried("environment of another", lambda: b"{CANARY}" in open(f"/proc/{{victim}}/environ", "rb").read())
tried("TCP", lambda: connect(socket.AF_INET, ("127.0.0.1", int(tcp))))
tried("UDP", send)
tried("unix socket", lambda: connect(socket.AF_UNIX, unix))
tried("abstract socket", lambda: connect(socket.AF_UNIX, chr(0) + abstract))
tried("mount", lambda: in_child(lambda: libc.mount(b"none", os.environ["TMPDIR"].encode(), b"tmpfs", 0, None)))
tried("user namespace", lambda: in_child(lambda: libc.unshare(0x10000000)))
tried("hooks", lambda: write(hook))
tried("kernel settings", settings)
tried("trace", lambda: in_child(lambda: libc.ptrace(16, int(victim), 0, 0)))
tried("signal", lambda: os.kill(int(victim), 9) is None)
print("all tried", flush=True)
"""

ONE_LARGE = "held = [bytearray(b'x' * (64 << 20)) for _ in range(48)]; print('reached', len(held))"
LARGE_FILE = """
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with open("large", "wb") as file:
    for _ in range(200):
        file.write(bytes(1 << 20))
print("reached")
"""
MANY = """
import os, time
for _ in range(400):
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
time.sleep(8)
print("reached")
"""
FOUR_LARGE = """
import os
children = []
for _ in range(4):
    pid = os.fork()
    if pid == 0:
        held = [bytearray(b"x" * (50 << 20)) for _ in range(12)]
        import time
        time.sleep(60)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
print("reached")
"""
# Takes the lock, and leaves it to a process in a session of its own that ignores what it can.
DAEMON = """
import fcntl, os, signal, sys, time
lock = open("lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(300)
    os._exit(0)
os.wait()
open("started", "w").close()
time.sleep(float(sys.argv[1]))
"""

EXECUTOR = """
import os, sys
sys.path.insert(0, sys.argv[1])
from dataclasses import replace
from pathlib import Path
from tests.workspace.support_sandbox import DAEMON, PYTHON, run_in, view_in
from autopack.workspace.process import Limits
from autopack.workspace.sandbox import Sandbox, SandboxLevel
sandbox = Sandbox(level=SandboxLevel(sys.argv[2]), bwrap=sys.argv[3])
view = view_in(Path(sys.argv[4]), Path(sys.argv[4], "shown"))
run_in(sandbox, view, *PYTHON, DAEMON, "300", limits=Limits(wall_seconds=300))
"""


def outlives_its_executor(sandbox: Sandbox, directory: Path) -> bool:
    root = Path(__file__).parents[2]
    arguments = (str(root), sandbox.level.value, sandbox.bwrap, str(directory))
    with subprocess.Popen([sys.executable, "-c", EXECUTOR, *arguments]) as executor:
        started = soon(lambda: (directory / "tree/started").exists(), 20)
        executor.send_signal(signal.SIGKILL)
    assert started, "the check did not start"
    return not soon(lambda: not is_held(directory / "tree/lock"), 5)


def missing(what: str) -> None:
    """In CI bubblewrap has to be there; elsewhere a level that a machine does not have cannot be tried."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def sandbox_of(level: SandboxLevel) -> Sandbox:
    if level is SandboxLevel.LIMITS:
        return Sandbox(level=level)
    if level is SandboxLevel.FILES:
        if not landlock.abi():
            pytest.skip("this kernel has no Landlock")
        return Sandbox(level=level)
    sandbox = anyio.run(open_sandbox)
    if sandbox.level is not SandboxLevel.FULL:
        missing(f"no bubblewrap that works: {sandbox.reason}")
    return sandbox


def yama() -> bool:
    """Some machines let nobody trace what is not their child."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/yama/ptrace_scope").read_text().strip() != "0"
    return False


def may_unshare() -> bool:
    """Whether this machine lets a user make a namespace of users at all."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if ctypes.CDLL(None).unshare(0x10000000) == 0 else 1)
    return os.waitpid(pid, 0)[1] == 0
