"""Totals of `llm_usage_events`: SQL adds, and money in whole nano-dollars, so every database gives the same sums."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    Row,
    Select,
    Subquery,
    and_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from autopack.db.caps import nanos
from autopack.db.tables import LlmUsageEventRow
from autopack.domain import money
from autopack.domain.messages import ProviderMode
from autopack.domain.telemetry import bare_model
from autopack.domain.usage import Cost, Grouping, Tokens, UsageReport, UsageSelection, UsageTotal
from autopack.errors import InvalidInput

_Table = LlmUsageEventRow
_STATUSES = ("answered", "failed", "abandoned", "reserved")
_COUNTS = (
    "total_tokens", "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens",
    "reasoning_output_tokens",
)  # fmt: skip
_VENDORS = ("openai:", "anthropic:")  # as `bare_model`
_SEPARATOR = "\n"


def report(
    session: Session, by: Grouping, selection: UsageSelection, *, after: str | None = None, limit: int
) -> UsageReport:
    """In order of the names. `after` is the `next` of the page before. Raises InvalidInput where it is no such."""
    calls = _selected(session, by, selection).subquery()
    keys = [calls.c[name] for name in by.keys] + [calls.c.provider_mode]
    beyond = [] if after is None else [tuple_(*keys) > tuple_(*_position(after, len(keys)))]
    rows = session.execute(_totals(calls, keys, *beyond).limit(limit + 1)).all()
    page = [_to_domain(row, by.keys) for row in rows[:limit]]
    totals = session.execute(_totals(calls, keys[-1:])).all()
    more = json.dumps([*rows[limit - 1][: len(keys)]]) if len(rows) > limit else None
    return UsageReport(
        by=by, rows=tuple(page), totals=tuple(_to_domain(row, ()) for row in totals), next=more
    )


def _position(after: str, length: int) -> list[str]:
    try:
        found = json.loads(after)
    except (ValueError, RecursionError):
        found = None
    good = isinstance(found, list) and len(found) == length and all(isinstance(each, str) for each in found)
    if not good:
        raise InvalidInput("after: give the `next` of the page before")
    return list(found)


def _selected(session: Session, by: Grouping, selection: UsageSelection) -> Select[Any]:
    """One row per call, with its names and its figures. A name that is unknown is empty."""
    model = bare(_Table.model)
    names: dict[str, ColumnElement[Any] | InstrumentedAttribute[str]] = {
        "run_id": func.coalesce(_Table.run_id, ""), "phase_id": func.coalesce(_Table.phase_id, ""),
        "role": _Table.role, "provider": _Table.provider, "model": model, "day": day(session, _Table.created_at),
    }  # fmt: skip
    source = _Table.cost_source + case(
        (_Table.price_table_version.is_(None), ""), else_=literal(" ") + _Table.price_table_version
    )
    query = select(
        *(names[name].label(name) for name in by.keys),
        _Table.provider_mode, _Table.status, _Table.usage_source,
        # A sum beyond 63 bits, which a merge may bring, would end the report; below 53 bits this one is as exact.
        *(cast(getattr(_Table, name), Float).label(name) for name in (*_COUNTS, "retries")),
        nanos(_Table.cost_usd).label("cost_nanos"), source.label("source"),
    )  # fmt: skip
    return query.where(*_wanted(selection, model))


def _wanted(selection: UsageSelection, model: ColumnElement[str]) -> list[ColumnElement[bool]]:
    wanted = {
        _Table.run_id: selection.run_id, _Table.phase_id: selection.phase_id, _Table.role: selection.role,
        model: selection.model and bare_model(selection.model),
    }  # fmt: skip
    found = [column == value for column, value in wanted.items() if value is not None]
    if selection.since is not None:
        found.append(_Table.created_at >= selection.since)
    if selection.until is not None:
        found.append(_Table.created_at < selection.until)
    return found


def bare(model: Any) -> ColumnElement[str]:
    """As `bare_model`: a call without an answer is kept as openai:NAME, an answered one as NAME."""
    named = [(model.startswith(vendor), func.substr(model, len(vendor) + 1)) for vendor in _VENDORS]
    return case(*named, else_=model)


def day(session: Session, moment: Any, *, with_hour: bool = False) -> ColumnElement[str]:
    """In UTC: "2026-03-01", or "2026-03-01 14"."""
    if session.get_bind().dialect.name == "sqlite":
        return func.substr(moment, 1, 13 if with_hour else 10)  # kept as text, in UTC
    return func.to_char(func.timezone("UTC", moment), "YYYY-MM-DD HH24" if with_hour else "YYYY-MM-DD")


def _totals(calls: Subquery, keys: Sequence[ColumnElement[Any]], *wanted: ColumnElement[bool]) -> Select[Any]:
    """In order of the keys. Added up twice: by source of the cost as well, so that each source is named once."""
    sums = _sums(calls.c)
    parts = select(*keys, calls.c.source, *(each.label(name) for name, each in sums.items())).where(*wanted)
    inner = parts.group_by(*keys, calls.c.source).subquery()
    outer_keys = [inner.c[key.name] for key in keys]
    totals = select(
        *outer_keys,
        func.aggregate_strings(inner.c.source, _SEPARATOR).label("sources"),
        *(func.sum(inner.c[name]).label(name) for name in sums),
    )
    return totals.group_by(*outer_keys).order_by(*outer_keys)


def _sums(call: Any) -> dict[str, ColumnElement[Any]]:
    split_is_unknown = or_(call.input_tokens.is_(None), call.output_tokens.is_(None))
    sums: dict[str, ColumnElement[Any]] = {"calls": func.count(), "retries": func.sum(call.retries)}
    for status in _STATUSES:
        sums[status] = _count(call.status == status)
    for name in _COUNTS:
        sums[name] = func.sum(call[name])
        sums[f"unknown_{name}"] = _count(and_(may_have_used(call), call[name].is_(None)))
    sums["without_split"] = func.sum(case((split_is_unknown, call.total_tokens)))
    sums["cost"] = func.sum(call.cost_nanos)
    sums["unknown_cost"] = _count(and_(may_have_cost(call), call.cost_nanos.is_(None)))
    return sums


def may_have_used(call: Any) -> ColumnElement[bool]:
    """Of the ended calls all but those that were refused: of these there is nothing that could be unknown."""
    return and_(call.status != "reserved", func.coalesce(call.usage_source, "") != "none")


def may_have_cost(call: Any) -> ColumnElement[bool]:
    """As `may_have_used`. What is replayed costs nothing, whether or not somebody wrote that down."""
    return and_(may_have_used(call), call.provider_mode != ProviderMode.REPLAY)


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _to_domain(row: Row[Any], keys: Sequence[str]) -> UsageTotal:
    found = row._mapping
    figures: dict[str, Any] = {name: found[name] or None for name in keys}
    figures |= {name: int(found[name]) for name in ("calls", "retries", *_STATUSES)}
    figures |= {name: _tokens(found[name], found[f"unknown_{name}"]) for name in _COUNTS}
    unknown = int(found["unknown_cost"])
    known = None if found["cost"] is None and unknown else money.dollars(int(found["cost"] or 0))
    sources = sorted(set((found["sources"] or "").split(_SEPARATOR)) - {""})
    return UsageTotal(
        **figures,
        provider_mode=found["provider_mode"],
        tokens_without_split=int(found["without_split"] or 0),
        cost=Cost(known_usd=known, unknown_calls=unknown),
        cost_sources=tuple(sources),
    )


def _tokens(known: Any, unknown_calls: Any) -> Tokens:
    is_unknown = known is None and unknown_calls
    return Tokens(known=None if is_unknown else int(known or 0), unknown_calls=int(unknown_calls))
