"""A calibration as JSON and as Markdown. The same events give the same bytes: no moment, no path, no order by chance."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from autopack.domain.backtest import STRETCH, GroupScore, PointErrors, Score
from autopack.domain.calibrate import BLOCKS, MOST_FITTED, Calibration, Trial
from autopack.domain.estimate import Group
from autopack.domain.estimators import SHORT_HASH, digest
from autopack.domain.phases import JsonObject
from autopack.domain.rates import Rate

_METHOD = (
    f"The events come in {BLOCKS} blocks, oldest first. The first one is only learned from. Each event of the others "
    "gets its budget from the events before it alone, as a call would have: with the present coefficients, and with "
    f"ones that were fitted on the blocks before its own. What is proposed was fitted on all of them (each time on the newest {MOST_FITTED} at most).",
    "It is accepted if the 95 % interval of the rate of cut answers does not lie above the target, if there are no "
    "more undecided events than the target allows misses, and if the mean pinball loss is smaller than the present "
    "version's by more than 1.645 standard errors of the difference, event by event: as much is chance once in twenty "
    "times. An event is undecided where its answer was cut below the budget that is tried.",
    "Pinball: the quantile loss at 1 - target over log(tokens); of a cut answer only a budget below it costs. Rates of "
    "groups are watched, not promised. SMAPE and underestimation tell of the bases, which no call is given, and decide nothing.",
)  # fmt: skip


def as_json(found: Calibration) -> JsonObject:
    return {
        "decision": found.decision,
        "reasons": list(found.reasons),
        "target": found.target,
        "min_samples": found.min_samples,
        "data_hash": found.data_hash,
        "events": {
            "read": found.events, "usable": found.usable, "used": found.used, "joined": found.joined, "left_out": dict(found.left_out),
        },
        "as_asked": found.asked and _score(found.asked),
        "present": found.present and _trial(found.present),
        "proposed": found.proposed and _trial(found.proposed),
        "gain": found.gain and {"pinball": _short(found.gain.pinball), "standard_error": _short(found.gain.standard_error)},
        "present_version": found.present_version,
        "coefficients": found.coefficients and found.coefficients.to_json(),
        "terms": [asdict(term) for term in found.terms],
    }  # fmt: skip


def json_text(found: Calibration) -> str:
    return json.dumps(as_json(found), indent=2, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"


def metrics(found: Calibration) -> JsonObject:
    """What is kept with the version: how it did, and which report says all of it."""
    report = as_json(found)
    kept = {name: report[name] for name in ("target", "min_samples", "events")}
    for name in ("present", "proposed"):
        kept[name] = {what: value for what, value in report[name].items() if what != "groups"}
    return {**kept, "report_hash": digest(report)}


def file_name(found: Calibration) -> str:
    """Without its suffix. It says what is inside: another report has another name."""
    version = found.coefficients.version if found.coefficients else found.present_version
    return f"calibration-{version}-{digest(as_json(found))[:SHORT_HASH]}"


def markdown(found: Calibration) -> str:
    return "\n".join([*_head(found), *_groups(found), *_terms(found), *_left_out(found), *_method()])


def summary(found: Calibration) -> str:
    """The part of the report that says what was found."""
    return "\n".join(_head(found))


def _trial(trial: Trial) -> JsonObject:
    return {
        "version": trial.version,
        **_score(trial.score),
        "smape": _short(trial.errors.smape),
        "underestimated": _rate(_underestimated(trial.errors)),
    }


def _score(score: Score) -> JsonObject:
    return {
        "events": score.events,
        "undecided": score.events - score.decided,
        "truncated": _rate(_truncated(score)),
        f"worst_rolling_{STRETCH}": score.worst_stretch,
        "budget_tokens": score.budget_tokens,
        "actual_tokens": score.actual_tokens,
        "waste": _waste(score),
        "thrown_away_tokens": score.thrown_away_tokens,
        "pinball": _short(score.pinball),
        "prior": score.prior,
        "groups": [{**asdict(each.group), **_rate(_group_rate(each))} for each in score.groups],
    }


def _rate(rate: Rate) -> JsonObject:
    value = rate.value
    return {
        "count": rate.count, "total": rate.total, "rate": None if value is None else _short(value),
        "low": _short(rate.low), "high": _short(rate.high),
    }  # fmt: skip


def _truncated(score: Score) -> Rate:
    return Rate(count=score.missed, total=score.decided)


def _group_rate(score: GroupScore) -> Rate:
    return Rate(count=score.missed, total=score.decided)


def _underestimated(errors: PointErrors) -> Rate:
    return Rate(count=errors.underestimated, total=errors.events)


def _waste(score: Score) -> float | None:
    return _short(score.budget_tokens / score.actual_tokens) if score.actual_tokens else None


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _head(found: Calibration) -> list[str]:
    proposed = f", proposed: {found.coefficients.version}" if found.coefficients else ""
    lines = [
        f"# Calibration of {found.present_version}: {found.decision.replace('_', ' ')}", "",
        f"Target: {found.target:.6g} of the answers cut; at least {found.min_samples} events for a coefficient{proposed}.", "",
        f"Events: {found.events}, usable: {found.usable}, used (the newest): {found.used}, joined (answers to raised budgets, "
        f"with the asks that they follow): {found.joined}, left out: {sum(found.left_out.values())}, data {found.data_hash[:16]}.", "",
    ]  # fmt: skip
    lines += [f"- {reason}" for reason in found.reasons] + [""] * bool(found.reasons)
    if found.asked and found.present and found.proposed:
        lines += _scores(found.asked, found.present, found.proposed)
    return lines


def _scores(asked: Score, present: Trial, proposed: Trial) -> list[str]:
    scores = (asked, present.score, proposed.score)
    errors = (present.errors, proposed.errors)
    rows = [
        ["", "as asked", present.version, f"{proposed.version} (proposed)"],
        ["answers cut", *(_told(_truncated(score)) for score in scores)],
        [f"most cut of {STRETCH} in a row", *(_known(score.worst_stretch) for score in scores)],
        ["undecided", *(str(score.events - score.decided) for score in scores)],
        ["waste (budgets / actuals)", *(_known(_waste(score)) for score in scores)],
        ["tokens thrown away", *(str(score.thrown_away_tokens) for score in scores)],
        ["mean pinball loss", *(f"{score.pinball:.6g}" for score in scores)],
        ["budgets of the prior", *(str(score.prior) for score in scores)],
        ["secondary: SMAPE of bases", "-", *(f"{each.smape:.6g}" for each in errors)],
        ["secondary: bases too low", "-", *(_told(_underestimated(each)) for each in errors)],
    ]
    return [*_table(rows), ""]


def _groups(found: Calibration) -> list[str]:
    if not (found.asked and found.present and found.proposed):
        return []
    scores = (found.asked, found.present.score, found.proposed.score)
    by_group = [{each.group: each for each in score.groups} for score in scores]
    groups: dict[Group, None] = {each.group: None for score in scores for each in score.groups}
    rows = [["group", "as asked", found.present.version, found.proposed.version]]
    for group in sorted(groups, key=_name):
        rows.append([_name(group), *(_told_of(known.get(group)) for known in by_group)])
    return ["## Answers cut, by group (watched, not promised)", "", *_table(rows), ""]


def _told_of(score: GroupScore | None) -> str:
    return "-" if score is None else _told(_group_rate(score))


def _name(group: Group) -> str:
    return f"{group.task_category}/{group.complexity}/{group.reasoning_level} {group.model_family}"


def _terms(found: Calibration) -> list[str]:
    if not found.terms:
        return []
    rows = [["coefficient", "events", found.present_version, "proposed", "factor"]]
    for term in found.terms:
        factor = f"{term.proposed / term.present:.3f}" if term.present else "-"
        same = term.proposed == term.present
        rows.append(
            [
                term.name,
                str(term.samples),
                f"{term.present:.6g}",
                f"{term.proposed:.6g}",
                "" if same else factor,
            ]
        )
    return ["## Coefficients, in output tokens", "", *_table(rows), ""]


def _left_out(found: Calibration) -> list[str]:
    rows = [["left out", "events"], *([reason, str(number)] for reason, number in found.left_out.items())]
    return ["## Left out", "", *(_table(rows) if found.left_out else ["Nothing."]), ""]


def _method() -> list[str]:
    return ["## How it is judged", "", *(line for text in _METHOD for line in (text, ""))]


def _table(rows: Iterable[Sequence[str]]) -> list[str]:
    head, *rest = (
        f"| {' | '.join(' '.join(cell.replace('|', '/').split()) for cell in row)} |" for row in rows
    )
    return [head, f"|{' --- |' * (head.count(' | ') + 1)}", *rest]


def _told(rate: Rate) -> str:
    if rate.value is None:
        return "-"
    return f"{rate.count} of {rate.total}: {rate.value:.2%} ({rate.low:.2%} to {rate.high:.2%})"


def _known(value: float | int | None) -> str:
    return "-" if value is None else f"{value:.6g}"
