"""Why there is nothing to claim, in words that a person can act on."""

from datetime import datetime, timedelta

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from autopack.db import runs
from autopack.db.tables import AttemptRow, PhaseRow, RunRow
from autopack.domain.lifecycle import DONE_STATES
from autopack.domain.phases import CAP_CAUSES, Idle, IdleReason, PhaseState, RunState, StateCause

_NAMED = 5


def stopped(session: Session, run: RunRow, now: datetime) -> Idle | None:
    """Why nothing of this run may be claimed at all, whatever is due; None when something may."""
    if run.state == RunState.PAUSED:
        capped = run.state_cause in CAP_CAUSES
        how = _how_to_go_on(run, capped=capped)
        reason = IdleReason.BUDGET if capped else IdleReason.PAUSED
        return Idle(
            reason=reason, detail=f"run {run.id} is paused ({run.state_reason or 'by a person'}); {how}"
        )
    if run.state == RunState.CANCELLED:
        return Idle(reason=IdleReason.CANCELLED, detail=f"run {run.id} is cancelled")
    if run.state == RunState.DONE_FAILED_BUDGET_EXHAUSTED:
        return Idle(reason=IdleReason.BUDGET, detail=f"run {run.id} was given up ({run.state_reason})")
    limit = run.max_duration_minutes
    if (
        limit
        and run.started_at
        and run.state not in DONE_STATES
        and now >= run.started_at + timedelta(minutes=limit)
    ):
        why = f"max_duration_minutes is {limit}, and the run started at {run.started_at:%Y-%m-%d %H:%M} UTC"
        runs.pause(session, run.id, actor="autopack", now=now, cause=StateCause.DURATION, reason=why)
        return Idle(reason=IdleReason.BUDGET, detail=why)
    return None


def _how_to_go_on(run: RunRow, *, capped: bool) -> str:
    if run.state_cause == StateCause.DAILY_CAP:
        return f"raise that cap (`autopack budget set`) or wait for the next day, then `autopack run resume {run.id}`"
    if capped:
        return f"raise the cap, then `autopack run resume {run.id}`"
    return f"`autopack run resume {run.id}` goes on"


def explain(session: Session, run: RunRow, next_due: Select[int], now: datetime) -> Idle:
    """Nothing could be claimed. When nothing can move without a person, the run's state says so as well."""
    lease_ends = (
        select(func.min(AttemptRow.lease_expires_at))
        .where(AttemptRow.run_id == run.id, AttemptRow.outcome.is_(None))
        .scalar_subquery()
    )
    # One statement sees one moment: on PostgreSQL another worker may be claiming or finishing what is due just now.
    until, due_now = session.execute(select(lease_ends, next_due.exists())).one()
    if until is not None or due_now:
        names = _names(session, run.id, PhaseState.EXECUTING) or "the next phase"
        return Idle(reason=IdleReason.EXECUTING, detail=f"being worked on: {names}", until=until)
    due = session.scalar(
        select(func.min(PhaseRow.not_before)).where(
            PhaseRow.run_id == run.id, PhaseRow.state == PhaseState.QUEUED, PhaseRow.not_before > now
        )
    )
    if due is not None:
        return Idle(
            reason=IdleReason.NOT_BEFORE,
            detail=f"the next phase is due at {due:%Y-%m-%d %H:%M:%S} UTC",
            until=due,
        )
    if waiting := _names(session, run.id, PhaseState.GATE):
        return Idle(reason=IdleReason.APPROVAL, detail=f"waiting for a person's approval: {waiting}")
    if failed := _names(session, run.id, PhaseState.FAILED):
        return _blocked(session, run, IdleReason.FAILED, f"failed: {failed}", now)
    runs.settle(session, run.id, actor="autopack", now=now)
    if cancelled := _names(session, run.id, PhaseState.CANCELLED):
        return _blocked(session, run, IdleReason.CANCELLED, f"cancelled: {cancelled}", now)
    return Idle(reason=IdleReason.DONE, detail="every phase is complete or skipped")


def _blocked(session: Session, run: RunRow, reason: IdleReason, detail: str, now: datetime) -> Idle:
    held = session.scalar(
        select(func.count())
        .select_from(PhaseRow)
        .where(PhaseRow.run_id == run.id, PhaseRow.state == PhaseState.QUEUED)
    )
    if held:
        detail += f"; {held} more phases are held back by that. Requeue or skip those to go on."
        runs.set_state(
            session,
            run.id,
            RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW,
            actor="autopack",
            now=now,
            reason=detail,
        )
    return Idle(reason=reason, detail=detail)


def _names(session: Session, run_id: str, state: PhaseState) -> str:
    found = session.scalars(
        select(PhaseRow.phase_id)
        .where(PhaseRow.run_id == run_id, PhaseRow.state == state)
        .order_by(PhaseRow.phase_index)
        .limit(_NAMED + 1)
    ).all()
    return ", ".join(found[:_NAMED]) + (" and more" if len(found) > _NAMED else "")
