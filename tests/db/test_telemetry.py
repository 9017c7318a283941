"""Telemetry rows page by page, how far an export with a cursor may go, and the figures of a scrape."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autopack.db import metrics, telemetry
from autopack.db.engine import Database
from autopack.db.tables import (
    Base,
    LlmUsageEventRow,
    TokenBudgetEscalationRow,
    TokenEstimationEventRow,
)
from autopack.db.usage import report
from autopack.domain.metrics import CallSums
from autopack.domain.telemetry import ESCALATIONS, ESTIMATIONS, TABLES, USAGE, Selection
from autopack.domain.usage import Grouping, UsageSelection
from autopack.errors import Conflict, InvalidInput
from tests.db.support_queue import ON_BOTH, START, Queue
from tests.support import plan
from tests.support_telemetry import ESCALATION_EVENT, MADE_AT, estimation, opened, store, usage

ALL = Selection()
LATER = MADE_AT + timedelta(hours=1)


@pytest.fixture
def database(database_url: str, tmp_path: Path) -> Iterator[Database]:
    with opened(database_url, tmp_path) as made:
        yield made


def ids(database: Database, selection: Selection = ALL, *, after: int = 0, limit: int = 100) -> list[int]:
    with database.transaction() as session:
        return [row.id for row in telemetry.page(session, USAGE, selection, after=after, limit=limit)]


@pytest.mark.parametrize(
    ("name", "row"),
    [("usage", LlmUsageEventRow), ("estimations", TokenEstimationEventRow), ("escalations", TokenBudgetEscalationRow)],
)  # fmt: skip
def test_a_value_has_every_column_of_its_table(name: str, row: type[Base]):
    assert set(TABLES[name].columns) == set(row.__table__.c.keys())


def test_rows_come_back_as_they_were_stored(database: Database):
    with database.transaction() as session:
        store(session, usage(), estimation(), ESCALATION_EVENT)
        assert telemetry.page(session, USAGE, ALL, after=0, limit=9) == [usage()]
        assert telemetry.page(session, ESTIMATIONS, ALL, after=0, limit=9) == [estimation()]
        assert telemetry.page(session, ESCALATIONS, ALL, after=0, limit=9) == [ESCALATION_EVENT]


def test_pages_follow_the_ids_and_a_selection_narrows_them(database: Database):
    hour = timedelta(hours=1)
    with database.transaction() as session:
        store(
            session, usage(3, run_id="unknown"), usage(1, created_at=MADE_AT - hour), usage(2, phase_id="p2"),
            usage(4, run_id=None, phase_id=None, created_at=MADE_AT + hour),
        )  # fmt: skip
    assert ids(database) == [1, 2, 3, 4]
    assert ids(database, after=1, limit=2) == [2, 3]
    assert ids(database, Selection(run_id="r1", phase_id="p1")) == [1]
    assert ids(database, Selection(since=MADE_AT)) == [2, 3, 4]
    assert ids(database, Selection(since=MADE_AT, until=MADE_AT + hour)) == [2, 3], "until is not part of it"
    with pytest.raises(InvalidInput, match="nothing lies between"):
        Selection(since=MADE_AT, until=MADE_AT)


# How far an export with a cursor may go


def final(queue: Queue, *, after: int = 0, limit: int = 100) -> list[str]:
    with queue.session() as session:
        return [
            call.status for call in telemetry.final_usage(session, after=after, limit=limit, now=queue.now)
        ]


@ON_BOTH
def test_an_export_stops_before_a_call_that_is_under_way(queue: Queue) -> None:
    queue.create(plan())
    claim = queue.claim(lease_seconds=600.0)
    first, second = queue.reserve(claim), queue.reserve(claim)
    queue.settle(claim, second.call_id)
    queue.tick(seconds=60)
    assert final(queue) == [], "the second has ended, and the first might never be sent if it were passed"
    queue.settle(claim, first.call_id)
    assert final(queue) == ["answered", "answered"]


@ON_BOTH
def test_a_call_of_a_dead_worker_holds_nothing_up(queue: Queue) -> None:
    queue.create(plan())
    queue.reserve(queue.claim(lease_seconds=30.0))
    queue.tick(seconds=29)
    assert final(queue) == []
    queue.tick(seconds=2)
    assert final(queue) == ["reserved"], "its lease has ended: nobody gives it back before somebody claims"
    queue.reserve(queue.claim(lease_seconds=30.0))
    queue.tick(seconds=11)
    assert final(queue) == ["abandoned"], "and the one under way is waited for"


def test_a_row_that_may_have_been_overtaken_is_left_for_later(queue: Queue) -> None:
    with queue.session() as session:
        young = START - timedelta(seconds=telemetry.SETTLING_SECONDS - 1)
        old = START - timedelta(seconds=telemetry.SETTLING_SECONDS)
        store(session, usage(1, created_at=old), usage(2, created_at=young), usage(3, created_at=old))
    assert len(final(queue)) == 1
    queue.tick(seconds=1)
    assert len(final(queue)) == 3
    assert len(final(queue, after=1, limit=1)) == 1


@pytest.mark.postgres
def test_rows_that_a_merge_is_still_writing_are_not_passed(postgres_url: str, tmp_path: Path):
    def sent() -> list[int]:
        with opened(postgres_url, tmp_path) as database, database.transaction() as session:
            return [call.id for call in telemetry.final_usage(session, after=0, limit=9, now=LATER)]

    with opened(postgres_url, tmp_path) as other:
        with other.transaction() as merge:
            store(merge, usage(1))
            with opened(postgres_url, tmp_path) as database, database.transaction() as session:
                store(session, usage(2))
            assert sent() == [], "row 1 is not seen yet, and would never be sent"
        assert sent() == [1, 2]


def test_a_cursor_moves_only_from_where_it_was_left(database: Database):
    def move(expected: int | None, position: int) -> int:
        with database.transaction() as session:
            return telemetry.move_cursor(
                session, "n", expected=expected, position=position, mapping_version="v1", now=LATER
            ).position

    def stands() -> int | None:
        with database.transaction() as session:
            found = telemetry.cursor(session, "n")
            return found and found.position

    assert stands() is None
    assert move(None, 5) == 5
    for stale in (None, 4):
        with pytest.raises(Conflict, match="another export moved"):
            move(stale, 9)
    assert move(5, 7) == 7
    assert move(7, 0) == 0, "back to the start, to send all again"
    assert stands() == 0


# The figures of a scrape

SOME = st.none() | st.integers(0, 50)


@st.composite
def random_calls(draw: st.DrawFn) -> list[dict[str, Any]]:
    return [
        {
            "role": draw(st.sampled_from(["builder", "auditor", "doctor"])),
            "model": draw(st.sampled_from(["m", "openai:m", "n"])),
            "provider_mode": draw(st.sampled_from(["live", "replay"])),
            "status": draw(st.sampled_from(["answered", "failed", "abandoned", "reserved"])),
            "input_tokens": (given := draw(SOME)),
            "output_tokens": (made := draw(SOME)),
            "total_tokens": draw(SOME) if given is None or made is None else given + made,
            "reasoning_output_tokens": draw(st.none() | st.integers(0, made)) if made is not None else None,
            "cost_usd": draw(st.none() | st.integers(0, 8).map(lambda eighths: eighths / 8)),
            "usage_source": draw(st.sampled_from(["provider", "missing", "none", None])),
        }
        for _ in range(draw(st.integers(0, 12)))
    ]


def total(rows: list[Any], name: str) -> float | None:
    known = [getattr(row, name) for row in rows if getattr(row, name) is not None]
    return sum(known) if known else None


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(random_calls())
def test_the_sums_of_the_database_are_those_of_its_rows(database: Database, calls: list[dict[str, Any]]):
    events = [usage(number, **each) for number, each in enumerate(calls, 1)]
    # A total that lies below a part that is known is no total of it.
    events = [
        replace(each, total_tokens=each.total_tokens + (each.input_tokens or 0) + (each.output_tokens or 0))
        if each.total_tokens is not None and None in (each.input_tokens, each.output_tokens)
        else each
        for each in events
    ]
    with database.transaction() as session:
        session.query(LlmUsageEventRow).delete()
        store(session, *events)
        found = metrics.read(session).calls
    ended = [each for each in events if each.status != "reserved"]
    assert sum(row.calls for row in found) == len(ended)
    for row in found:
        mine = [
            each
            for each in ended
            if (each.role, each.model, each.provider_mode, each.status)
            == (row.role, row.model, row.provider_mode, row.status)
        ]
        check(row, mine)


def check(row: CallSums, mine: list[Any]) -> None:
    assert (row.calls, row.first_id) == (len(mine), min(each.id for each in mine))
    assert row.input_tokens == total(mine, "input_tokens")
    assert row.output_tokens == total(mine, "output_tokens")
    assert row.reasoning_tokens == total(mine, "reasoning_output_tokens")
    assert row.cost_usd == total(mine, "cost_usd")
    taken = [each for each in mine if each.usage_source != "none"]
    assert row.of_unknown_usage == sum(each.total_tokens is None for each in taken)
    unpriced = sum(each.cost_usd is None for each in taken)
    assert row.of_unknown_cost == (unpriced if row.provider_mode == "live" else 0)
    known = [each for each in mine if each.total_tokens is not None]
    split = [each.total_tokens - (each.input_tokens or 0) - (each.output_tokens or 0) for each in known]
    assert row.unsplit_tokens == (sum(split) if known else None)


def test_what_is_unknown_is_the_same_to_a_scrape_and_to_a_report(database: Database):
    unknown = {"input_tokens": None, "output_tokens": None, "total_tokens": None, "cost_usd": None}
    with database.transaction() as session:
        store(
            session, usage(1), usage(2, status="failed", usage_source="none", **unknown), usage(3, status="abandoned", **unknown),
            usage(4, provider_mode="replay", cost_usd=None), usage(5, status="reserved", usage_source=None, **unknown),
        )  # fmt: skip
        figures = metrics.read(session).calls
        totals = report(session, Grouping.RUN, UsageSelection(), limit=9).totals
    reported = {
        each.provider_mode: (each.total_tokens.unknown_calls, each.cost.unknown_calls) for each in totals
    }
    for mode, (tokens, cost) in reported.items():
        mine = [each for each in figures if each.provider_mode == mode]
        assert sum(each.of_unknown_usage for each in mine) == tokens
        assert sum(each.of_unknown_cost for each in mine) == cost
    assert reported == {"live": (1, 1), "replay": (0, 0)}


def test_sums_that_no_integer_holds_are_sums_all_the_same(database: Database):
    huge = 4 * 10**18
    with database.transaction() as session:
        store(
            session,
            *[
                usage(n, input_tokens=huge, output_tokens=huge, total_tokens=2 * huge, retries=huge)
                for n in (1, 2, 3)
            ],
            *[estimation(n, actual_output_tokens=huge, selected_budget=huge) for n in (1, 2, 3)],
        )
        figures = metrics.read(session)
        (row,) = report(session, Grouping.RUN, UsageSelection(), limit=9).rows
    (calls,), (estimates,) = figures.calls, figures.estimates
    assert (calls.input_tokens, calls.output_tokens, calls.unsplit_tokens) == (3 * huge, 3 * huge, 0)
    assert (estimates.budget_tokens, estimates.actual_tokens) == (3 * huge, 3 * huge)
    assert (row.input_tokens.known, row.total_tokens.known, row.retries) == (3 * huge, 6 * huge, 3 * huge)


def test_estimates_and_the_queue_are_summed_too(database: Database):
    with database.transaction() as session:
        store(
            session, estimation(1, actual_output_tokens=8), estimation(2, truncated=True),
            estimation(3, budget_source=None),
        )  # fmt: skip
        figures = metrics.read(session)
    by = {row.budget_source: row for row in figures.estimates}
    assert (by["prior"].estimates, by["prior"].truncated, by["prior"].of_unknown_actual) == (2, 1, 1)
    assert (by["prior"].budget_tokens, by["prior"].actual_tokens) == (20, 8), "of the same calls"
    assert (by["unknown"].estimates, by["unknown"].actual_tokens) == (1, None)
    assert (figures.queue.open_attempts, figures.queue.reserved_tokens) == (0, 0)


@ON_BOTH
def test_what_is_under_way_is_shown_and_not_yet_counted(queue: Queue) -> None:
    queue.create(plan())
    queue.reserve(queue.claim())
    with queue.session() as session:
        figures = metrics.read(session)
    assert figures.calls == []
    assert (figures.queue.open_attempts, figures.queue.reserved_tokens) == (1, 1000)
    assert figures.queue.reserved_cost_usd == 1.0
    assert (figures.queue.runs["RUNNING"], figures.queue.phases["EXECUTING"]) == (1, 1)
    assert figures.queue.phases["FAILED"] == 0
