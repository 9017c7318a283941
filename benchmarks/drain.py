"""What the machinery costs, beside the model calls that it is there for.

    make bench                                  everything: about five minutes
    make bench ARGS="--quick"                   a smoke run of seconds, on SQLite
    make bench ARGS="--json" > figures.json

Measured in one run, each round of one way beside the same round of the others, the median of the rounds:

- phases per second, drained in-process by the real worker over the real API with work that takes no time
  ("drain"), the same with one model call reserved, settled and journaled ("with a call"), and the bare floor
  ("bare"): the database functions of claim and finish in a loop, two transactions a phase, nothing around them;
- the claim's statements alone, without the commit, with 1,000 and with 100,000 phases queued, and with a second
  tier waiting, with priorities, with dependencies: it has to stay flat;
- `autopack drain` as a process: seconds from its start to the first claim, and its peak memory.

Figures of different runs are not comparable where the machine has other work; the ratios are.
"""

import argparse
import json
import os
import platform
import sqlite3
import sys
import tempfile
from contextlib import AsyncExitStack, ExitStack, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import anyio
from bench_databases import SHAPES, Kind, kinds, say, seed, skip_to
from bench_process import drain_processes
from bench_queue import WAYS, Slice, bare

from autopack.api.app import create_app
from autopack.client import in_process
from autopack.db.engine import journal_mode

FLAT = 1.5
"""The claim may take this much longer with 100 times as many phases queued."""
Record = dict[str, Any]


def main(argv: list[str]) -> int:
    options = _options(argv)
    with tempfile.TemporaryDirectory(prefix="autopack-bench-") as name:
        directory = Path(name)
        with kinds(directory, postgres=not options.quick) as databases:
            records = [anyio.run(rates, kind, options) for kind in databases]
            # The commit is not in it, so SQLite's levels of it make no difference here.
            shaped = [
                shapes(kind, options) for kind in databases if kind.synchronous == "NORMAL" or not kind.sqlite
            ]
            processes = [process(databases[0], directory, queued, options) for queued in options.sizes]
    report = {
        "machine": machine(),
        "rates": [row for rows in records for row in rows],
        "claims": [row for rows in shaped for row in rows],
        "processes": processes,
    }
    print(json.dumps(report, indent=2) if options.json else as_tables(report))
    return 0


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="What the machinery costs. See the top of benchmarks/drain.py."
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run: small queues, SQLite, one round")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(argv)
    options.sizes = (50, 500) if options.quick else (1_000, 100_000)
    options.slice = 5 if options.quick else 20
    options.rounds = 1 if options.quick else 3
    options.starts = 1 if options.quick else 5
    return options


def machine() -> Record:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "journal_mode": journal_mode(),
        "system": platform.system(),
    }


async def rates(kind: Kind, options: argparse.Namespace) -> list[Record]:
    """Phases per second of every way, at the head, in the middle and near the end of a small and a large queue."""
    small, large = options.sizes
    async with AsyncExitStack() as stack:
        opened = {}
        for size in (small, large):
            database = stack.enter_context(kind.opened(f"rates-{size}"))
            client = await stack.enter_async_context(
                in_process(create_app(lambda it=database: nullcontext(it)))
            )
            opened[size] = (database, client)
        say(f"{kind.name}: {large} phases are queued")
        seed(opened[large][0], "large", large)
        block = options.slice * options.rounds * len(WAYS)
        found = []
        for position, left in (("head", large), ("middle", large // 2), ("end", block + options.slice)):
            seed(opened[small][0], f"small-{position}", max(small, block + options.slice))
            skip_to(opened[large][0], "large", left, large)
            runs = {small: f"small-{position}", large: "large"}
            slices = await _interleaved(opened, runs, options)
            found += [_rate(kind, size, position, slices[size]) for size in (small, large)]
            say(f"{kind.name}: {position} done")
    return found


async def _interleaved(
    opened: dict[int, Any], runs: dict[int, str], options: argparse.Namespace
) -> dict[int, dict[str, list[Slice]]]:
    slices: dict[int, dict[str, list[Slice]]] = {size: {way: [] for way in WAYS} for size in opened}
    for _ in range(options.rounds):
        for way, take in WAYS.items():
            for size, (database, client) in opened.items():
                slices[size][way].append(await take(database, client, runs[size], options.slice))
    return slices


def _rate(kind: Kind, size: int, position: str, slices: dict[str, list[Slice]]) -> Record:
    per_second = {way: median(each.per_second for each in taken) for way, taken in slices.items()}
    return {
        "database": kind.name,
        "queued": size,
        "at": position,
        "per_second": {way: round(rate, 1) for way, rate in per_second.items()},
        "drain_over_bare": _paired(slices, "drain", "bare"),
        "with_call_over_bare": _paired(slices, "with_call", "bare"),
    }


def _paired(slices: dict[str, list[Slice]], way: str, floor: str) -> float:
    """The median of the rounds' ratios: what disturbs the machine disturbs both sides of a round."""
    pairs = zip(slices[way], slices[floor], strict=True)
    return round(median(one.per_second / other.per_second for one, other in pairs), 2)


def shapes(kind: Kind, options: argparse.Namespace) -> list[Record]:
    """The claim's statements in milliseconds with few and with many phases queued, for every shape of a queue."""
    small, large = options.sizes
    found = []
    for number, shape in enumerate(SHAPES):
        with ExitStack() as stack:
            opened = {
                size: stack.enter_context(kind.opened(f"shape-{number}-{size}")) for size in (small, large)
            }
            for size, database in opened.items():
                seed(database, "run", size, shape)
            seconds: dict[int, list[float]] = {size: [] for size in opened}
            for _ in range(max(2, options.rounds)):
                for size, database in opened.items():
                    seconds[size] += bare(database, "run", options.slice).claim_seconds
        few, many = (1000 * median(seconds[size]) for size in (small, large))
        found.append(
            {
                "database": kind.name, "shape": shape, "few_ms": round(few, 2), "many_ms": round(many, 2),
                "ratio": round(many / few, 2), "flat": many / few <= FLAT,
            }
        )  # fmt: skip
        say(f"{kind.name}: claim, {shape}: {found[-1]['ratio']}")
    return found


def process(kind: Kind, directory: Path, queued: int, options: argparse.Namespace) -> Record:
    phases = 3 if options.quick else 10
    taken = drain_processes(kind, directory, queued=queued, phases=phases, starts=options.starts)
    say(f"process with {queued} phases queued: done")
    return {
        "queued": queued,
        "drained": phases,
        "first_claim_seconds": round(median(each.first_claim_seconds for each in taken), 2),
        "first_end_seconds": round(median(each.first_end_seconds for each in taken), 2),
        "peak_mib": round(max(each.peak_mib for each in taken), 1),
    }


def as_tables(report: Record) -> str:
    facts = report["machine"]
    lines = [
        f"{facts['cores']} cores, {facts['system']}, Python {facts['python']}, SQLite {facts['sqlite']} "
        f"with journal_mode={facts['journal_mode']}",
        "",
        "| database | queued | at | bare /s | drain /s | drain : bare | with a call /s | with a call : bare |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in report["rates"]:
        rate = row["per_second"]
        lines.append(
            f"| {row['database']} | {row['queued']:,} | {row['at']} | {rate['bare']} | {rate['drain']} | "
            f"{row['drain_over_bare']} | {rate['with_call']} | {row['with_call_over_bare']} |"
        )
    lines += ["", *_claim_table(report["claims"]), "", *_process_table(report["processes"])]
    return "\n".join(lines)


def _claim_table(rows: list[Record]) -> list[str]:
    lines = [
        "| claim on | queue | few queued, ms | many queued, ms | many : few |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['database']} | {row['shape']} | {row['few_ms']} | {row['many_ms']} | {row['ratio']} |"
        for row in rows
    ]
    worst = max(row["ratio"] for row in rows)
    word = "flat" if worst <= FLAT else "NOT flat"
    return [*lines, "", f"ratio: the claim is {word}: at most {worst} times as long (allowed: {FLAT})"]


def _process_table(rows: list[Record]) -> list[str]:
    lines = [
        "| `autopack drain` | phases drained | start to first claim, s | start to first end, s | peak memory, MiB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    return lines + [
        f"| {row['queued']:,} queued | {row['drained']} | {row['first_claim_seconds']} | {row['first_end_seconds']} | "
        f"{row['peak_mib']} |"
        for row in rows
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
