"""Runs one hostile command for workspace/process.py and leaves nothing of it behind.

A program of its own, standard library only (with proctree, confine, landlock); process.py alone starts it. It reads
the order from stdin and writes the report to stdout as its last act; the command inherits neither. stdin stays open
as a lifeline: its end means that the executor is gone, however it died. On Linux the supervisor adopts every orphan
below it, so that no double fork or setsid gets away; elsewhere it can only kill the command's process group. It looks
at the whole tree many times a second, because RLIMIT_NPROC does nothing for root and RLIMIT_AS is each process's own.
Order and report are plain bytes, because importing json would take as long as all the rest of a start.
"""

from __future__ import annotations

import os
import select
import time

from autopack.workspace import confine, proctree
from autopack.workspace.proctree import CHUNK, LINUX, Process

TYPE_CHECKING = False  # importing typing costs time as well
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator
else:
    import _signal as signal  # what the signal module wraps; its enums would take longer than all the rest

GIVE_UP_SECONDS = 20.0
LAST_DRAIN_BYTES = 1 << 20
LOOK_SECONDS = 0.05
LOOK_SHARE = 10  # looking takes at most this part of our time, however many processes the machine has
# Below a command that pauses: bubblewrap, the first process of its namespace, and the shell that pauses.
LINE = 3


class Order:
    """Fields parted by NUL, which no command or variable can hold; an empty number is no limit."""

    def __init__(self, data: bytes) -> None:
        fields = (os.fsdecode(field) for field in data.split(b"\0"))
        self.nonce, self.cwd = next(fields), next(fields)
        self.wall_seconds, self.output_bytes = float(next(fields)), int(next(fields))
        self.memory_bytes, self.file_bytes, self.open_files = (number(next(fields)) for _ in range(3))
        self.processes, self.total_memory_bytes = number(next(fields)), number(next(fields))
        self.landlock, self.keeps_capabilities, self.pauses = (next(fields) == "1" for _ in range(3))
        self.readable, self.writable, self.feeds, self.command = (several(fields) for _ in range(4))
        self.environment = dict(field.split("=", 1) for field in fields)


def number(text: str) -> int | None:
    return int(text) if text else None


def several(fields: Iterator[str]) -> list[str]:
    return [next(fields) for _ in range(int(next(fields)))]


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
        self.over = "-"  # the limit of the whole tree that was passed, and what was seen: "processes:600"
        self.killed: set[int] = set()
        self.next_look = time.monotonic() + LOOK_SECONDS
        self.child = -1

    def run(self) -> bytes:
        wake = self.listen()
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        started = time.monotonic()
        self.child = confine.start(self.order, writing)
        os.close(writing)
        self.wait(reading, wake, started + self.order.wall_seconds)
        duration = time.monotonic() - started
        left = self.kill_all()
        self.drain(reading, LAST_DRAIN_BYTES)
        return self.report(duration, left)

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
        """Until the command ends, its time is over, it takes too much, or nobody wants it any more."""
        poll = select.poll()
        for descriptor in (0, reading, wake):
            poll.register(descriptor, select.POLLIN)
        while not self.ended(deadline):
            left = min(deadline, self.next_look) - time.monotonic()
            for descriptor, _ in poll.poll(max(left, 0) * 1000 + 1):
                if descriptor == 0:
                    self.stop = True
                elif descriptor == wake:
                    os.read(wake, CHUNK)
                elif self.drain(reading, CHUNK):
                    poll.unregister(reading)

    def ended(self, deadline: float) -> bool:
        self.reap()
        if self.status is not None or self.stop:
            return True
        if LINUX and time.monotonic() >= self.next_look:
            self.look()
        self.timed_out = self.over == "-" and time.monotonic() >= deadline
        return self.timed_out or self.over != "-"

    def look(self) -> None:
        """At the whole tree: is it too large, has its command ended and left something behind?"""
        began = time.monotonic()
        below = proctree.descendants()
        spare = LINE if self.order.pauses else 0
        if self.order.processes is not None and len(below) > self.order.processes + spare:
            self.over = f"processes:{len(below) - spare}"
        elif self.order.total_memory_bytes is not None:
            held = proctree.memory(below, self.order.total_memory_bytes)
            if held > self.order.total_memory_bytes:
                self.over = f"memory:{held}"
        if self.order.pauses and self.over == "-":
            self.end_pause(below)
        now = time.monotonic()
        self.next_look = now + max(LOOK_SECONDS, (now - began) * LOOK_SHARE)

    def end_pause(self, below: dict[int, Process]) -> None:
        """Where the command's shell stopped itself because processes are left, they are killed, and it goes on.

        A command that stops the shell to make us believe that it has ended is killed too, and the shell says so.
        """
        line = self.line(below)[:LINE]
        if len(line) < LINE or below[line[-1]].state != "T":
            return
        give_up = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < give_up:
            left = {pid for pid, each in self.freeze(set(line)).items() if each.state != "Z"}
            if not left:
                break
            self.killed |= left
            for pid in left:
                send(pid, signal.SIGKILL)
            time.sleep(0.0005)
        send(line[-1], signal.SIGCONT)

    def line(self, below: dict[int, Process]) -> list[int]:
        """The command itself; where it pauses, also what stands above it. The first of its parent's is the oldest."""
        line = [self.child]
        for _ in range(LINE if self.order.pauses else 0):
            mine = [process for process in below.values() if process.parent == line[-1]]
            if not mine:
                break
            line.append(min(mine, key=lambda process: (process.started, process.pid)).pid)
        return line

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

    def kill_all(self) -> int:
        """Everything below, counted in `killed` beside the command itself. How many are left: 0 unless stuck."""
        if not LINUX:
            self.kill_group()
            return 0
        # With the end of bubblewrap all in its namespace ends; whoever is still seen is on the way out.
        counted = self.status is None or not self.order.pauses
        expected = set(self.line(proctree.descendants()))
        give_up = time.monotonic() + GIVE_UP_SECONDS
        while not self.childless and time.monotonic() < give_up:
            found = self.freeze(set())
            if counted:
                self.killed.update(
                    pid for pid, each in found.items() if each.state != "Z" and pid not in expected
                )
            for pid in found:
                send(pid, signal.SIGKILL)
            time.sleep(0.0005)
            self.reap()
        return 0 if self.childless else len(proctree.descendants())

    def freeze(self, spared: set[int]) -> dict[int, Process]:
        """Stops every descendant, and looks again until there is no new one: a stopped process cannot fork."""
        stopped: dict[int, Process] = {}
        for _ in range(50):
            below = proctree.descendants()
            fresh = {pid: each for pid, each in below.items() if pid not in stopped and pid not in spared}
            if not fresh:
                break
            for pid in fresh:
                send(pid, signal.SIGSTOP)
            stopped.update(fresh)
        return stopped

    def kill_group(self) -> None:
        try:
            os.killpg(self.child, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return
        if self.status is None:
            self.status = os.waitpid(self.child, 0)[1]

    def report(self, duration: float, left: int) -> bytes:
        code = None if self.status is None else os.waitstatus_to_exitcode(self.status)
        ended = code is not None and code >= 0 and not (self.timed_out or self.stop or self.over != "-")
        output = self.output
        facts = [
            self.order.nonce,
            code if ended else "-",
            -code if code is not None and code < 0 else "-",
            int(self.timed_out),
            duration,
            len(self.killed),
            left,
            self.over,
            output.total,
            len(output.head),
        ]
        return " ".join(map(str, facts)).encode() + b"\n" + output.head + output.tail


def send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


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
    confine.prctl(confine.PR_SET_CHILD_SUBREAPER, 1)
    # So that the command, the same user, cannot open our descriptors through /proc.
    confine.prctl(confine.PR_SET_DUMPABLE, 0)
    # Tied to the thread that started us: the event loop's, which lives as long as it waits for us.
    confine.prctl(confine.PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != executor:
        return 1
    order = read_order()
    if order is None:
        return 1
    report = Supervisor(order).run()
    while report:
        report = report[os.write(1, report) :]
    return 0
