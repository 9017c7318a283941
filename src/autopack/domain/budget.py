"""The budget of a builder call: a base times what earlier calls teach, aimed at a rate that adapts. Pure."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from autopack.domain import conformal
from autopack.domain.conformal import Multiplier, Sample, Window
from autopack.domain.estimate import Coefficients, Estimate, Features, Group, base_tokens, group_of

CALL, SPLIT = "call", "split"
# No provider takes a larger number, and no database keeps one.
MOST_TOKENS = 10**12


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


def budget(base: float, group: Group, window: Window, promise: Promise) -> Budget:
    alpha = promise.alpha
    found = conformal.multiplier(window, group, target=promise.target, alpha=alpha)
    return Budget(tokens=_tokens(base * found.value), multiplier=found, alpha=alpha)


def _tokens(needed: float) -> int:
    # A ratio that was seen, times its base, gives back the whole number that it was made of.
    return min(MOST_TOKENS, max(1, math.ceil(needed * (1 - 1e-12))))


def estimate(
    features: Features, model: str, *, coefficients: Coefficients, samples: Iterable[Sample], promise: Promise, output_limit: int
) -> Estimate:  # fmt: skip
    """`samples` are the last ones, oldest first, their ratios taken over the base of these very coefficients."""
    window = Window()
    for sample in samples:
        window.add(sample)
    base, group = base_tokens(features, coefficients), group_of(features, model)
    found = budget(base, group, window, promise)
    return Estimate(
        predicted_output_tokens=max(1, round(base)), budget=found.tokens,
        decision=CALL if found.tokens <= output_limit else SPLIT, budget_source=found.multiplier.source,
        version=coefficients.version, features=features, model_family=group.model_family, base_output_tokens=base,
        multiplier=found.multiplier.value, target_rate=promise.target, alpha=found.alpha, samples=len(window),
        output_limit=output_limit,
    )  # fmt: skip


class Online:
    """The procedure over a history, call by call: each budget knows only what came before it."""

    def __init__(self, target: float) -> None:
        self._target, self._asked, self._missed = target, 0, 0
        self._window = Window()

    def budget(self, base: float, group: Group) -> Budget:
        return budget(
            base, group, self._window, Promise(target=self._target, asked=self._asked, missed=self._missed)
        )

    def learn(self, sample: Sample, given: Budget, *, missed: bool | None) -> None:
        """`missed` is None where the answer was not asked for at this budget, and could not be told from it."""
        self._window.add(sample)
        if missed is not None and given.multiplier.source == conformal.CONFORMAL:
            self._asked += 1
            self._missed += missed
