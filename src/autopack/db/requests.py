"""Approval requests as rows: made, used and voided by what happens to their phase. A person's word is in `approvals`.

Who writes one holds the lock of its phase, so that a decision and an end of the phase never pass each other.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from autopack.db import events
from autopack.db.tables import ApprovalRequestRow, AttemptRow
from autopack.domain import lifecycle
from autopack.domain.phases import AttemptOutcome, JsonObject, Outcome

OPEN = ("pending", "approved")
_Table = ApprovalRequestRow


def settle(
    session: Session, attempt: AttemptRow, outcome: Outcome, *, is_tried_again: bool, request_id: str | None, now: datetime
) -> None:  # fmt: skip
    """An approval is good until a try has said something about it; a new request takes the place of what was there."""
    run_id, phase_id = attempt.run_id, attempt.phase_id
    if outcome.passed and outcome.approval_void_reason is None:
        session.execute(
            update(_Table)
            .where(_Table.run_id == run_id, _Table.phase_id == phase_id, _Table.status == "approved")
            .values(status="used")
        )
    # First tries have nothing to void: only the end of a try asks a person.
    elif attempt.number > 1 and not (is_tried_again and lifecycle.keeps_approval(outcome)):
        void(session, run_id, phase_id, reason=_why_void(outcome), actor=attempt.worker, now=now)
    if outcome.approval is not None:
        session.execute(
            insert(_Table).values(
                id=request_id, run_id=run_id, phase_id=phase_id, attempt_id=attempt.id, status="pending",
                requested_at=now, **_columns(outcome.approval, now),
            )
        )  # fmt: skip


def approved_since(session: Session, run_id: str, phase_id: str) -> int | None:
    """The number of the attempt whose work a person approved, where that approval still holds."""
    asked = select(AttemptRow.number).join(_Table, _Table.attempt_id == AttemptRow.id)
    return session.scalar(
        asked.where(_Table.run_id == run_id, _Table.phase_id == phase_id, _Table.status == "approved")
    )


def _columns(request: JsonObject, now: datetime) -> dict[str, Any]:
    minutes = request.get("timeout_minutes")
    kept = {name: value for name, value in request.items() if name != "timeout_minutes"}
    return kept if minutes is None else {**kept, "timeout_at": now + timedelta(minutes=minutes)}


def _why_void(outcome: Outcome) -> str:
    if outcome.approval_void_reason:
        return outcome.approval_void_reason
    if outcome.outcome is AttemptOutcome.NEEDS_APPROVAL:
        return "the work is no longer what was approved; it is asked about anew"
    why = outcome.reason or outcome.failure_kind or "no reason given"
    return f"the attempt that was to apply it ended as {outcome.outcome}: {why}"


def void(
    session: Session, run_id: str, phase_id: str | None, *, reason: str, actor: str, now: datetime,
    statuses: Collection[str] = OPEN,
) -> None:  # fmt: skip
    """What waits for a person, or was approved and not applied yet, is good for nothing any more: of a phase, or of all."""
    query = select(_Table.id, _Table.phase_id).where(_Table.run_id == run_id, _Table.status.in_(statuses))
    if phase_id is not None:
        query = query.where(_Table.phase_id == phase_id)
    for request_id, of_phase in session.execute(query).all():
        session.execute(
            update(_Table).where(_Table.id == request_id).values(status="void", void_reason=reason)
        )
        events.record(
            session, run_id=run_id, phase_id=of_phase, kind="approval_void", actor=actor, now=now,
            approval_id=request_id, reason=reason,
        )  # fmt: skip
