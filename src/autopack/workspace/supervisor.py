"""Runs one hostile command for workspace/process.py and leaves nothing of it behind.

A program of its own, standard library only; no other module imports it. It reads the order from stdin and
writes the report to stdout as its last act; the command inherits neither. stdin stays open as a lifeline:
its end means that the executor is gone, however it died. On Linux the supervisor adopts every orphan below
it, so that no double fork or setsid gets away; elsewhere it can only kill the command's process group.
Order and report are plain bytes, because importing json would take as long as all the rest of a start.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
import time

TYPE_CHECKING = False  # importing typing costs time as well
if TYPE_CHECKING:
    from collections.abc import Iterator

LINUX = sys.platform == "linux"
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38
GIVE_UP_SECONDS = 20.0
CHUNK = 65536
LAST_DRAIN_BYTES = 1 << 20


def prctl(option: int, value: int) -> None:
    if LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


class Order:
    """Fields parted by NUL, which no command or variable can hold; an empty number is no limit."""

    def __init__(self, data: bytes) -> None:
        fields = [os.fsdecode(field) for field in data.split(b"\0")]
        self.nonce, self.cwd = fields[:2]
        self.wall_seconds, self.output_bytes = float(fields[2]), int(fields[3])
        self.memory_bytes, self.file_bytes, self.open_files, self.processes = map(number, fields[4:8])
        variables = 9 + int(fields[8])
        self.command = fields[9:variables]
        self.environment = dict(field.split("=", 1) for field in fields[variables:])


def number(text: str) -> int | None:
    return int(text) if text else None


class Output:
    """The first and the last bytes of what was written; the middle is only counted."""

    def __init__(self, limit: int) -> None:
        self.half = max(limit // 2, 1)
        self.head, self.tail, self.total = bytearray(), bytearray(), 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = self.half - len(self.head)
        self.head += data[:room]
        self.tail += data[room:] if room > 0 else data
        del self.tail[: -self.half]


class Supervisor:
    def __init__(self, order: Order) -> None:
        self.order = order
        self.output = Output(order.output_bytes)
        self.status: int | None = None  # of the command, as wait() tells it
        self.childless = False
        self.stop = self.timed_out = False
        self.child = -1

    def run(self) -> bytes:
        wake = self.listen()
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        started = time.monotonic()
        self.child = start(self.order, writing)
        os.close(writing)
        self.wait(reading, wake, started + self.order.wall_seconds)
        duration = time.monotonic() - started
        survivors, left = self.kill_all()
        self.drain(reading, LAST_DRAIN_BYTES)
        return self.report(duration, survivors, left)

    def listen(self) -> int:
        """Signals become bytes in a pipe that `wait` polls."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.on_stop)
        return reading

    def on_stop(self, *_: object) -> None:
        self.stop = True

    def wait(self, reading: int, wake: int, deadline: float) -> None:
        """Until the command ends, its time is over, or nobody wants it any more."""
        poll = select.poll()
        for descriptor in (0, reading, wake):
            poll.register(descriptor, select.POLLIN)
        while True:
            self.reap()
            left = deadline - time.monotonic()
            self.timed_out = self.status is None and not self.stop and left <= 0
            if self.status is not None or self.stop or self.timed_out:
                return
            for descriptor, _ in poll.poll(left * 1000 + 1):
                if descriptor == 0:
                    self.stop = True
                elif descriptor == wake:
                    os.read(wake, CHUNK)
                elif self.drain(reading, CHUNK):
                    poll.unregister(reading)

    def drain(self, reading: int, limit: int) -> bool:
        """Takes what is there; True at its end."""
        while limit > 0:
            try:
                data = os.read(reading, CHUNK)
            except BlockingIOError:
                return False
            if not data:
                return True
            self.output.add(data)
            limit -= len(data)
        return False

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.childless = True
                return
            if pid == 0:
                return
            if pid == self.child:
                self.status = status

    def kill_all(self) -> tuple[int, int]:
        """How many had to be killed beside the command itself, and how many are left (0 unless stuck)."""
        if not LINUX:
            return self.kill_group()
        killed: set[int] = set()
        give_up = time.monotonic() + GIVE_UP_SECONDS
        while not self.childless and time.monotonic() < give_up:
            found = self.freeze()
            killed.update(pid for pid, state in found.items() if state != "Z" and pid != self.child)
            for pid in found:
                send(pid, signal.SIGKILL)
            time.sleep(0.0005)
            self.reap()
        return len(killed), 0 if self.childless else len(descendants())

    def freeze(self) -> dict[int, str]:
        """Stops every descendant, and looks again until there is no new one: a stopped process cannot fork."""
        stopped: dict[int, str] = {}
        for _ in range(50):
            fresh = {pid: state for pid, state in descendants().items() if pid not in stopped}
            if not fresh:
                break
            for pid in fresh:
                send(pid, signal.SIGSTOP)
            stopped.update(fresh)
        return stopped

    def kill_group(self) -> tuple[int, int]:
        try:
            os.killpg(self.child, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return 0, 0
        if self.status is None:
            self.status = os.waitpid(self.child, 0)[1]
        return 0, 0

    def report(self, duration: float, survivors: int, left: int) -> bytes:
        code = None if self.status is None else os.waitstatus_to_exitcode(self.status)
        ended = code is not None and code >= 0 and not self.timed_out and not self.stop
        output = self.output
        facts = [
            self.order.nonce,
            code if ended else "-",
            -code if code is not None and code < 0 else "-",
            int(self.timed_out),
            duration,
            survivors,
            left,
            output.total,
            len(output.head),
        ]
        return " ".join(map(str, facts)).encode() + b"\n" + output.head + output.tail


def processes() -> Iterator[tuple[os.DirEntry[str], list[str]]]:
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


def descendants() -> dict[int, str]:
    """Every process below this one, with its state (Z: already dead)."""
    states: dict[int, str] = {}
    children: dict[int, list[int]] = {}
    for entry, (state, parent, *_) in processes():
        states[int(entry.name)] = state
        children.setdefault(int(parent), []).append(int(entry.name))
    below: dict[int, str] = {}
    todo = children.get(os.getpid(), [])
    while todo:
        pid = todo.pop()
        below[pid] = states[pid]
        todo.extend(children.get(pid, []))
    return below


def send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def start(order: Order, output: int) -> int:
    """The command in a session of its own, with its limits, and no descriptor but 0, 1 and 2."""
    threads = own_threads() if order.processes and os.getuid() else 0
    supervisor = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        become_command(order, output, supervisor, threads)
        os.execvpe(order.command[0], order.command, order.environment)
    except (OSError, ValueError) as error:
        os.write(2, f"autopack: {order.command[0]} cannot be started: {error}\n".encode())
    finally:
        os._exit(127)


def become_command(order: Order, output: int, supervisor: int, threads: int) -> None:
    os.setsid()
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, 4096)
    for number in (
        signal.SIGCHLD,
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGPIPE,
        signal.SIGXFSZ,
    ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # Without new privileges no descendant can become another user, whom we could not kill.
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        os._exit(127)
    os.chdir(order.cwd)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, order.file_bytes)
    limit(resource.RLIMIT_NOFILE, order.open_files)
    limit(resource.RLIMIT_AS, order.memory_bytes)
    if threads and order.processes:
        limit(resource.RLIMIT_NPROC, threads + order.processes)


def limit(kind: int, value: int | None) -> None:
    if value is None:
        return
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def own_threads() -> int:
    """RLIMIT_NPROC counts all threads of the user, not only ours."""
    if not LINUX:
        return 0
    count = 1
    for entry, fields in processes():
        try:
            if entry.stat().st_uid == os.getuid():
                count += int(fields[17])
        except OSError:
            continue
    return count


def read_order() -> Order | None:
    """None when the executor went away before it had said everything: then nothing is started."""
    data = bytearray()
    while b"\n" not in data or len(data) < int(data[: data.index(b"\n")]):
        chunk = os.read(0, CHUNK)
        if not chunk:
            return None
        data += chunk
    return Order(bytes(data[data.index(b"\n") + 1 :]))


def main(executor: int) -> int:
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_DUMPABLE, 0)  # so that the command, the same user, cannot open our descriptors through /proc
    # Tied to the thread that started us: the event loop's, which lives as long as it waits for us.
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != executor:
        return 1
    order = read_order()
    if order is None:
        return 1
    report = Supervisor(order).run()
    while report:
        report = report[os.write(1, report) :]
    return 0
