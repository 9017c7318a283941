"""What a tree on disk costs, once whole and then again after a small change.

    python benchmarks/exports.py                10,000 files, ten of them changed
    python benchmarks/exports.py --quick        1,000 files
    python benchmarks/exports.py --json

In each round, on the same repository: the tree is exported into a fresh directory ("fresh"), the pool exports the
base, and then the result of a ten-file change in the same directory ("again"), and the result once more after a
command that left a file and touched ten ("after a check"). The median of the rounds, and each as a part of "fresh":
the part is comparable between machines, the seconds are not.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import anyio

from autopack.workspace.git import GitWorkspace
from autopack.workspace.pool import open_pool

CHANGED = 10
GOAL_SECONDS = 0.3
LINES = 40


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Measures exports of a tree.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    files, rounds = (1_000, 2) if options.quick else (10_000, 7)
    with tempfile.TemporaryDirectory(prefix="autopack-bench-") as name:
        workspace = Path(name, "workspace")
        base, result = make_repository(workspace, files)
        rows = anyio.run(measure, workspace, base, result, files, rounds)
    print(json.dumps(rows, indent=1) if options.json else as_table(rows))
    return 0


def make_repository(workspace: Path, files: int) -> tuple[str, str]:
    """Two commits, the second with ten changed files."""
    paths = [workspace / f"package{number // 100}" / f"module{number}.py" for number in range(files)]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"VALUE = {number}\n" * LINES, encoding="utf-8")
    git(workspace, "init", "--quiet")
    commits = []
    for _ in range(2):
        git(workspace, "add", "--all")
        git(workspace, "commit", "--quiet", "--message", "work")
        commits.append(git(workspace, "rev-parse", "HEAD"))
        for path in paths[:: files // CHANGED]:
            path.write_text("CHANGED = True\n", encoding="utf-8")
    git(workspace, "gc", "--quiet")
    return commits[0], commits[1]


def git(workspace: Path, *arguments: str) -> str:
    who = [
        "-c",
        "user.name=Benchmark",
        "-c",
        "user.email=benchmark@localhost",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "gc.auto=0",
    ]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=workspace, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


async def measure(workspace: Path, base: str, result: str, files: int, rounds: int) -> list[dict[str, Any]]:
    seconds: dict[str, list[float]] = {"fresh": [], "again": [], "after a check": []}
    repository = await GitWorkspace.open(workspace)
    async with open_pool(repository) as pool:
        for _ in range(rounds):
            async with timed(pool.exported(result, again=False), seconds["fresh"]):
                pass
            async with pool.exported(base, again=True):
                pass
            async with timed(pool.exported(result, again=True), seconds["again"]) as directory:
                await anyio.to_thread.run_sync(dirty, directory)
            async with timed(pool.exported(result, again=True), seconds["after a check"]):
                pass
    fresh = median(seconds["fresh"])
    return [
        {"way": way, "files": files, "seconds": round(median(each), 4), "part_of_fresh": round(median(each) / fresh, 4)}
        for way, each in seconds.items()
    ]  # fmt: skip


@asynccontextmanager
async def timed(export: AbstractAsyncContextManager[Any], seconds: list[float]) -> AsyncIterator[Path]:
    """The time until the tree is there; not that of taking the directory away."""
    started = time.perf_counter()
    async with export as made:
        seconds.append(time.perf_counter() - started)
        yield made.directory


def dirty(directory: Path) -> None:
    """What a run of tests leaves: a report, and files with other contents."""
    (directory / "report.xml").write_text("<testsuites/>", encoding="utf-8")
    for path in sorted(directory.glob("package0/*.py"))[:CHANGED]:
        path.write_text("overwritten\n", encoding="utf-8")


def as_table(rows: list[dict[str, Any]]) -> str:
    lines = ["| export | files | seconds | part of fresh |", "| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {row['way']} | {row['files']:,} | {row['seconds']} | {row['part_of_fresh']} |" for row in rows
    ]
    again = next(row for row in rows if row["way"] == "again")
    reached = "reached" if again["seconds"] < GOAL_SECONDS else "missed"
    lines.append(f"\ngoal: again after a ten-file change in under {GOAL_SECONDS} s ({reached})")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
