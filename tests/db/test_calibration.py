"""Events as a calibration reads them: in the order of time, whole, and the same from both databases."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from autopack.db import calibration
from autopack.db.tables import TokenEstimationEventRow
from autopack.domain.observations import Event, observations
from tests.db.support_queue import ON_BOTH, START, Queue

STORED = {"task_category": "docs", "complexity": "low", "reasoning_level": "none", "files": [["new", "doc"]]}


def remember(queue: Queue, *events: dict[str, Any]) -> None:
    usual: dict[str, Any] = {
        "run_id": "r1", "category": "docs", "complexity": "low", "deliverable_count": 1, "deliverables_json": ["a.md"],
        "features_json": STORED, "estimator_version": "linear-2", "predicted_output_tokens": 2000, "selected_budget": 5000,
        "actual_output_tokens": 3000, "success": True, "truncated": False, "model": "openai:m", "provider_mode": "live",
        "model_family": "m", "budget_source": "conformal", "target_rate": 0.05, "alpha": 0.05, "is_complete": True,
    }  # fmt: skip
    with queue.session() as session:
        for event in events:
            own = {"call_id": queue.new_id("c"), "phase_id": queue.new_id("p"), "timestamp": queue.now}
            queue.tick(seconds=1)
            session.execute(insert(TokenEstimationEventRow).values(**usual | own | event))


def read(queue: Queue) -> tuple[list[Event], int]:
    with queue.session() as session:
        stored = calibration.read(session)
    return list(stored.events()), stored.older


@ON_BOTH
def test_events_come_in_the_order_of_time_and_not_of_their_ids(queue: Queue) -> None:
    remember(queue, {"actual_output_tokens": 2}, {"actual_output_tokens": 3})
    remember(queue, {"actual_output_tokens": 1, "timestamp": START - timedelta(days=1), "origin": "merged"})
    found, older = read(queue)
    assert [event.actual_output_tokens for event in found] == [1, 2, 3]
    assert older == 0
    assert found[0].features is not None
    assert (found[0].features.files, found[0].model, found[0].model_family) == (
        (("new", "doc"),),
        "openai:m",
        "m",
    )


@ON_BOTH
def test_what_is_left_out_is_counted_by_reason(queue: Queue) -> None:
    remember(
        queue, {}, {"truncated": True, "success": False}, {"provider_mode": "replay"}, {"is_complete": False},
        {"is_complete": None}, {"features_json": None}, {"features_json": {"files": 5}}, {"success": None},
        {"success": False}, {"actual_output_tokens": None}, {"budget_source": "escalated"},
    )  # fmt: skip
    usable, left_out = observations(read(queue)[0])
    assert [(each.actual, each.censored) for each in usable] == [(3000, False), (3000, True)]
    assert left_out == {
        "replayed": 1, "incomplete": 2, "features unknown": 2, "undecided": 1, "unsuccessful": 1, "actual unknown": 1,
        "first ask not usable": 1,
    }  # fmt: skip


def test_only_so_many_are_read_and_the_rest_is_counted(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MOST_READ", 3)
    remember(queue, *[{"actual_output_tokens": number} for number in range(5)])
    found, older = read(queue)
    assert ([event.actual_output_tokens for event in found], older) == ([2, 3, 4], 2)
