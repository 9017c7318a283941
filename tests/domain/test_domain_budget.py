"""Budgets over whole histories: how often they are too small, and what they cost."""

from random import Random

import pytest

from autopack.domain.budget import MOST_TOKENS, Budget, Online, Promise, estimate
from autopack.domain.conformal import CONFORMAL, PRIOR, Multiplier, Sample, prior_multiplier
from autopack.domain.estimate import SHIPPED, Estimate, Features, group_of
from benchmarks.estimator import SERIES, TARGETS, edits_of, figures, rehearse
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


def test_what_a_model_cannot_give_is_to_be_split_and_its_budget_is_not_lowered():
    assert made(output_limit=10_361).decision == "call"
    found = made(output_limit=10_360)
    assert (found.decision, found.budget) == ("split", 10_361)


def test_only_the_last_samples_count():
    found = made(*[3.0] * 500, *[0.0] * 400)
    assert (found.samples, found.budget) == (400, 2000)


def test_no_history_makes_a_number_that_cannot_be_kept():
    assert made(*[700.0] * 30).budget == MOST_TOKENS
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
