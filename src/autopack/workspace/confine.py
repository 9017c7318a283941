"""What becomes of the supervisor's child before it is the command: its limits, and what is taken from it.

Part of the supervisor: standard library only.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

from autopack.workspace import landlock, proctree

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from autopack.workspace.supervisor import Order
else:
    import _signal as signal  # the signal module takes time at every start

LINUX = sys.platform == "linux"
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER = 1, 4, 24, 36
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
CAPABILITIES_V3 = 0x20080522
FIRST_FEED = 3


def prctl(option: int, value: int) -> int:
    return int(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)) if LINUX else 0


def start(order: Order, output: int) -> int:
    """The command in a session of its own, with its limits, and no descriptor but 0, 1, 2 and its feeds."""
    threads = proctree.own_threads() if order.processes and os.getuid() else 0
    supervisor = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        _become_command(order, output, supervisor, threads)
        os.execvpe(order.command[0], order.command, order.environment)
    except (OSError, ValueError) as error:
        os.write(2, f"autopack: {order.command[0]} cannot be started: {error}\n".encode())
    finally:
        os._exit(127)


def _become_command(order: Order, output: int, supervisor: int, threads: int) -> None:
    os.setsid()
    _descriptors(output, order.feeds)
    _default_signals()
    # Without new privileges no descendant can become another user, whom we could not kill.
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        os._exit(127)
    os.chdir(order.cwd)
    _first_to_die()
    _limits(order, threads)
    if not order.keeps_capabilities:
        drop_capabilities()
    if order.landlock:
        landlock.restrict(order.readable, order.writable)


def _descriptors(output: int, feeds: list[str]) -> None:
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(FIRST_FEED, 4096)
    for feed in feeds:  # the lowest number that is free: 3, 4, ...
        reading, writing = os.pipe()
        os.write(writing, bytes.fromhex(feed))
        os.close(writing)
        os.set_inheritable(reading, True)


def _default_signals() -> None:
    for number in (
        *(signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
        *(signal.SIGPIPE, signal.SIGXFSZ),
    ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _first_to_die() -> None:
    """Where the machine runs out of memory, the kernel ends checks before anything else."""
    if not LINUX:
        return
    try:
        file = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(file, b"1000")
    finally:
        os.close(file)


def _limits(order: Order, threads: int) -> None:
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, order.file_bytes)
    _limit(resource.RLIMIT_NOFILE, order.open_files)
    _limit(resource.RLIMIT_AS, order.memory_bytes)
    if threads and order.processes:
        _limit(resource.RLIMIT_NPROC, threads + order.processes)


def _limit(kind: int, value: int | None) -> None:
    if value is None:
        return
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


class CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def drop_capabilities() -> None:
    """All of them, for good. First the bounding set: otherwise root has them back when it starts a program."""
    if not LINUX:
        return
    number = 0
    while prctl(PR_CAPBSET_DROP, number) == 0:
        number += 1
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header, nothing = CapabilityHeader(CAPABILITIES_V3, 0), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(ctypes.byref(header), ctypes.byref(nothing)) != 0:
        raise OSError(ctypes.get_errno(), "the capabilities cannot be dropped")
