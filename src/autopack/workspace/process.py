"""One hostile command: limited, watched by a supervisor process, and gone entirely afterwards."""

import os
import re
import secrets
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, PIPE

import anyio
from anyio.abc import Process

from autopack.errors import InvalidInput, NotReady
from autopack.workspace.plumbing import send_signal

# Longer than the supervisor needs before it gives up on a process that cannot be killed (20 s).
_PATIENCE_SECONDS = 30.0
_LONGEST_REPORT = 16 << 20
# Imported rather than run as a script: Python compiles a script anew at every start.
_START = (
    "import sys; sys.path.append(sys.argv[1]); from autopack.workspace import supervisor; "
    "sys.exit(supervisor.main(int(sys.argv[2])))"
)
_PACKAGES = Path(__file__).parents[2]
_MEMORY_BYTES = 4 << 30
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class SupervisorNotReady(NotReady):
    """The process that watches over commands cannot be started."""

    code = "supervisor_not_ready"


def _share_of_memory() -> int:
    """4 GiB, or three quarters of a smaller machine's memory."""
    try:
        return min(_MEMORY_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4)
    except (OSError, ValueError):
        return _MEMORY_BYTES


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one command may use with all that it starts; None is no limit.

    `memory_bytes` is address space, for each process by itself. `processes` and `total_memory_bytes` are of all
    together, and hold for root too: the supervisor looks twenty times a second, and ends everything when passed.
    """

    wall_seconds: float = 600.0
    memory_bytes: int | None = None
    total_memory_bytes: int | None = field(default_factory=_share_of_memory)
    file_bytes: int | None = 1 << 30
    open_files: int | None = 1024
    processes: int | None = 512
    output_bytes: int = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Confinement:
    """What is taken from a command before it starts, beside its limits. The default is what every command gets."""

    landlock: bool = False
    """Only `readable` and `writable` files, and what else Landlock can close."""
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    keeps_capabilities: bool = False
    """For bubblewrap, which needs root's to make namespaces and drops them itself."""
    pauses: bool = False
    """The command is bubblewrap with our shell, which stops itself when the real one has left processes behind."""
    feeds: tuple[bytes, ...] = ()
    """To be read at descriptors 3, 4, ...; each small enough for a pipe to hold (4 KiB)."""


PLAIN = Confinement()


@dataclass(frozen=True, kw_only=True)
class ProcessResult:
    """How a command ended. `exit_code` is None unless it ended by itself, with an exit code, in time."""

    exit_code: int | None
    signal: int | None
    timed_out: bool
    duration_seconds: float
    output: str
    output_truncated: bool
    survivors: int
    """Processes that were still there when the command was over, and were killed."""
    unkilled: int = 0
    """Processes that not even SIGKILL ended within 20 s."""
    over_limit: str | None = None
    """Which limit of all processes together was passed, so that they were killed; None: none."""
    lost: bool = False
    """The supervisor itself was killed: how the command ended, and what it left running, is not known."""


async def run_limited(
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    limits: Limits,
    confinement: Confinement = PLAIN,
) -> ProcessResult:
    """Runs to the end, a limit or the caller's cancellation; on each, every process of it is killed."""
    nonce = secrets.token_hex(16)
    order = _order([nonce, str(cwd), *_numbers(limits), *_confined(confinement)], command, environment)
    report = bytearray()
    started = anyio.current_time()
    process = await _start_supervisor()
    try:
        with anyio.move_on_after(limits.wall_seconds + _PATIENCE_SECONDS):
            await _send(process, order)
            await _collect(process, report)
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process, report)
    return _result(bytes(report), nonce, anyio.current_time() - started, limits)


def _order(facts: Sequence[str], command: Sequence[str], environment: Mapping[str, str]) -> bytes:
    fields = [*facts, *_counted(command), *(f"{name}={value}" for name, value in environment.items())]
    if any("\0" in field for field in fields):
        raise InvalidInput("a command or its environment holds a NUL")
    data = os.fsencode("\0".join(fields))
    return b"%d\n" % (len(data)) + data


def _numbers(limits: Limits) -> list[str]:
    optional = (
        *(limits.memory_bytes, limits.file_bytes, limits.open_files),
        *(limits.processes, limits.total_memory_bytes),
    )
    told = ["" if number is None else str(number) for number in optional]
    return [str(limits.wall_seconds), str(limits.output_bytes), *told]


def _confined(confinement: Confinement) -> list[str]:
    flags = (confinement.landlock, confinement.keeps_capabilities, confinement.pauses)
    readable, writable = (list(map(str, paths)) for paths in (confinement.readable, confinement.writable))
    lists = (readable, writable, [feed.hex() for feed in confinement.feeds])
    return [*("1" if flag else "0" for flag in flags), *(text for each in lists for text in _counted(each))]


def _counted(texts: Sequence[str]) -> list[str]:
    return [str(len(texts)), *texts]


async def _start_supervisor() -> Process:
    """It starts nothing before it has the whole order, so that it may be killed until then."""
    try:
        # A start that is cancelled half-way would leave a process that nobody waits for.
        with anyio.CancelScope(shield=True):
            process = await anyio.open_process(
                [
                    *(sys.executable, "-I", "-S", "-E", "-X", "utf8", "-c", _START),
                    *(str(_PACKAGES), str(os.getpid())),
                ],
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,
            )
    except OSError as error:
        raise SupervisorNotReady(
            f"{sys.executable} cannot be started to watch over commands: {error}"
        ) from error
    return process


async def _send(process: Process, order: bytes) -> None:
    assert process.stdin is not None
    with suppress(anyio.BrokenResourceError):
        await process.stdin.send(order)  # and left open: it is the supervisor's lifeline


async def _collect(process: Process, report: bytearray) -> None:
    assert process.stdout is not None
    with suppress(anyio.BrokenResourceError):
        async for chunk in process.stdout:
            report += chunk
            if len(report) > _LONGEST_REPORT:
                return


async def _end(process: Process, report: bytearray) -> None:
    """Lets go of the lifeline and waits for the supervisor to clean up; a stuck one is killed."""
    assert process.stdin is not None
    with suppress(anyio.BrokenResourceError):
        await process.stdin.aclose()
    if process.returncode is None and not report:
        send_signal(process, signal.SIGCONT)  # the command may have stopped it
    with anyio.move_on_after(_PATIENCE_SECONDS):
        await _collect(process, report)
        await process.wait()
    if process.returncode is None:
        send_signal(process, signal.SIGKILL)
    await process.aclose()


def _result(report: bytes, nonce: str, duration_seconds: float, limits: Limits) -> ProcessResult:
    line, _, output = report.partition(b"\n")
    told = line.decode("ascii", "replace").split(" ")
    if len(told) != 10 or not secrets.compare_digest(told[0].encode(), nonce.encode()):
        return ProcessResult(
            exit_code=None,
            signal=None,
            timed_out=False,
            duration_seconds=duration_seconds,
            output="[the supervisor of this command was killed: processes of it may still run]\n",
            output_truncated=True,
            survivors=0,
            lost=True,
        )
    exit_code, ended_by = (None if number == "-" else int(number) for number in told[1:3])
    total, head = int(told[8]), int(told[9])
    left_out = total - len(output)
    return ProcessResult(
        exit_code=exit_code,
        signal=ended_by,
        timed_out=told[3] == "1",
        duration_seconds=float(told[4]),
        output=_joined(output[:head], output[head:], left_out),
        output_truncated=left_out > 0,
        survivors=int(told[5]),
        unkilled=int(told[6]),
        over_limit=_over_limit(told[7], limits),
    )


def _over_limit(told: str, limits: Limits) -> str | None:
    kind, _, seen = told.partition(":")
    if kind == "processes":
        return f"{seen} processes at once, {limits.processes} are allowed"
    if kind == "memory":
        return (
            f"{_mebibytes(seen)} of memory in all, {_mebibytes(limits.total_memory_bytes or 0)} are allowed"
        )
    return None


def _mebibytes(number: str | int) -> str:
    return f"{int(number) >> 20} MiB"


def _joined(head: bytes, tail: bytes, left_out: int) -> str:
    if left_out <= 0:
        return readable(head + tail)
    return f"{readable(head)}\n[... {left_out} bytes left out ...]\n{readable(tail)}"


def readable(output: bytes) -> str:
    """Text without anything that acts on a terminal: no escape sequence, no control but newline and tab."""
    text = _ESCAPES.sub("", output.decode("utf-8", "replace"))
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
