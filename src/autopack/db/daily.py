"""A day (UTC) of all runs together: what its live calls took, and the caps on that."""

from datetime import datetime

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from autopack.db import events
from autopack.db.insert_once import insert_once
from autopack.db.tables import DailyCapsRow, DailyUsageRow, LlmUsageEventRow
from autopack.domain import caps
from autopack.domain.caps import Account, DailyAccount
from autopack.domain.messages import ProviderMode

TOKEN_CAP = select(DailyCapsRow.token_cap).scalar_subquery()
COST_CAP_USD = select(DailyCapsRow.cost_cap_usd).scalar_subquery()


def open_day(session: Session, day: str) -> None:
    """Makes the day's row, if nobody has made it."""
    session.execute(insert_once(session, DailyUsageRow, day=day))


def get(session: Session, day: str) -> DailyAccount:
    limits = session.get(DailyCapsRow, 1, populate_existing=True)
    used = session.get(DailyUsageRow, day, populate_existing=True)
    account = Account(
        token_cap=limits.token_cap if limits else None, cost_cap_usd=limits.cost_cap_usd if limits else None,
        tokens_used=used.tokens_used if used else 0, tokens_reserved=used.tokens_reserved if used else 0,
        cost_usd=used.cost_usd if used else 0.0, cost_reserved_usd=used.cost_reserved_usd if used else 0.0,
    )  # fmt: skip
    return DailyAccount(
        day=day, ends_at=caps.day_ends(day), account=account,
        updated_at=limits.updated_at if limits else None, updated_by=limits.updated_by if limits else None,
    )  # fmt: skip


def set_caps(
    session: Session, *, actor: str, now: datetime, reason: str | None = None, **caps: float | None
) -> None:
    """Those that are named, as columns; None is no cap. Calls that are under way go on.

    The other one is not written: two people may set one each at the same moment.
    """
    values = {"updated_at": now, "updated_by": actor}
    session.execute(insert_once(session, DailyCapsRow, singleton=1, **values))
    before = session.get_one(DailyCapsRow, 1, populate_existing=True, with_for_update=True)
    changes = {
        name: [getattr(before, name), cap] for name, cap in caps.items() if getattr(before, name) != cap
    }
    session.execute(update(DailyCapsRow).values(**caps, **values))
    if changes:
        events.record(
            session, run_id=None, kind="daily_caps_changed", actor=actor, now=now, changes=changes, reason=reason
        )  # fmt: skip


def is_under_way(day: str) -> tuple[ColumnElement[bool], ...]:
    """Of a call, of whichever run: it holds room in the day, which it may leave when it ends."""
    table = LlmUsageEventRow
    return (
        table.status == "reserved",
        table.provider_mode == ProviderMode.LIVE,
        table.created_at >= caps.day_starts(day),
        table.created_at < caps.day_ends(day),
    )
