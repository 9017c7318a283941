"""The figures of a scrape, as sums that the database makes."""

from typing import Any

from sqlalchemy import ColumnElement, Float, and_, case, cast, func, select
from sqlalchemy.orm import Session

from autopack.db.tables import AttemptRow, LlmUsageEventRow, PhaseRow, RunRow, TokenEstimationEventRow
from autopack.db.usage import may_have_cost, may_have_used
from autopack.domain.metrics import CallSums, EstimateSums, Figures, QueueState
from autopack.domain.phases import PhaseState, RunState

UNKNOWN = "unknown"


def read(session: Session) -> Figures:
    return Figures(calls=_calls(session), estimates=_estimates(session), queue=_queue(session))


def _calls(session: Session) -> list[CallSums]:
    """Ended calls: one under way is counted when it has ended, lest a counter fall."""
    table = LlmUsageEventRow
    known = func.coalesce(table.input_tokens, 0) + func.coalesce(table.output_tokens, 0)
    query = (
        select(
            table.role, table.model, table.provider_mode, table.status,
            func.min(table.id).label("first_id"), func.count().label("calls"),
            _sum(table.input_tokens).label("input_tokens"), _sum(table.output_tokens).label("output_tokens"),
            _sum(table.cache_read_input_tokens).label("cache_read_tokens"),
            _sum(table.cache_write_input_tokens).label("cache_write_tokens"),
            _sum(table.reasoning_output_tokens).label("reasoning_tokens"),
            _sum(table.total_tokens - known).label("unsplit_tokens"),
            _count(and_(may_have_used(table), table.total_tokens.is_(None))).label("of_unknown_usage"),
            _count(and_(may_have_cost(table), table.cost_usd.is_(None))).label("of_unknown_cost"),
            func.sum(table.cost_usd).label("cost_usd"),
        )
        .where(table.status != "reserved")
        .group_by(table.role, table.model, table.provider_mode, table.status)
    )  # fmt: skip
    return [CallSums(**row) for row in session.execute(query).mappings()]


def _estimates(session: Session) -> list[EstimateSums]:
    table = TokenEstimationEventRow
    source = func.coalesce(table.budget_source, UNKNOWN).label("budget_source")
    seen = table.actual_output_tokens.is_not(None)
    query = select(
        source, table.provider_mode, func.count().label("estimates"), _count(table.truncated).label("truncated"),
        _count(~seen).label("of_unknown_actual"),
        _sum(case((seen, table.selected_budget))).label("budget_tokens"),
        _sum(table.actual_output_tokens).label("actual_tokens"),
    ).group_by(source, table.provider_mode)  # fmt: skip
    return [EstimateSums(**row) for row in session.execute(query).mappings()]


def _queue(session: Session) -> QueueState:
    open_attempts = select(func.count()).select_from(AttemptRow).where(AttemptRow.outcome.is_(None))
    held = session.execute(select(_sum(RunRow.tokens_reserved), func.sum(RunRow.cost_reserved_usd))).one()
    return QueueState(
        runs=dict.fromkeys(RunState, 0) | _by_state(session, RunRow),
        phases=dict.fromkeys(PhaseState, 0) | _by_state(session, PhaseRow),
        open_attempts=session.scalar(open_attempts) or 0,
        reserved_tokens=held[0] or 0.0,
        reserved_cost_usd=held[1] or 0.0,
    )


def _by_state(session: Session, table: type[RunRow] | type[PhaseRow]) -> dict[str, int]:
    query = select(table.state, func.count()).group_by(table.state)
    return {row[0]: row[1] for row in session.execute(query)}


def _sum(column: Any) -> ColumnElement[Any]:
    """NULL where nothing is known to be summed. Of floats, as Prometheus keeps them: rows of other databases may add up to
    more than 63 bits, which would end every scrape.
    """
    return func.sum(cast(column, Float))


def _count(condition: Any) -> ColumnElement[int]:
    return func.count(case((condition, 1)))
