"""Totals and daily caps over the wire, in process and remote."""

from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from autopack.api.app import create_app
from autopack.client import AutopackClient, in_process
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.domain.messages import ProviderMode
from autopack.domain.phases import AttemptOutcome, FailureKind, RunState, StateCause
from autopack.domain.storable import MAX_TOKENS
from autopack.domain.usage import Cost, Grouping, Tokens, UsageSelection
from autopack.errors import BudgetReached, InvalidInput
from autopack.schemas import ResumeBody
from tests.api.conftest import Desk, Time, answered, request
from tests.support import phase

pytestmark = pytest.mark.anyio
ALL = UsageSelection()


async def test_totals_come_whole_whatever_they_are_grouped_by(client: AutopackClient, desk: Desk) -> None:
    await desk.create(phase("p1"), phase("p2"))
    for number in (1, 2):
        claim = await desk.claim()
        for mode in ProviderMode:
            call_id = f"{mode}{number}"
            await client.reserve(
                claim.attempt_id, claim.lease_token, request(call_id, provider_mode=mode, request_key=call_id)
            )
            await client.settle(call_id, claim.lease_token, answered(number, 10))
        await desk.finish(claim)
    found = await client.usage(Grouping.PHASE, ALL)
    assert [(each.phase_id, each.provider_mode, each.total_tokens) for each in found.rows] == [
        (phase_id, mode, Tokens(known=tokens))
        for phase_id, tokens in (("p1", 11), ("p2", 12))
        for mode in ("live", "replay")
    ]
    assert [(each.provider_mode, each.calls, each.cost) for each in found.totals] == [
        (mode, 2, Cost(known_usd=0.02)) for mode in ("live", "replay")
    ]
    for by in Grouping:
        assert (await client.usage(by, ALL)).totals == found.totals
    future = UsageSelection(since=datetime(2031, 1, 1, tzinfo=UTC))
    assert (await client.usage(Grouping.RUN, future)).rows == ()


@pytest.mark.parametrize(
    "query",
    [
        "by=week", "since=2026-01-01", "since=yesterday", "since=0001-01-01T00:00:00%2B14:00", "until=9999-12-31T23:59:59-14:00",
        "after=x", "limit=0", "limit=1001", "run_id=", "run_id=%00", "model=" + "m" * 201,
        "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z",
    ],
)  # fmt: skip
async def test_a_question_that_cannot_be_meant_is_refused(http: httpx.AsyncClient, query: str) -> None:
    answer = await http.get(f"/usage?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


async def test_daily_caps_are_set_and_hold_until_the_day_is_over(
    client: AutopackClient, desk: Desk, time: Time
) -> None:
    assert (await client.daily_caps()).account.token_cap is None
    caps = await client.set_daily_caps(token_cap=900, cost_cap_usd=None, by="Ann")
    assert (caps.day, caps.account.token_cap, caps.ends_at) == (
        "2030-01-01",
        900,
        datetime(2030, 1, 2, tzinfo=UTC),
    )
    assert caps.updated_by is not None
    assert caps.updated_by.startswith("Ann (")
    await desk.create()
    claim = await desk.claim()
    with pytest.raises(BudgetReached, match="token cap of the day 2030-01-01") as reached:
        await client.reserve(claim.attempt_id, claim.lease_token, request())
    assert await client.report_budget(claim.attempt_id, claim.lease_token, str(reached.value))
    await desk.finish(claim, AttemptOutcome.DEFERRED, failure_kind=FailureKind.BUDGET)
    run = await client.run("r1")
    assert (run.state, run.state_cause) == (RunState.PAUSED, StateCause.DAILY_CAP)
    await client.set_daily_caps(token_cap=1000, cost_cap_usd=0.5, by="Ann")
    await client.change_run("r1", "resume", ResumeBody())
    claim = await desk.claim()
    await client.reserve(claim.attempt_id, claim.lease_token, request())
    assert (await client.daily_caps()).account.tokens_reserved == 1000
    time.tick(86_400)
    assert (await client.daily_caps()).account.tokens_reserved == 0, "another day"


async def test_the_largest_calls_there_can_be_are_accounted_for(database_url: str, tmp_path: Path) -> None:
    with open_database(locate(database_url, tmp_path)) as database:
        async with in_process(create_app(lambda: nullcontext(database))) as client:
            desk = Desk(client)
            await desk.create(token_cap=2**63 - 1)
            claim = await desk.claim()
            for number in range(3):
                call = request(f"c{number}", request_key=f"k{number}", reserve_tokens=MAX_TOKENS)
                await client.reserve(claim.attempt_id, claim.lease_token, call)
                most = answered(MAX_TOKENS, MAX_TOKENS)
                await client.settle(f"c{number}", claim.lease_token, most)
            more = request("more", reserve_tokens=2**63 - 1)
            with pytest.raises(InvalidInput, match="reserve_tokens is not a number from 0 to 1000000000000"):
                await client.reserve(claim.attempt_id, claim.lease_token, more)
            assert (await client.run("r1")).tokens_used == 6 * MAX_TOKENS
            (row,) = (await client.usage(Grouping.RUN, ALL)).rows
            assert row.total_tokens == Tokens(known=6 * MAX_TOKENS)


async def test_a_lost_worker_elsewhere_does_not_hold_the_day_for_ever(
    client: AutopackClient, desk: Desk, time: Time
) -> None:
    await client.set_daily_caps(token_cap=1000, cost_cap_usd=None, by="Ann")
    for run_id in ("r1", "r2", "r3"):
        await desk.create(run_id=run_id)
    for run_id in ("r2", "r3"):
        gone = await desk.claim(run_id)
        await client.reserve(gone.attempt_id, gone.lease_token, request(run_id, reserve_tokens=500))
    time.tick(61)
    claim = await desk.claim("r1")
    with pytest.raises(BudgetReached) as reached:
        await client.reserve(claim.attempt_id, claim.lease_token, request("c1"))
    assert not await client.report_budget(claim.attempt_id, claim.lease_token, str(reached.value))
    await client.reserve(claim.attempt_id, claim.lease_token, request("c1"))


@pytest.mark.parametrize(
    "body",
    [
        {}, {"by": "Ann"}, {"token_cap": 0, "cost_cap_usd": None}, {"token_cap": True, "cost_cap_usd": None},
        {"token_cap": None, "cost_cap_usd": 0}, {"token_cap": None, "cost_cap_usd": "1"}, {"token_cap": 2**63, "cost_cap_usd": None},
        {"token_cap": None, "cost_cap_usd": None, "by": ""}, {"token_cap": None, "cost_cap_usd": None, "x": 1},
    ],
    ids=str,
)  # fmt: skip
async def test_caps_that_cannot_be_meant_are_refused(
    http: httpx.AsyncClient, body: dict[str, object]
) -> None:
    answer = await http.patch("/daily-caps", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert (await http.get("/daily-caps")).json()["updated_at"] is None


async def test_two_people_who_set_one_cap_each_lose_neither(client: AutopackClient) -> None:
    await client.set_daily_caps(token_cap=1000, by="Ann")
    found = await client.set_daily_caps(cost_cap_usd=0.5, by="Bob")
    assert (found.account.token_cap, found.account.cost_cap_usd) == (1000, 0.5)
    found = await client.set_daily_caps(token_cap=None, by="Ann")
    assert (found.account.token_cap, found.account.cost_cap_usd) == (None, 0.5)


async def test_a_client_refuses_what_the_server_would(client: AutopackClient) -> None:
    with pytest.raises(InvalidInput, match="token_cap"):
        await client.set_daily_caps(token_cap=0, cost_cap_usd=None, by="Ann")
