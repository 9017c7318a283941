"""What a calibration costs.

    python benchmarks/calibrate.py                100,000 events
    python benchmarks/calibrate.py --quick        2,000 events
    python benchmarks/calibrate.py --json

A migrated SQLite database is filled with synthetic events (five categories, three complexities, two models, one to six
files, answers that spread as a lognormal about 1.3 times the base, one of 33 cut and asked again). Measured in CPU
seconds, so that what else runs on the machine counts little: the parts of a calibration in this process, and
`autopack calibrate` as a command of its own, from its start to its end. "ratio" is to sorting the same rows once by
(tokens, id): comparable between machines, the seconds are not.
"""

import argparse
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import insert, select

from autopack.clock import utc_now
from autopack.db import calibration
from autopack.db.engine import Database
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.db.migrate import migrate
from autopack.db.tables import TokenEstimationEventRow
from autopack.domain.calibrate import Calibration, Present, calibrate
from autopack.domain.calibration_report import json_text, markdown
from autopack.domain.estimate import SHIPPED, Features, base_tokens
from autopack.domain.observations import observations

T = TypeVar("T")
GOAL_SECONDS = 10.0
CATEGORIES = ("implementation", "tests", "docs", "refactoring", "configuration")
CLASSES = ("code", "test", "doc", "config", "frontend")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Measures a calibration.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    events = 2_000 if options.quick else 100_000
    with tempfile.TemporaryDirectory(prefix="autopack-bench-") as name:
        rows = measure(Path(name), events)
    print(json.dumps(rows, indent=1) if options.json else as_table(rows))
    return 0


def measure(directory: Path, events: int) -> list[dict[str, Any]]:
    url = f"sqlite:///{directory / 'events.db'}"
    migrate(locate(url, directory), now=utc_now)
    with open_database(locate(url, directory)) as database:
        seed(database, events)
        rows = parts(database, events)
    rows.append(row("the whole command", events, command(url, directory)))
    baseline = rows[0]["seconds"]
    return [{**each, "ratio": each["seconds"] / baseline} for each in rows]


def parts(database: Database, events: int) -> list[dict[str, Any]]:
    with database.transaction() as session:
        query = select(TokenEstimationEventRow.selected_budget, TokenEstimationEventRow.call_id)
        pairs = [tuple(each) for each in session.execute(query)]
    rows = [row("sort", events, timed(lambda: sorted(pairs))[0])]
    with database.transaction() as session:
        seconds, stored = timed(lambda: calibration.read(session))
    rows.append(row("read", events, seconds))
    seconds, (usable, left_out) = timed(lambda: observations(stored.events()))
    rows.append(row("make observations", events, seconds))

    def learn() -> Calibration:
        return calibrate(
            usable, left_out, Present(coefficients=SHIPPED), events=events, target=0.05, min_samples=20
        )

    seconds, found = timed(learn)
    rows.append(row("fit and back-test", found.used, seconds))
    rows.append(row("report", found.used, timed(lambda: (markdown(found), json_text(found)))[0]))
    return rows


def timed(do: Callable[[], T]) -> tuple[float, T]:
    started = time.process_time()
    done = do()
    return time.process_time() - started, done


def command(url: str, directory: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "autopack", "calibrate", "--output-dir", str(directory / "report")],
        env={**os.environ, "DATABASE_URL": url}, cwd=directory, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def seed(database: Database, events: int) -> None:
    with database.transaction() as session:
        session.execute(insert(TokenEstimationEventRow), list(made_up(events)))


def made_up(events: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(7)
    number = 0
    while number < events:
        for each in one_call(chance, number):
            yield each
            number += 1


def one_call(chance: random.Random, number: int) -> Iterator[dict[str, Any]]:
    """A first ask, and where it was cut the second one with twice the budget."""
    features = Features(
        task_category=chance.choice(CATEGORIES), complexity=chance.choice(("low", "medium", "high")),
        files=tuple((chance.choice(("new", "mod")), chance.choice(CLASSES)) for _ in range(chance.randint(1, 6))),
    )  # fmt: skip
    needed = max(1, round(base_tokens(features, SHIPPED) * 1.3 * math.exp(chance.gauss(0, 0.8))))
    first = round(base_tokens(features, SHIPPED) * 6)
    asked: dict[str, Any] = {
        "features": features, "number": number, "needed": needed, "model": chance.choice(("openai:m", "openai:n")),
    }  # fmt: skip
    yield event(**asked, budget=first, source="conformal")
    if needed > first:
        yield event(**asked, budget=2 * first, source="escalated", again=True)


def event(
    *, features: Features, number: int, needed: int, model: str, budget: int, source: str, again: bool = False
) -> dict[str, Any]:
    cut = needed > budget
    at = utc_now().replace(microsecond=0) - timedelta(days=400) + timedelta(minutes=number + again)
    return {
        "call_id": f"{number:016}{int(again)}", "run_id": "r1", "phase_id": f"p{number}", "timestamp": at,
        "category": features.task_category, "complexity": features.complexity, "deliverable_count": len(features.files),
        "deliverables_json": [], "estimator_version": SHIPPED.version, "predicted_output_tokens": 1,
        "features_json": {
            "task_category": features.task_category, "complexity": features.complexity, "reasoning_level": "none",
            "files": [list(file) for file in features.files],
        },
        "selected_budget": budget, "actual_output_tokens": min(needed, budget), "success": not cut, "truncated": cut,
        "stop_reason": "length" if cut else "stop", "model": model, "provider_mode": "live", "budget_source": source,
        "target_rate": 0.05, "alpha": 0.05, "is_complete": True,
    }  # fmt: skip


def row(what: str, events: int, seconds: float) -> dict[str, Any]:
    return {"what": what, "events": events, "seconds": seconds}


def as_table(rows: list[dict[str, Any]]) -> str:
    lines = ["| what | events | CPU s | ratio |", "| --- | --- | --- | --- |"]
    for each in rows:
        lines.append(f"| {each['what']} | {each['events']:,} | {each['seconds']:.2f} | {each['ratio']:.1f} |")
    within = "within" if rows[-1]["seconds"] < GOAL_SECONDS else "NOT within"
    return "\n".join([*lines, f"goal: the whole command in {GOAL_SECONDS:.0f} s: {within}"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
