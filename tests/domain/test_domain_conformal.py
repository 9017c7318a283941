"""The quantile against textbook definitions written with fractions, and the rules about it."""

import math
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopack.domain import conformal
from autopack.domain.conformal import (
    CONFORMAL,
    GAMMA,
    PRIOR,
    Sample,
    Window,
    adapted_alpha,
    log_ratio,
    multiplier,
    prior_multiplier,
    samples_needed,
)
from autopack.domain.estimate import Group
from autopack.domain.rates import Rate

ALPHAS = st.integers(1, 999).map(lambda thousandths: Fraction(thousandths, 1000))
# Few different values, so that ties come up.
RATIOS = st.integers(-8, 8).map(lambda eighths: eighths / 8)
WEIGHTS = {1.0: Fraction(1), 0.5: Fraction(1, 2), 0.15: Fraction(3, 20)}
VALUES = st.lists(st.tuples(RATIOS, st.sampled_from(sorted(WEIGHTS)), st.booleans()), max_size=60)
GROUPS = [
    Group(task_category=category, complexity=complexity, reasoning_level="none", model_family=family)
    for category in ("docs", "tests")
    for complexity in ("low", "high")
    for family in ("a", "b")
]


def group(**more: str) -> Group:
    values = {"task_category": "docs", "complexity": "low", "reasoning_level": "none", "model_family": "a"}
    return Group(**(values | more))


def filled(*ratios: float, censored: bool = False) -> Window:
    window = Window()
    for ratio in ratios:
        window.add(Sample(group=group(), log_ratio=ratio, censored=censored))
    return window


# Seen by a call of `group()`, what samples of these groups weigh.
OF_WEIGHT = {
    1.0: group(),
    0.5: group(complexity="high"),
    0.15: group(task_category="tests"),
}


def upper_quantile(values: list[tuple[float, float, bool]], alpha: float) -> float | None:
    window = Window(size=1000)
    for ratio, weight, censored in values:
        window.add(Sample(group=OF_WEIGHT[weight], log_ratio=ratio, censored=censored))
    return window.quantile(group(), alpha)


def product_limit(values: list[tuple[float, float, bool]], alpha: Fraction) -> float | None:
    """Kaplan and Meier's estimate as it is in the books, upwards: the new value is one more, of weight 1, above all."""
    at_risk = sum((WEIGHTS[weight] for _, weight, _ in values), Fraction(1))
    surviving = Fraction(1)
    for ratio in sorted({ratio for ratio, _, _ in values}):
        ended = sum(WEIGHTS[weight] for r, weight, censored in values if r == ratio and not censored)
        surviving *= 1 - Fraction(ended) / at_risk
        if ended and surviving <= alpha:
            return ratio
        at_risk -= sum(WEIGHTS[weight] for r, weight, _ in values if r == ratio)
    return None


@given(st.lists(st.floats(-20, 20), max_size=80), ALPHAS)
def test_with_equal_weights_and_nothing_censored_it_is_the_plain_split_conformal_quantile(
    ratios: list[float], alpha: Fraction
):
    rank = math.ceil((len(ratios) + 1) * (1 - alpha))
    expected = sorted(ratios)[rank - 1] if rank <= len(ratios) else None
    assert upper_quantile([(ratio, 1.0, False) for ratio in ratios], float(alpha)) == expected


@settings(max_examples=200)
@given(VALUES, ALPHAS)
def test_with_weights_and_cut_answers_it_is_the_quantile_of_the_product_limit_estimate(
    values: list[tuple[float, float, bool]], alpha: Fraction
):
    assert upper_quantile(values, float(alpha)) == product_limit(values, alpha)


@pytest.mark.parametrize("alpha", [0.05, 0.29, 0.1, 0.07, 0.01])
def test_a_rate_that_a_binary_fraction_only_comes_near_is_taken_for_itself(alpha: float):
    # 0.29 * 100 is 28.999999999999996; the 71st of 99 values is exceeded at just that rate.
    found = upper_quantile([(float(value), 1.0, False) for value in range(1, 100)], alpha)
    assert found == 100 - round(alpha * 100)


def test_a_cut_answer_counts_as_more_than_was_seen_of_it():
    whole = [(float(value), 1.0, False) for value in range(19)]
    cut = [(ratio, weight, ratio == 5.0) for ratio, weight, _ in whole]
    dropped = [each for each in whole if each[0] != 5.0]
    assert upper_quantile(whole, 0.5) == 9.0
    assert upper_quantile(cut, 0.5) == 10.0
    assert upper_quantile(dropped, 0.5) == 10.0
    low, lower = [(each, 1.0, each >= 15) for each in range(19)], [(each, 1.0, False) for each in range(15)]
    assert upper_quantile(low, 0.2) is None, "the highest fifth was never seen whole"
    assert upper_quantile(lower, 0.2) == 12, "without it the quantile would be far too small"


@pytest.mark.parametrize(
    ("values", "alpha", "expected"),
    [
        ([], 0.5, None),
        ([(1.0, 1.0, False)], 0.5, 1.0),
        ([(1.0, 1.0, False)], 0.49, None),
        ([(1.0, 1.0, True)] * 30, 0.9, None),
        ([(1.0, 1.0, False)] * 30, 0.05, 1.0),
        ([(1.0, 1.0, False)] * 30, 0.0, None),
        ([(1.0, 1.0, False)] * 30, -3.0, None),
        ([(1.0, 1.0, False), (2.0, 1.0, False)], 1.0, 1.0),
    ],
)
def test_few_values_ties_and_rates_beyond_reach(
    values: list[tuple[float, float, bool]], alpha: float, expected: float | None
):
    assert upper_quantile(values, alpha) == expected


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(GROUPS), RATIOS, st.booleans()), min_size=1, max_size=80),
    st.sampled_from(GROUPS),
    ALPHAS,
)
def test_a_window_gives_at_any_time_what_its_last_samples_give(
    seen: list[tuple[Group, float, bool]], asked: Group, alpha: Fraction
):
    window = Window(size=30)
    for number, (of, ratio, censored) in enumerate(seen, start=1):
        window.add(Sample(group=of, log_ratio=ratio, censored=censored))
        last = [(r, weight(g, asked), c) for g, r, c in seen[max(0, number - 30) : number]]
        assert window.quantile(asked, float(alpha)) == product_limit(last, alpha)
        assert window.largest() == max(r + c * math.log(2) for r, _, c in last)
    assert len(window) == min(30, len(seen))


def weight(of: Group, asked: Group) -> float:
    """The issue's words: 1 for the same group, 0.5 same category, 0.15 others."""
    return 1.0 if of == asked else 0.5 if of.task_category == asked.task_category else 0.15


@given(st.lists(st.booleans(), max_size=200), st.sampled_from([0.01, 0.05, 0.1]))
def test_the_adapted_rate_is_the_sum_of_its_steps(misses: list[bool], target: float):
    alpha = target
    for missed in misses:
        alpha += GAMMA * (target - missed)
    assert adapted_alpha(target, len(misses), sum(misses)) == pytest.approx(alpha)


@pytest.mark.parametrize(
    ("target", "needed"), [(0.05, 19), (0.1, 9), (0.01, 99), (0.07, 14), (0.3, 3), (0.5, 1)]
)
def test_a_rate_needs_as_many_samples_as_can_show_it(target: float, needed: int):
    assert samples_needed(target) == needed
    plain = [(float(value), 1.0, False) for value in range(needed)]
    assert upper_quantile(plain, target) == needed - 1
    assert upper_quantile(plain[1:], target) is None


def test_below_so_many_samples_the_shipped_multiplier_counts_and_says_so():
    window = filled(*[0.1] * 18)
    few = multiplier(window, group(), target=0.05, alpha=0.05)
    assert (few.source, few.value) == (PRIOR, prior_multiplier(0.05))
    window.add(Sample(group=group(), log_ratio=0.1, censored=False))
    enough = multiplier(window, group(), target=0.05, alpha=0.05)
    assert (enough.source, enough.value) == (CONFORMAL, math.exp(0.1))


@pytest.mark.parametrize("target", [0.001, 0.002, 0.0024])
def test_a_rate_that_no_window_can_show_is_learned_all_the_same(target: float):
    window = filled(*[0.0] * 398, 1.0)
    assert multiplier(window, group(), target=target, alpha=target).source == PRIOR
    window.add(Sample(group=group(), log_ratio=0.0, censored=False))
    largest = multiplier(window, group(), target=target, alpha=target)
    assert (largest.source, largest.value) == (CONFORMAL, math.e)
    # After as many calls without a miss, alpha has grown to what 400 answers can show.
    grown = multiplier(window, group(), target=target, alpha=adapted_alpha(target, 1000, 0))
    assert grown.value == 1.0


def test_how_often_a_ratio_is_surely_exceeded_is_the_lower_end_of_wilsons_interval():
    window = filled(*[0.0] * 90, *[1.0] * 10)
    assert window.surely_exceeded(group(), 0.5) == pytest.approx(Rate(count=10, total=100).low)
    assert window.surely_exceeded(group(), 1.0) == 0.0
    # Equal weights cancel out: 100 answers of another category are no fewer than 100.
    assert window.surely_exceeded(OF_WEIGHT[0.15], 0.5) == pytest.approx(Rate(count=10, total=100).low)
    for _ in range(5):
        window.add(Sample(group=group(), log_ratio=0.4, censored=True))
    assert window.surely_exceeded(group(), 0.5) == pytest.approx(Rate(count=10, total=100).low), "unknown"
    assert window.surely_exceeded(group(), 0.4) == pytest.approx(Rate(count=15, total=105).low), "cut there"


def test_the_prior_is_the_quantile_of_the_stated_lognormal():
    # The normal quantiles of 0.95, 0.99 and 0.9, from tables.
    for target, quantile in ((0.05, 1.6449), (0.01, 2.3263), (0.1, 1.2816)):
        expected = math.exp(conformal.PRIOR_MU + conformal.PRIOR_SIGMA * quantile)
        assert prior_multiplier(target) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("alpha", "times"), [(0.001, 1), (0.0, 1), (-0.0199, 1), (-0.0201, 2), (-5.0, 2)])
def test_beyond_what_was_seen_the_largest_is_asked_for_and_twice_that_when_a_miss_is_owed(
    alpha: float, times: int
):
    found = multiplier(filled(*[0.0] * 30, 1.0), group(), target=0.05, alpha=alpha)
    assert found.source == CONFORMAL
    assert found.value == pytest.approx(math.e * times)


def test_of_answers_that_were_never_seen_whole_twice_the_largest_is_asked_for():
    found = multiplier(filled(*[0.5] * 30, censored=True), group(), target=0.05, alpha=0.05)
    assert found.value == pytest.approx(2 * math.exp(0.5))


def test_other_groups_alone_are_believed_less():
    other = group(task_category="tests")
    window = filled(*[value / 100 for value in range(60)])
    assert window.quantile(group(), 0.05) is not None
    assert window.quantile(other, 0.05) is None, "60 samples of weight 0.15 show no rate of 5 %"
    assert multiplier(window, other, target=0.05, alpha=0.05).value == pytest.approx(math.exp(0.59))


@pytest.mark.parametrize(
    ("actual", "base", "expected"), [(0, 100.0, 0.01), (1, 100.0, 0.01), (10**12, 1.0, 1e12)]
)
def test_an_answer_of_nothing_counts_as_one_token(actual: int, base: float, expected: float):
    assert math.exp(log_ratio(actual, base)) == pytest.approx(expected)


def test_the_library_crepes_finds_the_same_quantile_to_the_last_digit():
    # In here, for it loads half a scientific library.
    import numpy
    from crepes import ConformalRegressor

    random = Random(4)
    for size in (1, 9, 19, 40, 99, 250, 400):
        ratios = [random.lognormvariate(0, 1) for _ in range(size)]
        regressor = ConformalRegressor().fit(residuals=numpy.array(ratios))
        # Clear of rank boundaries, where crepes goes by int((1 - confidence) * (n + 1)) of a binary fraction.
        for alpha in (0.0131, 0.0513, 0.1007, 0.2003, 0.3331, 0.5009):
            found = upper_quantile([(ratio, 1.0, False) for ratio in ratios], alpha)
            if alpha * (size + 1) < 1:
                assert found is None
                continue
            theirs = float(regressor.predict_int(numpy.array([0.0]), confidence=1 - alpha)[0, 1])
            assert found == theirs
