"""What an attempt's stored JSON says, in the sizes of a page. Pure.

Check reports, reviews and verdicts were written by other versions too, and hold what programs and models printed:
whatever is not of the form that is known is left out, and nothing in here raises.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autopack.domain.phases import JsonObject
from autopack.domain.testing.results import RED, WORST_FIRST

MOST_TESTS = 50
"""Named of each kind; of the others only the number is told."""
MOST_COMMANDS = 50
MOST_ISSUES = 100
MOST_OUTPUT_CHARS = 16_000
_CHANGES = {
    "newly_failing": "newly failing",
    "uncollected": "can no longer be imported",
    "vanished": "ran at the base, and did not run now",
    "newly_skipped": "ran at the base, and is skipped now",
    "newly_xfailed": "is now expected to fail",
    "flaky": "flaky: failed, and passed when run again",
    "already_failing": "failed at the base already",
    "moved": "runs under another name now",
    "fixed": "failed at the base, and passes now",
}
_GRAVEST = {"refuse": 0, "ask": 1}
_RED = {outcome.value for outcome in RED}


@dataclass(frozen=True, kw_only=True)
class Tests:
    """Tests of which the same is said; `more` of them are not named."""

    __test__ = False  # the name is not for pytest

    what: str
    is_bad: bool
    ids: tuple[str, ...]
    more: int = 0


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of the checks. `counts` are outcomes and how many tests had them, the worst first."""

    command: str
    passed: bool
    kind: str
    exit_code: int | None
    seconds: float | None
    reason: str
    counts: tuple[tuple[str, int], ...]
    not_passed: tuple[Tests, ...]
    differs: tuple[Tests, ...]
    """What is otherwise than at the base."""
    output: str
    is_cut: bool


@dataclass(frozen=True, kw_only=True)
class Checks:
    passed: bool
    level: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    commands: tuple[Command, ...]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule that the work broke: "refuse", "ask" or "allow" is what the policy does then."""

    rule: str
    path: str
    action: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the gate said, and the row of its table that fitted."""

    decision: str
    fired: str
    reasons: tuple[str, ...]
    rules: tuple[Rule, ...]
    missing: tuple[str, ...]
    allowed: tuple[str, ...]
    approval_id: str | None


@dataclass(frozen=True, kw_only=True)
class Issue:
    severity: str
    place: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Review:
    approved: bool
    recommendation: str
    notes: str
    issues: tuple[Issue, ...]
    more: int = 0


def checks(report: JsonObject | None) -> Checks | None:
    """The failed commands first."""
    if not report:
        return None
    verdict = _object(report.get("verdict"))
    compared = _list(_object(report.get("evidence")).get("comparisons"))
    results = [_object(each) for each in _list(report.get("results"))]
    red_first = sorted(range(len(results)), key=lambda number: results[number].get("passed") is True)
    left_out = len(results) - MOST_COMMANDS
    return Checks(
        passed=report.get("passed") is True,
        level=_text(report.get("level")),
        reasons=(*_texts(verdict.get("reasons")), *_texts(verdict.get("asks"))),
        notes=(
            *_texts(report.get("notes")),
            *([f"{left_out} more commands are not shown"] if left_out > 0 else []),
        ),
        commands=tuple(
            _command(results[number], _object(compared[number] if number < len(compared) else None))
            for number in red_first[:MOST_COMMANDS]
        ),
    )


def decision(verdict: JsonObject | None) -> Decision | None:
    if not verdict:
        return None
    rules = tuple(_rule(_object(each)) for each in _list(verdict.get("violations")))
    missing, approval_id = _texts(verdict.get("missing")), verdict.get("approval_id")
    return Decision(
        decision=_text(verdict.get("decision")),
        fired=_fired(verdict, rules, missing),
        reasons=_texts(verdict.get("reasons")),
        rules=tuple(sorted(rules, key=lambda each: _GRAVEST.get(each.action, len(_GRAVEST)))),
        missing=missing,
        allowed=_texts(verdict.get("auto")),
        approval_id=approval_id if isinstance(approval_id, str) else None,
    )


def reviews(stored: JsonObject | None) -> tuple[Review, ...]:
    if not stored:
        return ()
    second = _object(stored.get("second"))
    return tuple(_review(each) for each in (stored, second) if each)


def _command(result: JsonObject, compared: JsonObject) -> Command:
    output = _text(result.get("output"))
    seconds, code = result.get("duration_seconds"), result.get("exit_code")
    return Command(
        command=_text(result.get("command")),
        passed=result.get("passed") is True,
        kind=_text(result.get("kind")).replace("_", " "),
        exit_code=code if isinstance(code, int) else None,
        seconds=float(seconds) if isinstance(seconds, int | float) else None,
        reason=_text(result.get("reason")),
        counts=_counts(result),
        not_passed=tuple(_not_passed(result)),
        differs=tuple(_differs(compared)),
        output=output[-MOST_OUTPUT_CHARS:],
        is_cut=len(output) > MOST_OUTPUT_CHARS,
    )


def _counts(result: JsonObject) -> tuple[tuple[str, int], ...]:
    """Of a runner that names its tests; else as many as it says it ran."""
    told = {name: number for name, number in _object(result.get("tests")).items() if isinstance(number, int)}
    if not told:
        counted = _object(result.get("counted"))
        told = {name: counted[name] for name in ("skipped", "passed") if isinstance(counted.get(name), int)}
    known = [outcome.value for outcome in WORST_FIRST]
    order = [*known, *sorted(told.keys() - set(known))]
    return tuple((name, told[name]) for name in order if told.get(name))


def _not_passed(result: JsonObject) -> Iterable[Tests]:
    by_outcome: dict[str, list[str]] = {}
    for test_id, outcome in _object(result.get("not_passed")).items():
        by_outcome.setdefault(_text(outcome), []).append(test_id)
    totals = dict(_counts(result))
    for outcome in WORST_FIRST:
        ids = by_outcome.get(outcome.value, [])
        if ids:
            shown = ids[:MOST_TESTS]
            more = max(totals.get(outcome.value, 0), len(ids)) - len(shown)
            yield Tests(what=outcome.value, is_bad=outcome.value in _RED, ids=tuple(shown), more=more)


def _differs(compared: JsonObject) -> Iterable[Tests]:
    for number, (name, what) in enumerate(_CHANGES.items()):
        ids = _texts(compared.get(name))
        if ids:
            more = max(0, len(ids) - MOST_TESTS)
            yield Tests(what=what, is_bad=number < 5, ids=ids[:MOST_TESTS], more=more)


def _fired(verdict: JsonObject, rules: Iterable[Rule], missing: tuple[str, ...]) -> str:
    """The row of the gate's table (`domain/gate`), read off what the decision was made from, in its order."""
    if verdict.get("decision") == "ok":
        approved = "a person approved exactly this work" if verdict.get("approval_id") else ""
        return approved or "nothing blocks it, and nobody is to be asked"
    if verdict.get("decision") == "needs_review":
        asks = [rule.rule for rule in rules if rule.action != "refuse"] or [*_texts(verdict.get("reasons"))]
        return f"a person is asked: {asks[0]}" if asks else "a person is asked"
    refused = [rule for rule in rules if rule.action == "refuse"]
    if refused:
        return f"the policy refuses: {refused[0].rule}"
    kind = _text(verdict.get("failure_kind")).replace("_", " ")
    if _object(verdict.get("checks")).get("passed") is False:
        return f"the checks are red: {kind}" if kind else "the checks are red"
    if missing:
        return "a deliverable is missing"
    return kind or "blocked"


def _rule(stored: JsonObject) -> Rule:
    return Rule(**{name: _text(stored.get(name)) for name in ("rule", "path", "action", "reason")})


def _review(stored: JsonObject) -> Review:
    issues = [_object(each) for each in _list(stored.get("issues"))]
    issues.sort(key=lambda each: each.get("severity") != "major")
    return Review(
        approved=stored.get("approved") is True,
        recommendation=_text(stored.get("recommendation")).replace("_", " "),
        notes=_text(stored.get("notes")),
        issues=tuple(_issue(each) for each in issues[:MOST_ISSUES]),
        more=max(0, len(issues) - MOST_ISSUES),
    )


def _issue(stored: JsonObject) -> Issue:
    path, line = _text(stored.get("path")), stored.get("line")
    place = f"{path}:{line}" if path and isinstance(line, int) else path
    return Issue(severity=_text(stored.get("severity")), place=place, message=_text(stored.get("message")))


def _object(value: Any) -> JsonObject:
    return dict(value) if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(each for each in _list(value) if isinstance(each, str))
