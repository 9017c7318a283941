"""The three telemetry tables as values: every column, what is unknown as None.

A row of another database names its run and phase as they were called there; `origin` and `source_*` say whose it is.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Generic, TypeVar

from autopack.errors import InvalidInput

_VENDORS = ("openai:", "anthropic:")


@dataclass(frozen=True, kw_only=True)
class UsageEvent:
    """One model request: a row of `llm_usage_events`."""

    id: int
    call_id: str
    attempt_id: str | None
    run_id: str | None
    phase_id: str | None
    role: str
    ask: int | None
    status: str
    provider: str
    model: str
    provider_mode: str
    request_key: str | None
    request_max_tokens: int | None
    reserved_tokens: int
    reserved_cost_usd: float | None
    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    cache_read_input_tokens: int | None
    cache_write_input_tokens: int | None
    reasoning_output_tokens: int | None
    finish_reason: str | None
    is_truncated: bool | None
    is_complete: bool | None
    cost_usd: float | None
    cost_source: str | None
    price_table_version: str | None
    usage_source: str | None
    error: str | None
    response_id: str | None
    retries: int
    duration_seconds: float | None
    first_token_seconds: float | None
    created_at: datetime
    completed_at: datetime | None
    origin: str
    source_database_id: str | None
    source_row_id: int | None


@dataclass(frozen=True, kw_only=True)
class EstimationEvent:
    """One estimate and what came of it: a row of `token_estimation_v2_events`."""

    event_id: int
    call_id: str
    run_id: str
    phase_id: str
    timestamp: datetime
    category: str
    complexity: str
    deliverable_count: int
    deliverables_json: Any  # a list of paths; of an adopted event, whatever was kept of it
    features_json: Any  # as above
    estimator_version: str
    predicted_output_tokens: int
    selected_budget: int
    actual_output_tokens: int | None
    success: bool | None
    truncated: bool
    stop_reason: str | None
    model: str
    provider_mode: str
    base_output_tokens: float | None
    reasoning_level: str | None
    model_family: str | None
    budget_source: str | None
    target_rate: float | None
    alpha: float | None
    is_complete: bool | None
    origin: str
    source_database_id: str | None
    source_row_id: int | None


@dataclass(frozen=True, kw_only=True)
class EscalationEvent:
    """One budget that was raised: a row of `token_budget_escalation_events`."""

    event_id: int
    call_id: str
    run_id: str
    phase_id: str
    timestamp: datetime
    reason: str
    from_budget: int
    to_budget: int
    model: str
    origin: str
    source_database_id: str | None
    source_row_id: int | None


E = TypeVar("E", bound="UsageEvent | EstimationEvent | EscalationEvent")


@dataclass(frozen=True, kw_only=True)
class TelemetryTable(Generic[E]):
    """`name` is what a person calls it; `position` names the column by which it is paged."""

    name: str
    schema: str
    kind: type[E]
    position: str

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(field.name for field in fields(self.kind))

    def position_of(self, event: E) -> int:
        found: int = getattr(event, self.position)
        return found


USAGE = TelemetryTable(name="usage", schema="autopack.llm_usage.v1", kind=UsageEvent, position="id")
ESTIMATIONS = TelemetryTable(
    name="estimations", schema="autopack.token_estimation.v1", kind=EstimationEvent, position="event_id"
)
ESCALATIONS = TelemetryTable(
    name="escalations", schema="autopack.token_budget_escalation.v1", kind=EscalationEvent, position="event_id"
)  # fmt: skip
TABLES: dict[str, TelemetryTable[Any]] = {table.name: table for table in (ESTIMATIONS, USAGE, ESCALATIONS)}


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which rows: of a run or phase, made at or after `since` and before `until`; None is no bound."""

    run_id: str | None = None
    phase_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise InvalidInput(f"nothing lies between {self.since.isoformat()} and {self.until.isoformat()}")


@dataclass(frozen=True, kw_only=True)
class ExportCursor:
    """How far an export has come: `position` is the id of the last row that was taken there."""

    name: str
    position: int
    mapping_version: str
    updated_at: datetime


def bare_model(model: str) -> str:
    """The model's name alone: a call without an answer is kept as `openai:NAME`, an answered one as `NAME`."""
    for vendor in _VENDORS:
        if model.startswith(vendor):
            return model[len(vendor) :]
    return model
