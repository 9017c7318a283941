"""What a claim tells its worker: the phase, and what the tries before this one came to."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from autopack.db import phases, runs
from autopack.db.tables import ApprovalRequestRow, AttemptRow, PhaseRow
from autopack.domain.failures import Action, action, judges_the_work
from autopack.domain.phases import (
    UNJUDGED,
    ApprovedPlan,
    AttemptOutcome,
    Claim,
    FailureKind,
    Phase,
    PreviousAttempt,
)

_TOLD = 2
_PASSED = (AttemptOutcome.COMPLETE, AttemptOutcome.NO_OP)
# Built once: building a statement costs more than running it. Without what a try has made, which may be megabytes.
_TRIES = (
    select(
        AttemptRow.id, AttemptRow.number, AttemptRow.outcome, AttemptRow.failure_kind, AttemptRow.reason,
        AttemptRow.base_commit, AttemptRow.inputs_hash, PhaseRow.requeued_after,
    )
    .join(PhaseRow, (PhaseRow.run_id == AttemptRow.run_id) & (PhaseRow.phase_id == AttemptRow.phase_id))
    .where(
        AttemptRow.run_id == bindparam("of_run"),
        AttemptRow.phase_id == bindparam("named"),
        AttemptRow.number < bindparam("before"),
    )
    .order_by(AttemptRow.number)
)  # fmt: skip
_APPROVED = (
    select(ApprovalRequestRow)
    .where(
        ApprovalRequestRow.run_id == bindparam("of_run"),
        ApprovalRequestRow.phase_id == bindparam("named"),
        ApprovalRequestRow.status == "approved",
    )
    .limit(1)
)


def of_attempt(session: Session, attempt: AttemptRow) -> Claim:
    """The claim that made this attempt; asked again, the same."""
    run_id, phase_id = attempt.run_id, attempt.phase_id
    # A first try has nothing before it: no earlier one, and no approval, which only the end of a try asks for.
    is_first = attempt.number == 1
    wanted = {"of_run": run_id, "named": phase_id, "before": attempt.number}
    earlier = [] if is_first else session.execute(_TRIES, wanted).all()
    judged = [row for row in earlier if row.number > row.requeued_after and _judges(row)]
    phase = phases.get(session, run_id, phase_id)
    return Claim(
        attempt_id=attempt.id, lease_token=attempt.lease_token, lease_expires_at=attempt.lease_expires_at,
        number=attempt.number, run=runs.to_domain(runs.row(session, run_id), {}), phase=phase,
        previous=_lessons(phase, earlier), dead_attempts=_dead(earlier),
        approved=None if is_first else _approved(session, run_id, phase_id),
        failed_inputs=tuple(dict.fromkeys(row.inputs_hash for row in judged if row.inputs_hash is not None)),
        failures=len(judged),
        escalations=sum(action(FailureKind(row.failure_kind)) is Action.ESCALATE_MODEL for row in judged),
        resume_base=_resume_base(earlier),
    )  # fmt: skip


def _lessons(phase: Phase, earlier: Sequence[Any]) -> tuple[PreviousAttempt, ...]:
    """The last tries that failed, and at the end why a person took back what had passed."""
    failed = [row for row in earlier if row.outcome == AttemptOutcome.FAILED and not _is_unjudged(row)]
    told = [
        PreviousAttempt(
            number=row.number, failure_kind=FailureKind(row.failure_kind) if row.failure_kind else None, reason=row.reason
        )
        for row in failed[-_TOLD:]
    ]  # fmt: skip
    if phase.failure_kind is FailureKind.UNDONE:
        undone = PreviousAttempt(
            number=_last_passed(earlier), failure_kind=phase.failure_kind, reason=phase.failure_reason
        )
        told = [*told[1 - _TOLD :], undone]
    return tuple(told)


def _dead(earlier: Sequence[Any]) -> tuple[str, ...]:
    """A try that passed closed what was before it: undone since, its commit may be a dead try's, and is nobody's now."""
    since = _last_passed(earlier)
    return tuple(row.id for row in earlier if row.outcome in UNJUDGED and row.number > since)


def _last_passed(earlier: Sequence[Any]) -> int:
    return max((row.number for row in earlier if row.outcome in _PASSED), default=0)


def _resume_base(earlier: Sequence[Any]) -> str | None:
    unjudged = takewhile(_is_unjudged, reversed(earlier))
    return next((row.base_commit for row in unjudged if row.base_commit is not None), None)


def _judges(row: Any) -> bool:
    failed = row.outcome == AttemptOutcome.FAILED and row.failure_kind is not None
    return failed and judges_the_work(FailureKind(row.failure_kind))


def _is_unjudged(row: Any) -> bool:
    """Whether a try ended without a word about its work: its answers are found again, and it teaches nothing."""
    return row.outcome in UNJUDGED or row.failure_kind == FailureKind.MODEL_ERROR


def _approved(session: Session, run_id: str, phase_id: str) -> ApprovedPlan | None:
    row = session.scalar(_APPROVED, {"of_run": run_id, "named": phase_id})
    if row is None:
        return None
    return ApprovedPlan(
        approval_id=row.id, diff_hash=row.diff_hash, base_commit=row.base_commit, policy_hash=row.policy_hash,
        checks_hash=row.checks_hash, plan=row.plan,
    )  # fmt: skip
