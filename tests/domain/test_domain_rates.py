"""Rates with their intervals, the quantile loss, and the worst stretch."""

import pytest

from autopack.domain.rates import Rate, pinball, worst_stretch


# Newcombe (1998), Statistics in Medicine 17, table I, method 3; the last two are the ends of the scale.
@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_the_interval_of_a_rate_is_wilsons(count: int, total: int, low: float, high: float):
    rate = Rate(count=count, total=total)
    assert (rate.low, rate.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_the_rate_of_nothing_is_unknown_and_not_zero():
    assert Rate(count=0, total=0).value is None
    assert Rate(count=0, total=4).value == 0.0


def test_what_is_short_costs_the_level_and_what_is_over_the_rest():
    assert pinball(10.0, 8.0, 0.95) == pytest.approx(1.9)
    assert pinball(8.0, 10.0, 0.95) == pytest.approx(0.1)
    assert pinball(8.0, 8.0, 0.95) == 0.0


def test_the_quantile_has_the_smallest_loss():
    values = [float(number) for number in range(1, 101)]
    losses = {asked: sum(pinball(value, asked, 0.9) for value in values) for asked in values}
    assert min(losses, key=losses.__getitem__) in (90.0, 91.0)


def test_the_worst_stretch_is_found_wherever_it_lies():
    missed = [False] * 7 + [True, False, True, True] + [False] * 5
    assert worst_stretch(missed, 4) == 3
    assert worst_stretch(missed[::-1], 3) == 2
    assert worst_stretch(missed[:3], 4) is None
