"""What the telemetry page draws, as values; unknown is None and apart from nothing."""

from dataclasses import dataclass
from datetime import datetime

from autopack.domain import money
from autopack.domain.messages import ProviderMode
from autopack.domain.rates import Rate

MOST_POINTS = 1500
MOST_BUCKETS = 1000
MOST_SPENDS = 5000


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which events. Recorded answers cost nothing and teach nothing: they are told of only where `mode` asks for them."""

    run_id: str | None = None
    model: str | None = None
    since: datetime | None = None
    mode: ProviderMode = ProviderMode.LIVE


@dataclass(frozen=True, kw_only=True)
class Point:
    """One answer. Where it was `cut`, what was needed lies above `actual`."""

    predicted: int
    budget: int
    actual: int
    cut: bool


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """`points` are the newest; the numbers are of all."""

    points: tuple[Point, ...]
    answers: int
    cut: Rate
    budget_tokens: int
    actual_tokens: int

    @property
    def waste(self) -> float | None:
        """How many tokens were allowed for each that was needed."""
        return self.budget_tokens / self.actual_tokens if self.actual_tokens else None


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """The answers of a day, or of an hour. Of those with a promise the target says how many may be cut."""

    at: str
    answers: Rate
    promised: Rate
    target: float | None


@dataclass(frozen=True, kw_only=True)
class Spend:
    """What calls took. `cost_nanos` is what is known of the cost; of `of_unknown_cost` calls nothing is."""

    key: tuple[str, ...]
    calls: int
    cost_nanos: int
    of_unknown_cost: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    of_unknown_usage: int

    @property
    def cost_usd(self) -> float | None:
        known = self.cost_nanos or self.of_unknown_cost < self.calls
        return money.dollars(self.cost_nanos) if known else None


@dataclass(frozen=True, kw_only=True)
class Spending:
    by_day: tuple[Spend, ...]
    by_model: tuple[Spend, ...]
    by_role: tuple[Spend, ...]
    total: Spend
    is_cut: bool = False
    """Whether there was more than `MOST_SPENDS` combinations of day, model and role: the oldest days are left out."""


def spending(found: list[Spend], *, is_cut: bool) -> Spending:
    """From sums by (day, role, model)."""
    by_day, by_role, by_model = (_summed(found, position) for position in range(3))
    return Spending(
        by_day=tuple(sorted(by_day, key=lambda each: each.key)),
        by_role=tuple(sorted(by_role, key=_dearest)),
        by_model=tuple(sorted(by_model, key=_dearest)),
        total=_sum((), found),
        is_cut=is_cut,
    )


def _dearest(spend: Spend) -> tuple[int, int, tuple[str, ...]]:
    return -spend.cost_nanos, -spend.output_tokens, spend.key


def _summed(found: list[Spend], position: int) -> list[Spend]:
    groups: dict[tuple[str, ...], list[Spend]] = {}
    for each in found:
        groups.setdefault((each.key[position],), []).append(each)
    return [_sum(key, spends) for key, spends in groups.items()]


def _sum(key: tuple[str, ...], spends: list[Spend]) -> Spend:
    names = [name for name in Spend.__dataclass_fields__ if name != "key"]
    return Spend(key=key, **{name: sum(getattr(each, name) for each in spends) for name in names})
