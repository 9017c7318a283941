"""The figures of the telemetry page, on both databases: what is counted, what is left out, what is unknown."""

from datetime import timedelta

from autopack.db.pages import charts
from autopack.domain import charts as drawn
from autopack.domain.charts import Filter
from autopack.domain.messages import ProviderMode
from tests.db.support_queue import ON_BOTH, Queue
from tests.support_telemetry import MADE_AT, estimation, store, usage

ALL = Filter()


def answer(number: int, **more: object):
    told = {"actual_output_tokens": 100, "selected_budget": 200, "predicted_output_tokens": 90}
    return estimation(number, **{**told, "budget_source": "conformal", **more})


@ON_BOTH
def test_estimates_are_told_of_live_answers_that_are_whole_or_were_cut(queue: Queue):
    with queue.session() as session:
        store(
            session, answer(1), answer(2, truncated=True, actual_output_tokens=200),
            answer(3, actual_output_tokens=None), answer(4, is_complete=False), answer(5, provider_mode="replay"),
            answer(6, is_complete=None, timestamp=MADE_AT + timedelta(hours=1)),
        )  # fmt: skip
        found = charts.estimates(session, ALL)
        replayed = charts.estimates(session, Filter(mode=ProviderMode.REPLAY))
    assert [(point.actual, point.cut) for point in found.points] == [(100, False), (200, True), (100, False)]
    assert (found.answers, found.cut.count, found.cut.total) == (3, 1, 3)
    assert found.waste == 600 / 400
    assert replayed.answers == 1


@ON_BOTH
def test_the_points_are_the_newest_and_the_numbers_are_of_all(queue: Queue, monkeypatch):
    monkeypatch.setattr(charts, "MOST_POINTS", 2)
    with queue.session() as session:
        store(session, *(answer(n, predicted_output_tokens=n) for n in range(1, 5)))
        found = charts.estimates(session, ALL)
    assert [point.predicted for point in found.points] == [4, 3]
    assert found.answers == 4


@ON_BOTH
def test_cut_answers_are_counted_by_day_and_by_hour_and_apart_where_there_was_a_promise(queue: Queue):
    later = MADE_AT + timedelta(hours=2)
    with queue.session() as session:
        store(
            session, answer(1, truncated=True), answer(2, timestamp=later), answer(3, budget_source="prior", truncated=True),
            answer(4, timestamp=MADE_AT - timedelta(days=1), target_rate=None),
        )  # fmt: skip
        days = charts.truncation(session, ALL, by_hour=False)
        hours = charts.truncation(session, Filter(since=MADE_AT), by_hour=True)
    told = [
        (
            each.at,
            each.answers.count,
            each.answers.total,
            each.promised.count,
            each.promised.total,
            each.target,
        )
        for each in days
    ]
    assert told == [("2026-02-28", 0, 1, 0, 1, None), ("2026-03-01", 2, 3, 1, 2, 0.05)]
    assert [(each.at, each.answers.total) for each in hours] == [("2026-03-01 12", 2), ("2026-03-01 14", 1)]  # fmt: skip


@ON_BOTH
def test_only_the_newest_days_are_told_and_in_order(queue: Queue, monkeypatch):
    monkeypatch.setattr(charts, "MOST_BUCKETS", 2)
    with queue.session() as session:
        store(session, *(answer(n, timestamp=MADE_AT + timedelta(days=n)) for n in range(4)))
        found = charts.truncation(session, ALL, by_hour=False)
    assert [each.at for each in found] == ["2026-03-03", "2026-03-04"]


@ON_BOTH
def test_spending_is_told_by_day_model_and_role_with_the_unknown_apart(queue: Queue):
    late = MADE_AT + timedelta(days=1)
    none = {"cost_usd": None, "input_tokens": None, "output_tokens": None, "total_tokens": None}
    with queue.session() as session:
        store(
            session, usage(1, cost_usd=0.1), usage(2, cost_usd=0.2, model="openai:gpt-x"),
            usage(3, role="auditor", model="m2", created_at=late, cost_usd=0.000000001),
            usage(4, status="failed", usage_source="missing", model="m2", created_at=late, **none),
            usage(5, status="failed", usage_source="none", **none), usage(6, status="reserved", **none),
            usage(7, provider_mode="replay", cost_usd=0.0),
        )  # fmt: skip
        found = charts.spent(session, ALL)
        only = charts.spent(session, Filter(run_id="r1", model="openai:m2", since=late))
    assert [(each.key, each.calls, each.cost_usd, each.of_unknown_cost) for each in found.by_day] == [
        (("2026-03-01",), 3, 0.3, 0), (("2026-03-02",), 2, 0.000000001, 1),
    ]  # fmt: skip
    assert [(each.key[0], each.calls, each.of_unknown_usage) for each in found.by_model] == [
        ("gpt-x", 3, 0), ("m2", 2, 1),
    ]  # fmt: skip
    assert [each.key[0] for each in found.by_role] == ["builder", "auditor"]
    assert (found.total.calls, found.total.cost_usd, found.is_cut) == (5, 0.300000001, False)
    assert (only.total.calls, only.total.input_tokens) == (2, 30)


@ON_BOTH
def test_a_cost_of_which_nothing_is_known_is_none_and_too_many_days_are_cut(queue: Queue, monkeypatch):
    monkeypatch.setattr(charts, "MOST_SPENDS", 1)
    with queue.session() as session:
        assert charts.spent(session, ALL).total.calls == 0
        store(
            session, usage(1), usage(2, created_at=MADE_AT + timedelta(days=1), cost_usd=None, cost_source=None),
        )  # fmt: skip
        found = charts.spent(session, ALL)
    assert found.is_cut
    assert [(each.key[0], each.cost_usd) for each in found.by_day] == [("2026-03-02", None)]


@ON_BOTH
def test_numbers_of_other_databases_that_add_up_beyond_63_bits_are_told(queue: Queue):
    huge = 2**62
    with queue.session() as session:
        store(
            session,
            *(usage(n, input_tokens=huge, output_tokens=1, total_tokens=huge + 1) for n in (1, 2, 3)),
            *(answer(n, selected_budget=huge) for n in (1, 2, 3)),
        )
        assert charts.spent(session, ALL).total.input_tokens == 3 * huge
        assert charts.estimates(session, ALL).budget_tokens == 3 * huge


def test_nothing_at_all_costs_nothing():
    assert drawn.spending([], is_cut=False).total.cost_usd is None
