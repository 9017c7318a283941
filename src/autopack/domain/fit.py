"""Coefficients from what calls really needed: robust, in log space, held back by how little speaks for a change. Pure.

The sum of Huber's loss over log(actual) - log(base), plus a pull towards the present version, is made small by
Gauss-Newton steps with weights (IRLS). Of an answer that was cut only a base that lies below it counts as wrong.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from autopack.domain.estimate import NO_REASONING, Coefficients, Features, overhead_key

T = TypeVar("T", bound=Any)

LARGEST_STEP = math.log(1.5)
HUBER = 1.0
"""In log units: what is more than e times off pulls no harder than what is e times off."""
_OTHER = "other_weight"
_COMPLEXITIES = ("low", "medium", "high")
_OVERHEAD_SLASHES, _WEIGHT_SLASHES = 2, 1  # in "category/complexity/reasoning" and "operation/class"
_MOST_OWN = 100
"""So many of the most frequent groups, and of the kinds of files, get coefficients of their own: categories are free text."""
_ITERATIONS, _SWEEPS, _STILL = 30, 60, 1e-4


@dataclass(frozen=True, kw_only=True)
class Point:
    """What one answer needed. Of a `censored` one only that it needed at least so much is known."""

    features: Features
    actual: int
    censored: bool


@dataclass(frozen=True, kw_only=True)
class Term:
    """A coefficient, as it was and as it is proposed; `samples` events have it in their base."""

    name: str
    present: float
    proposed: float
    samples: int


@dataclass(frozen=True, kw_only=True)
class Fit:
    """`coefficients` bear the present version's name still: what they will be called depends on the data."""

    coefficients: Coefficients
    terms: tuple[Term, ...]

    @property
    def changed(self) -> bool:
        return any(term.present != term.proposed for term in self.terms)


def fit(points: Sequence[Point], present: Coefficients, *, min_samples: int) -> Fit:
    """A coefficient that fewer than `min_samples` points have in their base stays as it is.

    One that makes up half of the base of `min_samples` points goes half of the way; none goes further than
    LARGEST_STEP at once.
    """
    alike = _alike(points)
    start = _with_own_terms(alike, present, min_samples)
    flat = _flat(start)
    names = sorted(flat)
    before = [flat[name] for name in names]
    shapes = _shapes(alike, start, names)
    samples = _samples(shapes, len(names))
    free = [n >= min_samples and tokens > 0 for n, tokens in zip(samples, before, strict=True)]
    moved = _solve(shapes, before, free, pull=min_samples / 4)
    after = [_moved(tokens, by) for tokens, by in zip(before, moved, strict=True)]
    columns = zip(names, before, after, samples, strict=True)
    terms = tuple(
        Term(name=name, present=was, proposed=now, samples=number) for name, was, now, number in columns
    )
    return Fit(coefficients=_unflat(dict(zip(names, after, strict=True)), present.version), terms=terms)


def _moved(tokens: float, by: float) -> float:
    """Four digits: more would say more than any number of events can tell."""
    return float(f"{tokens * math.exp(by):.4g}") if abs(by) >= _STILL else tokens


_Answers = Sequence[tuple[float, bool]]
"""log(actual), and whether it was cut."""


def _alike(points: Iterable[Point]) -> dict[Features, list[tuple[float, bool]]]:
    found: dict[Features, list[tuple[float, bool]]] = defaultdict(list)
    for point in points:
        found[point.features].append((math.log(max(point.actual, 1)), point.censored))
    return found


def _with_own_terms(
    alike: Mapping[Features, _Answers], present: Coefficients, min_samples: int
) -> Coefficients:
    """A coefficient of its own, of the value that stood in for it, for whatever has enough events for one."""
    groups: Counter[tuple[str, str, str]] = Counter()
    files: Counter[str] = Counter()
    for features, answers in alike.items():
        groups[features.task_category, features.complexity, features.reasoning_level] += len(answers)
        for operation, kind in set(features.files):
            files[f"{operation}/{kind}"] += len(answers)
    overheads = dict(present.overhead)
    for group in _enough(groups, min_samples):
        overheads = _overheads_of(group, present) | overheads
    others = dict.fromkeys(_enough(files, min_samples), present.other_weight)
    weights = {name: tokens for name, tokens in others.items() if name.count("/") == _WEIGHT_SLASHES}
    return replace(present, overhead=overheads, weights=weights | dict(present.weights))


def _enough(counts: Mapping[T, int], least: int) -> list[T]:
    frequent = sorted((-number, each) for each, number in counts.items() if number >= least)
    return sorted(each for _, each in frequent[:_MOST_OWN])


def _overheads_of(group: tuple[str, str, str], present: Coefficients) -> dict[str, float]:
    """Of the group, and of its category at each complexity: else those would be taken for the group from now on."""
    category = group[0]
    if any("/" in word for word in group):
        return {}
    names = [group, *((category, complexity, NO_REASONING) for complexity in _COMPLEXITIES)]
    alone = [Features(task_category=c, complexity=x, reasoning_level=r, files=()) for c, x, r in names]
    return {
        "/".join(name): present.overhead[overhead_key(each, present)]
        for name, each in zip(names, alone, strict=True)
    }


def _terms(features: Features, coefficients: Coefficients) -> tuple[tuple[str, int], ...]:
    """The names of the coefficients in a base, each with how often it is there."""
    weights = coefficients.weights
    names = (f"{operation}/{kind}" for operation, kind in features.files)
    counts = Counter(name if name in weights else _OTHER for name in names)
    return ((overhead_key(features, coefficients), 1), *sorted(counts.items()))


def _flat(coefficients: Coefficients) -> dict[str, float]:
    """An overhead's name has three words and a weight's two, so that all can lie in one table."""
    return {**coefficients.overhead, **coefficients.weights, _OTHER: coefficients.other_weight}


def _unflat(flat: Mapping[str, float], version: str) -> Coefficients:
    return Coefficients(
        version=version,
        overhead={name: tokens for name, tokens in flat.items() if name.count("/") == _OVERHEAD_SLASHES},
        weights={name: tokens for name, tokens in flat.items() if name.count("/") == _WEIGHT_SLASHES},
        other_weight=flat[_OTHER],
    )


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """All answers whose base is made of the same `terms`: numbers of coefficients, each with how often it is there."""

    terms: tuple[tuple[int, int], ...]
    answers: _Answers


def _shapes(
    alike: Mapping[Features, _Answers], coefficients: Coefficients, names: Sequence[str]
) -> list[_Shape]:
    number = {name: each for each, name in enumerate(names)}
    found: dict[tuple[tuple[str, int], ...], list[tuple[float, bool]]] = defaultdict(list)
    for features, answers in alike.items():
        found[_terms(features, coefficients)] += answers
    return [
        _Shape(terms=tuple((number[name], count) for name, count in terms), answers=answers)
        for terms, answers in found.items()
    ]


def _samples(shapes: Iterable[_Shape], coefficients: int) -> list[int]:
    """How many answers have each coefficient in their base."""
    found = [0] * coefficients
    for shape in shapes:
        for number, _ in shape.terms:
            found[number] += len(shape.answers)
    return found


def _solve(
    shapes: Sequence[_Shape], flat: Sequence[float], free: Sequence[bool], *, pull: float
) -> list[float]:
    """By how much, in log units, each coefficient moves; one that is not free does not."""
    moved = [0.0] * len(flat)
    for _ in range(_ITERATIONS):
        now = [tokens * math.exp(each) for tokens, each in zip(flat, moved, strict=True)]
        matrix, wanted = _normal_equations(shapes, now)
        step = _bounded(matrix, wanted, moved, free, pull)
        moved = [before + each for before, each in zip(moved, step, strict=True)]
        if max(map(abs, step)) < _STILL:
            break
    return moved


def _normal_equations(
    shapes: Iterable[_Shape], now: Sequence[float]
) -> tuple[list[list[float]], list[float]]:
    """How strongly the events pull at each coefficient, and how stiffly they hold each pair of them."""
    matrix = [[0.0] * len(now) for _ in now]
    wanted = [0.0] * len(now)
    for shape in shapes:
        parts = [(number, now[number] * count) for number, count in shape.terms]
        base = sum(part for _, part in parts)
        weight, pulled = _weigh(shape.answers, math.log(base))
        weight, pulled = weight / base / base, pulled / base
        for number, part in parts:
            wanted[number] += part * pulled
            row, held = matrix[number], weight * part
            for other, of_other in parts:
                row[other] += held * of_other
    return matrix, wanted


def _weigh(answers: _Answers, log_base: float) -> tuple[float, float]:
    """Huber's weights of these answers, and their weighted distances from the base, summed."""
    weight = pulled = 0.0
    for actual, censored in answers:
        off = actual - log_base
        if censored and off <= 0:
            continue
        if -HUBER <= off <= HUBER:
            weight += 1.0
            pulled += off
        else:
            weight += HUBER / abs(off)
            pulled += math.copysign(HUBER, off)
    return weight, pulled


def _bounded(
    matrix: Sequence[Sequence[float]],
    wanted: Sequence[float],
    moved: Sequence[float],
    free: Sequence[bool],
    pull: float,
) -> list[float]:
    """One step, coordinate by coordinate; none may end further than LARGEST_STEP from where it began."""
    step = [0.0] * len(moved)
    rows = [(number, row) for number, row in enumerate(matrix) if free[number]]
    for _ in range(_SWEEPS):
        largest = 0.0
        for number, row in rows:
            rest = sum(map(float.__mul__, row, step)) - row[number] * step[number]
            best = (wanted[number] - rest - pull * moved[number]) / (row[number] + pull)
            end = min(LARGEST_STEP, max(-LARGEST_STEP, moved[number] + best))
            largest = max(largest, abs(end - moved[number] - step[number]))
            step[number] = end - moved[number]
        if largest < _STILL:
            break
    return step
