"""What stored events teach the next builder call, on both databases."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from autopack.db import estimates
from autopack.db.tables import EstimatorVersionRow, TokenEstimationEventRow
from autopack.domain.calls import EstimateMade
from autopack.domain.conformal import CONFORMAL, PRIOR
from autopack.domain.estimate import SHIPPED, Coefficients, Estimate, Features
from tests.db.support_queue import ON_BOTH, START, Queue
from tests.support import plan

FEATURES = Features(task_category="docs", complexity="low", files=(("new", "doc"),))  # base: 2,000
STORED = {"task_category": "docs", "complexity": "low", "reasoning_level": "none", "files": [["new", "doc"]]}


def remember(queue: Queue, *events: dict[str, Any]) -> None:
    """Events as they were recorded, in order; each a whole answer of 3,000 tokens but for what it says."""
    usual: dict[str, Any] = {
        "run_id": "r1", "timestamp": START, "category": "docs", "complexity": "low", "deliverable_count": 1,
        "deliverables_json": ["a.md"], "features_json": STORED, "estimator_version": "linear-2",
        "predicted_output_tokens": 2000, "selected_budget": 5000, "actual_output_tokens": 3000, "success": True,
        "truncated": False, "model": "m", "provider_mode": "live", "model_family": "m", "budget_source": "conformal",
        "target_rate": 0.05, "alpha": 0.05, "is_complete": True,
    }  # fmt: skip
    with queue.session() as session:
        for event in events:
            own = {"call_id": queue.new_id("c"), "phase_id": queue.new_id("p")}
            session.execute(insert(TokenEstimationEventRow).values(**usual | own | event))


def asked(queue: Queue, features: Features = FEATURES, target: float = 0.05) -> Estimate:
    with queue.session() as session:
        return estimates.estimate(session, features, "openai:m", output_limit=64_000, target=target)


@ON_BOTH
def test_budgets_follow_from_what_live_calls_needed(queue: Queue) -> None:
    assert (asked(queue).budget_source, asked(queue).samples) == (PRIOR, 0)
    remember(queue, *[{"actual_output_tokens": 3000 + number} for number in range(30)])
    found = asked(queue)
    assert (found.budget_source, found.samples, found.predicted_output_tokens) == (CONFORMAL, 30, 2000)
    # The promise was kept 30 times, so 8 % may be missed now: the 29th of 30 is exceeded by 2 of 31.
    assert found.alpha == pytest.approx(0.05 + 0.02 * 30 * 0.05)
    assert found.budget == 3028


@ON_BOTH
def test_what_teaches_nothing_changes_nothing(queue: Queue) -> None:
    remember(queue, *[{"actual_output_tokens": 3000 + number} for number in range(30)])
    before = asked(queue)
    useless: list[dict[str, Any]] = [
        {"provider_mode": "replay"}, {"is_complete": False, "success": None}, {"is_complete": None}, {"features_json": None, "target_rate": 0.1},
        {"actual_output_tokens": None, "is_complete": False}, {"budget_source": "partial"}, {"success": None, "target_rate": 0.1},
        {"success": False, "budget_source": "prior"}, {"features_json": {"files": []}, "budget_source": None},
    ]  # fmt: skip
    remember(queue, *[{"actual_output_tokens": 9999} | each for each in useless for _ in range(20)])
    assert asked(queue) == before


@ON_BOTH
def test_the_promise_counts_live_first_asks_of_its_own_target(queue: Queue) -> None:
    remember(
        queue,
        *[{}] * 5,
        {"success": False},
        {"success": None},
        {"truncated": True, "success": False},
        {"budget_source": "escalated"},
        {"budget_source": "prior", "truncated": True},
        {"budget_source": "limited", "truncated": True},
        {"budget_source": "raised", "truncated": True},
        {"origin": "merged", "source_database_id": "d" * 32, "truncated": True},
        {"target_rate": 0.1, "truncated": True},
        {"provider_mode": "replay", "truncated": True},
        {"is_complete": False, "truncated": True},
    )
    with queue.session() as session:
        found = [estimates.promise(session, target) for target in (0.05, 0.1, 0.2)]
    assert [(each.asked, each.missed) for each in found] == [(8, 1), (1, 1), (0, 0)]


@ON_BOTH
def test_merged_events_count_by_their_time_and_are_no_part_of_the_promise(queue: Queue) -> None:
    remember(queue, *[{"actual_output_tokens": 3000}] * 400)
    before = asked(queue)
    merged = {
        "origin": "merged",
        "source_database_id": "d" * 32,
        "actual_output_tokens": 9000,
        "truncated": True,
    }
    remember(queue, *[merged | {"timestamp": START - timedelta(days=300)}] * 400)
    assert asked(queue) == before
    remember(queue, *[merged | {"timestamp": START + timedelta(days=1)}] * 400)
    after = asked(queue)
    assert (after.alpha, after.samples) == (before.alpha, 400)
    assert after.budget > before.budget


@ON_BOTH
def test_a_raised_budget_tells_the_truth_about_the_answer_that_was_cut(queue: Queue) -> None:
    pairs: list[dict[str, Any]] = []
    for number in range(20):
        cut = {"phase_id": f"p{number}", "truncated": True, "success": False, "actual_output_tokens": 5000}
        whole = {"phase_id": f"p{number}", "budget_source": "escalated", "actual_output_tokens": 8000}
        pairs += [cut, whole]
    remember(queue, *pairs)
    found = asked(queue, target=0.1)
    assert (found.samples, found.budget) == (20, 8000)


def test_only_the_last_400_count_however_many_events_they_were_made_of(queue: Queue) -> None:
    old = [{"actual_output_tokens": 50_000}] * 30
    cut = {"truncated": True, "success": False, "actual_output_tokens": 5000}
    pairs = [
        event | {"phase_id": f"p{number}"}
        for number in range(400)
        for event in (cut, {"budget_source": "escalated", "actual_output_tokens": 8000})
    ]
    remember(queue, *old, *pairs)
    found = asked(queue, target=0.1)
    assert (found.samples, found.budget) == (400, 8000)


@ON_BOTH
def test_another_version_computes_the_same_events_anew(queue: Queue) -> None:
    remember(queue, *[{"actual_output_tokens": 3000 + number} for number in range(30)])
    before = asked(queue)
    twice = Coefficients(
        version="twice", overhead={name: 2 * tokens for name, tokens in SHIPPED.overhead.items()},
        weights={name: 2 * tokens for name, tokens in SHIPPED.weights.items()}, other_weight=100.0,
    )  # fmt: skip
    with queue.session() as session:
        values = {"version": "twice", "coefficients": twice.to_json(), "is_active": True, "created_at": START}
        session.execute(insert(EstimatorVersionRow).values(**values))
    after = asked(queue)
    assert (after.version, after.predicted_output_tokens) == ("twice", 4000)
    assert after.budget == before.budget, "ratios are taken over the base of the version in force"


@ON_BOTH
def test_all_that_led_to_a_budget_is_kept_with_what_came_of_it(queue: Queue) -> None:
    queue.create(plan())
    claim = queue.claim()
    made = EstimateMade(
        predicted_output_tokens=2000, version="linear-2", features=STORED, base_output_tokens=2000.5, reasoning_level="none",
        model_family="m", budget_source="conformal", target_rate=0.05, alpha=-0.03,
    )  # fmt: skip
    queue.settle(claim, queue.reserve(claim, max_tokens=5000).call_id, estimate=made)
    (row,) = queue.rows(TokenEstimationEventRow)
    kept = {
        name: row[name]
        for name in (
            "base_output_tokens",
            "reasoning_level",
            "model_family",
            "budget_source",
            "target_rate",
            "alpha",
        )
    }
    assert kept == {
        "base_output_tokens": 2000.5, "reasoning_level": "none", "model_family": "m", "budget_source": "conformal",
        "target_rate": 0.05, "alpha": -0.03,
    }  # fmt: skip
    assert (row["features_json"], row["selected_budget"], row["is_complete"]) == (STORED, 5000, True)


def test_an_answer_that_was_lost_on_its_way_is_no_kept_promise(queue: Queue) -> None:
    queue.create(plan())
    claim = queue.claim()
    made = EstimateMade(
        predicted_output_tokens=1, version="v", features=STORED, budget_source="conformal", target_rate=0.05
    )
    cut_off = {"completion": None, "error": "incomplete_response: cut off", "finish_reason": None}
    queue.settle(claim, queue.reserve(claim).call_id, estimate=made, **cut_off)
    assert [row["is_complete"] for row in queue.rows(TokenEstimationEventRow)] == [False]
    with queue.session() as session:
        assert estimates.promise(session, 0.05).asked == 0


@pytest.mark.parametrize(("truncated", "reused"), [(False, True), (True, False)])
def test_a_whole_answer_of_a_dead_try_is_used_though_the_budget_has_moved_since(
    queue: Queue, truncated: bool, reused: bool
) -> None:
    queue.create(plan())
    dead = queue.claim()
    queue.settle(dead, queue.reserve(dead, max_tokens=5000).call_id, is_truncated=truncated)
    queue.lost(dead)
    held = queue.reserve(queue.claim(), max_tokens=5001)
    assert (held.completion is not None) == reused


def test_the_last_events_are_found_without_looking_at_the_others(queue: Queue) -> None:
    with queue.session() as session:
        query = estimates._LATEST.compile(session.connection(), compile_kwargs={"literal_binds": True})
        steps = (
            session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {query}".replace(":limit", "5")).all()
        )
    assert len(steps) == 1, "nothing is sorted"
    assert "USING INDEX ix_token_estimation_v2_events_live" in steps[0][-1]


def test_the_promise_is_counted_in_an_index_alone(queue: Queue) -> None:
    with queue.session() as session:
        query = estimates._counts(0.05).compile(session.connection(), compile_kwargs={"literal_binds": True})
        steps = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all()
    assert "USING COVERING INDEX ix_token_estimation_v2_events_online" in steps[0][-1]
