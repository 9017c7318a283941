"""Where a check runs: how much of this machine is out of its reach, found by trying it, and the way in."""

import os
import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from autopack.errors import NotReady
from autopack.workspace import landlock, sandbox_bwrap, sandbox_landlock, sandbox_probe
from autopack.workspace.environment import check_environment, refuse_names
from autopack.workspace.process import Limits, ProcessResult, run_limited
from autopack.workspace.sandbox_probe import Bait, Seen
from autopack.workspace.sandbox_view import View, ViewRefused
from autopack.workspace.scratch import make_private, scratch_directory
from autopack.workspace.toolchains import tools

__all__ = [
    "Sandbox", "SandboxLevel", "SandboxMode", "SandboxRefused", "View", "ViewRefused",
    "check_environment", "describe", "open_risks", "open_sandbox", "refuse_names",
]  # fmt: skip

_TRY = Limits(wall_seconds=8)


class SandboxLevel(StrEnum):
    """How much of the machine is out of a check's reach, from all to nothing."""

    FULL = "full"
    FILES = "files"
    LIMITS = "limits"
    NONE = "none"


class SandboxMode(StrEnum):
    """What the person asked for: no less than `files`; the best there is, with a warning; no sandbox on purpose."""

    REQUIRE = "require"
    BEST = "best"
    LIMITS = "limits"


class SandboxRefused(NotReady):
    """A sandbox was required, and none that keeps files apart works here."""

    code = "sandbox_refused"


_DESCRIPTIONS = {
    SandboxLevel.FULL: "own environment, limits, only the files it needs, no network, no other process",
    SandboxLevel.FILES: "own environment, limits, only the files it needs",
    SandboxLevel.LIMITS: "own environment, time, memory and process limits",
    SandboxLevel.NONE: "own environment and a time limit",
}
_OPEN = {
    SandboxLevel.FULL: "",
    SandboxLevel.FILES: "UDP, unix sockets that have a path, the list of processes, /dev/shm, and the mode, owner and "
    "times of files",
    SandboxLevel.LIMITS: "your files (to read and to write), the network, other processes",
    SandboxLevel.NONE: "your files (to read and to write), the network, other processes, and living on after their end",
}
_ADVICE = "Install bubblewrap (Debian, Ubuntu: apt-get install bubblewrap; Fedora: dnf install bubblewrap)"


def describe(level: SandboxLevel) -> str:
    """One line: what there is, and what is open all the same."""
    risks = open_risks(level)
    return f"{level}: {_DESCRIPTIONS[level]}" + (f"; {risks}" if risks else "")


def open_risks(level: SandboxLevel) -> str:
    """One line that names what checks can still reach; empty at level full."""
    return f"open to checks: {_OPEN[level]}" if _OPEN[level] else ""


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """A level that was seen to hold, and the way to run a command in it."""

    level: SandboxLevel
    reason: str = ""
    """Why it is not a higher level; empty at level full."""
    gaps: str = ""
    """What this kernel leaves open beyond what the level always does (TCP before Linux 6.7)."""
    bwrap: str = ""
    unseen: tuple[Path, ...] = ()
    """Files that no directory which checks see may hold, such as the database."""

    @property
    def risks(self) -> str:
        """As `open_risks`, with what is open on this machine only."""
        return open_risks(self.level) + (f", {self.gaps}" if self.gaps else "")

    def place(self, view: View) -> Path:
        """Where the tree is for the command."""
        return view.shown_at if self.level is SandboxLevel.FULL and view.can_be_shown else view.tree

    async def run(
        self, command: Sequence[str], *, view: View, environment: Mapping[str, str], limits: Limits
    ) -> ProcessResult:
        """In `place(view)`, as `run_limited` otherwise.

        At level full the end by a signal is told as a shell tells it: exit code 128 and its number.
        """
        if self.level is SandboxLevel.FULL:
            return await self._run_full(command, view, environment, limits)
        view.link()
        if self.level is not SandboxLevel.FILES:
            return await run_limited(command, cwd=view.tree, environment=environment, limits=limits)
        confinement = sandbox_landlock.confinement(
            readable=(*view.read_only.values(), *self._tools(view, environment)),
            writable=view.writable(view.tree).values(),
        )
        return await run_limited(
            command, cwd=view.tree, environment=environment, limits=limits, confinement=confinement
        )

    async def _run_full(
        self, command: Sequence[str], view: View, environment: Mapping[str, str], limits: Limits
    ) -> ProcessResult:
        place = self.place(view)
        words = sandbox_bwrap.arguments(
            self.bwrap,
            command,
            place=place,
            environment=environment,
            writable=view.writable(place),
            read_only={place / inside: outside for inside, outside in view.mounts().items()},
            tools=[tool for tool in self._tools(view, environment) if _may_be_put(tool, place, view)],
        )
        # bubblewrap itself gets none of the check's variables: what LD_PRELOAD names would run outside.
        return await run_limited(
            words,
            cwd=Path("/"),
            environment={},
            limits=limits,
            confinement=sandbox_bwrap.confinement(view.home),
        )

    def _tools(self, view: View, environment: Mapping[str, str]) -> tuple[Path, ...]:
        return tools(
            environment, workspace=view.shown_at, unseen=self.unseen, given=tuple(view.read_only.values())
        )


def _may_be_put(tool: Path, place: Path, view: View) -> bool:
    """bubblewrap follows links where it mounts, and those of the tree may lead anywhere."""
    return not tool.is_relative_to(place) or view.is_free(tool.relative_to(place))


async def open_sandbox(mode: SandboxMode = SandboxMode.BEST, unseen: Collection[Path] = ()) -> Sandbox:
    """The highest level that `mode` allows and that was seen to hold just now."""
    found = await _highest(mode, tuple(unseen))
    if mode is SandboxMode.REQUIRE and found.level not in (SandboxLevel.FULL, SandboxLevel.FILES):
        raise SandboxRefused(
            f"A sandbox is required, but only level {found.level} works here ({found.reason}); {found.risks}. "
            f"{_ADVICE}, or, where checks may do all that, allow less: --sandbox best."
        )
    return found


async def _highest(mode: SandboxMode, unseen: tuple[Path, ...]) -> Sandbox:
    reasons: list[str] = []
    async with _bait() as (bait, directory):
        for candidate in _candidates(mode, unseen, reasons):
            seen = await _try(candidate, bait, directory / candidate.level)
            if _holds(candidate.level, seen):
                gaps = _gaps(seen) if candidate.level is SandboxLevel.FILES else ""
                return replace(candidate, reason="; ".join(reasons), gaps=gaps)
            reasons.append(f"level {candidate.level} does not hold here: {seen.gaps}")
    return Sandbox(level=SandboxLevel.NONE, reason="; ".join(reasons), unseen=unseen)


def _candidates(mode: SandboxMode, unseen: tuple[Path, ...], reasons: list[str]) -> list[Sandbox]:
    """From the highest; what there is no program or kernel for is left out, and told."""
    if sys.platform != "linux":
        reasons.append("only Linux has what it needs")
        return []
    limits = Sandbox(level=SandboxLevel.LIMITS, unseen=unseen)
    if mode is SandboxMode.LIMITS:
        reasons.append("no sandbox was asked for")
        return [limits]
    found = [limits]
    if landlock.abi():
        found.insert(0, replace(limits, level=SandboxLevel.FILES))
    if bwrap := sandbox_bwrap.find_bwrap():
        found.insert(0, replace(limits, level=SandboxLevel.FULL, bwrap=bwrap))
    else:
        reasons.append("bubblewrap (bwrap) is not installed")
    if not landlock.abi():
        reasons.append("this kernel has no Landlock")
    return found


@asynccontextmanager
async def _bait() -> AsyncIterator[tuple[Bait, Path]]:
    async with scratch_directory() as directory:
        with sandbox_probe.bait(directory / "bait") as bait:
            yield bait, directory


async def _try(candidate: Sandbox, bait: Bait, directory: Path) -> Seen:
    """One command that tries everything at once."""
    view = View(
        tree=directory / "tree",
        shown_at=directory / "shown",
        home=directory / "home",
        tmp=directory / "tmp",
        results=directory / "results",
    )
    make_private(directory, view.tree, view.home, view.tmp, view.results)
    program = sandbox_probe.interpreter()
    environment = check_environment(os.environ, home=view.home, tmp=view.tmp, extra={})
    environment["PATH"] = f"{program.parent}{os.pathsep}{environment['PATH']}"
    command = bait.command(program, view.results)
    result = await candidate.run(command, view=view, environment=environment, limits=_TRY)
    return sandbox_probe.judge(result, bait, view.tree)


def _holds(level: SandboxLevel, seen: Seen) -> bool:
    if level is SandboxLevel.FULL:
        return seen.full
    return seen.files if level is SandboxLevel.FILES else seen.works and seen.ended


def _gaps(seen: Seen) -> str:
    words = {"connect": "TCP", "abstract": "signals and abstract sockets"}
    return ", ".join(word for name, word in words.items() if name not in seen.held)
