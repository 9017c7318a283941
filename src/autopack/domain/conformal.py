"""From what came of earlier calls to a multiplier of the base that is too small at a stated rate. Pure.

Weighted conformal prediction (Vovk et al. 2005; Tibshirani et al. 2019) on log(actual / base), with Kaplan and Meier's
estimate (1958) where an answer was cut and only "at least so much" is known, and the rate adapted online (Gibbs and
Candès 2021). docs/telemetry.md says what it promises.
"""

import math
from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from autopack.domain.estimate import Group
from autopack.domain.rates import wilson

WINDOW = 400
GAMMA = 0.02
SAME_GROUP, SAME_CATEGORY, OTHER = 1.0, 0.5, 0.15
_NEW_CALL = 1.0  # the call to come: it may lie above all that was seen
# The prior: actual tokens are taken to spread about the base as a lognormal of this centre and width.
PRIOR_MU, PRIOR_SIGMA = 0.0, 1.0
# Doubt about a value that was only seen from below, and about a quantile that was missed with no miss to spare.
_DOUBLED = math.log(2)
# Sums of weights are compared to this share of themselves: 0.29 * 100 is 28.999999999999996 here.
_ROUNDING = 1 + 1e-9
_WEIGHTS_KEPT = 200
PRIOR, CONFORMAL = "prior", "conformal"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One usable observation. Of a `censored` one, only that the true log ratio is at least this is known."""

    group: Group
    log_ratio: float
    censored: bool


def log_ratio(actual: int, base: float) -> float:
    """An answer of no tokens at all counts as one token."""
    return math.log(max(actual, 1) / base)


# (log ratio, censored, number of its group, when it came). At a tie the censored one is higher: its truth lies above.
_Entry = tuple[float, bool, int, int]
_Ordered = Sequence[_Entry]
_Weights = dict[int, float]


def _quantile(ordered: _Ordered, weights: _Weights, *, total: float, cut: int, alpha: float) -> float | None:
    """From the highest value down, only as far as it must. `cut` of the values are censored."""
    above, found = _NEW_CALL, None
    allowed = alpha * (total + _NEW_CALL) * _ROUNDING
    if cut:
        allowed /= _inflation(ordered, weights, cut)
    for entry in reversed(ordered):
        each = weights[entry[2]]
        if entry[1]:
            # Its weight is handed on to what lies above it: seen from below it, that has not happened yet.
            allowed *= (above + each) / above
        elif above <= allowed:
            found = entry[0]
        else:
            break
        above += each
    return found


def _inflation(ordered: _Ordered, weights: _Weights, cut: int) -> float:
    """How many times over the weight of all that lies above the censored values counts."""
    inflation, above = 1.0, _NEW_CALL
    for entry in reversed(ordered):
        each = weights[entry[2]]
        if entry[1]:
            inflation *= (above + each) / above
            cut -= 1
            if not cut:
                break
        above += each
    return inflation


def adapted_alpha(target: float, asked: int, missed: int) -> float:
    """alpha += gamma * (target - missed) after each call, written as the sum that it is. It may fall below 0."""
    return target + GAMMA * (asked * target - missed)


def samples_needed(target: float) -> int:
    """With fewer, no value that was seen is exceeded as seldom as that."""
    return math.ceil(1 / target / _ROUNDING) - 1


@dataclass(frozen=True, kw_only=True)
class Multiplier:
    value: float
    source: str
    """"conformal" or "prior"."""


def prior_multiplier(target: float) -> float:
    """What is exceeded at the target's rate if actual tokens spread about the base as the stated lognormal."""
    return math.exp(NormalDist(PRIOR_MU, PRIOR_SIGMA).inv_cdf(1 - target))


class _WeightsFor(dict[int, float]):
    """By number of a group, what it says about a call of `own`; filled as it is asked for."""

    def __init__(self, own: int, categories: Sequence[int]) -> None:
        super().__init__({own: SAME_GROUP})
        self._category, self._categories = categories[own], categories

    def __missing__(self, group: int) -> float:
        found = self[group] = SAME_CATEGORY if self._categories[group] == self._category else OTHER
        return found


class Window:
    """The last `size` samples, kept in order: for going through long histories sample by sample."""

    def __init__(self, size: int = WINDOW) -> None:
        self.size = size
        self._ordered: list[_Entry] = []
        self._arrived: deque[_Entry] = deque()
        self._groups: dict[Group, int] = {}
        self._category_numbers: dict[str, int] = {}
        self._categories: list[int] = []
        self._of_group: Counter[int] = Counter()
        self._of_category: Counter[int] = Counter()
        self._weights: dict[int, _WeightsFor] = {}
        self._added = 0
        self._cut_ratios: list[float] = []

    def __len__(self) -> int:
        return len(self._ordered)

    def add(self, sample: Sample) -> None:
        entry = (sample.log_ratio, sample.censored, self._number(sample.group), self._added)
        self._added += 1
        self._arrived.append(entry)
        insort(self._ordered, entry)
        if sample.censored:
            insort(self._cut_ratios, sample.log_ratio)
        self._count(entry, 1)
        if len(self._ordered) > self.size:
            self._forget(self._arrived.popleft())

    def _forget(self, entry: _Entry) -> None:
        del self._ordered[bisect_left(self._ordered, entry)]
        if entry[1]:
            del self._cut_ratios[bisect_left(self._cut_ratios, entry[0])]
        self._count(entry, -1)

    def quantile(self, group: Group, alpha: float) -> float | None:
        """The smallest log ratio that a call of this group exceeds with probability alpha at most.

        None where that lies beyond what was seen. With equal weights and nothing censored it is the
        ceil((n + 1)(1 - alpha))-th smallest.
        """
        own = self._number(group)
        alike, akin = self._of_group[own], self._of_category[self._categories[own]]
        total = SAME_GROUP * alike + SAME_CATEGORY * (akin - alike) + OTHER * (len(self) - akin)
        return _quantile(
            self._ordered, self._weights_for(own), total=total, cut=len(self._cut_ratios), alpha=alpha
        )

    def surely_exceeded(self, group: Group, log_ratio: float) -> float:
        """How often answers exceed it at the least, with 95 % confidence; as many answers as their weights are worth."""
        weights = self._weights_for(self._number(group))
        exceeding = total = squares = 0.0
        for ratio, censored, of, _ in self._ordered:
            exceeds = ratio >= log_ratio if censored else ratio > log_ratio
            if exceeds or not censored:
                weight = weights[of]
                exceeding, total, squares = exceeding + weight * exceeds, total + weight, squares + weight**2
        return wilson(exceeding / total, total**2 / squares, -1.0) if exceeding else 0.0

    def largest(self) -> float:
        """The largest log ratio; of one that was only seen from below, twice as much is taken."""
        largest: float = self._ordered[-1][0]
        return max(largest, self._cut_ratios[-1] + _DOUBLED) if self._cut_ratios else largest

    def _weights_for(self, own: int) -> _WeightsFor:
        if own not in self._weights:
            if len(self._weights) >= _WEIGHTS_KEPT:
                self._weights.clear()
            self._weights[own] = _WeightsFor(own, self._categories)
        return self._weights[own]

    def _number(self, group: Group) -> int:
        number = self._groups.get(group)
        if number is None:
            number = self._groups[group] = len(self._groups)
            known = self._category_numbers
            self._categories.append(known.setdefault(group.task_category, len(known)))
        return number

    def _count(self, entry: _Entry, change: int) -> None:
        group = entry[2]
        self._of_group[group] += change
        self._of_category[self._categories[group]] += change


def multiplier(window: Window, group: Group, *, target: float, alpha: float) -> Multiplier:
    """Of the base. Where no value that was seen is rare enough, it is the largest one, or twice that."""
    # Of rarer misses a full window shows none: then its largest ratio counts, until alpha has grown.
    if len(window) < max(1, min(window.size, samples_needed(target))):
        return Multiplier(value=prior_multiplier(target), source=PRIOR)
    quantile = window.quantile(group, alpha)
    if quantile is not None:
        return Multiplier(value=math.exp(quantile), source=CONFORMAL)
    # A miss or more in debt: whatever answers do, misses come to an end once they stay below twice the largest.
    larger = _DOUBLED if alpha <= -GAMMA else 0.0
    return Multiplier(value=math.exp(window.largest() + larger), source=CONFORMAL)
