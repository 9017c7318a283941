"""Approvals: listed, and decided once, by a person. What a person did not decide in time is recorded as just that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from autopack.db import events, phases, runs
from autopack.db.columns import UtcDateTime
from autopack.db.engine import Database
from autopack.db.tables import ApprovalRequestRow, PhaseRow
from autopack.domain import lifecycle
from autopack.domain.phases import Approval, FailureKind, Phase, PhaseState
from autopack.errors import AutopackError, Conflict, NotFound

TIMEOUT = "timeout"
_Table = ApprovalRequestRow
# Built once, and only of keys, for every claim asks.
_DUE = (
    select(_Table.id, _Table.run_id, _Table.phase_id)
    .where(
        _Table.status == "pending",
        _Table.on_timeout == "reject",
        _Table.timeout_at <= bindparam("now", type_=UtcDateTime()),
    )
    .order_by(_Table.run_id, _Table.phase_id)
)
_DUE_OF_RUN = _DUE.where(_Table.run_id == bindparam("of_run"))


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A person's word. `run_id`, where it is given, must be the run that the request belongs to."""

    approved: bool
    by: str
    method: str
    reason: str | None = None
    run_id: str | None = None


def page(
    session: Session, *, run_id: str | None, status: str | None, after: str | None = None, limit: int = 100, now: datetime
) -> list[Approval]:  # fmt: skip
    """In the order in which they were asked for; `after` is the id of the last one seen. Raises NotFound for no run."""
    if run_id is not None:
        runs.row(session, run_id)
    expire_due(session, run_id, now=now)
    query = select(_Table).order_by(_Table.requested_at, _Table.id)
    if after is not None:
        last = _row(session, after)
        as_old = (_Table.requested_at == last.requested_at) & (_Table.id > last.id)
        query = query.where((_Table.requested_at > last.requested_at) | as_old)
    if run_id is not None:
        query = query.where(_Table.run_id == run_id)
    if status is not None:
        query = query.where(_Table.status == status)
    return [to_domain(row, now) for row in session.scalars(query.limit(limit))]


def get(session: Session, approval_id: str, *, now: datetime) -> Approval:
    expire_due(session, _row(session, approval_id).run_id, now=now)
    return to_domain(_row(session, approval_id), now)


def decide(
    session: Session, approval_id: str, decision: Decision, *, now: datetime, actor: str | None = None
) -> Approval:
    """Approved: the phase is due again and will apply exactly the approved plan. Rejected: the phase is FAILED.

    Raises NotFound for a request that is not there or is another run's, and Conflict when it was decided, used,
    voided or ran out before. The same word of the same person once more changes nothing and is answered alike.
    `actor`, for the audit trail, says more fully who decided and from where.
    """
    row = _row(session, approval_id)
    if decision.run_id is not None and decision.run_id != row.run_id:
        raise NotFound(
            f"approval request {approval_id} belongs to run {row.run_id}, not to {decision.run_id}; nothing was decided"
        )
    phases.get(session, row.run_id, row.phase_id, lock=True)
    row = _row(session, approval_id)  # as it is now that nobody else can change it
    if _is_due(row, now):
        raise Conflict(
            f"approval request {approval_id} is expired, not pending: nobody decided before {row.timeout_at:%Y-%m-%d %H:%M} UTC. "
            "Requeue the phase to be asked anew."
        )
    if _same_word(row, decision):
        return to_domain(row, now)
    if row.status != "pending":
        raise Conflict(f"approval request {approval_id} is {row.status}, not pending: {_history(row)}")
    session.execute(
        update(_Table)
        .where(_Table.id == approval_id, _Table.status == "pending")
        .values(
            status="approved" if decision.approved else "rejected", responded_at=now, responded_by=decision.by,
            response_method=decision.method, response_reason=decision.reason,
        )
    )  # fmt: skip
    actor = actor or f"{decision.by} ({decision.method})"
    phase = _release(session, row, decision, now=now)
    events.record(
        session, run_id=row.run_id, phase_id=row.phase_id, kind="approved" if decision.approved else "rejected",
        actor=actor, now=now, approval_id=approval_id, reason=decision.reason,
    )  # fmt: skip
    pauses_after = phase if phase.pause_after and not decision.approved else None
    runs.settle(session, row.run_id, actor=actor, now=now, pauses_after=pauses_after)
    return to_domain(_row(session, approval_id), now)


def expire_due(session: Session, run_id: str | None, *, now: datetime) -> int:
    """Requests whose time has passed, and whose policy says so, reject themselves: recorded as a timeout, nobody's word.

    Of one run, or of all of them. Everything that looks at requests calls this first, in its own transaction.
    """
    found = due(session, run_id, now=now)
    if found:  # all phases before any run: locks are taken in one order everywhere
        phases.lock(session, {(each.run_id, each.phase_id) for each in found})
    return expire(session, found, now=now)


def due(session: Session, run_id: str | None, *, now: datetime) -> Sequence[Any]:
    """The keys of the requests that are to be rejected by themselves."""
    query, of_run = (_DUE, {}) if run_id is None else (_DUE_OF_RUN, {"of_run": run_id})
    return session.execute(query, {"now": now, **of_run}).all()


def expire(session: Session, found: Sequence[Any], *, now: datetime) -> int:
    """Of these keys, whose phases the caller has locked, those that are still pending."""
    return sum(_expire(session, _row(session, each.id), now=now) for each in found)


def expire_everywhere(database: Database, now: Callable[[], datetime]) -> int:
    """The same for all runs, each in a transaction of its own. Raises AutopackError, whatever the database says."""
    try:
        with database.transaction() as session:
            run_ids = sorted({each.run_id for each in due(session, None, now=now())})
        expired = 0
        for run_id in run_ids:
            with database.transaction() as session:
                expired += expire_due(session, run_id, now=now())
    except SQLAlchemyError as error:
        raise AutopackError(f"requests that ran out could not be marked: {error}") from error
    return expired


def _expire(session: Session, row: ApprovalRequestRow, *, now: datetime) -> bool:
    why = f"nobody decided before {row.timeout_at:%Y-%m-%d %H:%M} UTC, and the policy rejects what nobody decides"
    expired = session.execute(
        update(_Table)
        .where(_Table.id == row.id, _Table.status == "pending")
        .values(
            status="expired", responded_at=now, responded_by=None, response_method=TIMEOUT, response_reason=why
        )
        .returning(_Table.id)
    )  # fmt: skip
    if expired.first() is None:
        return False
    phase = phases.get(session, row.run_id, row.phase_id)
    _fail(session, row, FailureKind.APPROVAL_TIMED_OUT, why, now=now)
    events.record(
        session, run_id=row.run_id, phase_id=row.phase_id, kind="approval_expired", actor="autopack", now=now,
        approval_id=row.id, reason=why,
    )  # fmt: skip
    pauses_after = phase if phase.pause_after else None
    runs.settle(session, row.run_id, actor="autopack", now=now, pauses_after=pauses_after)
    return True


def _release(session: Session, row: ApprovalRequestRow, decision: Decision, *, now: datetime) -> Phase:
    """The phase as it waited."""
    phase = phases.get(session, row.run_id, row.phase_id)
    if phase.state is not PhaseState.GATE:
        raise Conflict(
            f"phase {row.phase_id} of run {row.run_id} is {phase.state}; it no longer waits for approval"
        )
    if not decision.approved:
        reason = decision.reason or "a person rejected the edits"
        _fail(session, row, FailureKind.APPROVAL_REJECTED, reason, now=now)
        return phase
    attempts = max(0, phase.attempts - 1)  # waiting for a person spends none
    _leave_gate(session, row, now, state=PhaseState.QUEUED, attempts=attempts)
    return phase


def _fail(
    session: Session, row: ApprovalRequestRow, kind: FailureKind, reason: str, *, now: datetime
) -> None:
    _leave_gate(
        session, row, now, state=PhaseState.FAILED, failure_kind=kind,
        failure_reason=lifecycle.with_advice(kind, reason), completed_at=now, pause_after=False,
    )  # fmt: skip


def _leave_gate(session: Session, row: ApprovalRequestRow, now: datetime, **values: object) -> None:
    session.execute(
        update(PhaseRow)
        .where(
            PhaseRow.run_id == row.run_id,
            PhaseRow.phase_id == row.phase_id,
            PhaseRow.state == PhaseState.GATE,
        )
        .values(updated_at=now, **values)
    )


def _row(session: Session, approval_id: str) -> ApprovalRequestRow:
    row = session.get(_Table, approval_id, populate_existing=True)
    if row is None:
        raise NotFound(f"there is no approval request {approval_id}")
    return row


def _same_word(row: ApprovalRequestRow, decision: Decision) -> bool:
    """A request whose answer was lost is sent again: then nothing is decided twice."""
    said = "approved" if decision.approved else "rejected"
    return (row.status, row.responded_by, row.response_method, row.response_reason) == (
        said, decision.by, decision.method, decision.reason,
    )  # fmt: skip


def _history(row: ApprovalRequestRow) -> str:
    """What became of a request that is no longer pending."""
    if row.status == "void":
        return f"{row.void_reason or 'its phase went another way'}. A new request, if there is one, is listed as pending."
    if row.status == "expired":
        return f"{row.response_reason}. Requeue the phase to be asked anew."
    said = f"{row.responded_by} decided at {row.responded_at:%Y-%m-%d %H:%M} UTC"
    return f"{said}, and the edits are applied" if row.status == "used" else said


def _is_overdue(row: ApprovalRequestRow, now: datetime) -> bool:
    return row.status == "pending" and row.timeout_at is not None and row.timeout_at <= now


def _is_due(row: ApprovalRequestRow, now: datetime) -> bool:
    return _is_overdue(row, now) and row.on_timeout == "reject"


def to_domain(row: ApprovalRequestRow, now: datetime) -> Approval:
    return Approval(
        approval_id=row.id, run_id=row.run_id, phase_id=row.phase_id, attempt_id=row.attempt_id, status=row.status,
        reasons=tuple(row.reasons), diff=row.diff, diff_hash=row.diff_hash, base_commit=row.base_commit,
        policy_hash=row.policy_hash, checks_hash=row.checks_hash, requested_at=row.requested_at,
        timeout_at=row.timeout_at, on_timeout=row.on_timeout, overdue=_is_overdue(row, now), void_reason=row.void_reason,
        responded_at=row.responded_at, responded_by=row.responded_by, response_method=row.response_method,
        response_reason=row.response_reason,
    )  # fmt: skip
