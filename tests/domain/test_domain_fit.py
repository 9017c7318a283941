"""Coefficients move towards what calls needed, as far as enough of them say so, and no further."""

import math
from dataclasses import replace

import pytest

from autopack.domain.estimate import SHIPPED, Coefficients, Features, base_tokens
from autopack.domain.fit import LARGEST_STEP, Fit, Point, fit
from autopack.domain.observations import Observation
from tests.support_calibration import history, scaled

DOC = Features(task_category="docs", complexity="low", files=(("new", "doc"),))


def fitted(observations: list[Observation], present: Coefficients = SHIPPED, *, min_samples: int = 20) -> Fit:
    points = [Point(features=o.features, actual=o.actual, censored=o.censored) for o in observations]
    return fit(points, present, min_samples=min_samples)


def factors(found: Fit, *, least: int = 20) -> dict[str, float]:
    """By how much each coefficient that enough events have in their base was changed."""
    return {term.name: term.proposed / term.present for term in found.terms if term.samples >= least}


def off(observations: list[Observation], found: Coefficients, truth: Coefficients) -> float:
    """How far the bases lie from the truth's, in log units: the mean over what was asked."""
    ratios = [base_tokens(o.features, found) / base_tokens(o.features, truth) for o in observations]
    return sum(abs(math.log(ratio)) for ratio in ratios) / len(ratios)


def test_a_known_truth_is_recovered():
    truth = replace(
        scaled(1.3), weights={**SHIPPED.weights, "new/code": 1500.0, "mod/code": 900.0, "new/doc": 600.0}
    )
    seen = history(3000, truth)
    found = fitted(seen)
    assert off(seen, SHIPPED, truth) > 0.12
    assert off(seen, found.coefficients, truth) < 0.035
    moved = factors(found)
    assert moved["new/code"] == pytest.approx(1500 / 2000, abs=0.1)
    assert moved["mod/code"] == pytest.approx(900 / 700, abs=0.12)
    assert moved["docs/medium/none"] == pytest.approx(1.3, abs=0.12)


def test_the_truth_is_left_as_it_is_but_for_noise():
    seen = history(3000)
    assert off(seen, fitted(seen).coefficients, SHIPPED) < 0.035


def test_what_few_events_speak_for_stays_as_it_is():
    found = fitted(history(100, scaled(1.4)), min_samples=101)
    assert not found.changed
    assert found.coefficients == SHIPPED
    some = fitted(history(100, scaled(1.4)), min_samples=30)
    assert some.changed
    unchanged = {term.name for term in some.terms if term.proposed == term.present}
    assert unchanged >= {term.name for term in some.terms if term.samples < 30}


def test_the_more_events_speak_for_a_change_the_further_it_goes():
    """All of one kind, so that nothing but their number differs."""
    steps = []
    for number in (20, 80, 2000):
        points = [Point(features=DOC, actual=round(2000 * 1.3), censored=False)] * number
        steps.append(base_tokens(DOC, fit(points, SHIPPED, min_samples=20).coefficients) / 2000)
    assert 1.1 < steps[0] < steps[1] < steps[2] == pytest.approx(1.3, abs=0.01)


@pytest.mark.parametrize("times", [8.0, 1 / 8])
def test_a_step_is_capped(times: float):
    found = factors(fitted(history(1000, scaled(times), spread=0.1)))
    cap = math.exp(math.copysign(LARGEST_STEP, math.log(times)))
    assert all(factor == pytest.approx(cap, rel=1e-3) for factor in found.values())


def test_a_few_wild_answers_change_little():
    calm = history(1000)
    wild = [replace(o, actual=o.actual * 1000) if o.event_id % 50 == 0 else o for o in calm]
    assert off(calm, fitted(wild).coefficients, SHIPPED) < 0.06


def test_an_answer_that_was_cut_counts_as_at_least_what_was_seen():
    cut = Point(features=DOC, actual=2000, censored=True)
    short = [cut] * 200 + [Point(features=DOC, actual=2400, censored=False)] * 50
    whole = [replace(point, censored=False) for point in short]
    found, naive = (
        base_tokens(DOC, fit(each, SHIPPED, min_samples=20).coefficients) for each in (short, whole)
    )
    assert naive < 2100 < 2300 < found
    low = [replace(cut, actual=100)] * 200
    assert not fit(low, SHIPPED, min_samples=20).changed, "a base above what was seen may be right"


def test_what_has_no_coefficient_of_its_own_gets_one_when_enough_events_speak_for_it():
    files = (("del", "code"), ("new", "code"))
    truth = replace(
        SHIPPED,
        overhead={**SHIPPED.overhead, "security/low/none": 900.0, "security/medium/none": 1176.0},
        weights={**SHIPPED.weights, "del/code": 70.0},
    )
    seen = history(800, truth, categories=("security",), files=files, spread=0.2)
    found = fitted(seen).coefficients
    assert found.overhead["security/low/none"] == pytest.approx(900, rel=0.08)
    assert found.overhead["security/high/none"] == SHIPPED.overhead["implementation/high/none"]
    assert found.weights["del/code"] > 50.0
    few = fitted(seen[:15]).coefficients
    assert few == SHIPPED


def test_of_many_free_words_the_most_frequent_get_coefficients_of_their_own():
    seen = [each for word in range(150) for each in history(word // 50 + 1, categories=(f"word-{word}",))]
    found = fitted(seen, min_samples=1).coefficients
    own = {name.split("/")[0] for name in found.overhead if name.startswith("word-")}
    assert own >= {f"word-{word}" for word in range(100, 150)}
    assert len(own) <= 100


def test_the_order_of_alike_events_and_of_their_files_changes_nothing():
    seen = history(500, scaled(1.2))
    turned = [replace(o, features=replace(o.features, files=o.features.files[::-1])) for o in seen]
    assert fitted(turned).coefficients == fitted(seen).coefficients


def test_an_answer_of_nothing_is_no_error():
    points = [Point(features=DOC, actual=0, censored=False)] * 30
    assert fit(points, SHIPPED, min_samples=20).coefficients.weights["new/doc"] < 500
