"""What a version would have budgeted for the past: from what came before each call, next to what was."""

from typing import Any

import pytest

from autopack.domain.conformal import Sample, Window, log_ratio, multiplier, prior_multiplier
from autopack.domain.estimate import SHIPPED, Coefficients
from autopack.domain.observations import Event, Observation, observations
from autopack.domain.replay import Replayed, replay, tally, tally_as_it_was

FEATURES = {
    "task_category": "docs",
    "complexity": "low",
    "reasoning_level": "none",
    "files": [["new", "doc"]],
}
HALF = Coefficients(
    version="half", overhead={name: tokens / 2 for name, tokens in SHIPPED.overhead.items()},
    weights={name: tokens / 2 for name, tokens in SHIPPED.weights.items()}, other_weight=25.0,
)  # fmt: skip


def seen(*actual: int, **more: Any) -> list[Observation]:
    """One call of 2,000 tokens' base a phase, asked for with 5,000."""
    events = [
        Event(
            event_id=number, run_id="r1", phase_id=f"p{number}", features=FEATURES, estimator_version="linear-1",
            selected_budget=5000, actual_output_tokens=tokens, success=True, truncated=tokens >= 5000, model="m",
            provider_mode="live", is_complete=True, **more,
        )
        for number, tokens in enumerate(actual, start=1)
    ]  # fmt: skip
    return observations(events)[0]


def replayed(*actual: int, version: Coefficients = SHIPPED, output_limit: int = 64_000) -> list[Replayed]:
    return replay(seen(*actual), version, target=0.1, output_limit=output_limit)


def test_each_budget_knows_only_what_came_before_it():
    long = replayed(*[1000] * 29, 1001, 4000, 1000)
    short = replayed(*[1000] * 29, 1001)
    assert long[:30] == short
    assert [each.budget_source for each in short] == ["prior"] * 9 + ["conformal"] * 21
    assert [each.budget for each in long[9:31]] == [1000] * 22
    assert (long[29].would_be_cut, long[30].would_be_cut) == (True, True)
    assert long[30].alpha == pytest.approx(long[29].alpha - 0.02 * 0.9)


def test_what_was_stands_beside_what_would_have_been():
    (one,) = replayed(1000)
    assert (one.budget, one.budget_source) == (int(2000 * prior_multiplier(0.1)) + 1, "prior")
    assert (one.was_budget, one.was_version, one.was_cut, one.actual_output_tokens) == (
        5000,
        "linear-1",
        False,
        1000,
    )


def test_any_version_is_computed_from_the_features():
    ours, half = replayed(*[1000] * 20), replayed(*[1000] * 20, version=HALF)
    assert (ours[0].base_output_tokens, half[0].base_output_tokens) == (2000.0, 1000.0)
    assert half[0].budget < ours[0].budget
    assert half[-1].budget == ours[-1].budget == 1000, "by then the ratios have made up for it"


@pytest.mark.parametrize(("limit", "decision"), [(1999, "split"), (2000, "call"), (7205, "call")])
def test_what_would_not_have_been_asked_is_no_answer_that_was_cut_or_kept(limit: int, decision: str):
    found = replayed(1000, output_limit=limit)
    assert (found[0].decision, found[0].would_be_cut) == (decision, None if decision == "split" else False)
    figures = tally(found)
    assert (figures.split, figures.decided) == ((1, 0) if decision == "split" else (0, 1))


def test_of_an_answer_that_was_cut_a_larger_budget_can_say_nothing():
    found = replayed(5000)
    assert (found[0].is_at_least, found[0].was_cut, found[0].would_be_cut) == (True, True, None)
    assert (tally(found).calls, tally(found).decided, tally(found).rate) == (1, 0, None)
    assert tally_as_it_was(found).cut == 1


def test_the_figures_add_up():
    found = replayed(*[1000] * 10, 2000, 1000)
    asked = sum(each.budget for each in found)
    figures, before = tally(found), tally_as_it_was(found)
    assert (figures.calls, figures.decided, figures.cut, figures.prior) == (12, 12, 1, 9)
    assert figures.rate == pytest.approx(1 / 12)
    assert figures.waste == pytest.approx(asked / 13_000)
    assert (before.cut, before.waste) == (0, pytest.approx(60_000 / 13_000))
    assert figures.low < 1 / 12 < figures.high


def test_of_nothing_nothing_is_known():
    assert (tally([]).rate, tally([]).waste, tally([]).low, tally([]).high) == (None, None, 0.0, 1.0)


def test_the_multiplier_is_the_one_that_a_live_call_would_get():
    history = seen(*range(1000, 1100))
    window = Window()
    for each in history[:-1]:
        window.add(Sample(group=each.group, log_ratio=log_ratio(each.actual, 2000.0), censored=False))
    last = replay(history, SHIPPED, target=0.1, output_limit=64_000)[-1]
    live = multiplier(window, history[-1].group, target=0.1, alpha=last.alpha)
    assert last.multiplier == live.value
