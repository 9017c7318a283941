"""Telemetry rows as other databases would have brought them: no run, phase or attempt need be here."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from autopack.db.engine import Database
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.db.tables import LlmUsageEventRow, TokenBudgetEscalationRow, TokenEstimationEventRow
from autopack.domain.telemetry import EscalationEvent, EstimationEvent, UsageEvent

MADE_AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
USAGE_EVENT = UsageEvent(
    id=1, call_id="c1", attempt_id=None, run_id="r1", phase_id="p1", role="builder", ask=1, status="answered",
    provider="openai", model="gpt-x", provider_mode="live", request_key="k" * 64, request_max_tokens=900,
    reserved_tokens=1000, reserved_cost_usd=None, input_tokens=30, output_tokens=12, total_tokens=42,
    cache_read_input_tokens=None, cache_write_input_tokens=None, reasoning_output_tokens=None, finish_reason="stop",
    is_truncated=False, is_complete=True, cost_usd=0.25, cost_source="genai-prices", price_table_version="1",
    usage_source="provider", error=None, response_id="resp-1", retries=0, duration_seconds=1.5,
    first_token_seconds=0.25, created_at=MADE_AT, completed_at=MADE_AT.replace(second=2, microsecond=5),
    origin="merged", source_database_id="d" * 32, source_row_id=7,
)  # fmt: skip
ESTIMATION_EVENT = EstimationEvent(
    event_id=1, call_id="c1", run_id="r1", phase_id="p1", timestamp=MADE_AT, category="docs", complexity="low",
    deliverable_count=1, deliverables_json=["docs/ä.md"], features_json={"files": [["new", "docs"]]},
    estimator_version="linear-2", predicted_output_tokens=10, selected_budget=20, actual_output_tokens=None,
    success=None, truncated=False, stop_reason=None, model="gpt-x", provider_mode="live", base_output_tokens=10.5,
    reasoning_level="none", model_family="gpt", budget_source="prior", target_rate=0.05, alpha=0.05, is_complete=True,
    origin="merged", source_database_id="d" * 32, source_row_id=7,
)  # fmt: skip
ESCALATION_EVENT = EscalationEvent(
    event_id=1, call_id="c1", run_id="r1", phase_id="p1", timestamp=MADE_AT, reason="truncated", from_budget=20,
    to_budget=40, model="gpt-x", origin="merged", source_database_id="d" * 32, source_row_id=7,
)  # fmt: skip
_TABLES: dict[type, Any] = {
    UsageEvent: LlmUsageEventRow,
    EstimationEvent: TokenEstimationEventRow,
    EscalationEvent: TokenBudgetEscalationRow,
}


def usage(number: int = 1, **more: Any) -> UsageEvent:
    """A call that differs from the others by its number."""
    return replace(USAGE_EVENT, **{"id": number, "call_id": f"c{number}", "source_row_id": number} | more)


def estimation(number: int = 1, **more: Any) -> EstimationEvent:
    return replace(
        ESTIMATION_EVENT, **{"event_id": number, "call_id": f"c{number}", "source_row_id": number} | more
    )


def store(session: Session, *events: UsageEvent | EstimationEvent | EscalationEvent) -> None:
    for event in events:
        session.execute(insert(_TABLES[type(event)]).values(**vars(event)))


@contextmanager
def opened(url: str, directory: Path) -> Iterator[Database]:
    with open_database(locate(url, directory)) as database:
        yield database
