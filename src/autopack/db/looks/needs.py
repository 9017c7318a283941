"""What waits for a person at this moment, over all runs: bounded, with how many there are."""

from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.orm import Session

from autopack.db import runs
from autopack.db.looks import why
from autopack.db.tables import ApprovalRequestRow, AttemptRow, PhaseRow, RunRow
from autopack.domain.lifecycle import DONE_STATES
from autopack.domain.looks import digest as words
from autopack.domain.looks.digest import ApprovalWaiting, NeedsYou, PhaseEnded
from autopack.domain.looks.why import Hold
from autopack.domain.looks.words import first_line
from autopack.domain.phases import FailureKind, PhaseState, RunState

REASON_CHARS = 1000
_MOST_APPROVALS, _MOST_RUNS = 100, 50
_NAMED = 3
_Request = ApprovalRequestRow


def needs_you(session: Session, *, since: datetime, now: datetime) -> tuple[NeedsYou, ...]:
    """What blocks most first. Of failures those since then, and those of runs that have not ended."""
    return (
        *(words.approval(each, now) for each in approvals_waiting(session, now)),
        *_paused(session, now),
        *_failed(session, since),
        *_stalled(session, now),
    )


def approvals_waiting(session: Session, now: datetime) -> tuple[ApprovalWaiting, ...]:
    """The overdue first, then in the order in which they were asked for. Without their diffs."""
    rows = session.execute(
        select(
            _Request.id, _Request.run_id, _Request.phase_id, _Request.requested_at, _Request.timeout_at, _Request.reasons
        )
        .where(_Request.status == "pending")
        .order_by(_Request.timeout_at.is_(None), _Request.timeout_at > now, _Request.requested_at, _Request.id)
        .limit(_MOST_APPROVALS)
    )  # fmt: skip
    return tuple(
        ApprovalWaiting(
            approval_id=row.id, run_id=row.run_id, phase_id=row.phase_id, requested_at=row.requested_at,
            timeout_at=row.timeout_at, overdue=row.timeout_at is not None and row.timeout_at <= now,
            reasons=tuple(row.reasons),
        )
        for row in rows
    )  # fmt: skip


def number_of_approvals(session: Session) -> int:
    return session.scalar(select(func.count()).where(_Request.status == "pending")) or 0


def _paused(session: Session, now: datetime) -> list[NeedsYou]:
    query = (
        select(RunRow.id).where(RunRow.state == RunState.PAUSED).order_by(RunRow.updated_at.desc(), RunRow.id)
    )
    found = []
    for run_id in session.scalars(query.limit(_MOST_RUNS)).all():
        found.append(words.paused(runs.get(session, run_id), why.pause_of(session, run_id), now))
    return found


def _failed(session: Session, since: datetime) -> list[NeedsYou]:
    by_run: dict[str, list[Any]] = {}
    for row in session.execute(_failed_phases(since)):
        by_run.setdefault(row.run_id, []).append(row)
    return [
        words.failed(run_id, [ended(row) for row in rows], rows[0].alike)
        for run_id, rows in list(by_run.items())[:_MOST_RUNS]
    ]


def _failed_phases(since: datetime) -> Select[Any]:
    """Of each run the newest, with how many there are."""
    # From the runs: the index of states begins with the run.
    wanted = or_(PhaseRow.completed_at >= since, RunRow.state.not_in(DONE_STATES))
    newest_first = (PhaseRow.completed_at.desc(), PhaseRow.id.desc())
    ranked = (
        select(
            PhaseRow.id,
            func.row_number().over(partition_by=PhaseRow.run_id, order_by=newest_first).label("place"),
            func.count().over(partition_by=PhaseRow.run_id).label("alike"),
        )
        .select_from(RunRow)
        .join(PhaseRow, and_(PhaseRow.run_id == RunRow.id, PhaseRow.state == PhaseState.FAILED))
        .where(wanted)
        .subquery()
    )
    return (
        select(
            PhaseRow.run_id, PhaseRow.phase_id, PhaseRow.state, PhaseRow.completed_at, PhaseRow.result_commit,
            PhaseRow.failure_kind, func.substr(PhaseRow.failure_reason, 1, REASON_CHARS).label("failure_reason"),
            ranked.c.alike,
        )
        .join(ranked, ranked.c.id == PhaseRow.id)
        .where(ranked.c.place <= _NAMED)
        .order_by(*newest_first)
    )  # fmt: skip


def ended(row: Any) -> PhaseEnded:
    """Of a row with the phase's end."""
    return PhaseEnded(
        run_id=row.run_id, phase_id=row.phase_id, state=PhaseState(row.state), at=row.completed_at,
        result_commit=row.result_commit, reason=first_line(row.failure_reason) or None,
        failure_kind=FailureKind(row.failure_kind) if row.failure_kind else None,
    )  # fmt: skip


def _stalled(session: Session, now: datetime) -> list[NeedsYou]:
    """Runs that have begun, and that no worker holds a phase of, though something could be done."""
    held = select(AttemptRow.id).where(
        AttemptRow.run_id == RunRow.id, AttemptRow.outcome.is_(None), AttemptRow.lease_expires_at >= now
    )
    query = select(RunRow.id).where(RunRow.state == RunState.RUNNING, ~held.exists())
    found = []
    for run_id in session.scalars(
        query.order_by(RunRow.updated_at.desc(), RunRow.id).limit(_MOST_RUNS)
    ).all():
        seen = why.situation(session, run_id, now=now)
        if seen.has(Hold.DUE) or seen.ended_leases:
            found.append(words.stalled(run_id, seen.has(Hold.DUE), seen.ended_leases))
    return found
