"""Totals: the same on every database as sums made by hand, reconciled with runs and phases, the unknown kept apart."""

import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from autopack.db import usage
from autopack.db.tables import LlmUsageEventRow, PhaseRow, RunRow
from autopack.domain import money
from autopack.domain.caps import day_of
from autopack.domain.messages import ProviderMode, Role, Usage
from autopack.domain.telemetry import bare_model
from autopack.domain.usage import Cost, Grouping, Tokens, UsageReport, UsageSelection, UsageTotal
from autopack.errors import InvalidInput
from tests.db.support_queue import ON_BOTH, START, Queue, failed
from tests.support import phase, plan

PARTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "reasoning_output_tokens",
)
ALL = UsageSelection()


def report(
    queue: Queue, by: Grouping = Grouping.RUN, selection: UsageSelection = ALL, limit: int = 1000, after: str | None = None
) -> UsageReport:  # fmt: skip
    with queue.session() as session:
        return usage.report(session, by, selection, after=after, limit=limit)


def row(number: int, chance: random.Random) -> dict[str, Any]:
    """A call of another database, which need not belong to anything here: any mix of known and unknown."""
    mode = chance.choice([ProviderMode.LIVE, ProviderMode.LIVE, ProviderMode.REPLAY])
    status = chance.choice(["answered", "answered", "failed", "abandoned", "reserved"])
    given, written = chance.choice([(None, None), (chance.randrange(10**7), chance.randrange(10**5))])
    cached = chance.choice([None, given and chance.randrange(given)])
    total = chance.choice([None, chance.randrange(10**7)]) if given is None else given + (written or 0)
    cost = chance.choice([None, money.dollars(chance.randrange(10**10)), 0.1, 0.2])
    source = chance.choice(
        [("provider", None), ("genai-prices", "1.2"), ("genai-prices", "1.3"), ("override", "override-0")]
    )
    return {
        "call_id": f"c{number}", "run_id": chance.choice(["r1", "r2", None]), "phase_id": chance.choice(["p1", "p2", None]),
        "role": chance.choice(["builder", "auditor"]), "status": status, "provider": chance.choice(["openai", "anthropic"]),
        "model": chance.choice(["openai:m", "m", "anthropic:claude", "n"]), "provider_mode": mode, "reserved_tokens": 0,
        "input_tokens": given, "output_tokens": written, "total_tokens": total, "cache_read_input_tokens": cached,
        "reasoning_output_tokens": chance.choice([None, written and chance.randrange(written)]),
        "cost_usd": cost, "cost_source": source[0] if cost is not None else None,
        "price_table_version": source[1] if cost is not None else None,
        "usage_source": chance.choice(["provider", "missing", "none", None]), "retries": chance.randrange(3),
        "created_at": START + timedelta(minutes=chance.randrange(5 * 24 * 60)), "origin": "merged",
    }  # fmt: skip


def name_of(call: dict[str, Any], key: str) -> str | None:
    if key == "day":
        return day_of(call["created_at"])
    found: str | None = bare_model(call["model"]) if key == "model" else call[key]
    return found


def by_hand(calls: list[dict[str, Any]], keys: tuple[str, ...]) -> list[UsageTotal]:
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for call in calls:
        groups[(*(name_of(call, key) or "" for key in keys), call["provider_mode"])].append(call)
    return [total_by_hand(dict(zip(keys, name, strict=False)), groups[name]) for name in sorted(groups)]


def total_by_hand(names: dict[str, str], calls: list[dict[str, Any]]) -> UsageTotal:
    ended = [call for call in calls if call["status"] != "reserved" and call["usage_source"] != "none"]
    mode = calls[0]["provider_mode"]

    def tokens(name: str) -> Tokens:
        known = [call[name] for call in calls if call.get(name) is not None]
        unknown = sum(call.get(name) is None for call in ended)
        return Tokens(known=sum(known) if known or not unknown else None, unknown_calls=unknown)

    costs = [money.nanos(call["cost_usd"]) for call in calls if call["cost_usd"] is not None]
    free = mode == ProviderMode.REPLAY
    unpriced = 0 if free else sum(call["cost_usd"] is None for call in ended)
    known_usd = money.dollars(sum(costs)) if costs or not unpriced else None
    sources = {" ".join(filter(None, (each["cost_source"], each["price_table_version"]))) for each in calls}
    return UsageTotal(
        **{name: value or None for name, value in names.items()}, provider_mode=mode, calls=len(calls),
        **{status: sum(call["status"] == status for call in calls) for status in ("answered", "failed", "abandoned", "reserved")},
        retries=sum(call["retries"] for call in calls), total_tokens=tokens("total_tokens"),
        tokens_without_split=sum(call["total_tokens"] or 0 for call in calls if call["input_tokens"] is None),
        **{name: tokens(name) for name in PARTS}, cost=Cost(known_usd=known_usd, unknown_calls=unpriced),
        cost_sources=tuple(sorted(sources - {""})),
    )  # fmt: skip


@ON_BOTH
def test_totals_are_the_sums_of_the_rows_however_they_are_grouped_and_paged(queue: Queue) -> None:
    calls = [row(number, random.Random(number)) for number in range(400)]
    with queue.session() as session:
        session.execute(insert(LlmUsageEventRow), calls)
    for by in Grouping:
        found = report(queue, by)
        expected = by_hand(calls, by.keys)
        assert list(found.rows) == expected
        assert list(found.totals) == by_hand(calls, ())
        assert [each for page in pages(queue, by, limit=3) for each in page.rows] == expected


def pages(queue: Queue, by: Grouping, *, limit: int) -> Iterator[UsageReport]:
    page = report(queue, by, limit=limit)
    while page.next is not None:
        yield page
        page = report(queue, by, limit=limit, after=page.next)
    yield page


@ON_BOTH
def test_calls_are_selected_by_what_they_are_and_when_they_were_asked_for(queue: Queue) -> None:
    calls = [row(number, random.Random(number)) for number in range(200)]
    with queue.session() as session:
        session.execute(insert(LlmUsageEventRow), calls)
    since, until = START + timedelta(days=1), START + timedelta(days=3, minutes=7)
    selection = UsageSelection(
        run_id="r1", phase_id="p2", role="builder", model="openai:m", since=since, until=until
    )
    wanted = [
        call for call in calls
        if (call["run_id"], call["phase_id"], call["role"], bare_model(call["model"])) == ("r1", "p2", "builder", "m")
        and since <= call["created_at"] < until
    ]  # fmt: skip
    assert wanted
    assert list(report(queue, Grouping.DAY, selection).rows) == by_hand(wanted, ("day",))
    assert report(queue, selection=UsageSelection(run_id="none")).rows == ()


@ON_BOTH
def test_totals_reconcile_with_runs_and_phases_to_the_last_token(queue: Queue) -> None:
    queue.create(plan("r1", phases=[phase("p1"), phase("p2")]))
    queue.create(plan("r2"))
    chance = random.Random(7)
    for run_id in ("r1", "r1", "r2"):
        claim = queue.claim(run_id=run_id)
        for number in range(12):
            mode = chance.choice([*ProviderMode])
            call = queue.reserve(
                claim,
                provider_mode=mode,
                request_key=f"{claim.attempt_id} {number}",
                role=chance.choice([*Role]),
            )
            end: dict[str, Any] = chance.choice([
                {"usage": Usage(input_tokens=chance.randrange(900), output_tokens=chance.randrange(100)), "cost_usd": chance.random()},
                {"usage": Usage(), "usage_source": "missing", "cost_usd": None},
                failed("cut", paid=True), failed("refused", paid=False),
            ])  # fmt: skip
            queue.settle(claim, call.call_id, **end)
        open_call = queue.reserve(claim, request_key="open")
        queue.lost(claim)
        if chance.random() < 0.5:
            queue.settle(claim, open_call.call_id)
    kept = {run["id"]: run for run in queue.rows(RunRow)}
    totals = [each for each in report(queue).rows if each.run_id is not None]
    for run_id, run in kept.items():
        mine = [each for each in totals if each.run_id == run_id]
        assert sum(each.total_tokens.known or 0 for each in mine) == run["tokens_used"]
        assert sum(money.nanos(each.cost.known_usd or 0.0) for each in mine) == money.nanos(run["cost_usd"])
        live = sum(
            each.total_tokens.unknown_calls for each in mine if each.provider_mode == ProviderMode.LIVE
        )
        assert live == run["calls_of_unknown_usage"]
    used: dict[tuple[str | None, str | None], int] = defaultdict(int)
    for total in report(queue, Grouping.PHASE).rows:
        used[total.run_id, total.phase_id] += total.total_tokens.known or 0
    for each in queue.rows(PhaseRow):
        assert used[each["run_id"], each["phase_id"]] == each["tokens_used"]


def test_what_is_unknown_is_never_nothing(queue: Queue) -> None:
    assert report(queue) == UsageReport(by=Grouping.RUN, rows=(), totals=())
    queue.create(plan())
    claim = queue.claim()
    refused, cut = queue.reserve(claim), queue.reserve(claim)
    queue.settle(claim, refused.call_id, **failed("refused", paid=False))
    (only,) = report(queue).rows
    assert (only.total_tokens, only.cost) == (Tokens(known=0), Cost(known_usd=0.0)), "nothing is owed for it"
    queue.settle(claim, cut.call_id, **failed("cut", paid=True))
    (both,) = report(queue).rows
    assert both.total_tokens == Tokens(known=None, unknown_calls=1)
    assert both.cost == Cost(known_usd=None, unknown_calls=1)


def test_a_day_is_one_of_utc_and_a_name_that_is_unknown_is_none(queue: Queue) -> None:
    late = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)
    calls = [
        row(1, random.Random(1)) | {"created_at": late + timedelta(seconds=s), "run_id": None} for s in (0, 1)
    ]
    with queue.session() as session:
        session.execute(
            insert(LlmUsageEventRow), [each | {"call_id": str(n)} for n, each in enumerate(calls)]
        )
    assert [each.day for each in report(queue, Grouping.DAY).rows] == ["2026-03-01", "2026-03-02"]
    assert [each.run_id for each in report(queue).rows] == [None]


@pytest.mark.parametrize(
    "after", ["", "x", "[]", '["r1"]', '["r1", 3]', "{}", "[" * 100_000, '["a", "b", "c"]']
)
def test_a_page_that_nobody_pointed_to_is_refused(queue: Queue, after: str) -> None:
    with pytest.raises(InvalidInput, match="after"):
        report(queue, after=after)
