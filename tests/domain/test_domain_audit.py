"""A stored decision is made again from the record: equal when nothing was touched, different by name when something was."""

import json
from dataclasses import replace

import pytest

from autopack.domain import audit, policy
from autopack.domain.audit import (
    Record,
    decide,
    recompute,
    reviews_from_json,
    reviews_to_json,
    verdict_from_json,
    verdict_to_json,
)
from autopack.domain.changes import Change, File
from autopack.domain.edits import EditPlan, FileEdit
from autopack.domain.gate import Issue, Recommendation, Review
from autopack.domain.phases import AttemptOutcome, FailureKind, Scope
from autopack.domain.policy import Action, Policy, Violation
from autopack.domain.testing import ChecksVerdict
from autopack.errors import InvalidInput

GREEN = ChecksVerdict(passed=True)
RED = ChecksVerdict(passed=False, failure_kind=FailureKind.CHECKS_FAILED, reasons=("test_a fails",))
APPROVED = Review(
    approved=True, issues=(Issue(severity="minor", path="a.py", line=3, message="a nit"),), notes="fine"
)
MAJOR = Review(
    approved=False,
    issues=(Issue(severity="major", message="drops data"),),
    recommendation=Recommendation.REJECT,
)
SETTINGS = Policy(auto_approve=("delete a file",))
SCOPE = Scope(paths=("src/",), deliverables=("src/new.py",))
BASE = {"src/old.py": "100644", "Makefile": "100644"}
NEW = Change(path="src/new.py", before=None, after=File(content=b"x = 1\n"))
DELETED = Change(path="src/old.py", before=File(content=b"y = 2\n"), after=None)
UNSEEN = Violation(rule="too long to audit whole", path="", reason="the diff is long", action=Action.ASK)


def recorded(
    *changes: Change,
    checks=GREEN,
    reviews=(APPROVED,),
    others=(),
    outcome=AttemptOutcome.COMPLETE,
    scope=SCOPE,
    approval_id=None,
    **more,
) -> Record:
    """An attempt as the pipeline stores it: through JSON."""
    violations = policy.check_changes(changes, scope, SETTINGS, BASE, "implementation")
    there = {*BASE, *(change.path for change in changes if change.after)}
    missing = policy.missing_deliverables(scope, dict.fromkeys(there))
    judged = decide(
        checks=checks, reviews=reviews, violations=violations, missing=missing, policy=SETTINGS, others=others,
        changed=bool(changes), approval_id=approval_id, **more,
    )  # fmt: skip
    return Record(
        attempt_id="a1", outcome=outcome, policy_hash=SETTINGS.hash, policy=SETTINGS, scope=scope, category="implementation",
        base=BASE, changes=tuple(changes), verdict=json.loads(json.dumps(verdict_to_json(judged))),
        review=json.loads(json.dumps(reviews_to_json(reviews))), approvals=("ap1",),
    )  # fmt: skip


NO_OP = AttemptOutcome.NO_OP
RECORDS = {
    "done": recorded(NEW),
    "done, and something allowed": recorded(NEW, DELETED),
    "waits for a person": recorded(NEW, others=[UNSEEN], outcome=AttemptOutcome.NEEDS_APPROVAL),
    "approved by a person": recorded(NEW, others=[UNSEEN], approval_id="ap1", reviews=()),
    "red": recorded(NEW, checks=RED, reviews=(), outcome=AttemptOutcome.FAILED),
    "rejected": recorded(NEW, reviews=(MAJOR,), outcome=AttemptOutcome.FAILED),
    "auditors disagree": recorded(NEW, reviews=(APPROVED, MAJOR), auditors=2, outcome=AttemptOutcome.NEEDS_APPROVAL),
    "out of scope": recorded(NEW, replace(NEW, path="a.py"), reviews=(), outcome=AttemptOutcome.FAILED),
    "nothing to do": recorded(scope=Scope(), reviews=(), outcome=NO_OP),
    "good, and lost on the way": recorded(NEW, outcome=AttemptOutcome.LOST),
}  # fmt: skip


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_an_untouched_record_is_decided_the_same_again(record: Record):
    assert audit.unjudgeable(record) is None
    assert recompute(record) == []


DONE = RECORDS["done"]


def with_verdict(record: Record, **fields) -> Record:
    return replace(record, verdict={**(record.verdict or {}), **fields})


FORGED = {
    "another policy at the base": (replace(DONE, policy=Policy(max_files=3)), {"policy_hash"}),
    "another tree: a secret in it": (
        replace(DONE, changes=(replace(NEW, after=File(content=b"AKIA" + b"ABCDEFGHIJKLMNOP\n")),)),
        {"violations", "decision", "failure_kind", "outcome"},
    ),
    "another tree: a Makefile in it": (
        replace(DONE, changes=(NEW, Change(path="src/Makefile", before=None, after=File(content=b"all:\n")))),
        {"violations", "decision", "outcome"},
    ),
    "another tree: the deliverable is not in it": (
        replace(DONE, changes=(replace(NEW, path="src/other.py"),)), {"missing", "decision", "failure_kind", "outcome"},
    ),
    "red checks called green": (
        with_verdict(RECORDS["red"], decision="ok", failure_kind=None), {"decision", "failure_kind"},
    ),
    "red checks, and called done": (replace(RECORDS["red"], outcome=AttemptOutcome.COMPLETE), {"outcome"}),
    "a review that says something else": (
        replace(DONE, review=reviews_to_json([MAJOR])), {"decision", "failure_kind", "outcome"},
    ),
    "no review": (replace(DONE, review=None), {"decision", "failure_kind", "outcome"}),
    "allowed by nobody": (with_verdict(DONE, auto=["lock file: uv.lock"]), {"auto"}),
    "approved by nobody": (replace(RECORDS["approved by a person"], approvals=()), {"approval_id"}),
    "a violation left out": (with_verdict(RECORDS["done, and something allowed"], violations=[]), {"violations"}),
    "asked, and called done": (replace(RECORDS["waits for a person"], outcome=AttemptOutcome.COMPLETE), {"outcome"}),
    "something changed, and nobody looked": (replace(RECORDS["nothing to do"], changes=(NEW,)), {"decision", "failure_kind", "outcome"}),
}  # fmt: skip


@pytest.mark.parametrize(("record", "fields"), FORGED.values(), ids=FORGED)
def test_what_was_touched_is_named(record: Record, fields: set[str]):
    found = recompute(record)
    assert {difference.field for difference in found} == fields
    assert all(difference.stored != difference.now for difference in found)


def test_a_policy_that_allowed_something_is_judged_by_the_policy_at_the_base():
    record = replace(RECORDS["done, and something allowed"], policy=Policy())
    assert {each.field for each in recompute(record)} == {
        "policy_hash",
        "violations",
        "decision",
        "auto",
        "outcome",
    }


def test_a_plan_that_was_refused_before_there_was_a_tree_is_judged_again():
    plan = EditPlan(
        files=(FileEdit(path=".env", content="x"), FileEdit(path="src/old.py", content="x = 1\n"))
    )
    seen: dict[str, str] = {}
    violations = policy.check_plan(plan, Scope(), SETTINGS, BASE, seen, {"src/old.py": "1"})
    assert {each.rule for each in violations} == {"protected file", "file exists and no base hash was given"}
    judged = decide(checks=GREEN, reviews=(), violations=violations, missing=(), policy=SETTINGS)
    record = Record(
        attempt_id="a1", outcome=AttemptOutcome.FAILED, policy_hash=SETTINGS.hash, policy=SETTINGS, scope=Scope(), category="docs",
        base=BASE, changes=None, plan=plan, verdict=verdict_to_json(judged), review=None,
    )  # fmt: skip
    assert recompute(record) == []
    harmless = EditPlan(files=plan.files[1:])
    assert {each.field for each in recompute(replace(record, plan=harmless))} == {
        "violations",
        "failure_kind",
    }


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (replace(DONE, verdict=None), "there was no verdict"),
        (
            replace(DONE, verdict={"decision": "ok", "reasons": [], "failure_kind": None}),
            "does not say what it was made from",
        ),
        (with_verdict(DONE, decision="fine"), "does not say what it was made from"),
        (replace(DONE, changes=None), "neither its tree nor its plan"),
    ],
)
def test_what_cannot_be_judged_again_says_why(record: Record, reason: str):
    assert reason in (audit.unjudgeable(record) or "")
    with pytest.raises(InvalidInput, match="attempt a1"):
        recompute(record)


def test_verdicts_and_reviews_survive_json():
    judged = decide(
        checks=ChecksVerdict(passed=True, asks=("a",)), reviews=[APPROVED, MAJOR], violations=[UNSEEN], missing=["x"], policy=SETTINGS,
        others=[UNSEEN], auditors=2,
    )  # fmt: skip
    stored = json.loads(json.dumps(verdict_to_json(judged)))
    assert verdict_from_json(stored) == judged
    assert {"decision", "reasons", "failure_kind", "auto"} <= stored.keys()
    for reviews in ((), (APPROVED,), (APPROVED, MAJOR)):
        assert reviews_from_json(json.loads(json.dumps(reviews_to_json(reviews)))) == reviews
    assert reviews_from_json({"approved": True, "issues": [], "notes": ""}) == (Review(approved=True),)
    with pytest.raises(InvalidInput, match="review cannot be read"):
        reviews_from_json({"approved": True})


def test_what_only_the_plan_shows_is_found_again_beside_the_tree():
    """A file deleted and written anew elsewhere is a deletion to the plan, and a move to the tree."""
    plan = EditPlan(
        files=(FileEdit(path="src/old.py", deleted=True), FileEdit(path="src/new.py", content="y = 2\n"))
    )
    moved = replace(NEW, after=DELETED.before)
    changes = (moved, DELETED)
    on_plan = policy.check_plan(plan, SCOPE, Policy(), BASE)
    on_tree = policy.check_changes(changes, SCOPE, Policy(), BASE, "implementation")
    assert [each.rule for each in on_plan] == ["delete a file"]
    assert on_tree == []
    judged = decide(checks=GREEN, reviews=(APPROVED,), violations=on_plan, missing=(), policy=Policy())
    record = replace(
        DONE, policy=Policy(), policy_hash=Policy().hash, plan=plan, changes=changes, verdict=verdict_to_json(judged),
        outcome=AttemptOutcome.NEEDS_APPROVAL,
    )  # fmt: skip
    assert recompute(record) == []
    assert {each.field for each in recompute(replace(record, plan=None))} == {
        "violations",
        "decision",
        "outcome",
    }
    kept_apart = decide(
        checks=GREEN, reviews=(APPROVED,), violations=on_tree, others=on_plan, missing=(), policy=Policy()
    )
    assert recompute(replace(record, verdict=verdict_to_json(kept_apart))) == []
    left_out = verdict_to_json(replace(kept_apart, others=()))
    assert "violations" in {each.field for each in recompute(replace(record, verdict=left_out))}


def test_what_a_plan_writes_as_it_was_is_not_told():
    plan = EditPlan(
        files=(FileEdit(path="src/new.py", content="x = 1\n"), FileEdit(path="Makefile", content="all:\n"))
    )
    assert recompute(replace(recorded(NEW, scope=Scope()), plan=plan)) == []
