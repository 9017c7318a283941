"""The one place that says whether an attempt's work may be committed. Pure.

| checks | major issue | deliverables | asks a person | verdict      |
|--------|-------------|--------------|---------------|--------------|
| red    | any         | any          | any           | blocked      |
| green  | yes         | any          | any           | blocked      |
| green  | no          | missing      | any           | blocked      |
| green  | no          | there        | yes           | needs_review |
| green  | no          | there        | no            | ok           |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from autopack.domain.phases import FailureKind
from autopack.domain.policy import Action, Violation


class Decision(StrEnum):
    OK = "ok"
    NEEDS_REVIEW = "needs_review"
    BLOCKED = "blocked"


@dataclass(frozen=True, kw_only=True)
class Issue:
    """What the auditor found; `severity` is "minor" or "major"."""

    severity: str
    message: str
    path: str | None = None
    line: int | None = None


@dataclass(frozen=True, kw_only=True)
class Review:
    approved: bool
    issues: tuple[Issue, ...] = ()
    notes: str = ""

    @property
    def major_issues(self) -> tuple[Issue, ...]:
        return tuple(issue for issue in self.issues if issue.severity == "major")

    @property
    def rejected(self) -> bool:
        """An auditor that does not approve rejects, whether or not it calls an issue major."""
        return bool(self.major_issues) or not self.approved


@dataclass(frozen=True, kw_only=True)
class Verdict:
    decision: Decision
    reasons: tuple[str, ...] = ()
    failure_kind: FailureKind | None = None

    @property
    def passed(self) -> bool:
        return self.decision is Decision.OK


def judge(
    *, checks_passed: bool, review: Review | None, missing: Sequence[str], violations: Sequence[Violation]
) -> Verdict:
    """See the table above. `review` is None only where checks were red: nothing passes unaudited."""
    refused = [violation.reason for violation in violations if violation.action is Action.REFUSE]
    if refused:
        return _blocked(FailureKind.POLICY_VIOLATION, refused)
    if not checks_passed:
        return _blocked(FailureKind.CHECKS_FAILED, ["the checks are red"])
    if review is None or review.rejected:
        texts = (
            [issue.message for issue in review.major_issues or review.issues]
            if review
            else ["there was no review"]
        )
        return _blocked(
            FailureKind.AUDIT_REJECTED, texts or [f"the auditor does not approve: {review and review.notes}"]
        )
    if missing:
        return _blocked(FailureKind.MISSING_DELIVERABLES, [f"{path} does not exist" for path in missing])
    asks = tuple(violation.reason for violation in violations)
    return Verdict(decision=Decision.NEEDS_REVIEW if asks else Decision.OK, reasons=asks)


def _blocked(kind: FailureKind, reasons: Sequence[str]) -> Verdict:
    return Verdict(decision=Decision.BLOCKED, reasons=tuple(reasons), failure_kind=kind)
