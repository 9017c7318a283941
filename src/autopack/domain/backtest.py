"""What budgets would have been and what would have come of them, event by event, each from what came before it. Pure.

The events come in as many blocks as there are coefficients: the first block is only learned from, the others count.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autopack.domain.budget import Promise, budget
from autopack.domain.conformal import CONFORMAL, PRIOR, WINDOW, Sample, Window, log_ratio
from autopack.domain.estimate import Coefficients, Features, Group, base_tokens
from autopack.domain.observations import Observation
from autopack.domain.rates import pinball, worst_stretch

STRETCH = 100


@dataclass(frozen=True, kw_only=True)
class GroupScore:
    """How many calls of a group were `missed` of those of which it is `decided`."""

    group: Group
    decided: int
    missed: int


@dataclass(frozen=True, kw_only=True)
class Score:
    """What budgets were worth. A call is undecided where its answer was cut below what is asked for here."""

    events: int
    decided: int
    missed: int
    worst_stretch: int | None
    """The most misses among any STRETCH decided events in a row."""
    budget_tokens: int
    actual_tokens: int
    thrown_away_tokens: int
    """What the cut answers would have taken: they are of no use, and paid for."""
    pinball: float
    """The mean over log(tokens). Of an answer that was cut only a budget below it costs: above it nothing is known."""
    prior: int
    """How many budgets came of the shipped multiplier."""
    groups: tuple[GroupScore, ...]


@dataclass(frozen=True, kw_only=True)
class Gain:
    """By how much the mean pinball loss of one is smaller than another's, and the standard error of that, event by event."""

    pinball: float
    standard_error: float


@dataclass(frozen=True, kw_only=True)
class PointErrors:
    """How far the bases alone lie from what was needed, over the `events` whose answers are whole. Secondary."""

    events: int
    smape: float
    underestimated: int


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A budget that was or would have been asked for; `missed` is None where it cannot be known."""

    seen: Observation
    tokens: int
    is_prior: bool
    missed: bool | None
    thrown_away: int


def back_test(
    observations: Sequence[Observation], by_block: Sequence[Coefficients], *, target: float
) -> Score:
    return _score(_asked(observations, by_block, target), target)


def compared(
    observations: Sequence[Observation], present: Sequence[Coefficients], proposed: Sequence[Coefficients], *, target: float
) -> tuple[Score, Score, Gain]:  # fmt: skip
    """Both over the same events, and what is gained by the second."""
    before, after = (_asked(observations, by_block, target) for by_block in (present, proposed))
    level = 1 - target
    gains = [_loss(was, level) - _loss(now, level) for was, now in zip(before, after, strict=True)]
    mean = math.fsum(gains) / len(gains)
    squares = math.fsum((each - mean) ** 2 for each in gains)
    error = math.sqrt(squares / max(1, len(gains) - 1) / len(gains))
    return _score(before, target), _score(after, target), Gain(pinball=mean, standard_error=error)


def as_asked(observations: Sequence[Observation], blocks: int, *, target: float) -> Score:
    """Of the budgets that were really asked for, over the same events."""
    counted = observations[bounds(len(observations), blocks)[1] :]
    return _score(
        [
            _Asked(
                seen=seen, tokens=seen.budget, is_prior=seen.budget_source == PRIOR, missed=seen.missed,
                thrown_away=seen.thrown_away,
            )
            for seen in counted
        ],
        target,
    )  # fmt: skip


def bounds(events: int, blocks: int) -> list[int]:
    """Where each block begins, and after the last one the end."""
    return [events * number // blocks for number in range(blocks + 1)]


def point_errors(observations: Sequence[Observation], coefficients: Coefficients) -> PointErrors:
    bases = _Bases(coefficients)
    pairs = [(seen.actual, bases.of(seen.features)) for seen in observations if not seen.censored]
    errors = [2 * abs(actual - base) / (actual + base) for actual, base in pairs]
    return PointErrors(
        events=len(pairs), smape=math.fsum(errors) / len(pairs) if pairs else 0.0,
        underestimated=sum(1 for actual, base in pairs if actual > base),
    )  # fmt: skip


class _Bases:
    """Bases of one version. Deliverables are much alike: most bases are asked for again."""

    def __init__(self, coefficients: Coefficients) -> None:
        self._coefficients = coefficients
        self._known: dict[Features, float] = {}

    def of(self, features: Features) -> float:
        found = self._known.get(features)
        if found is None:
            found = self._known[features] = base_tokens(features, self._coefficients)
        return found

    def sample(self, seen: Observation) -> Sample:
        return Sample(
            group=seen.group, log_ratio=log_ratio(seen.actual, self.of(seen.features)), censored=seen.censored
        )


def _asked(
    observations: Sequence[Observation], by_block: Sequence[Coefficients], target: float
) -> list[_Asked]:
    return [asked for block in _replay(observations, by_block, target) for asked in block]


def _replay(
    observations: Sequence[Observation], by_block: Sequence[Coefficients], target: float
) -> Iterator[list[_Asked]]:
    """The budgets of each block but the first."""
    starts = bounds(len(observations), len(by_block))
    asked = missed = 0
    for number, coefficients in enumerate(by_block):
        begin, end = starts[number], starts[number + 1]
        bases = _Bases(coefficients)
        window = _window(observations[max(0, begin - WINDOW) : begin], bases)
        found: list[_Asked] = []
        for seen in observations[begin:end]:
            promise = Promise(target=target, asked=asked, missed=missed)
            one, is_conformal = _ask(seen, bases, window, promise)
            if is_conformal and one.missed is not None:
                asked, missed = asked + 1, missed + one.missed
            window.add(bases.sample(seen))
            found.append(one)
        if number:
            yield found


def _window(before: Sequence[Observation], bases: _Bases) -> Window:
    """What a window of these coefficients holds: an earlier version's ratios are of no use to it."""
    window = Window()
    for seen in before:
        window.add(bases.sample(seen))
    return window


def _ask(seen: Observation, bases: _Bases, window: Window, promise: Promise) -> tuple[_Asked, bool]:
    given = budget(bases.of(seen.features), seen.group, window, promise)
    tokens = given.tokens
    missed = None if seen.censored and seen.actual < tokens else seen.censored or seen.actual > tokens
    source = given.multiplier.source
    one = _Asked(
        seen=seen, tokens=tokens, is_prior=source == PRIOR, missed=missed, thrown_away=tokens if missed else 0
    )
    return one, source == CONFORMAL


def _score(asked: Sequence[_Asked], target: float) -> Score:
    decided = [each for each in asked if each.missed is not None]
    groups = Counter(each.seen.group for each in decided)
    missed = Counter(each.seen.group for each in decided if each.missed)
    return Score(
        events=len(asked), decided=len(decided), missed=missed.total(),
        worst_stretch=worst_stretch([bool(each.missed) for each in decided], STRETCH),
        budget_tokens=sum(each.tokens for each in asked), actual_tokens=sum(each.seen.actual for each in asked),
        thrown_away_tokens=sum(each.thrown_away for each in asked),
        pinball=math.fsum(_loss(each, 1 - target) for each in asked) / max(1, len(asked)),
        prior=sum(1 for each in asked if each.is_prior),
        groups=tuple(
            GroupScore(group=group, decided=groups[group], missed=missed[group]) for group in sorted(groups, key=_words)
        ),
    )  # fmt: skip


def _words(group: Group) -> tuple[str, ...]:
    return group.task_category, group.complexity, group.reasoning_level, group.model_family


def _loss(asked: _Asked, level: float) -> float:
    needed, given = math.log(max(asked.seen.actual, 1)), math.log(asked.tokens)
    return 0.0 if asked.seen.censored and given > needed else pinball(needed, given, level)
