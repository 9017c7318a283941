"""A calibration is accepted when it would have served, refused when not, and tells the same of the same events."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from autopack.domain import calibrate as calibrating
from autopack.domain.backtest import STRETCH, as_asked, back_test, bounds, compared, point_errors
from autopack.domain.budget import Online
from autopack.domain.calibrate import BLOCKS, Calibration, Decision, Present, calibrate, hash_of
from autopack.domain.calibration_report import (
    as_json,
    file_name,
    json_text,
    markdown,
    metrics,
    summary,
)
from autopack.domain.estimate import SHIPPED, base_tokens
from autopack.domain.observations import Observation
from autopack.domain.rates import Rate
from tests.support_calibration import history, scaled, skewed


def calibrated(observations: list[Observation], **more: Any) -> Calibration:
    values: dict[str, Any] = {"present": Present(coefficients=SHIPPED), "target": 0.05, "min_samples": 20}
    values |= {"left_out": {}, "events": len(observations), **more}
    return calibrate(observations, values.pop("left_out"), values.pop("present"), **values)


def test_better_coefficients_are_accepted_and_keep_the_promise():
    found = calibrated(history(1500, skewed(3.0)))
    assert (found.decision, found.reasons) == (Decision.ACCEPTED, ())
    assert found.present is not None
    assert found.proposed is not None
    assert found.coefficients is not None
    assert found.proposed.score.pinball < 0.9 * found.present.score.pinball
    assert found.proposed.errors.smape < found.present.errors.smape
    rate = Rate(count=found.proposed.score.missed, total=found.proposed.score.decided)
    assert rate.total == 1200, "the first fifth is only learned from"
    assert rate.low < 0.05 < rate.high
    assert found.coefficients.weights["new/doc"] == pytest.approx(750.0), "as far as one step goes"
    assert found.coefficients.version == found.proposed.version != SHIPPED.version


def test_what_would_have_done_worse_is_refused():
    """The truth turned round: what was learned from the first events is wrong for the later ones."""
    seen = history(1000, lambda number: skewed(2.0) if number < 600 else skewed(0.5), spread=0.3)
    found = calibrated(seen)
    assert found.decision is Decision.REFUSED
    assert any("pinball" in reason and SHIPPED.version in reason for reason in found.reasons)
    assert found.present is not None
    assert found.proposed is not None
    assert found.proposed.score.pinball > found.present.score.pinball


def test_a_gain_that_may_be_chance_is_refused():
    """Where the present coefficients are the truth any fit is noise, and some noise does better on the events at hand."""
    gained, accepted = 0, 0
    for seed in range(16):
        found = calibrated(history(300, seed=seed))
        assert found.gain is not None
        gained += found.gain.pinball > 0
        accepted += found.decision is Decision.ACCEPTED
    assert gained >= 3
    assert accepted <= 1


def test_the_standard_error_is_that_of_the_differences_event_by_event():
    seen = history(200, skewed(3.0))
    before, after, gain = compared(seen, [SHIPPED] * BLOCKS, [skewed(3.0)] * BLOCKS, target=0.05)
    assert gain.pinball == pytest.approx(before.pinball - after.pinball)
    one, same, none = compared(seen, [SHIPPED] * BLOCKS, [SHIPPED] * BLOCKS, target=0.05)
    assert (one, none.pinball, none.standard_error) == (same, 0.0, 0.0)
    longer = compared(history(3200, skewed(3.0)), [SHIPPED] * BLOCKS, [skewed(3.0)] * BLOCKS, target=0.05)[2]
    assert gain.standard_error / longer.standard_error == pytest.approx(4, rel=0.5), (
        "sixteen times the events"
    )


def test_every_event_that_was_read_is_accounted_for():
    found = calibrated(history(120), left_out={"replayed": 7}, events=140)
    assert (found.usable, found.joined) == (120, 13)
    assert "joined (answers to raised budgets, with the asks that they follow): 13, left out: 7" in summary(
        found
    )


def test_a_broken_promise_is_refused():
    """Answers that grow and grow are cut more often than any look back can foresee."""
    seen = [replace(o, actual=round(o.actual * 1.3**o.event_id) + 1) for o in history(60, spread=0.01)]
    found = calibrated(seen, target=0.5, min_samples=5)
    assert found.decision is Decision.REFUSED
    assert found.proposed is not None
    assert f"{found.proposed.score.missed} of 48 answers would have been cut" in found.reasons[0]
    assert "more than the target of 0.5" in found.reasons[0]


def test_answers_that_nobody_knows_the_length_of_are_no_proof():
    """Cut at a tenth of what the base says, and never asked for again."""
    seen = [
        replace(o, censored=True, missed=True, actual=max(1, o.actual // 10)) if o.event_id % 8 == 0 else o
        for o in history(800, skewed(3.0))
    ]
    found = calibrated(seen)
    assert found.decision is Decision.REFUSED
    assert any("not known how long" in reason for reason in found.reasons)


@pytest.mark.parametrize(("target", "needed"), [(0.05, 100), (0.01, 500), (0.5, 20), (0.1, 50)])
def test_too_few_events_are_said_to_be_too_few(target: float, needed: int):
    found = calibrated(history(needed - 3), target=target)
    assert (found.decision, found.coefficients) == (Decision.TOO_FEW, None)
    assert f"{needed} are needed" in found.reasons[0]
    assert found.reasons[0].endswith("3 are missing.")
    assert calibrated(history(needed), target=target).decision is not None


def test_coefficients_that_too_few_events_speak_for_are_not_proposed():
    found = calibrated(history(120), min_samples=119)
    assert (found.decision, found.coefficients) == (Decision.TOO_FEW, None)
    assert "no coefficient has 119 events" in found.reasons[0]
    untried = calibrated(
        history(120, scaled(1.4), categories=("docs",), files=(("new", "doc"),)), min_samples=110
    )
    assert (untried.decision, untried.coefficients) == (Decision.TOO_FEW, None)
    assert "early enough" in untried.reasons[0]


def test_the_events_that_made_the_present_version_make_no_other():
    seen = history(800, skewed(3.0))
    first = calibrated(seen)
    assert first.coefficients is not None
    applied = Present(coefficients=first.coefficients, data_hash=first.data_hash)
    again = calibrated(seen, present=applied)
    assert (again.decision, again.coefficients) == (Decision.NOTHING_NEW, None)
    more = calibrated([*seen, *history(200, skewed(3.0), seed=2)], present=applied)
    assert more.decision is Decision.ACCEPTED
    assert more.present_version == first.coefficients.version


def test_only_the_newest_events_are_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(calibrating, "MOST_EVENTS", 300)
    seen = history(500, skewed(3.0))
    found, alone = calibrated(seen), calibrated(seen[200:])
    assert (found.events, found.usable, found.used) == (500, 500, 300)
    assert (found.data_hash, found.coefficients) == (alone.data_hash, alone.coefficients)


# The back-test


def test_a_budget_knows_only_what_came_before_it():
    """The same as the procedure that goes call by call; and what comes later changes nothing before it."""
    seen = history(400)
    online, budgets = Online(0.1), []
    for each in seen:
        given = online.budget(base_tokens(each.features, SHIPPED), each.group)
        budgets.append(given.tokens)
        online.learn(each.sample(SHIPPED), given, missed=each.actual > given.tokens)
    score = back_test(seen, [SHIPPED] * BLOCKS, target=0.1)
    first = bounds(400, BLOCKS)[1]
    assert score.budget_tokens == sum(budgets[first:])
    assert score.missed == sum(
        o.actual > b for o, b in zip(seen, budgets, strict=True) if o.event_id >= first
    )
    later = [*seen[:399], replace(seen[399], actual=10**9)]
    assert back_test(later, [SHIPPED] * BLOCKS, target=0.1).budget_tokens == score.budget_tokens


def test_a_constant_factor_of_all_coefficients_changes_no_budget_once_there_is_a_history():
    """Ratios are taken over the bases of the version that is tried: the two cancel out."""
    seen = history(400)
    one, other = (
        back_test(seen, [each] * BLOCKS, target=0.05)
        for each in (SHIPPED, scaled(3.0, replace(SHIPPED, other_weight=150.0)))
    )
    assert other.budget_tokens == pytest.approx(one.budget_tokens, rel=1e-3)
    assert (other.missed, other.groups) == (one.missed, one.groups)


def test_an_answer_that_was_cut_is_missed_below_where_it_was_cut_and_undecided_above():
    calm = history(300, spread=0.05)
    high = [replace(o, censored=True, actual=o.actual * 50) if o.event_id == 250 else o for o in calm]
    low = [replace(o, censored=True, actual=1) if o.event_id == 250 else o for o in calm]
    sure, unknown = (back_test(each, [SHIPPED] * BLOCKS, target=0.05) for each in (high, low))
    assert (sure.events, sure.decided) == (240, 240)
    assert (unknown.events, unknown.decided) == (240, 239)
    assert sure.thrown_away_tokens > 0


def test_what_was_really_asked_for_is_told_as_it_was():
    seen = history(200)
    seen = [replace(o, missed=True, thrown_away=700) if o.event_id in (3, 60, 70) else o for o in seen]
    score = as_asked(seen, BLOCKS, target=0.05)
    assert (score.events, score.missed, score.thrown_away_tokens, score.prior) == (160, 2, 1400, 0)
    assert (score.budget_tokens, score.worst_stretch) == (160 * 20_000, 2)
    assert sum(group.decided for group in score.groups) == 160
    assert sum(group.missed for group in score.groups) == 2


def test_groups_add_up_and_have_rates_of_their_own():
    score = back_test(history(600), [SHIPPED] * BLOCKS, target=0.05)
    names = [(g.group.task_category, g.group.complexity) for g in score.groups]
    assert names == sorted(names)
    assert len(names) == 6
    assert sum(g.missed for g in score.groups) == score.missed
    assert sum(g.decided for g in score.groups) == score.decided == score.events
    assert score.worst_stretch is not None
    assert score.worst_stretch <= STRETCH


def test_the_errors_of_bases_leave_out_what_was_cut():
    seen = history(50)
    cut = [replace(o, censored=True, actual=1) for o in history(50, seed=2)]
    assert point_errors([*seen, *cut], SHIPPED) == point_errors(seen, SHIPPED)
    exact = [replace(o, actual=round(base_tokens(o.features, SHIPPED))) for o in seen]
    assert (point_errors(exact, SHIPPED).smape, point_errors(exact, SHIPPED).underestimated) == (0.0, 0)


# The report


def test_the_same_events_make_the_same_bytes():
    texts = []
    for _ in range(2):
        found = calibrated(history(500, skewed(3.0)), left_out=Counter({"replayed": 2, "incomplete": 1}))
        texts.append((markdown(found), json_text(found), file_name(found), metrics(found)))
    assert texts[0] == texts[1]
    other = calibrated(history(500, skewed(3.0)), target=0.1)
    assert file_name(other) != texts[0][2]


def test_the_hash_is_of_what_was_learned_and_not_of_where_it_lay():
    seen = history(50)
    assert hash_of([replace(o, event_id=o.event_id + 900) for o in seen]) == hash_of(seen)
    for changed in ({"actual": 1}, {"censored": True}, {"budget": 1}, {"missed": True}):
        assert hash_of([*seen[:-1], replace(seen[-1], **changed)]) != hash_of(seen)
    assert hash_of(seen[::-1]) != hash_of(seen)


def test_the_report_says_what_decides_and_what_is_secondary():
    found = calibrated(history(500, skewed(3.0)), left_out={"replayed": 2}, events=502)
    report = json.loads(json_text(found))
    assert report == as_json(found)
    assert report["events"] == {
        "read": 502,
        "usable": 500,
        "used": 500,
        "joined": 0,
        "left_out": {"replayed": 2},
    }
    assert report["gain"]["pinball"] > 1.645 * report["gain"]["standard_error"] > 0
    for trial in ("present", "proposed"):
        scored = report[trial]
        assert scored["waste"] == pytest.approx(scored["budget_tokens"] / scored["actual_tokens"], rel=1e-5)
        assert scored["truncated"]["low"] <= scored["truncated"]["rate"] <= scored["truncated"]["high"]
        assert len(scored["groups"]) == 6
    text = markdown(found)
    assert text.startswith(summary(found))
    for words in (
        "most cut of 100 in a row",
        "tokens thrown away",
        "secondary: SMAPE",
        "| docs/low/none m |",
        "| replayed | 2 |",
        "| new/doc |",
    ):
        assert words in text
    assert metrics(found)["proposed"]["truncated"] == report["proposed"]["truncated"]


def test_words_of_a_group_do_not_break_the_table():
    seen = history(120, categories=("a|b\n# c",))
    lines = markdown(calibrated(seen)).splitlines()
    assert not [line for line in lines if line.startswith("# c")]
    assert any("a/b # c/low/none" in line for line in lines)
