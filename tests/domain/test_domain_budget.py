"""Budgets over whole histories: how often they are too small, and what they cost."""

from dataclasses import replace
from random import Random

import pytest

from autopack.domain.budget import Budget, Online, Promise, estimate
from autopack.domain.conformal import CONFORMAL, PRIOR, Multiplier, Sample, prior_multiplier
from autopack.domain.estimate import SHIPPED, Estimate, Features, group_of
from autopack.domain.storable import MAX_TOKENS
from benchmarks.estimator import SERIES, TARGETS, Call, edits_of, figures, rehearse
from tests.support import ROOT

EDITS = ROOT.parent / "shared" / "data" / "telemetry" / "commit_edit_tokens.jsonl"
FEATURES = Features(task_category="docs", complexity="low", files=(("new", "doc"),))  # base: 2,000
GROUP = group_of(FEATURES, "openai:m")


def made(
    *ratios: float, asked: int = 0, missed: int = 0, target: float = 0.05, output_limit: int = 64_000
) -> Estimate:
    samples = [Sample(group=GROUP, log_ratio=ratio, censored=False) for ratio in ratios]
    return estimate(
        FEATURES, "openai:m", coefficients=SHIPPED, samples=samples, output_limit=output_limit,
        promise=Promise(target=target, asked=asked, missed=missed),
    )  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", SERIES)
def test_answers_are_cut_at_the_stated_rate_whatever_comes(name: str, target: float):
    """Heavy tails, groups, drift, regimes; the truth is only seen as far as a raised budget lets it through."""
    calls = list(SERIES[name](Random(name), 1500))
    found = figures(name, target, rehearse(calls, target))
    assert abs(found.rate - target) <= 0.015
    assert found.low <= target <= found.high


@pytest.mark.parametrize(("target", "most_waste"), [(0.01, None), (0.05, 3.0), (0.10, 3.0)])
def test_real_edits_are_cut_at_the_stated_rate(target: float, most_waste: float | None):
    if not EDITS.is_file():
        pytest.skip(f"there are no real edits in {EDITS.relative_to(ROOT.parent)}")
    found = figures("edits", target, rehearse(edits_of(EDITS), target))
    assert found.calls == 362
    assert abs(found.rate - target) <= 0.015
    assert most_waste is None or found.waste < most_waste


def test_a_promise_that_was_broken_too_often_makes_budgets_larger_and_a_kept_one_smaller():
    ratios = [value / 100 for value in range(200)]
    kept, even, broken = (made(*ratios, asked=100, missed=missed).budget for missed in (4, 5, 6))
    assert kept < even < broken


def test_the_budget_of_a_ratio_that_was_seen_is_the_number_of_tokens_that_it_was_made_of():
    for actual in (1, 1999, 2001, 7777):
        online = Online(0.05)
        given = Budget(tokens=1, multiplier=Multiplier(value=1.0, source=PRIOR), alpha=0.05)
        for _ in range(19):
            ratio = Sample(group=GROUP, log_ratio=log_of(actual), censored=False)
            online.learn(ratio, given, missed=None)
        assert online.budget(2000.0, GROUP).tokens == actual


def log_of(actual: int) -> float:
    import math

    return math.log(actual / 2000)


def test_an_estimate_says_all_that_it_was_made_of():
    found = made(*[0.5] * 30)
    assert (found.predicted_output_tokens, found.base_output_tokens) == (2000, 2000.0)
    assert (found.budget, found.decision, found.budget_source) == (3298, "call", CONFORMAL)
    assert (found.version, found.samples, found.model_family) == ("linear-2", 30, "m")
    assert (found.target_rate, found.alpha, found.output_limit) == (0.05, 0.05, 64_000)


def test_without_history_the_prior_counts():
    found = made()
    assert found.budget_source == PRIOR
    assert found.multiplier == prior_multiplier(0.05)
    assert found.budget == 10_361


def told(found: Estimate) -> tuple[str, int, str]:
    return found.decision, found.budget, found.budget_source


def test_where_the_prior_asks_for_more_than_the_limit_the_limit_is_asked_for_and_says_so():
    assert told(made(output_limit=10_361)) == ("call", 10_361, PRIOR)
    assert told(made(output_limit=10_360)) == ("call", 10_360, "limited")
    assert told(made(output_limit=2000)) == ("call", 2000, "limited")
    assert told(made(output_limit=1999)) == ("split", 10_361, PRIOR), "its base alone is too large"


def test_a_phase_is_to_be_split_when_answers_surely_exceed_the_limit_and_its_budget_is_not_lowered():
    # Above the limit of 4,000 (a ratio of 2) lie so many of 100; the interval of 10 begins at 5.5 %.
    for above, expected in ((6, "call"), (9, "call"), (10, "split"), (30, "split")):
        found = made(*[0.0] * (100 - above), *[2.0] * above, output_limit=4000)
        assert told(found) == (expected, *((4000, "limited") if expected == "call" else (14_779, CONFORMAL)))


def test_one_rare_answer_or_a_debt_of_misses_does_not_refuse_a_phase():
    rare = [0.0] * 30 + [3.0]
    assert made(*rare).budget == 40_172
    assert told(made(*rare, output_limit=40_000)) == ("call", 40_000, "limited")
    in_debt = made(*[0.0] * 30, asked=10, missed=9, output_limit=3999)
    assert told(in_debt) == ("call", 3999, "limited")


def test_answers_that_were_cut_at_the_limit_speak_for_a_split_of_phases_as_large():
    samples = [Sample(group=GROUP, log_ratio=log_of(4000), censored=True)] * 30
    small = Features(task_category="docs", complexity="low", files=())  # base: 1,500
    for features, expected in ((FEATURES, "split"), (small, "call")):
        found = estimate(
            features, "openai:m", coefficients=SHIPPED, samples=samples, output_limit=4000,
            promise=Promise(target=0.05, asked=0, missed=0),
        )  # fmt: skip
        assert found.decision == expected, "of a smaller phase they say nothing"


@pytest.mark.parametrize("target", [0.05, 0.10])
def test_large_phases_are_not_refused_for_good_after_one_that_was_far_larger(target: float):
    """As a worker would: of a phase that is refused nothing is learned."""
    calls = list(SERIES["large"](Random(1), 1500))
    found = figures("large", target, rehearse(calls, target, limit=64_000), limit=64_000)
    assert found.refused < 0.01 * len(calls)
    assert found.low <= target <= found.high
    assert found.limited_cut <= 0.02 * found.limited


def test_phases_of_which_most_do_not_fit_come_to_be_refused():
    calls = [Call(features=FEATURES, model="openai:m", actual=9000) for _ in range(300)]
    decisions = [turn.given.decision for turn in rehearse(calls, 0.05, limit=8000)]
    assert decisions == ["call"] * 19 + ["split"] * 281


def test_asks_at_the_limit_are_no_part_of_the_promise():
    online = Online(0.05, limit=4000)
    for _ in range(30):
        online.learn(sample_of(0.0), online.budget(2000.0, GROUP), missed=None)
    before = online.budget(2000.0, GROUP).alpha
    limited = online.budget(3999.0, GROUP)
    online.learn(sample_of(3.0), limited, missed=True)
    at_limit = online.budget(4000.0, group_of(replace(FEATURES, task_category="tests"), "m"))
    assert at_limit.source == "limited"
    online.learn(sample_of(0.0), at_limit, missed=True)
    after = online.budget(2000.0, GROUP)
    assert (limited.source, before, after.alpha) == (CONFORMAL, 0.05, pytest.approx(0.05 + 0.02 * (0.05 - 1)))


def sample_of(ratio: float) -> Sample:
    return Sample(group=GROUP, log_ratio=ratio, censored=False)


def test_only_the_last_samples_count():
    found = made(*[3.0] * 500, *[0.0] * 400)
    assert (found.samples, found.budget) == (400, 2000)


def test_no_history_makes_a_number_that_cannot_be_kept():
    assert made(*[700.0] * 30).budget == MAX_TOKENS
    assert made(*[-700.0] * 30).budget == 1


def test_budgets_of_the_prior_are_no_part_of_the_promise():
    online = Online(0.05)
    sample = Sample(group=GROUP, log_ratio=0.0, censored=False)
    for _ in range(19):
        given = online.budget(2000.0, GROUP)
        assert given.multiplier.source == PRIOR
        online.learn(sample, given, missed=True)
    first = online.budget(2000.0, GROUP)
    assert (first.multiplier.source, first.alpha) == (CONFORMAL, 0.05)
    online.learn(sample, first, missed=True)
    assert online.budget(2000.0, GROUP).alpha == pytest.approx(0.05 + 0.02 * (0.05 - 1))
