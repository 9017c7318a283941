"""How many output tokens a builder call will need, and the budget that is asked for. Pure and versioned.

A linear sum of an overhead per (category, complexity) and a weight per deliverable, times a safety factor;
the coefficients come from measurements of 1,230 real edits. The budget never goes below a floor per
complexity, since a truncated answer costs a whole call.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

VERSION = "linear-1"
SAFETY = 1.3
MODEL_OUTPUT_LIMIT = 64_000
FLOORS = {"low": 8_192, "medium": 12_288, "high": 16_384}
_OVERHEAD = {
    "implementation": {"low": 634, "medium": 1176, "high": 5000},
    "refactoring": {"low": 2500, "medium": 3500, "high": 5500},
    "configuration": {"low": 800, "medium": 1500, "high": 2500},
    "docs": {"low": 1500, "medium": 2500, "high": 3500},
    "tests": {"low": 915, "medium": 2500, "high": 4000},
}
_WEIGHT = {
    ("new", "code"): 2000, ("new", "frontend"): 2800, ("new", "test"): 1400, ("new", "doc"): 500, ("new", "config"): 1000,
    ("mod", "code"): 700, ("mod", "frontend"): 1100, ("mod", "test"): 600, ("mod", "doc"): 400, ("mod", "config"): 500,
}  # fmt: skip
_OTHER = 50
_FRONTEND = frozenset({".js", ".jsx", ".ts", ".tsx", ".css", ".scss", ".html", ".vue", ".svelte"})
_DOCS = frozenset({".md", ".rst", ".txt", ".adoc"})
_CONFIG = frozenset({".toml", ".yaml", ".yml", ".json", ".ini", ".cfg", ".lock", ".env"})


@dataclass(frozen=True, kw_only=True)
class Features:
    """What the estimate was made from, stored with each event so that any version can be recomputed."""

    task_category: str
    complexity: str
    files: tuple[tuple[str, str], ...]
    """One (operation, file class) per deliverable: operation "new" or "mod"."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Output tokens: what is expected, and the `max_tokens` that will be asked for."""

    predicted_output_tokens: int
    budget: int
    version: str
    features: Features

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def file_class(path: str) -> str:
    """code, test, doc, config or frontend, by name."""
    pure = PurePosixPath(path)
    name = pure.name.lower()
    if (
        name.startswith("test_")
        or name.endswith(("_test.py", ".test.js", ".test.ts"))
        or "tests" in pure.parts
    ):
        return "test"
    for suffixes, found in ((_DOCS, "doc"), (_CONFIG, "config"), (_FRONTEND, "frontend")):
        if pure.suffix.lower() in suffixes:
            return found
    return "code"


def features(
    *, task_category: str, complexity: str, deliverables: Sequence[str], existing: Collection[str]
) -> Features:
    files = tuple(("mod" if path in existing else "new", file_class(path)) for path in deliverables)
    return Features(task_category=task_category, complexity=complexity, files=files)


def estimate(features: Features) -> Estimate:
    overheads = _OVERHEAD.get(features.task_category, _OVERHEAD["implementation"])
    overhead = overheads.get(features.complexity, overheads["medium"])
    weights = sum(_WEIGHT.get(file, _OTHER) for file in features.files)
    predicted = math.ceil((overhead + weights) * SAFETY)
    floor = FLOORS.get(features.complexity, FLOORS["medium"])
    budget = min(MODEL_OUTPUT_LIMIT, max(floor, predicted))
    return Estimate(predicted_output_tokens=predicted, budget=budget, version=VERSION, features=features)


def escalated(budget: int) -> int | None:
    """The budget to try once after a truncated answer; None when there is no room above."""
    larger = min(MODEL_OUTPUT_LIMIT, budget * 2)
    return larger if larger > budget else None


def input_token_bound(*texts: str) -> int:
    """No tokenizer makes more tokens than there are UTF-8 bytes; used to reserve the worst case of a call."""
    return sum(len(text.encode(errors="replace")) for text in texts) + 200
