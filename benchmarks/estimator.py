"""How well budgets keep their promise: the online procedure over real edits and over made-up series that are hard on it.

    .venv/bin/python benchmarks/estimator.py FILE          real edits (JSON lines), and the made-up series
    .venv/bin/python benchmarks/estimator.py               the made-up series alone
    .venv/bin/python benchmarks/estimator.py --limit 1000000000000 --json

Each call gets its budget from the calls before it only. Of an answer above its budget only what a worker would see is
learned: the budget doubled (up to the model's limit, 64,000 unless told otherwise) tells the truth, or else that there
is more than that; of a call that is refused as too large nothing is learned. A line of FILE holds `files` (a list
of [operation, class]), `tokens`, `ctype` and `model`; rows over 40,000 tokens or 20 files are left out. The figures are
of the calls after the first 100; nothing here depends on the machine but the seconds.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from autopack.domain.budget import SPLIT, Budget, Online
from autopack.domain.conformal import PRIOR, Sample, log_ratio
from autopack.domain.estimate import SHIPPED, Coefficients, Features, base_tokens, escalated, group_of
from autopack.domain.rates import Rate, worst_stretch
from autopack.domain.storable import MAX_TOKENS

TARGETS = (0.01, 0.05, 0.10)
WARM_UP, STRETCH = 100, 100
LIMIT = 64_000
_MOST_TOKENS, _MOST_FILES = 40_000, 20
_ALL_OF_A_CLASS = {"doc": "docs", "test": "tests", "config": "configuration"}
_BY_TYPE = {
    "refactor": "refactoring", "chore": "configuration", "ci": "configuration", "build": "configuration", "docs": "docs",
    "test": "tests",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Call:
    """`actual` is what a whole answer needs; the procedure sees no more of it than its budgets let through."""

    features: Features
    model: str
    actual: int


@dataclass(frozen=True, kw_only=True)
class Turn:
    """`missed` and `thrown_away` are of no meaning where nothing was asked."""

    call: Call
    given: Budget
    missed: bool = False
    thrown_away: int = 0


@dataclass(frozen=True, kw_only=True)
class Figures:
    """`calls` to `thrown_away` are of the calls that the promise is about, and those of the prior."""

    series: str
    target: float
    calls: int
    missed: int
    rate: float
    low: float
    high: float
    waste: float
    worst_100: int | None
    thrown_away: float
    """Tokens of cut answers, as a share of those of whole ones."""
    prior: float
    """The share of all calls, from the first on, whose budget came of the shipped multiplier."""
    limited: int
    """Asked at exactly the limit, outside the promise; `limited_cut` of them did not fit."""
    limited_cut: int
    refused: int
    """Not asked, as too large; `refused_fitting` of them would have fitted the limit."""
    refused_fitting: int


def rehearse(
    calls: Sequence[Call], target: float, *, limit: int = MAX_TOKENS, coefficients: Coefficients = SHIPPED
) -> list[Turn]:
    online, turns = Online(target, limit), []
    for call in calls:
        base, group = base_tokens(call.features, coefficients), group_of(call.features, call.model)
        given = online.budget(base, group)
        if given.decision == SPLIT:
            turns.append(Turn(call=call, given=given))
            continue
        missed = call.actual > given.tokens
        larger = escalated(given.tokens, limit)
        most = larger or given.tokens
        again = missed and call.actual > most
        seen = Sample(group=group, log_ratio=log_ratio(most if again else call.actual, base), censored=again)
        online.learn(seen, given, missed=missed)
        thrown_away = given.tokens * missed + (larger or 0) * again
        turns.append(Turn(call=call, given=given, missed=missed, thrown_away=thrown_away))
    return turns


def figures(series: str, target: float, turns: Sequence[Turn], *, limit: int = MAX_TOKENS) -> Figures:
    told = turns[WARM_UP:]
    refused = [turn for turn in told if turn.given.decision == SPLIT]
    limited = [turn for turn in told if turn.given.is_limited]
    counted = [turn for turn in told if turn.given.decision != SPLIT and not turn.given.is_limited]
    missed = [turn.missed for turn in counted]
    rate, needed = (
        Rate(count=sum(missed), total=len(missed)),
        max(1, sum(turn.call.actual for turn in counted)),
    )
    return Figures(
        series=series, target=target, calls=rate.total, missed=rate.count, rate=rate.value or 0.0, low=rate.low,
        high=rate.high, waste=sum(turn.given.tokens for turn in counted) / needed,
        worst_100=worst_stretch(missed, STRETCH), thrown_away=sum(turn.thrown_away for turn in counted) / needed,
        prior=sum(turn.given.multiplier.source == PRIOR for turn in turns) / len(turns),
        limited=len(limited), limited_cut=sum(turn.missed for turn in limited), refused=len(refused),
        refused_fitting=sum(turn.call.actual <= limit for turn in refused),
    )  # fmt: skip


def edits_of(path: Path) -> list[Call]:
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return [
        Call(features=_features(row), model=row["model"], actual=row["tokens"])
        for row in rows
        if row["tokens"] <= _MOST_TOKENS and len(row["files"]) <= _MOST_FILES
    ]


def _features(row: dict[str, Any]) -> Features:
    classes, files = {kind for _, kind in row["files"]}, len(row["files"])
    alike = _ALL_OF_A_CLASS.get(classes.pop()) if len(classes) == 1 else None
    return Features(
        task_category=alike or _BY_TYPE.get(row["ctype"], "implementation"),
        complexity="low" if files <= 2 else "medium" if files <= 6 else "high",
        files=tuple((operation, kind) for operation, kind in row["files"]),
    )  # fmt: skip


def steady(random: Random, calls: int) -> Iterator[Call]:
    """Groups that differ in their centre, and a tail much heavier than a lognormal's."""
    for _ in range(calls):
        yield _made_up(random, _heavy(random))


def drifting(random: Random, calls: int) -> Iterator[Call]:
    """Answers grow fourfold from the first to the last."""
    for number in range(calls):
        yield _made_up(random, _heavy(random) + math.log(4) * number / calls)


def switching(random: Random, calls: int) -> Iterator[Call]:
    """A Markov chain of two regimes, one with answers three times as long; each lasts about 150 calls."""
    long = False
    for _ in range(calls):
        long ^= random.random() < 1 / 150
        yield _made_up(random, _heavy(random) + math.log(3) * long)


def jumping(random: Random, calls: int) -> Iterator[Call]:
    """At one third all answers become five times as long, as with another model; at two thirds it is undone."""
    for number in range(calls):
        yield _made_up(random, _heavy(random) + math.log(5) * (calls // 3 <= number < 2 * calls // 3))


def large(random: Random, calls: int) -> Iterator[Call]:
    """All phases are large, bases of 7,000 to 13,000; one answer of 100 needs eight times as much, far beyond the limit."""
    for _ in range(calls):
        files = (("new", "code"),) * random.randint(3, 6)
        features = Features(task_category="implementation", complexity="medium", files=files)
        times = math.exp(random.gauss(0, 0.4)) * (8 if random.random() < 0.01 else 1)
        yield Call(
            features=features, model="openai:made-up-1", actual=round(base_tokens(features, SHIPPED) * times)
        )


SERIES: dict[str, Callable[[Random, int], Iterator[Call]]] = {
    "steady": steady, "drifting": drifting, "switching": switching, "jumping": jumping, "large": large,
}  # fmt: skip
_GROUPS = (
    ("implementation", "low", -0.5), ("implementation", "medium", 0.1), ("implementation", "high", 0.3),
    ("tests", "low", 0.6), ("tests", "medium", 0.2), ("docs", "low", -0.9), ("refactoring", "medium", 0.4),
)  # fmt: skip


def _heavy(random: Random) -> float:
    """Student's t of 4 degrees of freedom, half as wide: the log of a ratio."""
    return 0.5 * random.gauss(0, 1) / math.sqrt(random.gammavariate(2, 2) / 4)


def _made_up(random: Random, log_of_ratio: float) -> Call:
    category, complexity, centre = random.choice(_GROUPS)
    files = tuple(
        (random.choice(("new", "mod")), random.choice(("code", "test", "doc")))
        for _ in range(random.randint(1, 4))
    )
    features = Features(task_category=category, complexity=complexity, files=files)
    needed = base_tokens(features, SHIPPED) * math.exp(centre + log_of_ratio)
    model = random.choice(("openai:made-up-1", "anthropic:made-up"))
    return Call(features=features, model=model, actual=max(1, round(needed)))


def all_figures(file: Path | None, calls: int, limit: int) -> list[Figures]:
    series = {name: list(make(Random(name), calls)) for name, make in SERIES.items()}
    if file is not None:
        series = {file.name: edits_of(file), **series}
    return [
        figures(name, target, rehearse(made, target, limit=limit), limit=limit)
        for name, made in series.items()
        for target in TARGETS
    ]


def as_table(found: Sequence[Figures]) -> str:
    lines = [
        "| series | target | calls | cut | rate (95 %) | waste | worst 100 | thrown away | prior | at the limit (cut) | refused (fitting) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {each.series} | {each.target:.0%} | {each.calls} | {each.missed} | {each.rate:.1%} ({each.low:.1%} to {each.high:.1%}) "
        f"| {each.waste:.2f} | {each.worst_100} | {each.thrown_away:.1%} | {each.prior:.1%} "
        f"| {each.limited} ({each.limited_cut}) | {each.refused} ({each.refused_fitting}) |"
        for each in found
    ]
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="How well budgets keep their promise.")
    parser.add_argument("file", nargs="?", type=Path, help="real edits in time order, as JSON lines")
    parser.add_argument("--quick", action="store_true", help="a smoke run: shorter series")
    parser.add_argument(
        "--limit", type=int, default=LIMIT, help="the most tokens that the model gives; default: 64,000"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(argv)
    began = time.process_time()
    found = all_figures(options.file, 600 if options.quick else 5_000, options.limit)
    if options.json:
        print(json.dumps([asdict(each) for each in found]))
        return 0
    print(as_table(found))
    print(f"\n{time.process_time() - began:.1f} s of CPU")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
