"""The gate's table, over all of its input space: what must never pass does not pass, in any combination."""

from datetime import UTC, datetime
from functools import cache
from itertools import combinations_with_replacement, product

import pytest

from autopack.domain.gate import (
    Decision,
    Issue,
    Recommendation,
    Review,
    Verdict,
    dual_wanted,
    judge,
)
from autopack.domain.phases import FailureKind, Phase, PhaseState
from autopack.domain.policy import Action, DualAuditor, Policy, Violation
from autopack.domain.testing import ChecksVerdict

GREEN = ChecksVerdict(passed=True)
ASKING = ChecksVerdict(passed=True, asks=("an existing test was changed",))
RED = ChecksVerdict(passed=False, failure_kind=FailureKind.TESTS_VANISHED, reasons=("two tests are gone",))
CHECKS = [GREEN, ASKING, RED, ChecksVerdict(passed=False)]

APPROVED = Review(approved=True, issues=(Issue(severity="minor", message="a nit"),))
MAJOR = Review(approved=True, issues=(Issue(severity="major", message="it drops data"),))
DISMISSED = Review(approved=False, notes="not what was asked")
REJECTS = Review(approved=True, recommendation=Recommendation.REJECT, notes="wrong way")
UNSURE = Review(approved=True, recommendation=Recommendation.ASK_PERSON, notes="is this wanted?")
KINDS = [APPROVED, MAJOR, DISMISSED, REJECTS, UNSURE]
REVIEWS = [(), *((each,) for each in KINDS), *product(KINDS, repeat=2)]

ASK = Violation(rule="lock file", path="uv.lock", reason="uv.lock decides", action=Action.ASK)
REFUSE = Violation(rule="protected file", path=".env", reason=".env is protected")
WEAKENS = Violation(rule="weakens tests", path="tests/test_a.py", reason="asserts less")
ALLOW = Violation(rule="delete a file", path="old.py", reason="old.py is deleted", action=Action.ALLOW)
ALLOW_UNNAMED = Violation(
    rule="executable bit", path="run.sh", reason="run.sh is executable", action=Action.ALLOW
)
RULES = [ASK, REFUSE, WEAKENS, ALLOW, ALLOW_UNNAMED]
VIOLATIONS = [each for size in range(3) for each in combinations_with_replacement(RULES, size)]
NAMED = Policy(auto_approve=("delete a file",))

SPACE = list(
    product(
        CHECKS, REVIEWS, VIOLATIONS, [(), ("a.py",)], [Policy(), NAMED], [1, 2], [True, False], [None, "ap1"]
    )
)


def decided(case) -> Verdict:
    checks, reviews, violations, missing, policy, auditors, changed, approval = case
    return judge(
        checks=checks, reviews=reviews, violations=violations, missing=missing, policy=policy, auditors=auditors,
        changed=changed, approval_id=approval,
    )  # fmt: skip


@cache
def verdicts() -> list[tuple]:
    return [(case, decided(case)) for case in SPACE]


def test_red_checks_a_refusal_and_a_missing_deliverable_never_pass_nor_wait_for_a_person():
    seen = 0
    for (checks, _, violations, missing, *_), verdict in verdicts():
        if not checks.passed or missing or any(each.action is Action.REFUSE for each in violations):
            seen += 1
            assert verdict.decision is Decision.BLOCKED
    assert seen > 10_000


def test_no_issue_that_is_major_and_no_objection_ever_passes():
    for (_, reviews, *_), verdict in verdicts():
        if any(review.rejected for review in reviews) and verdict.passed:
            # Only a person may have decided between auditors that disagree.
            assert verdict.approval_id == "ap1"
            assert not all(review.rejected for review in reviews)
        if reviews and all(review.rejected for review in reviews):
            assert verdict.decision is Decision.BLOCKED


def test_nothing_that_changed_passes_unaudited_but_what_a_person_approved():
    for (_, reviews, _, _, _, auditors, changed, approval), verdict in verdicts():
        if changed and approval is None and len(reviews) < auditors:
            assert verdict.decision is Decision.BLOCKED


def test_nothing_is_allowed_that_the_policy_does_not_name():
    for (_, _, violations, _, policy, _, _, approval), verdict in verdicts():
        if not verdict.passed:
            assert verdict.auto == ()
            continue
        allowed = {
            each for each in violations if each.action is Action.ALLOW and each.rule in policy.auto_approve
        }
        assert verdict.auto == tuple(f"{each.rule}: {each.path}" for each in allowed)
        if set(violations) - allowed:
            assert approval is not None
        assert verdict.approval_id == approval


def test_every_verdict_gives_its_reasons_and_every_block_its_kind():
    for _, verdict in verdicts():
        assert (verdict.failure_kind is not None) == (verdict.decision is Decision.BLOCKED)
        assert verdict.reasons or (verdict.passed and not verdict.auto and not verdict.approval_id)
        assert all(verdict.reasons)


def test_the_table_holds_row_by_row_over_the_whole_space():
    for case, verdict in verdicts():
        assert (verdict.decision, verdict.failure_kind) == by_the_table(*case), case


def by_the_table(checks, reviews, violations, missing, policy, auditors, changed, approval):
    """The docstring's table once more, written down from its rows."""
    refused = [each.rule for each in violations if each.action is Action.REFUSE]
    rejects = [review.rejected for review in reviews]
    asks = [each for each in violations if each.action is Action.ASK]
    asks += [
        each for each in violations if each.action is Action.ALLOW and each.rule not in policy.auto_approve
    ]
    unsure = any(review.recommendation is Recommendation.ASK_PERSON for review in reviews)
    needs_reviews = changed and approval is None
    rows = [
        (bool(refused), FailureKind.TESTS_WEAKENED if set(refused) == {"weakens tests"} else FailureKind.POLICY_VIOLATION),
        (not checks.passed, checks.failure_kind or FailureKind.CHECKS_FAILED),
        (bool(missing), FailureKind.MISSING_DELIVERABLES),
        (needs_reviews and len(reviews) < auditors, FailureKind.AUDIT_REJECTED),
        (bool(rejects) and all(rejects), FailureKind.AUDIT_REJECTED),
    ]  # fmt: skip
    for fits, kind in rows:
        if fits:
            return Decision.BLOCKED, kind
    if approval is None and (any(rejects) or asks or checks.asks or unsure):
        return Decision.NEEDS_REVIEW, None
    return Decision.OK, None


@pytest.mark.parametrize(
    ("more", "kind", "words"),
    [
        ({}, None, ""),
        ({"violations": [ASK]}, None, "uv.lock decides"),
        ({"violations": [ALLOW_UNNAMED]}, None, "run.sh is executable"),
        ({"checks": RED}, FailureKind.TESTS_VANISHED, "two tests are gone"),
        ({"checks": ChecksVerdict(passed=False), "reviews": []}, FailureKind.CHECKS_FAILED, "red"),
        ({"checks": ASKING}, None, "an existing test was changed"),
        ({"reviews": []}, FailureKind.AUDIT_REJECTED, "there was no review"),
        ({"auditors": 2}, FailureKind.AUDIT_REJECTED, "1 of 2 auditors gave a review"),
        ({"reviews": [MAJOR]}, FailureKind.AUDIT_REJECTED, "it drops data"),
        ({"reviews": [DISMISSED]}, FailureKind.AUDIT_REJECTED, "does not approve: not what was asked"),
        ({"reviews": [REJECTS]}, FailureKind.AUDIT_REJECTED, "wrong way"),
        ({"reviews": [UNSURE]}, None, "an auditor asks for a person: is this wanted?"),
        (
            {"reviews": [APPROVED, MAJOR], "auditors": 2},
            None,
            "the auditors disagree; one objects: it drops data",
        ),
        ({"reviews": [DISMISSED, MAJOR], "auditors": 2}, FailureKind.AUDIT_REJECTED, "it drops data"),
        (
            {"reviews": [APPROVED, MAJOR], "auditors": 2, "checks": RED},
            FailureKind.TESTS_VANISHED,
            "two tests",
        ),
        ({"missing": ["a.py"]}, FailureKind.MISSING_DELIVERABLES, "a.py does not exist"),
        ({"violations": [REFUSE]}, FailureKind.POLICY_VIOLATION, ".env is protected"),
        ({"violations": [WEAKENS]}, FailureKind.TESTS_WEAKENED, "asserts less"),
        ({"violations": [ASK, REFUSE], "checks": RED}, FailureKind.POLICY_VIOLATION, ".env is protected"),
    ],
)
def test_a_verdict_says_which_rule_it_was(more, kind, words):
    verdict = judge(**{"checks": GREEN, "reviews": [APPROVED], "policy": Policy(), **more})
    assert verdict.failure_kind is kind
    assert words in "; ".join(verdict.reasons)


def test_what_the_policy_allows_is_recorded_as_its_own_word():
    verdict = judge(checks=GREEN, reviews=[APPROVED], violations=[ALLOW, ALLOW], policy=NAMED)
    assert verdict == Verdict(
        decision=Decision.OK,
        reasons=("allowed by the policy: delete a file: old.py",),
        auto=("delete a file: old.py",),
    )


@pytest.mark.parametrize(
    ("category", "risk", "policy", "asked", "wanted"),
    [
        ("implementation", "normal", Policy(), None, False),
        ("implementation", "normal", Policy(), True, True),
        ("implementation", "high", Policy(), None, True),
        ("security", "normal", Policy(), None, True),
        ("schema_change", "normal", Policy(), None, True),
        ("security", "high", Policy(), False, False),
        ("security", "normal", Policy(risky_categories=()), None, False),
        ("payments", "normal", Policy(risky_categories=("payments",)), None, True),
        ("implementation", "normal", Policy(dual_auditor=DualAuditor.ALWAYS), None, True),
        ("security", "high", Policy(dual_auditor=DualAuditor.ALWAYS), False, True),
    ],
)
def test_when_two_auditors_are_asked(category, risk, policy, asked, wanted):
    at = datetime(2026, 1, 1, tzinfo=UTC)
    phase = Phase(
        run_id="r1", phase_id="p1", tier_id="T1", tier_index=0, phase_index=0, name="p1", goal="g", complexity="low",
        task_category=category, risk=risk, state=PhaseState.EXECUTING, created_at=at, updated_at=at,
    )  # fmt: skip
    assert dual_wanted(phase, policy, asked) is wanted
