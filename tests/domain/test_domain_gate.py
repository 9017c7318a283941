"""The gate's table: what must never pass does not pass, in any combination."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopack.domain.gate import Decision, Issue, Review, judge
from autopack.domain.phases import FailureKind
from autopack.domain.policy import Action, Violation

ISSUES = st.builds(
    Issue, severity=st.sampled_from(["minor", "major"]), message=st.text(max_size=20), path=st.none()
)
REVIEWS = st.none() | st.builds(
    Review, approved=st.booleans(), issues=st.lists(ISSUES, max_size=3).map(tuple), notes=st.text(max_size=20)
)
VIOLATIONS = st.lists(
    st.builds(
        Violation, rule=st.just("r"), path=st.just("p"), reason=st.text(max_size=20), action=st.sampled_from(Action)
    ),
    max_size=3,
)  # fmt: skip


@given(
    st.booleans(), REVIEWS, st.lists(st.sampled_from(["a.py", "b.py"]), max_size=2, unique=True), VIOLATIONS
)
def test_only_green_reviewed_whole_and_permitted_work_passes(
    checks_passed: bool, review: Review | None, missing: list[str], violations: list[Violation]
):
    verdict = judge(checks_passed=checks_passed, review=review, missing=missing, violations=violations)
    refused = any(violation.action is Action.REFUSE for violation in violations)
    asked = bool(violations)
    major = review is not None and any(issue.severity == "major" for issue in review.issues)
    good = (
        checks_passed and review is not None and review.approved and not major and not missing and not refused
    )

    assert verdict.passed == (good and not asked)
    assert (verdict.decision is Decision.NEEDS_REVIEW) == (good and asked)
    assert (verdict.decision is Decision.BLOCKED) == (not good)
    assert (verdict.failure_kind is None) == good
    assert verdict.reasons or verdict.passed


APPROVED = Review(approved=True, issues=(Issue(severity="minor", message="a nit"),))
MAJOR = Review(approved=True, issues=(Issue(severity="major", message="it drops data"),))
DISMISSED = Review(approved=False, notes="not what was asked")
ASK = Violation(rule="r", path="Makefile", reason="Makefile decides", action=Action.ASK)
REFUSE = Violation(rule="r", path=".env", reason=".env is protected")


@pytest.mark.parametrize(
    ("checks", "review", "missing", "violations", "kind", "words"),
    [
        (True, APPROVED, [], [], None, ""),
        (True, APPROVED, [], [ASK], None, "Makefile decides"),
        (False, APPROVED, [], [], FailureKind.CHECKS_FAILED, "red"),
        (False, None, [], [], FailureKind.CHECKS_FAILED, "red"),
        (True, None, [], [], FailureKind.AUDIT_REJECTED, "no review"),
        (True, MAJOR, [], [], FailureKind.AUDIT_REJECTED, "it drops data"),
        (True, DISMISSED, [], [], FailureKind.AUDIT_REJECTED, "not what was asked"),
        (True, APPROVED, ["a.py"], [], FailureKind.MISSING_DELIVERABLES, "a.py does not exist"),
        (True, APPROVED, [], [REFUSE], FailureKind.POLICY_VIOLATION, ".env is protected"),
        (True, APPROVED, [], [ASK, REFUSE], FailureKind.POLICY_VIOLATION, ".env is protected"),
    ],
)
def test_a_block_says_which_rule_it_was(checks, review, missing, violations, kind, words):
    verdict = judge(checks_passed=checks, review=review, missing=missing, violations=violations)
    assert verdict.failure_kind is kind
    assert words in "; ".join(verdict.reasons)


def test_the_table_of_the_module_holds_row_by_row():
    for red, major, missing, asks in product([True, False], repeat=4):
        verdict = judge(
            checks_passed=not red,
            review=MAJOR if major else APPROVED,
            missing=["a.py"] if missing else [],
            violations=[ASK] if asks else [],
        )
        if red or major or missing:
            assert verdict.decision is Decision.BLOCKED
        else:
            assert verdict.decision is (Decision.NEEDS_REVIEW if asks else Decision.OK)
