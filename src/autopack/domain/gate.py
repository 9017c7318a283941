"""The one place that says whether an attempt's work may be committed. Pure.

Read from the top; the first row that fits decides.

| what is known                                                   | verdict      | failure kind         |
|-----------------------------------------------------------------|--------------|----------------------|
| the policy refuses something                                    | blocked      | the refusal's        |
| the checks are red                                              | blocked      | the checks'          |
| a deliverable is missing                                        | blocked      | missing_deliverables |
| fewer reviews than were asked for                               | blocked      | audit_rejected       |
| every auditor rejects                                           | blocked      | audit_rejected       |
| one auditor rejects, another does not                           | needs_review |                      |
| the policy, the checks or an auditor ask for a person           | needs_review |                      |
| none of these                                                   | ok           |                      |

An auditor rejects by a major issue, by not approving, or by recommending it; the issues of all auditors count.
Where a person approved exactly this work, no review is asked for and the two `needs_review` rows are decided; the rows
above them hold all the same. A tree that is its own base needs no review either.
What would be asked and the policy itself allows is `auto` in the verdict, by the rule's name: never a person's word.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from autopack.domain.phases import FailureKind, Phase
from autopack.domain.policy import Action, DualAuditor, Policy, Violation, refusal_kind
from autopack.domain.testing import ChecksVerdict


class Decision(StrEnum):
    OK = "ok"
    NEEDS_REVIEW = "needs_review"
    BLOCKED = "blocked"


class Recommendation(StrEnum):
    """What an auditor would do with the work, besides its plain yes or no."""

    ACCEPT = "accept"
    REJECT = "reject"
    ASK_PERSON = "ask_person"


@dataclass(frozen=True, kw_only=True)
class Issue:
    """What an auditor found; `severity` is "minor" or "major"."""

    severity: str
    message: str
    path: str | None = None
    line: int | None = None


@dataclass(frozen=True, kw_only=True)
class Review:
    approved: bool
    issues: tuple[Issue, ...] = ()
    notes: str = ""
    recommendation: Recommendation | None = None

    @property
    def major_issues(self) -> tuple[Issue, ...]:
        return tuple(issue for issue in self.issues if issue.severity == "major")

    @property
    def rejected(self) -> bool:
        """An auditor that does not approve rejects, whether or not it calls an issue major."""
        return bool(self.major_issues) or not self.approved or self.recommendation is Recommendation.REJECT

    @property
    def objections(self) -> tuple[str, ...]:
        """Why it rejects, in its own words."""
        told = tuple(issue.message for issue in self.major_issues or self.issues)
        return told or (f"the auditor does not approve: {self.notes}",)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`auto` are the rules that would have asked a person, and that the policy itself allows."""

    decision: Decision
    reasons: tuple[str, ...] = ()
    failure_kind: FailureKind | None = None
    auto: tuple[str, ...] = ()
    approval_id: str | None = None
    """Of the request by which a person allowed what would have been asked."""

    @property
    def passed(self) -> bool:
        return self.decision is Decision.OK


def judge(
    *,
    checks: ChecksVerdict,
    reviews: Sequence[Review],
    violations: Sequence[Violation] = (),
    missing: Sequence[str] = (),
    policy: Policy,
    auditors: int = 1,
    changed: bool = True,
    approval_id: str | None = None,
) -> Verdict:
    """See the table above. `auditors` is how many reviews were asked for, `changed` whether the tree is not its base."""
    unaudited = not changed or approval_id is not None
    blocked = (
        _refused(violations)
        or _red(checks)
        or _missing(missing)
        or (None if unaudited else _unreviewed(reviews, max(1, auditors)))
        or _rejected(reviews)
    )
    if blocked:
        return blocked
    asked = () if approval_id is not None else _asked(checks, reviews, violations, policy)
    if asked:
        return Verdict(decision=Decision.NEEDS_REVIEW, reasons=asked)
    auto = _allowed(violations, policy)
    return Verdict(decision=Decision.OK, reasons=_why(auto, approval_id), auto=auto, approval_id=approval_id)


def dual_wanted(phase: Phase, policy: Policy, asked: bool | None) -> bool:
    """Whether two auditors see the work. `asked`: `--dual-auditor`, `--no-dual-auditor`, or None for neither."""
    if asked or policy.dual_auditor is DualAuditor.ALWAYS:
        return True
    return asked is None and (phase.risk == "high" or phase.task_category in policy.risky_categories)


def _refused(violations: Sequence[Violation]) -> Verdict | None:
    kind = refusal_kind(violations)
    refused = [violation.reason for violation in violations if violation.action is Action.REFUSE]
    return _blocked(kind, refused) if kind else None


def _red(checks: ChecksVerdict) -> Verdict | None:
    if checks.passed:
        return None
    return _blocked(
        checks.failure_kind or FailureKind.CHECKS_FAILED, checks.reasons or ("the checks are red",)
    )


def _missing(missing: Sequence[str]) -> Verdict | None:
    if not missing:
        return None
    return _blocked(FailureKind.MISSING_DELIVERABLES, [f"{path} does not exist" for path in missing])


def _unreviewed(reviews: Sequence[Review], auditors: int) -> Verdict | None:
    if len(reviews) >= auditors:
        return None
    said = "there was no review" if not reviews else f"{len(reviews)} of {auditors} auditors gave a review"
    return _blocked(FailureKind.AUDIT_REJECTED, [said])


def _rejected(reviews: Sequence[Review]) -> Verdict | None:
    if not reviews or not all(review.rejected for review in reviews):
        return None
    objections = dict.fromkeys(objection for review in reviews for objection in review.objections)
    return _blocked(FailureKind.AUDIT_REJECTED, list(objections))


def _asked(
    checks: ChecksVerdict, reviews: Sequence[Review], violations: Sequence[Violation], policy: Policy
) -> tuple[str, ...]:
    found = [each.reason for each in violations if each.action is Action.ASK or _is_unnamed(each, policy)]
    found += checks.asks
    for review in reviews:
        if review.rejected:
            found += [f"the auditors disagree; one objects: {objection}" for objection in review.objections]
        elif review.recommendation is Recommendation.ASK_PERSON:
            found.append(f"an auditor asks for a person: {review.notes or 'it gives no reason'}")
    return tuple(dict.fromkeys(found))


def _is_unnamed(violation: Violation, policy: Policy) -> bool:
    """Allowed by nobody: only a rule that this very policy names is allowed without a person."""
    return violation.action is Action.ALLOW and violation.rule not in policy.auto_approve


def _allowed(violations: Sequence[Violation], policy: Policy) -> tuple[str, ...]:
    allowed = [each for each in violations if each.action is Action.ALLOW and not _is_unnamed(each, policy)]
    return tuple(dict.fromkeys(f"{each.rule}: {each.path}" if each.path else each.rule for each in allowed))


def _why(auto: Sequence[str], approval_id: str | None) -> tuple[str, ...]:
    approved = ["a person approved exactly this diff, and the checks are green"] if approval_id else []
    return (*approved, *(f"allowed by the policy: {rule}" for rule in auto))


def _blocked(kind: FailureKind, reasons: Sequence[str]) -> Verdict:
    return Verdict(decision=Decision.BLOCKED, reasons=tuple(reasons), failure_kind=kind)
