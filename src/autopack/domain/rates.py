"""How a rate, a loss and an error are told: each in one place, for reports that can be compared."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_Z95 = 1.959963984540054
"""The normal quantile of a two-sided interval of 95 %."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """`count` of `total`, with the 95 % interval of Wilson (1927). Of nothing nothing is known: 0 to 1."""

    count: int
    total: int

    @property
    def value(self) -> float | None:
        return self.count / self.total if self.total else None

    @property
    def low(self) -> float:
        return self._bound(-1.0) if self.count else 0.0

    @property
    def high(self) -> float:
        return self._bound(1.0) if self.count < self.total else 1.0

    def _bound(self, side: float) -> float:
        return wilson(self.count / self.total, self.total, side)


def wilson(share: float, total: float, side: float) -> float:
    """The lower (-1) or upper (1) end of the interval, for totals that are sums of weights too."""
    square = _Z95 * _Z95
    spread = _Z95 * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    return (share + square / (2 * total) + side * spread) / (1 + square / total)


def pinball(actual: float, asked: float, level: float) -> float:
    """The loss that the quantile of `level` makes smallest: what is short costs `level`, what is over the rest."""
    short = actual - asked
    return short * level if short > 0 else short * (level - 1)


def worst_stretch(missed: Sequence[bool], length: int) -> int | None:
    """The most misses among any `length` in a row; None where there are fewer."""
    if len(missed) < length:
        return None
    worst = now = sum(missed[:length])
    for gone, come in zip(missed, missed[length:], strict=False):
        now += come - gone
        worst = max(worst, now)
    return worst
