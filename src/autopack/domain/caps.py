"""Caps of a run and of a day, and what to say when one of them leaves no room. Pure."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from autopack.domain import money
from autopack.domain.calls import CallRequest
from autopack.domain.phases import StateCause

_OF_A_DAY = re.compile(r"\w+ cap of the day (\d{4}-\d\d-\d\d) \(UTC\)")
_NO_CALL_MAKES_ROOM = "no call under way can make room for it"
_NO_CAP_DOES = "no cap can keep a call below it"


@dataclass(frozen=True, kw_only=True)
class Account:
    """What was used, what calls under way have set aside, and the caps on both together. No cap is None."""

    token_cap: int | None = None
    cost_cap_usd: float | None = None
    tokens_used: int = 0
    tokens_reserved: int = 0
    cost_usd: float = 0.0
    cost_reserved_usd: float = 0.0


@dataclass(frozen=True, kw_only=True)
class DailyAccount:
    """What the live calls of all runs take in a day (UTC), and who set the caps on it."""

    day: str
    ends_at: datetime
    account: Account
    updated_at: datetime | None = None
    updated_by: str | None = None


def day_of(moment: datetime) -> str:
    """The day (UTC) that a call belongs to: the one on which it was reserved."""
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def day_starts(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def day_ends(day: str) -> datetime:
    return day_starts(day) + timedelta(days=1)


def refusal_by_run(run_id: str, account: Account, request: CallRequest) -> str | None:
    """Why the call does not fit, with the lowest cap under which it would; None where it fits."""
    return _refusal(f"run {run_id}", account, request)


def refusal_by_day(day: str, account: Account, request: CallRequest) -> str | None:
    """As `refusal_by_run`, and when the cap is for another day."""
    reason = _refusal(f"the day {day} (UTC)", account, request)
    return reason and f"{reason}; the day ends at {day_ends(day):%Y-%m-%d %H:%M} UTC"


def cause_of(refusal: str) -> StateCause:
    """Which cap a refusal is about."""
    if day_named(refusal) is not None:
        return StateCause.DAILY_CAP
    return StateCause.COST_CAP if refusal.startswith("cost cap of ") else StateCause.TOKEN_CAP


def day_named(refusal: str) -> str | None:
    """The day whose cap a refusal is about; None where it is a run's."""
    found = _OF_A_DAY.match(refusal)
    if found is None:
        return None
    try:
        day_ends(found[1])
    except (ValueError, OverflowError):
        return None
    return found[1]


def others_may_make_room(refusal: str) -> bool:
    """False where the call would not fit even if every call under way used nothing."""
    return _NO_CALL_MAKES_ROOM not in refusal and _NO_CAP_DOES not in refusal


def _refusal(owner: str, account: Account, request: CallRequest) -> str | None:
    return _no_tokens(owner, account, request.reserve_tokens) or _no_money(owner, account, request)


def _no_tokens(owner: str, account: Account, wanted: int) -> str | None:
    cap, needed = account.token_cap, account.tokens_used + account.tokens_reserved + wanted
    if cap is None or needed <= cap:
        return None
    return (
        f"token cap of {owner}: {cap} tokens, {account.tokens_used} used and {account.tokens_reserved} set aside; the next "
        f"call may take up to {wanted}, so the cap would have to be {needed} or more"
        f"{_hopeless(account.tokens_used + wanted > cap)}"
    )


def _no_money(owner: str, account: Account, request: CallRequest) -> str | None:
    cap, wanted = account.cost_cap_usd, request.reserve_cost_usd
    if cap is None:
        return None
    if wanted is None:
        return (
            f"cost cap of {owner}: the price of {request.model} is unknown at {request.provider}, so {_NO_CAP_DOES}; "
            "remove the cap, use a model with a known price, or name the price in the file of AUTOPACK_PRICES"
        )
    amounts = (
        money.nanos(account.cost_usd),
        money.nanos(account.cost_reserved_usd),
        money.nanos_at_most(wanted),
    )
    needed = money.dollars(sum(amounts))
    if needed <= cap:
        return None
    alone = money.dollars(amounts[0] + amounts[2])
    used, held, worst = (money.spelled(money.dollars(amount)) for amount in amounts)
    return (
        f"cost cap of {owner}: {money.spelled(cap)} USD, {used} used and {held} set aside; the next call may cost up to "
        f"{worst}, so the cap would have to be {money.spelled(needed)} USD or more{_hopeless(alone > cap)}"
    )


def _hopeless(is_so: bool) -> str:
    return f"; {_NO_CALL_MAKES_ROOM}" if is_so else ""
