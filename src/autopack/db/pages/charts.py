"""The figures of the telemetry page: grouped by the database, so that a hundred thousand events are few rows."""

from typing import Any

from sqlalchemy import ColumnElement, Float, and_, case, cast, func, select
from sqlalchemy.orm import Session

from autopack.db.caps import nanos
from autopack.db.tables import LlmUsageEventRow, TokenEstimationEventRow
from autopack.db.usage import bare, day, may_have_cost, may_have_used
from autopack.domain.charts import (
    MOST_BUCKETS,
    MOST_POINTS,
    MOST_SPENDS,
    Bucket,
    Estimates,
    Filter,
    Point,
    Spend,
    Spending,
    spending,
)
from autopack.domain.conformal import CONFORMAL
from autopack.domain.rates import Rate
from autopack.domain.telemetry import bare_model

_Estimate = TokenEstimationEventRow
_Call = LlmUsageEventRow
_KNOWN = _Estimate.actual_output_tokens.is_not(None)
_WHOLE = func.coalesce(_Estimate.is_complete, True).is_(True)
"""A call that was cut off says nothing of its budget; before events said so, each was whole."""


def estimates(session: Session, wanted: Filter) -> Estimates:
    selected = [*_estimated(wanted), _KNOWN, _WHOLE]
    columns = (
        _Estimate.predicted_output_tokens, _Estimate.selected_budget, _Estimate.actual_output_tokens, _Estimate.truncated
    )  # fmt: skip
    newest = select(*columns).where(*selected).order_by(_Estimate.timestamp.desc(), _Estimate.event_id.desc())
    sums = session.execute(
        select(
            func.count().label("answers"), _count(_Estimate.truncated).label("cut"),
            _sum(_Estimate.selected_budget).label("budget"), _sum(_Estimate.actual_output_tokens).label("actual"),
        ).where(*selected)
    ).one()  # fmt: skip
    return Estimates(
        points=tuple(
            Point(predicted=predicted, budget=budget, actual=actual or 0, cut=cut)
            for predicted, budget, actual, cut in session.execute(newest.limit(MOST_POINTS))
        ),
        answers=sums.answers,
        cut=Rate(count=sums.cut, total=sums.answers),
        budget_tokens=int(sums.budget or 0),
        actual_tokens=int(sums.actual or 0),
    )


def truncation(session: Session, wanted: Filter, *, by_hour: bool) -> list[Bucket]:
    """The newest buckets, oldest first."""
    at = day(session, _Estimate.timestamp, with_hour=by_hour).label("at")
    promised = _Estimate.budget_source == CONFORMAL
    query = (
        select(
            at, func.count().label("answers"), _count(_Estimate.truncated).label("cut"),
            _count(promised).label("promised"), _count(and_(promised, _Estimate.truncated)).label("promised_cut"),
            func.max(_Estimate.target_rate).label("target"),
        )
        .where(*_estimated(wanted), _WHOLE)
        .group_by(at)
        .order_by(at.desc())
        .limit(MOST_BUCKETS)
    )  # fmt: skip
    return [
        Bucket(
            at=row.at, answers=Rate(count=row.cut, total=row.answers),
            promised=Rate(count=row.promised_cut, total=row.promised), target=row.target,
        )
        for row in reversed(session.execute(query).all())
    ]  # fmt: skip


def spent(session: Session, wanted: Filter) -> Spending:
    """What is under way has neither usage nor cost yet, and is left out."""
    at, model = day(session, _Call.created_at).label("at"), bare(_Call.model).label("model")
    query = (
        select(
            at, _Call.role, model, func.count(), func.coalesce(func.sum(nanos(_Call.cost_usd)), 0.0),
            _count(and_(may_have_cost(_Call), _Call.cost_usd.is_(None))),
            _sum(_Call.input_tokens), _sum(_Call.cache_read_input_tokens), _sum(_Call.output_tokens),
            _count(and_(may_have_used(_Call), _Call.total_tokens.is_(None))),
        )
        .where(_Call.provider_mode == wanted.mode, _Call.status != "reserved", *_chosen(_Call, _Call.created_at, wanted))
        .group_by(at, _Call.role, model)
        .order_by(at.desc(), _Call.role, model)
        .limit(MOST_SPENDS + 1)
    )  # fmt: skip
    rows = session.execute(query).all()
    found = [Spend(**_figures(row)) for row in rows[:MOST_SPENDS]]
    return spending(found, is_cut=len(rows) > MOST_SPENDS)


def _figures(row: Any) -> dict[str, Any]:
    names = (
        "calls", "cost_nanos", "of_unknown_cost", "input_tokens", "cached_tokens", "output_tokens", "of_unknown_usage"
    )  # fmt: skip
    return {
        "key": tuple(row[:3]),
        **{name: int(value or 0) for name, value in zip(names, row[3:], strict=True)},
    }


def _estimated(wanted: Filter) -> list[ColumnElement[bool]]:
    return [_Estimate.provider_mode == wanted.mode, *_chosen(_Estimate, _Estimate.timestamp, wanted)]


def _chosen(table: Any, made_at: Any, wanted: Filter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.run_id is not None:
        found.append(table.run_id == wanted.run_id)
    if wanted.model is not None:
        found.append(bare(table.model) == bare_model(wanted.model))
    if wanted.since is not None:
        found.append(made_at >= wanted.since)
    return found


def _count(condition: Any) -> ColumnElement[int]:
    return func.count(case((condition, 1)))


def _sum(column: Any) -> ColumnElement[Any]:
    """Of floats: rows of other databases may add up to more than 63 bits, which would end the page."""
    return func.sum(cast(column, Float))
