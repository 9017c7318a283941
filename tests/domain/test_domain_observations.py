"""What can be learned from stored events, and why not from the others."""

from collections import Counter
from typing import Any

import pytest

from autopack.domain.estimate import SHIPPED
from autopack.domain.observations import Event, observations, read_features

FEATURES = {
    "task_category": "docs",
    "complexity": "low",
    "reasoning_level": "none",
    "files": [["new", "doc"]],
}


def event(event_id: int = 1, **more: Any) -> Event:
    values: dict[str, Any] = {
        "event_id": event_id, "run_id": "r1", "phase_id": "p1", "features": FEATURES, "estimator_version": "linear-2",
        "selected_budget": 5000, "actual_output_tokens": 1000, "success": True, "truncated": False, "model": "gpt-5",
        "provider_mode": "live", "is_complete": True, "budget_source": "conformal",
    }  # fmt: skip
    return Event(**(values | more))


def cut(event_id: int = 1, **more: Any) -> Event:
    return event(event_id, **({"truncated": True, "success": False, "actual_output_tokens": 5000} | more))


def escalated(event_id: int = 2, **more: Any) -> Event:
    return event(event_id, **({"budget_source": "escalated", "selected_budget": 10_000} | more))


def seen(*events: Event) -> list[tuple[int, int, bool, bool, int]]:
    found, _ = observations(events)
    return [(each.event_id, each.actual, each.censored, each.missed, each.thrown_away) for each in found]


def test_a_whole_answer_that_became_the_work_is_taken_as_it_is():
    assert seen(event()) == [(1, 1000, False, False, 0)]


def test_a_cut_answer_counts_whatever_came_of_it():
    for success in (True, False, None):
        assert seen(cut(success=success)) == [(1, 5000, True, True, 5000)]


def test_an_answer_to_a_raised_budget_tells_the_truth_about_the_first_ask_which_stays_missed():
    for success in (True, False, None):
        assert seen(cut(), escalated(actual_output_tokens=7000, success=success)) == [
            (1, 7000, False, True, 5000)
        ]


def test_an_answer_that_was_cut_twice_is_known_to_be_longer_than_the_raised_budget():
    twice = cut(2, budget_source="escalated", selected_budget=10_000, actual_output_tokens=10_000)
    assert seen(cut(), twice) == [(1, 10_000, True, True, 15_000)]


def test_where_the_provider_cut_before_the_budget_only_what_came_is_known():
    assert seen(cut(actual_output_tokens=4096))[0][1] == 4096


def test_a_raised_budget_belongs_to_the_cut_answer_of_its_own_phase():
    other = {"phase_id": "p2"}
    found = seen(cut(1), cut(2, **other), escalated(3, actual_output_tokens=6000, **other), escalated(4))
    assert found == [(1, 1000, False, True, 5000), (2, 6000, False, True, 5000)]
    elsewhere = seen(cut(1), escalated(2, source_database_id="another"))
    assert elsewhere == [(1, 5000, True, True, 5000)]


@pytest.mark.parametrize(
    "between",
    [
        event(2, is_complete=False, actual_output_tokens=None),
        event(2, is_complete=False, actual_output_tokens=None, budget_source="escalated"),
        event(2, provider_mode="replay"),
        event(2, budget_source="partial", truncated=True, success=False),
        event(2, success=False),
    ],
)
def test_what_is_left_out_parts_no_raised_budget_from_its_first_ask(between: Event):
    """The budget of a call is made from events without these; a calibration reads them all."""
    pair = (cut(1), escalated(3, actual_output_tokens=7000))
    assert seen(pair[0], between, pair[1]) == seen(*pair) == [(1, 7000, False, True, 5000)]


def test_a_new_try_is_a_first_ask_of_its_own():
    assert seen(cut(1), event(2), escalated(3)) == [(1, 5000, True, True, 5000), (2, 1000, False, False, 0)]


@pytest.mark.parametrize(
    ("left_out", "reason"),
    [
        (event(provider_mode="replay"), "replayed"),
        (event(is_complete=False), "incomplete"),
        (event(is_complete=None), "incomplete"),
        (event(actual_output_tokens=None), "actual unknown"),
        (event(features=None), "features unknown"),
        (event(success=None), "undecided"),
        (event(success=False), "unsuccessful"),
        (event(budget_source="partial"), "part of an answer"),
        (escalated(), "first ask not usable"),
        (cut(provider_mode="replay"), "replayed"),
    ],
)
def test_what_teaches_nothing_is_counted_by_its_reason(left_out: Event, reason: str):
    assert observations([left_out]) == ([], Counter({reason: 1}))


def test_a_raised_budget_after_an_ask_that_is_left_out_is_left_out_with_it():
    found, left_out = observations([cut(features=None), escalated()])
    assert found == []
    assert left_out == {"features unknown": 1, "first ask not usable": 1}


@pytest.mark.parametrize(
    "stored",
    [
        None, {}, [], "docs", {**FEATURES, "files": None}, {**FEATURES, "files": [["new"]]}, {**FEATURES, "files": [["add", "doc"]]},
        {**FEATURES, "files": ["ne"]}, {**FEATURES, "task_category": ""}, {**FEATURES, "complexity": None},
        {**FEATURES, "files": [["new", 1]]}, {**FEATURES, "reasoning_level": 3},
    ],
)  # fmt: skip
def test_features_that_no_version_can_compute_from_are_none(stored: Any):
    assert read_features(stored) is None


def test_features_of_before_there_were_levels_have_none():
    without = {name: value for name, value in FEATURES.items() if name != "reasoning_level"}
    found = read_features(without)
    assert found is not None
    assert found == read_features(FEATURES)


def test_any_version_can_be_computed_from_an_observation():
    ((one,), _) = observations([event(actual_output_tokens=2000)])
    sample = one.sample(SHIPPED)
    assert (sample.log_ratio, sample.censored) == (0.0, False)
    assert sample.group.model_family == "gpt"
