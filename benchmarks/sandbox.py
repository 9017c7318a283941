"""What a launch in the sandbox costs, level by level, beside a bare subprocess that does the same.

    .venv/bin/python benchmarks/sandbox.py             a minute
    .venv/bin/python benchmarks/sandbox.py --quick     a smoke run of seconds
    .venv/bin/python benchmarks/sandbox.py --json

Measured in one run: each round launches `/bin/true` once in every way; a ratio is the median of the rounds' own
ratios, so that what disturbs the machine disturbs all ways. `limits` has the supervisor in it (a Python of its own,
which every level has); the others are that and what the level adds. CPU is that of all processes of a launch, and does
not depend on what else the machine has to do. `self-test` is `open_sandbox`, once per process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import anyio

from autopack.workspace import landlock
from autopack.workspace.process import Limits
from autopack.workspace.sandbox import Sandbox, SandboxLevel, View, check_environment, open_sandbox
from autopack.workspace.scratch import make_private, scratch_directory

Way = Callable[[], Awaitable[None]]
Record = dict[str, Any]


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="What a launch costs. See the top of benchmarks/sandbox.py.")
    parser.add_argument("--quick", action="store_true", help="a smoke run: five rounds")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(argv)
    rows = anyio.run(measure, 5 if options.quick else 100)
    print(json.dumps(rows, indent=2) if options.json else as_table(rows))
    return 0


async def measure(rounds: int) -> list[Record]:
    begun = _now()
    highest = await open_sandbox()
    self_test = _now() - begun
    async with scratch_directory() as directory:
        ways = _ways(highest, _view(directory))
        taken: dict[str, list[Taken]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                begun = _now()
                await way()
                taken[name].append(_now() - begun)
    rows = [_row(name, each, taken["bare"]) for name, each in taken.items()]
    return [*rows, _row("self-test", [self_test], [])]


@dataclass(frozen=True)
class Taken:
    seconds: float
    cpu_seconds: float

    def __sub__(self, other: "Taken") -> "Taken":
        return Taken(self.seconds - other.seconds, self.cpu_seconds - other.cpu_seconds)


def _now() -> Taken:
    """The processor's time is ours and that of every process that has ended below us."""
    return Taken(time.perf_counter(), sum(os.times()[:4]))


def _view(directory: Path) -> View:
    tree, home, tmp, results = (directory / name for name in ("tree", "home", "tmp", "results"))
    make_private(tree, home, tmp, results)
    return View(tree=tree, shown_at=Path(tempfile.gettempdir(), "shown"), home=home, tmp=tmp, results=results)


def _ways(highest: Sandbox, view: View) -> dict[str, Way]:
    """Only levels that work here."""
    environment = check_environment(os.environ, home=view.home, tmp=view.tmp, extra={})

    def inside(sandbox: Sandbox) -> Way:
        async def run() -> None:
            result = await sandbox.run(["/bin/true"], view=view, environment=environment, limits=Limits())
            assert result.exit_code == 0, result

        return run

    async def bare() -> None:
        subprocess.run(["/bin/true"], cwd=view.tree, env=environment, check=True)  # noqa: ASYNC221

    ways: dict[str, Way] = {"bare": bare, "limits": inside(replace(highest, level=SandboxLevel.LIMITS))}
    if landlock.abi():
        ways["files"] = inside(replace(highest, level=SandboxLevel.FILES))
    if highest.level is SandboxLevel.FULL:
        ways["full"] = inside(highest)
    return ways


def _row(name: str, taken: list[Taken], bare: list[Taken]) -> Record:
    pairs = [(one.seconds, other.seconds) for one, other in zip(taken, bare, strict=False)]
    return {
        "way": name,
        "ms": round(1000 * median(each.seconds for each in taken), 1),
        "cpu_ms": round(1000 * mean(each.cpu_seconds for each in taken), 1),
        "ratio": round(median(one / other for one, other in pairs), 1) if pairs else None,
        "added_ms": round(1000 * median(one - other for one, other in pairs), 1) if pairs else None,
    }


def as_table(rows: list[Record]) -> str:
    lines = ["| launch | ms | : bare | added, ms | CPU, ms |", "| --- | ---: | ---: | ---: | ---: |"]
    for row in rows:
        lines.append(
            f"| {row['way']} | {row['ms']} | {_told(row['ratio'])} | {_told(row['added_ms'])} | {row['cpu_ms']} |"
        )
    return "\n".join(lines)


def _told(figure: float | None) -> str:
    return "" if figure is None else str(figure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
