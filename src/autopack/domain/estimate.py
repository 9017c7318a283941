"""How many output tokens a builder call is expected to need: a base that anybody can add up. Pure and versioned.

The base is an overhead per (category, complexity, reasoning level) plus a weight per file, and nothing else: no
factor, no floor, no cap. What a budget asks for above it is learned from what came of earlier calls (`conformal`).
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from autopack.errors import InvalidInput

OPERATIONS = ("new", "mod", "del")
NO_REASONING = "none"
# What an unknown category or complexity is taken for.
_COMMON_CATEGORY = "implementation"
_COMMON_COMPLEXITY = "medium"
_ONE_FILE = (("mod", "code"),)
_FRONTEND = frozenset({".js", ".jsx", ".ts", ".tsx", ".css", ".scss", ".html", ".vue", ".svelte"})
_DOCS = frozenset({".md", ".rst", ".txt", ".adoc"})
_CONFIG = frozenset({".toml", ".yaml", ".yml", ".json", ".ini", ".cfg", ".lock", ".env"})
_VERSION_PART = re.compile(r"v?\d[\w.]*|latest|preview|exp")
_VERSION_AT_END = re.compile(r"(?<=[a-z]{2})[\d.]+$")


@dataclass(frozen=True, kw_only=True)
class Features:
    """What an estimate is made from, stored with each event so that any version can be recomputed."""

    task_category: str
    complexity: str
    reasoning_level: str = NO_REASONING
    files: tuple[tuple[str, str], ...]
    """One (operation, file class) per deliverable: operation "new", "mod" or "del"."""


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """A version of the estimator: output tokens, by "category/complexity/reasoning" and by "operation/class"."""

    version: str
    overhead: Mapping[str, float]
    weights: Mapping[str, float]
    other_weight: float
    """For a file of an operation and class that `weights` does not name."""

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version, "overhead": dict(sorted(self.overhead.items())),
            "weights": dict(sorted(self.weights.items())), "other_weight": self.other_weight,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Any) -> "Coefficients":
        """Raises InvalidInput naming the part that is wrong."""
        if not isinstance(value, dict) or value.keys() != {"version", "overhead", "weights", "other_weight"}:
            raise InvalidInput(
                "coefficients must hold version, overhead, weights and other_weight, and no more"
            )
        if not isinstance(value["version"], str) or not value["version"]:
            raise InvalidInput("coefficients: version must be a name")
        found = cls(
            version=value["version"], overhead=_numbers(value["overhead"], "overhead", parts=3),
            weights=_numbers(value["weights"], "weights", parts=2),
            other_weight=_number(value["other_weight"], "other_weight"),
        )  # fmt: skip
        common = "/".join((_COMMON_CATEGORY, _COMMON_COMPLEXITY, NO_REASONING))
        if common not in found.overhead:
            raise InvalidInput(
                f"coefficients: overhead must name {common}, which stands in for what is unknown"
            )
        if zero := sorted(name for name, tokens in found.overhead.items() if not tokens):
            raise InvalidInput(f"coefficients: overhead {zero[0]} must be more than 0")
        return found


def _numbers(value: Any, what: str, *, parts: int) -> dict[str, float]:
    if not isinstance(value, dict):
        raise InvalidInput(f"coefficients: {what} must be a table of numbers")
    for name in value:
        if not isinstance(name, str) or len(name.split("/")) != parts:
            raise InvalidInput(
                f"coefficients: {what} {name!r} must be {parts} words with a slash between them"
            )
    return {name: _number(tokens, f"{what} {name}") for name, tokens in value.items()}


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e9:
        raise InvalidInput(f"coefficients: {what} must be a number of tokens from 0 to a thousand million")
    return float(value)


def _shipped() -> Coefficients:
    overhead = {
        "implementation": (634, 1176, 5000), "refactoring": (2500, 3500, 5500), "configuration": (800, 1500, 2500),
        "docs": (1500, 2500, 3500), "tests": (915, 2500, 4000),
    }  # fmt: skip
    weights = {
        "new": {"code": 2000, "frontend": 2800, "test": 1400, "doc": 500, "config": 1000},
        "mod": {"code": 700, "frontend": 1100, "test": 600, "doc": 400, "config": 500},
    }
    return Coefficients(
        version="linear-2",
        overhead={
            f"{category}/{complexity}/{NO_REASONING}": float(tokens)
            for category, row in overhead.items()
            for complexity, tokens in zip(("low", "medium", "high"), row, strict=True)
        },
        weights={
            f"{op}/{kind}": float(tokens) for op, row in weights.items() for kind, tokens in row.items()
        },
        other_weight=50.0,
    )


SHIPPED = _shipped()


def base_tokens(features: Features, coefficients: Coefficients) -> float:
    """The plain sum; more than 0."""
    weights, other = coefficients.weights, coefficients.other_weight
    overhead = coefficients.overhead[overhead_key(features, coefficients)]
    return math.fsum([overhead, *(weights.get(f"{op}/{kind}", other) for op, kind in features.files)])


def overhead_key(features: Features, coefficients: Coefficients) -> str:
    """Which overhead counts: what is unknown gives way last the category, before it the complexity, first the level."""
    for category in (features.task_category, _COMMON_CATEGORY):
        for complexity in (features.complexity, _COMMON_COMPLEXITY):
            for level in (features.reasoning_level, NO_REASONING):
                if (key := f"{category}/{complexity}/{level}") in coefficients.overhead:
                    return key
    raise InvalidInput(
        f"estimator version {coefficients.version} names no overhead that stands in for others"
    )


@lru_cache(maxsize=1024)
def model_family(model: str) -> str:
    """The model's name without provider, version, size and date: what stays when a newer one comes."""
    name = re.split(r"[:/]", model.lower())[-1]
    words = [word for word in re.split(r"[-_@ ]+", name) if word and not _VERSION_PART.fullmatch(word)]
    return "-".join(_VERSION_AT_END.sub("", word) for word in words)[:80] or "unknown"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Calls that are alike: their ratios of actual to base count fully for each other."""

    task_category: str
    complexity: str
    reasoning_level: str
    model_family: str


def group_of(features: Features, model: str) -> Group:
    return _group(features.task_category, features.complexity, features.reasoning_level, model)


@lru_cache(maxsize=4096)
def _group(category: str, complexity: str, level: str, model: str) -> Group:
    return Group(
        task_category=category, complexity=complexity, reasoning_level=level, model_family=model_family(model)
    )


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a call is expected to need, what will be asked for, and all that led to it.

    `budget` is the base times `multiplier`, rounded up. Where that is more than `output_limit` it is exactly the limit
    ("limited"), or the decision is "split" and nothing is asked.
    """

    predicted_output_tokens: int
    budget: int
    decision: str
    """"call" or "split"."""
    budget_source: str
    """"conformal": from what came of earlier calls. "prior": too few of them, the shipped multiplier. "limited": the limit."""
    version: str
    features: Features
    model_family: str
    base_output_tokens: float
    multiplier: float
    target_rate: float
    alpha: float
    """The rate of misses that was aimed at, moved up or down from the target by how often it was missed so far."""
    samples: int
    output_limit: int


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
    """A phase that names no file will change one at least."""
    files = tuple(("mod" if path in existing else "new", file_class(path)) for path in deliverables)
    return Features(task_category=task_category, complexity=complexity, files=files or _ONE_FILE)


def escalated(budget: int, output_limit: int) -> int | None:
    """The budget to try once after a truncated answer; None when there is no room above."""
    larger = min(output_limit, budget * 2)
    return larger if larger > budget else None


def input_token_bound(*texts: str) -> int:
    """No tokenizer makes more tokens than there are UTF-8 bytes; used to reserve the worst case of a call."""
    return sum(len(text.encode(errors="replace")) for text in texts) + 200
