"""Every decision can be made again: what is stored of one, and whether today's reading of the trees agrees. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autopack.domain import gate
from autopack.domain.changes import Change
from autopack.domain.edits import EditPlan
from autopack.domain.gate import Decision, Issue, Recommendation, Review, Verdict
from autopack.domain.phases import AttemptOutcome, FailureKind, JsonObject, Scope
from autopack.domain.policy import (
    Action,
    Policy,
    Violation,
    check_changes,
    check_plan,
    missing_deliverables,
    rules,
)
from autopack.domain.testing import ChecksVerdict
from autopack.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A verdict with all that it was made from."""

    verdict: Verdict
    checks: ChecksVerdict
    violations: tuple[Violation, ...] = ()
    """What the rules found, on the plan and on the tree that resulted."""
    others: tuple[Violation, ...] = ()
    """What the pipeline itself asks about, such as a diff that no auditor saw whole: not to be found again in a tree."""
    missing: tuple[str, ...] = ()
    auditors: int = 1
    changed: bool = True


def decide(
    *,
    checks: ChecksVerdict,
    reviews: Sequence[Review],
    violations: Sequence[Violation],
    missing: Sequence[str],
    policy: Policy,
    others: Sequence[Violation] = (),
    auditors: int = 1,
    changed: bool = True,
    approval_id: str | None = None,
) -> Judged:
    """The gate's verdict, kept together with what it was made from."""
    verdict = gate.judge(
        checks=checks, reviews=reviews, violations=[*violations, *others], missing=missing, policy=policy,
        auditors=auditors, changed=changed, approval_id=approval_id,
    )  # fmt: skip
    return Judged(
        verdict=verdict, checks=checks, violations=tuple(violations), others=tuple(others), missing=tuple(missing),
        auditors=auditors, changed=changed,
    )  # fmt: skip


def verdict_to_json(judged: Judged) -> JsonObject:
    """What `verdict` of an attempt holds: the verdict's own fields on top, then what it was made from."""
    made_from = {key: value for key, value in asdict(judged).items() if key != "verdict"}
    return {**asdict(judged.verdict), **made_from}


def verdict_from_json(stored: Mapping[str, Any]) -> Judged:
    """Raises InvalidInput where the verdict was not stored whole (as before there was an audit)."""
    try:
        checks = stored["checks"]
        return Judged(
            verdict=Verdict(
                decision=Decision(stored["decision"]), reasons=tuple(stored["reasons"]),
                failure_kind=_kind(stored["failure_kind"]), auto=tuple(stored["auto"]),
                approval_id=stored["approval_id"],
            ),
            checks=ChecksVerdict(
                passed=checks["passed"], failure_kind=_kind(checks["failure_kind"]), reasons=tuple(checks["reasons"]),
                asks=tuple(checks["asks"]),
            ),
            violations=_violations(stored["violations"]), others=_violations(stored["others"]),
            missing=tuple(stored["missing"]), auditors=stored["auditors"], changed=stored["changed"],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"the stored verdict does not say what it was made from: {error!r}") from error


def reviews_to_json(reviews: Sequence[Review]) -> JsonObject | None:
    """What `review` of an attempt holds: the first auditor's, and in it under `second` the other's."""
    if not reviews:
        return None
    first, *others = [_review_to_json(review) for review in reviews]
    return {**first, **({"second": others[0]} if others else {})}


def reviews_from_json(stored: Mapping[str, Any] | None) -> tuple[Review, ...]:
    """Raises InvalidInput where that is no review."""
    if stored is None:
        return ()
    try:
        both = [stored, *([stored["second"]] if "second" in stored else [])]
        return tuple(_review(each) for each in both)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"the stored review cannot be read: {error!r}") from error


@dataclass(frozen=True, kw_only=True)
class Record:
    """A stored attempt, and what its base and its tree hold today."""

    attempt_id: str
    outcome: AttemptOutcome | None
    policy_hash: str | None
    verdict: JsonObject | None
    review: JsonObject | None
    scope: Scope
    category: str
    policy: Policy
    """Read again at the attempt's base."""
    base: Mapping[str, str]
    """Modes of the base tree, by path."""
    changes: tuple[Change, ...] | None
    """From the base to the stored result tree; None where there was none, and only the plan was judged."""
    plan: EditPlan | None = None
    """None where it was not judged, or is not stored."""
    ignored: tuple[str, ...] = ()
    approvals: Collection[str] = ()
    """Ids of the requests for this phase that a person approved, and that were for exactly this diff."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What the record says, and what judging again says."""

    field: str
    stored: object
    now: object


def is_done(outcome: AttemptOutcome | None) -> bool:
    """Whether the attempt is called done, which only a decision can make it."""
    return outcome in _OUTCOMES[Decision.OK]


def undecided(why: str) -> Difference:
    """Work that is called done, and no decision that says so can be read."""
    return Difference(field="verdict", stored=None, now=f"called done without a decision: {why}")


def is_recovery(verdict: JsonObject | None) -> bool:
    """What is stored where a dead attempt's commit was found: the decision, and why; what it was made from is lost."""
    return (
        verdict is not None
        and verdict.keys() == {"decision", "reasons"}
        and verdict["decision"] == Decision.OK
    )


def unjudgeable(record: Record) -> str | None:
    """Why this attempt's decision cannot be made again; None when it can."""
    if record.verdict is None:
        return "there was no verdict"
    try:
        verdict_from_json(record.verdict)
    except InvalidInput as error:
        return str(error)
    return (
        "neither its tree nor its plan is stored" if record.changes is None and record.plan is None else None
    )


def recompute(record: Record) -> list[Difference]:
    """Where judging again comes to something else; empty when every word of the record holds.

    Raises InvalidInput where there is nothing to judge (`unjudgeable`) or the review cannot be read.
    """
    if reason := unjudgeable(record):
        raise InvalidInput(f"attempt {record.attempt_id}: {reason}")
    then = verdict_from_json(record.verdict or {})
    now = _again(record, then)
    return [
        *_differing("policy_hash", record.policy_hash, record.policy.hash),
        *_differing("violations", _essence(then.violations), _essence(now.violations)),
        *_differing("missing", sorted(then.missing), sorted(now.missing)),
        *_differing("decision", then.verdict.decision, now.verdict.decision),
        *_differing("failure_kind", then.verdict.failure_kind, now.verdict.failure_kind),
        *_differing("auto", sorted(then.verdict.auto), sorted(now.verdict.auto)),
        *_unapproved(record, then.verdict.approval_id),
        *_wrong_outcome(record, now.verdict),
    ]


def _again(record: Record, then: Judged) -> Judged:
    return decide(
        checks=then.checks, reviews=reviews_from_json(record.review), violations=_found(record, then),
        missing=_missing(record, then), policy=record.policy, others=then.others, auditors=then.auditors,
        changed=record.changes is None or bool(record.changes), approval_id=then.verdict.approval_id,
    )  # fmt: skip


def _found(record: Record, then: Judged) -> list[Violation]:
    """What plan and tree break, as both were judged; of the plan all but what the model had been shown, which is
    not stored: that is taken from the record.
    """
    context = (record.scope, record.policy, record.base)
    planned = check_plan(record.plan, *context, ignored=record.ignored) if record.plan is not None else []
    found = [each for each in then.violations if each.rule in _OF_WHAT_WAS_SEEN]
    if record.changes is not None:
        found += check_changes(record.changes, *context, record.category, ignored=record.ignored)
        planned = _only_planned(planned, found, record.changes, then)
    return list(dict.fromkeys([*found, *planned]))


def _only_planned(
    planned: Sequence[Violation], found: Sequence[Violation], changes: Sequence[Change], then: Judged
) -> list[Violation]:
    """What the plan alone breaks is kept among `others`, and of what stays as it is nothing is told."""
    told = {(each.rule, each.path) for each in (*found, *then.others)}
    paths = {"", *(change.path for change in changes)}
    return [each for each in planned if (each.rule, each.path) not in told and each.path in paths]


_OF_WHAT_WAS_SEEN = (rules.NOT_SEEN.name, rules.STALE.name)


def _missing(record: Record, then: Judged) -> list[str]:
    if record.changes is None:
        return list(then.missing)
    gone = {change.path for change in record.changes if change.after is None}
    there = {*record.base, *(change.path for change in record.changes)} - gone
    return missing_deliverables(record.scope, dict.fromkeys(there))


def _essence(violations: Sequence[Violation]) -> list[tuple[str, str, str]]:
    """The words of a reason may be bettered; rule, path and what follows from it may not change."""
    return sorted({(each.rule, each.path, each.action.value) for each in violations})


def _differing(field: str, stored: object, now: object) -> list[Difference]:
    return [] if stored == now else [Difference(field=field, stored=stored, now=now)]


def _unapproved(record: Record, approval_id: str | None) -> list[Difference]:
    if approval_id is None or approval_id in record.approvals:
        return []
    return [Difference(field="approval_id", stored=approval_id, now=None)]


_OUTCOMES = {
    Decision.OK: {AttemptOutcome.COMPLETE, AttemptOutcome.NO_OP},
    Decision.NEEDS_REVIEW: {AttemptOutcome.NEEDS_APPROVAL},
    Decision.BLOCKED: frozenset[AttemptOutcome](),
}


def _wrong_outcome(record: Record, verdict: Verdict) -> list[Difference]:
    """Any work may fail later, or be given back; but what is called done must have passed."""
    done = record.outcome in {each for fitting in _OUTCOMES.values() for each in fitting}
    if not done or record.outcome in _OUTCOMES[verdict.decision]:
        return []
    return [Difference(field="outcome", stored=record.outcome, now=verdict.decision)]


def _violations(stored: Sequence[Mapping[str, Any]]) -> tuple[Violation, ...]:
    return tuple(Violation(**{**each, "action": Action(each["action"])}) for each in stored)


def _kind(stored: str | None) -> FailureKind | None:
    return None if stored is None else FailureKind(stored)


def _review_to_json(review: Review) -> JsonObject:
    found = asdict(review)
    return {key: value for key, value in found.items() if key != "recommendation" or value is not None}


def _review(stored: Mapping[str, Any]) -> Review:
    recommendation = stored.get("recommendation")
    return Review(
        approved=stored["approved"], issues=tuple(Issue(**each) for each in stored["issues"]), notes=stored["notes"],
        recommendation=None if recommendation is None else Recommendation(recommendation),
    )  # fmt: skip
