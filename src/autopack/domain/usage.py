"""Totals of model calls, with what is known and what is not kept apart. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from autopack.domain.telemetry import Selection


class Grouping(StrEnum):
    """What one total is of."""

    RUN = "run"
    PHASE = "phase"
    ROLE = "role"
    MODEL = "model"
    DAY = "day"

    @property
    def keys(self) -> tuple[str, ...]:
        """The fields of a `UsageTotal` that name it, besides `provider_mode`."""
        return _KEYS.get(self, (self.value,))


_KEYS = {
    Grouping.RUN: ("run_id",),
    Grouping.PHASE: ("run_id", "phase_id"),
    Grouping.MODEL: ("provider", "model"),
}


@dataclass(frozen=True, kw_only=True)
class UsageSelection(Selection):
    """Which calls. A model is named without its vendor."""

    role: str | None = None
    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """`known` is None where not one call's count is known; a call that was refused, or is under way, has none."""

    known: int | None
    unknown_calls: int = 0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """As `Tokens`, in USD."""

    known_usd: float | None
    unknown_calls: int = 0


@dataclass(frozen=True, kw_only=True)
class UsageTotal:
    """Of the calls with these names; None is a name that this total is not about. Replayed calls spent nothing."""

    run_id: str | None = None
    phase_id: str | None = None
    role: str | None = None
    provider: str | None = None
    model: str | None = None
    day: str | None = None
    """Of the reservation, in UTC."""
    provider_mode: str
    calls: int
    answered: int
    failed: int
    abandoned: int
    reserved: int
    """Under way."""
    retries: int
    total_tokens: Tokens
    """Of all calls, also of those whose split into input and output is unknown."""
    tokens_without_split: int
    input_tokens: Tokens
    output_tokens: Tokens
    cache_read_input_tokens: Tokens
    cache_write_input_tokens: Tokens
    reasoning_output_tokens: Tokens
    cost: Cost
    cost_sources: tuple[str, ...] = ()
    """Who said what the calls cost, with the version of the price table where it was one."""


@dataclass(frozen=True, kw_only=True)
class UsageReport:
    """A page of totals, and of everything selected one total per provider mode. `next` asks for the page after it."""

    by: Grouping
    rows: tuple[UsageTotal, ...]
    totals: tuple[UsageTotal, ...]
    next: str | None = None
