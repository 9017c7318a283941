"""The budget of a builder call: a base times what earlier calls teach, aimed at a rate that adapts. Pure."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from autopack.domain import conformal
from autopack.domain.conformal import Multiplier, Sample, Window
from autopack.domain.estimate import Coefficients, Estimate, Features, Group, base_tokens, group_of
from autopack.domain.storable import MAX_TOKENS

CALL, SPLIT = "call", "split"
LIMITED = "limited"


@dataclass(frozen=True, kw_only=True)
class Promise:
    """How often a first answer may be cut, and how often one was: `missed` of `asked` live calls at this target."""

    target: float
    asked: int
    missed: int

    @property
    def alpha(self) -> float:
        return conformal.adapted_alpha(self.target, self.asked, self.missed)


@dataclass(frozen=True, kw_only=True)
class Budget:
    tokens: int
    multiplier: Multiplier
    alpha: float
    decision: str = CALL
    is_limited: bool = False
    """The multiplier asks for more than the model's limit, and exactly the limit is asked for."""

    @property
    def source(self) -> str:
        return LIMITED if self.is_limited else self.multiplier.source


def budget(base: float, group: Group, window: Window, promise: Promise, *, limit: int = MAX_TOKENS) -> Budget:
    """Above `limit` it is exactly that or, where answers are known not to fit it, nothing: the phase is to be split."""
    alpha = promise.alpha
    found = conformal.multiplier(window, group, target=promise.target, alpha=alpha)
    made = Budget(tokens=_tokens(base * found.value), multiplier=found, alpha=alpha)
    if made.tokens <= limit:
        return made
    if _is_too_large(base, group, window, found, target=promise.target, limit=limit):
        return replace(made, decision=SPLIT)
    return replace(made, tokens=limit, is_limited=True)


def _is_too_large(
    base: float, group: Group, window: Window, found: Multiplier, *, target: float, limit: int
) -> bool:
    """Whether more answers than the target allows do not fit the limit, by what was seen or else by the base.

    A budget above the limit says no such thing: one rare answer or a debt of misses makes it as large. And what is
    refused is never learned from, so that such a budget would stay as it is for good.
    """
    if found.source == conformal.PRIOR:
        return base > limit
    return window.surely_exceeded(group, conformal.log_ratio(limit, base)) > target


def _tokens(needed: float) -> int:
    # A ratio that was seen, times its base, gives back the whole number that it was made of.
    return min(MAX_TOKENS, max(1, math.ceil(needed * (1 - 1e-12))))


def estimate(
    features: Features, model: str, *, coefficients: Coefficients, samples: Iterable[Sample], promise: Promise, output_limit: int
) -> Estimate:  # fmt: skip
    """`samples` are the last ones, oldest first, their ratios taken over the base of these very coefficients."""
    window = Window()
    for sample in samples:
        window.add(sample)
    base, group = base_tokens(features, coefficients), group_of(features, model)
    found = budget(base, group, window, promise, limit=output_limit)
    return Estimate(
        predicted_output_tokens=max(1, round(base)), budget=found.tokens,
        decision=found.decision, budget_source=found.source,
        version=coefficients.version, features=features, model_family=group.model_family, base_output_tokens=base,
        multiplier=found.multiplier.value, target_rate=promise.target, alpha=found.alpha, samples=len(window),
        output_limit=output_limit,
    )  # fmt: skip


class Online:
    """The procedure over a history, call by call: each budget knows only what came before it."""

    def __init__(self, target: float, limit: int = MAX_TOKENS) -> None:
        self._target, self._limit, self._asked, self._missed = target, limit, 0, 0
        self._window = Window()

    def budget(self, base: float, group: Group) -> Budget:
        promise = Promise(target=self._target, asked=self._asked, missed=self._missed)
        return budget(base, group, self._window, promise, limit=self._limit)

    def learn(self, sample: Sample, given: Budget, *, missed: bool | None) -> None:
        """`missed` is None where the answer was not asked for at this budget, and could not be told from it."""
        self._window.add(sample)
        if missed is not None and given.source == conformal.CONFORMAL:
            self._asked += 1
            self._missed += missed
