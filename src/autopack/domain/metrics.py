"""What a scrape shows, as values. No run and no phase is named: their number grows without end, and a series is for ever."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from autopack.domain.messages import Role
from autopack.domain.telemetry import bare_model

MAX_MODELS = 50
MAX_LABEL_CHARS = 80
OTHER = "other"

Labels = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CallSums:
    """The ended calls of one role, model, mode and status; a sum is None where none of them has a known value."""

    role: str
    model: str
    provider_mode: str
    status: str
    first_id: int
    calls: int
    input_tokens: float | None
    output_tokens: float | None
    cache_read_tokens: float | None
    cache_write_tokens: float | None
    reasoning_tokens: float | None
    unsplit_tokens: float | None
    """Of a total whose parts, or one of them, are unknown."""
    of_unknown_usage: int
    """Refused ones took nothing, and are not among them; for the cost likewise those that were replayed."""
    of_unknown_cost: int
    cost_usd: float | None


@dataclass(frozen=True, kw_only=True)
class EstimateSums:
    """`budget_tokens` and `actual_tokens` are of the same calls: those whose actual tokens are known."""

    budget_source: str
    provider_mode: str
    estimates: int
    truncated: int
    of_unknown_actual: int
    budget_tokens: float | None
    actual_tokens: float | None


@dataclass(frozen=True, kw_only=True)
class QueueState:
    runs: Mapping[str, int]
    phases: Mapping[str, int]
    open_attempts: int
    reserved_tokens: float
    reserved_cost_usd: float


@dataclass(frozen=True, kw_only=True)
class Figures:
    calls: Sequence[CallSums]
    estimates: Sequence[EstimateSums]
    queue: QueueState


@dataclass(frozen=True, kw_only=True)
class Family:
    """One metric. A counter only ever grows; what may also fall is a gauge."""

    name: str
    help: str
    labels: Labels = ()
    is_counter: bool = False
    values: Mapping[Labels, float] = field(default_factory=dict)


_BY_MODEL = ("role", "model", "provider_mode")
_BY_SOURCE = ("budget_source", "provider_mode")
_KINDS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "reasoning": "reasoning_tokens",
    "unsplit": "unsplit_tokens",
}


class Sums(dict[Labels, float]):
    """A series is there when something is known of it: unknown is no zero."""

    def add(self, who: Labels, value: float | None) -> None:
        if value is not None:
            self[who] = self.get(who, 0) + value


def families(figures: Figures) -> list[Family]:
    return [*_calls(figures.calls), *_estimates(figures.estimates), *_queue(figures.queue)]


def _calls(rows: Sequence[CallSums]) -> list[Family]:
    names = _model_labels(rows)
    tokens, calls, cost, unknown_usage, unknown_cost = Sums(), Sums(), Sums(), Sums(), Sums()
    for row in rows:
        who = (_role(row.role), names[bare_model(row.model)], row.provider_mode)
        for kind, column in _KINDS.items():
            tokens.add((*who, kind), getattr(row, column))
        calls.add((*who, row.status), row.calls)
        cost.add(who, row.cost_usd)
        unknown_usage.add(who, row.of_unknown_usage)
        unknown_cost.add(who, row.of_unknown_cost)
    return [
        _counter(
            "autopack_llm_tokens",
            "Tokens of model calls. input includes cache_read and cache_write, output includes reasoning; unsplit is of "
            "totals whose parts are unknown.",
            (*_BY_MODEL, "kind"),
            tokens,
        ),
        _counter("autopack_llm_calls", "Model calls that have ended.", (*_BY_MODEL, "status"), calls),
        # Sums of floats differ in their last digits from one query plan to another; a counter may not fall by them.
        _counter(
            "autopack_llm_cost_usd",
            "Known cost of model calls in USD.",
            _BY_MODEL,
            {who: round(value, 9) for who, value in cost.items()},
        ),
        _gauge(
            "autopack_llm_calls_of_unknown_usage",
            "Ended calls whose tokens nobody knows: they are in no sum of tokens. A refused call took none.",
            _BY_MODEL,
            unknown_usage,
        ),
        _gauge(
            "autopack_llm_calls_of_unknown_cost",
            "Ended calls whose cost nobody knows: they are in no sum of cost. A refused or replayed call cost nothing.",
            _BY_MODEL,
            unknown_cost,
        ),
    ]


def _estimates(rows: Iterable[EstimateSums]) -> list[Family]:
    estimates, truncated, unknown, budgets, actuals = Sums(), Sums(), Sums(), Sums(), Sums()
    for row in rows:
        who = (row.budget_source, row.provider_mode)
        estimates.add(who, row.estimates)
        truncated.add(who, row.truncated)
        unknown.add(who, row.of_unknown_actual)
        budgets.add(who, row.budget_tokens)
        actuals.add(who, row.actual_tokens)
    return [
        _counter("autopack_estimates", "Builder calls made with an estimate.", _BY_SOURCE, estimates),
        _counter("autopack_truncations", "Builder calls whose answer was cut at its budget.", _BY_SOURCE, truncated),
        _counter(
            "autopack_estimate_budget_tokens", "Budgets of the builder calls whose output tokens are known.", _BY_SOURCE, budgets
        ),
        _counter("autopack_estimate_actual_tokens", "Output tokens of the same builder calls.", _BY_SOURCE, actuals),
        _gauge(
            "autopack_estimates_of_unknown_actual", "Builder calls whose output tokens are unknown.", _BY_SOURCE, unknown
        ),
    ]  # fmt: skip


def _queue(state: QueueState) -> list[Family]:
    return [
        _gauge("autopack_runs", "Runs by state.", ("state",), {(name,): n for name, n in state.runs.items()}),
        _gauge(
            "autopack_phases", "Phases by state.", ("state",), {(name,): n for name, n in state.phases.items()}
        ),
        _gauge("autopack_open_attempts", "Attempts under way.", (), {(): state.open_attempts}),
        _gauge(
            "autopack_reserved_tokens", "Tokens set aside for calls under way.", (), {(): state.reserved_tokens}
        ),
        _gauge(
            "autopack_reserved_cost_usd", "USD set aside for calls under way.", (), {(): state.reserved_cost_usd}
        ),
    ]  # fmt: skip


def _counter(name: str, help: str, labels: Labels, values: Mapping[Labels, float]) -> Family:
    return Family(name=name, help=help, labels=labels, is_counter=True, values=values)


def _gauge(name: str, help: str, labels: Labels, values: Mapping[Labels, float]) -> Family:
    return Family(name=name, help=help, labels=labels, values=values)


def _role(role: str) -> str:
    return role if role in {each.value for each in Role} else OTHER


def _model_labels(rows: Iterable[CallSums]) -> dict[str, str]:
    """The models that were called first keep their names, so that no series changes its name later."""
    first: dict[str, int] = {}
    for row in rows:
        name = bare_model(row.model)
        first[name] = min(row.first_id, first.get(name, row.first_id))
    oldest = sorted(first, key=lambda name: first[name])
    return {name: name[:MAX_LABEL_CHARS] if n < MAX_MODELS else OTHER for n, name in enumerate(oldest)}
