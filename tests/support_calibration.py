"""Histories of calls whose truth is known: seeded, in the order of time."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert

from autopack.db.engine import Database
from autopack.db.tables import TokenEstimationEventRow
from autopack.domain.estimate import SHIPPED, Coefficients, Features, base_tokens, group_of
from autopack.domain.observations import Observation

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
CATEGORIES = ("implementation", "tests", "docs")
FILES = (("new", "code"), ("mod", "code"), ("new", "doc"))


def scaled(factor: float, coefficients: Coefficients = SHIPPED) -> Coefficients:
    return replace(
        coefficients,
        overhead={name: tokens * factor for name, tokens in coefficients.overhead.items()},
        weights={name: tokens * factor for name, tokens in coefficients.weights.items()},
    )


def skewed(by: float) -> Coefficients:
    """Two weights are off, in opposite ways: no one factor puts the bases right."""
    return replace(SHIPPED, weights={**SHIPPED.weights, "new/doc": 500.0 * by, "new/code": 2000.0 / by})


def history(
    number: int, truth: Coefficients | Callable[[int], Coefficients] = SHIPPED, *, spread: float = 0.5,
    seed: int = 1, categories: Sequence[str] = CATEGORIES, files: Sequence[tuple[str, str]] = FILES, **more: Any,
) -> list[Observation]:  # fmt: skip
    """Answers that spread as a lognormal about what the truth says; each was let to its end."""
    chance = random.Random(seed)
    found = []
    for each in range(number):
        features = Features(
            task_category=chance.choice(categories), complexity=chance.choice(("low", "medium")),
            files=tuple(chance.choice(files) for _ in range(chance.randint(1, 3))),
        )  # fmt: skip
        now = truth(each) if callable(truth) else truth
        actual = max(1, round(base_tokens(features, now) * math.exp(chance.gauss(0, spread))))
        found.append(observation(features, actual, each, **more))
    return found


def observation(features: Features, actual: int, number: int = 0, **more: Any) -> Observation:
    values: dict[str, Any] = {
        "event_id": number, "run_id": "r1", "phase_id": f"p{number}", "features": features,
        "group": group_of(features, "openai:m"), "actual": actual, "censored": False, "missed": False,
        "budget": 20_000, "thrown_away": 0, "estimator_version": SHIPPED.version, "budget_source": "conformal",
        "target_rate": 0.05,
    }  # fmt: skip
    return Observation(**(values | more))


def stored(database: Database, observations: Sequence[Observation], **more: Any) -> None:
    """As the events that a queue records: one a minute."""
    with database.transaction() as session:
        session.execute(insert(TokenEstimationEventRow), [_row(each, **more) for each in observations])


def _row(seen: Observation, **more: Any) -> dict[str, Any]:
    features = {**asdict(seen.features), "files": [list(file) for file in seen.features.files]}
    values: dict[str, Any] = {
        "call_id": f"c{seen.event_id:020}", "run_id": seen.run_id, "phase_id": seen.phase_id,
        "timestamp": BEGAN + timedelta(minutes=seen.event_id), "category": seen.features.task_category,
        "complexity": seen.features.complexity, "deliverable_count": len(seen.features.files), "deliverables_json": [],
        "features_json": features, "estimator_version": seen.estimator_version, "predicted_output_tokens": 1,
        "selected_budget": seen.budget, "actual_output_tokens": seen.actual, "success": not seen.censored,
        "truncated": seen.censored, "model": "openai:m", "provider_mode": "live", "model_family": "m",
        "budget_source": seen.budget_source, "target_rate": seen.target_rate, "alpha": 0.05, "is_complete": True,
    }  # fmt: skip
    return values | more
