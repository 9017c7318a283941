"""What a call may take is set aside of the run's caps and the day's, and gives way to what it took.

Each cap is checked by the statement that sets aside: no other process gets in between. The run's row is locked first,
then the day's.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Float, bindparam, case, func, or_, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from autopack.db import daily, runs
from autopack.db.columns import Number
from autopack.db.tables import DailyUsageRow, LlmUsageEventRow, PhaseRow, RunRow
from autopack.domain import money
from autopack.domain.calls import CallRequest
from autopack.domain.caps import Account, day_of, refusal_by_day, refusal_by_run
from autopack.domain.messages import ProviderMode
from autopack.errors import BudgetReached, DatabaseBusy

_TOKENS, _NANOS = bindparam("tokens", type_=Number), bindparam("nanos", type_=Float)


def nanos(column: InstrumentedAttribute[float] | InstrumentedAttribute[float | None]) -> ColumnElement[float]:
    """The column's amount of money as a whole number; see `domain/money`."""
    return func.round(column * money.NANOS, type_=Float)


def _fits(account: type[RunRow] | type[DailyUsageRow], token_cap: Any, cost_cap: Any) -> ColumnElement[bool]:
    """NULL nano-dollars are an unknown price, which fits no cap."""
    tokens = account.tokens_used + account.tokens_reserved + _TOKENS <= token_cap
    # Divided rather than the cap multiplied: a sum that is as large as the cap is then the very same float.
    cost = (nanos(account.cost_usd) + nanos(account.cost_reserved_usd) + _NANOS) / float(money.NANOS)
    return or_(token_cap.is_(None), tokens) & or_(cost_cap.is_(None), cost <= cost_cap)


def _set_aside(account: type[RunRow] | type[DailyUsageRow]) -> dict[str, Any]:
    return {
        "tokens_reserved": account.tokens_reserved + _TOKENS,
        "cost_reserved_usd": (nanos(account.cost_reserved_usd) + func.coalesce(_NANOS, 0.0)) / float(money.NANOS),
    }  # fmt: skip


def _moved(account: type[RunRow] | type[DailyUsageRow]) -> dict[str, Any]:
    left = nanos(account.cost_reserved_usd) - bindparam("nanos_freed", type_=Float)
    cost = nanos(account.cost_usd) + bindparam("nanos_used", type_=Float)
    return {
        "tokens_reserved": account.tokens_reserved - bindparam("freed", type_=Number),
        # Never below nothing: what an earlier version set aside was not in whole nano-dollars.
        "cost_reserved_usd": case((left < 0, 0.0), else_=left) / float(money.NANOS),
        "tokens_used": account.tokens_used + bindparam("used", type_=Number),
        "cost_usd": cost / float(money.NANOS),
    }


# Built once: building a statement costs more than running it.
_HOLD_OF_RUN = (
    update(RunRow)
    .where(RunRow.id == bindparam("run"), _fits(RunRow, RunRow.token_cap, RunRow.cost_cap_usd))
    .values(**_set_aside(RunRow))
    .returning(RunRow.id)
    .execution_options(synchronize_session=False)
)
_HOLD_OF_DAY = (
    update(DailyUsageRow)
    .where(
        DailyUsageRow.day == bindparam("of_day"), _fits(DailyUsageRow, daily.TOKEN_CAP, daily.COST_CAP_USD)
    )
    .values(**_set_aside(DailyUsageRow))
    .returning(DailyUsageRow.day)
    .execution_options(synchronize_session=False)
)

_MOVE_RUN = (
    update(RunRow)
    .where(RunRow.id == bindparam("run"))
    .values(
        calls_of_unknown_usage=RunRow.calls_of_unknown_usage + bindparam("unknown", type_=Number),
        **_moved(RunRow),
    )
    .execution_options(synchronize_session=False)
)
_MOVE_DAY = (
    update(DailyUsageRow)
    .where(DailyUsageRow.day == bindparam("of_day"))
    .values(**_moved(DailyUsageRow))
    .execution_options(synchronize_session=False)
)


def hold(session: Session, run_id: str, request: CallRequest, *, now: datetime) -> None:
    """Sets the worst case aside. Raises BudgetReached, which undoes the whole transaction, where a cap leaves no room."""
    cost = request.reserve_cost_usd
    amounts = {
        "tokens": request.reserve_tokens,
        "nanos": None if cost is None else float(money.nanos_at_most(cost)),
    }
    if session.execute(_HOLD_OF_RUN, {"run": run_id, **amounts}).first() is None:
        raise _no_room(refusal_by_run(run_id, _account(runs.row(session, run_id)), request))
    if request.provider_mode == ProviderMode.LIVE:
        _hold_of_day(session, request, amounts, now=now)


def _hold_of_day(session: Session, request: CallRequest, amounts: dict[str, Any], *, now: datetime) -> None:
    day = day_of(now)
    wanted = {"of_day": day, **amounts}
    if session.execute(_HOLD_OF_DAY, wanted).first() is not None:
        return
    daily.open_day(session, day)
    if session.execute(_HOLD_OF_DAY, wanted).first() is None:
        raise _no_room(refusal_by_day(day, daily.get(session, day).account, request))


def refusal(session: Session, run: RunRow, request: CallRequest, *, day: str | None) -> str | None:
    """Why the call does not fit the caps of the day, or without one those of the run; None where it fits by now."""
    if day is not None:
        return refusal_by_day(day, daily.get(session, day).account, request)
    return refusal_by_run(run.id, _account(run), request)


def _account(run: RunRow) -> Account:
    return Account(
        token_cap=run.token_cap, cost_cap_usd=run.cost_cap_usd, tokens_used=run.tokens_used,
        tokens_reserved=run.tokens_reserved, cost_usd=run.cost_usd, cost_reserved_usd=run.cost_reserved_usd,
    )  # fmt: skip


def _no_room(reason: str | None) -> BudgetReached | DatabaseBusy:
    if reason is None:
        return DatabaseBusy("a cap was raised, or a call gave room back, at this moment; ask again")
    return BudgetReached(reason)


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a call did to its accounts. `calls_of_unknown_usage` is -1 where a call that counted as that is known now."""

    tokens_freed: int = 0
    nanos_freed: int = 0
    tokens_used: int = 0
    nanos_used: int = 0
    calls_of_unknown_usage: int = 0


def apply(session: Session, call: LlmUsageEventRow, change: Change) -> None:
    """Moves the phase, the run and, for a live call, the day on which it was reserved."""
    if change.tokens_used:
        session.execute(
            update(PhaseRow)
            .where(PhaseRow.run_id == call.run_id, PhaseRow.phase_id == call.phase_id)
            .values(tokens_used=PhaseRow.tokens_used + change.tokens_used)
        )
    amounts = {
        "freed": change.tokens_freed, "nanos_freed": float(change.nanos_freed), "used": change.tokens_used,
        "nanos_used": float(change.nanos_used),
    }  # fmt: skip
    session.execute(_MOVE_RUN, {"run": call.run_id, "unknown": change.calls_of_unknown_usage, **amounts})
    if call.provider_mode == ProviderMode.LIVE:
        session.execute(_MOVE_DAY, {"of_day": day_of(call.created_at), **amounts})
