"""What an attempt's stored JSON says on a page: the worst first, cut with the number told, and never an error."""

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopack.domain import evidence
from autopack.domain.audit import Judged, reviews_to_json, verdict_to_json
from autopack.domain.gate import Issue, Review, judge
from autopack.domain.phases import FailureKind, JsonObject
from autopack.domain.policy import Action, Policy, Violation
from autopack.domain.testing import ChecksVerdict
from autopack.domain.testing.compare import Comparison

GREEN = ChecksVerdict(passed=True)
RED = ChecksVerdict(passed=False, failure_kind=FailureKind.CHECKS_FAILED, reasons=("newly failing: t::a",))
REFUSAL = Violation(rule="protected file", path=".env", reason=".env: protected file", action=Action.REFUSE)
ASK = Violation(rule="builds the project", path="Makefile", reason="Makefile: a person", action=Action.ASK)
YES = Review(approved=True)


def stored(**known: Any) -> JsonObject:
    """A verdict as an attempt keeps it."""
    known = {"checks": GREEN, "reviews": [YES], "violations": (), "missing": (), **known}
    verdict = judge(policy=Policy(), **known)
    judged = Judged(
        verdict=verdict, checks=known["checks"], violations=tuple(known["violations"]), others=(),
        missing=tuple(known["missing"]), auditors=1, changed=True,
    )  # fmt: skip
    return verdict_to_json(judged)


@pytest.mark.parametrize(
    ("known", "decision", "fired"),
    [
        ({}, "ok", "nothing blocks it, and nobody is to be asked"),
        ({"approval_id": "q1"}, "ok", "a person approved exactly this work"),
        ({"violations": [ASK, REFUSAL], "checks": RED}, "blocked", "the policy refuses: protected file"),
        ({"checks": RED, "missing": ["a.py"]}, "blocked", "the checks are red: checks failed"),
        ({"missing": ["a.py"]}, "blocked", "a deliverable is missing"),
        ({"reviews": [Review(approved=False)]}, "blocked", "audit rejected"),
        ({"violations": [ASK]}, "needs_review", "a person is asked: builds the project"),
        ({"checks": ChecksVerdict(passed=True, asks=("t is gone",))}, "needs_review", "a person is asked: t is gone"),
    ],
)  # fmt: skip
def test_the_row_of_the_gates_table_that_fired_is_told(known: dict[str, Any], decision: str, fired: str):
    told = evidence.decision(stored(**known))
    assert told is not None
    assert (told.decision, told.fired) == (decision, fired)


def test_what_refuses_is_told_before_what_asks():
    told = evidence.decision(stored(violations=[ASK, REFUSAL]))
    assert told is not None
    assert [(rule.action, rule.path) for rule in told.rules] == [("refuse", ".env"), ("ask", "Makefile")]


def result(command: str = "pytest", *, passed: bool = False, **more: Any) -> JsonObject:
    return {
        "command": command,
        "passed": passed,
        "kind": "failed",
        "exit_code": 1,
        "duration_seconds": 1.5,
        **more,
    }


def report(*results: JsonObject, comparisons: list[JsonObject] | None = None) -> JsonObject:
    evidence = {"comparisons": comparisons or []}
    return {"passed": False, "level": "full", "results": list(results), "evidence": evidence, "notes": ["n"]}


def test_red_commands_and_the_worst_tests_come_first():
    tests = {"passed": 4000, "failed": 2, "skipped": 1, "error": 1}
    names = {"m::s": "skipped", "m::f1": "failed", "m::f2": "failed", "m::e": "error"}
    told = evidence.checks(report(result("lint", passed=True), result(tests=tests, not_passed=names)))
    assert told is not None
    assert [each.command for each in told.commands] == ["pytest", "lint"]
    (red, _) = told.commands
    assert red.counts == (("error", 1), ("failed", 2), ("skipped", 1), ("passed", 4000))
    assert [(each.what, each.is_bad, each.ids) for each in red.not_passed] == [
        ("error", True, ("m::e",)), ("failed", True, ("m::f1", "m::f2")), ("skipped", False, ("m::s",)),
    ]  # fmt: skip


def test_a_comparison_stays_with_its_command_when_red_ones_move_up():
    told = evidence.checks(
        report(
            result("lint", passed=True), result("pytest"),
            comparisons=[{}, {"fixed": ["m::x"], "newly_failing": ["m::y"]}],
        )
    )  # fmt: skip
    assert told is not None
    red, green = told.commands
    assert [(each.what, each.is_bad, each.ids) for each in red.differs] == [
        ("newly failing", True, ("m::y",)), ("failed at the base, and passes now", False, ("m::x",)),
    ]  # fmt: skip
    assert green.differs == ()


def test_of_thousands_of_tests_some_are_named_and_the_others_counted():
    names = {f"m::t{number}": "failed" for number in range(200)}
    gone = [f"m::g{number}" for number in range(300)]
    told = evidence.checks(
        report(result(tests={"failed": 3000}, not_passed=names), comparisons=[{"vanished": gone}])
    )
    assert told is not None
    (command,) = told.commands
    ((failed,), (vanished,)) = (command.not_passed, command.differs)
    assert (len(failed.ids), failed.more) == (evidence.MOST_TESTS, 3000 - evidence.MOST_TESTS)
    assert (len(vanished.ids), vanished.more) == (evidence.MOST_TESTS, 300 - evidence.MOST_TESTS)


def test_more_commands_than_a_page_takes_are_told_of_and_the_red_ones_are_there():
    green = [result(f"c{number}", passed=True) for number in range(evidence.MOST_COMMANDS + 3)]
    told = evidence.checks(report(*green, result("red")))
    assert told is not None
    assert told.commands[0].command == "red"
    assert len(told.commands) == evidence.MOST_COMMANDS
    assert "4 more commands are not shown" in told.notes


def test_every_way_a_test_may_differ_has_words():
    assert set(evidence._CHANGES) == asdict(Comparison()).keys()


def test_both_reviews_are_told_with_major_issues_first():
    issues = (Issue(severity="minor", message="m"), Issue(severity="major", message="x", path="a.py", line=3))
    told = evidence.reviews(reviews_to_json([Review(approved=False, issues=issues, notes="no"), YES]))
    assert [review.approved for review in told] == [False, True]
    assert [(each.severity, each.place) for each in told[0].issues] == [("major", "a.py:3"), ("minor", "")]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["results", "tests", "not_passed", "verdict", "evidence", "comparisons", "violations", "issues", "second",
         "counted", "passed", "decision", "checks", "failure_kind", "reasons", "vanished", "line", "path", "exit_code"]
    ), inner, max_size=6),
    max_leaves=25,
)  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from(["results", "verdict", "evidence", "violations", "issues", "second"]), _JSON
    )
)
def test_whatever_is_stored_a_page_can_be_made_of_it(odd: JsonObject):
    for read in (evidence.checks, evidence.decision, evidence.reviews):
        assert read({}) in (None, ())
        assert read(odd) is not None or not odd
