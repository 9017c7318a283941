"""Money that does not drift, and refusals that say what cap would do."""

import re
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopack.domain import money
from autopack.domain.calls import CallRequest
from autopack.domain.caps import (
    Account,
    cause_of,
    day_ends,
    day_named,
    day_of,
    day_starts,
    others_may_make_room,
    refusal_by_day,
    refusal_by_run,
)
from autopack.domain.messages import ProviderMode, Role
from autopack.domain.phases import StateCause

USD = st.floats(0, 100_000, allow_nan=False)


def request(tokens: int = 100, cost: float | None = 0.25) -> CallRequest:
    return CallRequest(
        call_id="c1", role=Role.BUILDER, provider="localhost:8000/v1", model="openai:m", provider_mode=ProviderMode.LIVE,
        request_key="k", max_tokens=10, reserve_tokens=tokens, reserve_cost_usd=cost,
    )  # fmt: skip


@given(USD)
def test_what_a_column_holds_gives_its_nano_dollars_back(usd: float) -> None:
    held = money.dollars(money.nanos(usd))
    assert round(held * money.NANOS) == money.nanos(usd)
    assert money.nanos(held) == money.nanos(usd)


@given(USD)
def test_a_worst_case_is_never_made_smaller(usd: float) -> None:
    assert 0 <= money.nanos_at_most(usd) - Fraction(repr(usd)) * money.NANOS < 1
    assert money.nanos(usd) <= money.nanos_at_most(usd)


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0.0, "0"),
        (0.5, "0.5"),
        (10.0, "10"),
        (1.2e-7, "0.00000012"),
        (0.1 + 0.2, "0.3"),
        (100000.0, "100000"),
    ],
)
def test_money_is_spelled_without_an_exponent(usd: float, text: str) -> None:
    assert money.spelled(usd) == text


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(2, 10**12))
def test_the_token_cap_that_a_refusal_names_is_the_lowest_that_lets_the_call_go(
    used: int, held: int, wanted: int
) -> None:
    def refused_under(cap: int) -> str | None:
        account = Account(token_cap=cap, tokens_used=used, tokens_reserved=held)
        return refusal_by_run("r1", account, request(wanted))

    named = int(named_cap(refused_under(1)))
    assert refused_under(named) is None
    assert refused_under(named - 1) is not None


@given(USD, USD, st.floats(0.000001, 100_000))
def test_the_cost_cap_that_a_refusal_names_is_the_lowest_that_lets_the_call_go(
    used: float, held: float, wanted: float
) -> None:
    used, held = (money.dollars(money.nanos(each)) for each in (used, held))

    def refused_under(cap: float) -> str | None:
        account = Account(cost_cap_usd=cap, cost_usd=used, cost_reserved_usd=held)
        return refusal_by_run("r1", account, request(cost=wanted))

    named = float(named_cap(refused_under(1e-9)))
    assert refused_under(named) is None
    assert refused_under(money.dollars(money.nanos(named) - 1)) is not None


def named_cap(refused: str | None) -> str:
    found = re.search(r"would have to be ([\d.]+) ", refused or "")
    assert found is not None, refused
    return found[1]


def test_sums_of_floats_are_compared_as_the_decimals_that_they_are() -> None:
    full = Account(cost_cap_usd=0.3, cost_usd=0.1, cost_reserved_usd=0.1)
    assert refusal_by_run("r1", full, request(cost=0.1)) is None, "0.1 + 0.1 + 0.1 > 0.3 for floats"
    refused = refusal_by_run("r1", full, request(cost=0.100000001))
    assert refused == (
        "cost cap of run r1: 0.3 USD, 0.1 used and 0.1 set aside; the next call may cost up to 0.100000001, "
        "so the cap would have to be 0.300000001 USD or more"
    )


def test_a_refusal_tells_its_cause_and_a_days_when_it_is_over() -> None:
    day, full = "2026-11-22", Account(token_cap=50)
    refused = refusal_by_day(day, full, request())
    assert refused is not None
    assert refused.startswith("token cap of the day 2026-11-22 (UTC): 50 tokens, 0 used and 0 set aside")
    assert refused.endswith("; the day ends at 2026-11-23 00:00 UTC")
    assert "so the cap would have to be 100 or more; no call under way can make room for it" in refused
    assert day_named(refused) == day
    assert cause_of(refused) is StateCause.DAILY_CAP
    assert cause_of(refusal_by_day(day, Account(cost_cap_usd=0.1), request()) or "") is StateCause.DAILY_CAP
    assert cause_of(refusal_by_run("r1", full, request()) or "") is StateCause.TOKEN_CAP
    unknown = refusal_by_run("r1", Account(cost_cap_usd=9.0), request(cost=None))
    assert unknown is not None
    assert "the price of openai:m is unknown at localhost:8000/v1" in unknown
    assert cause_of(unknown) is StateCause.COST_CAP
    assert day_named(unknown) is None


@pytest.mark.parametrize("day", ["2026-99-99", "9999-12-31", "20261122", "2026-11-22 "])
def test_a_day_that_is_none_is_not_found_in_a_refusal(day: str) -> None:
    assert day_named(f"token cap of the day {day} (UTC): 50 tokens") is None


@pytest.mark.parametrize(
    ("account", "more", "may"),
    [
        (Account(token_cap=100, tokens_used=10, tokens_reserved=1), {"tokens": 90}, True),
        (Account(token_cap=100, tokens_used=10, tokens_reserved=1), {"tokens": 91}, False),
        (Account(token_cap=100), {"tokens": 101}, False),
        (Account(cost_cap_usd=0.3, cost_usd=0.1, cost_reserved_usd=0.1), {"cost": 0.2}, True),
        (Account(cost_cap_usd=0.3, cost_usd=0.1, cost_reserved_usd=0.1), {"cost": 0.200000001}, False),
        (Account(cost_cap_usd=9.0, cost_reserved_usd=1.0), {"cost": None}, False),
    ],
)
def test_a_refusal_tells_whether_calls_under_way_may_make_room(
    account: Account, more: dict[str, Any], may: bool
) -> None:
    for refused in (
        refusal_by_run("r1", account, request(**more)),
        refusal_by_day("2026-11-22", account, request(**more)),
    ):
        assert refused is not None
        assert others_may_make_room(refused) is may


def test_a_day_is_one_of_utc() -> None:
    east = timezone(timedelta(hours=9))
    assert day_of(datetime(2026, 11, 23, 8, 59, tzinfo=east)) == "2026-11-22"
    assert day_starts("2026-11-22") == datetime(2026, 11, 22, tzinfo=UTC)
    assert day_ends("2026-12-31") == datetime(2027, 1, 1, tzinfo=UTC)
