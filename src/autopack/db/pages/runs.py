"""The list of runs: which need a person, how far each is, what it has used."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from autopack.db import runs
from autopack.db.tables import ApprovalRequestRow, AttemptRow, PhaseRow, RunRow
from autopack.domain.phases import CAP_CAUSES, PhaseState, Run, RunState

OPEN = (RunState.QUEUED, RunState.RUNNING, RunState.PAUSED)


@dataclass(frozen=True, kw_only=True)
class RunLine:
    run: Run
    """With its phases counted."""
    waiting: int
    """Requests that a person must decide."""
    moves: bool
    """Somebody works on it at this moment."""

    @property
    def needs_you(self) -> int:
        """What does not move without a person."""
        failed = self.run.phase_counts.get(PhaseState.FAILED, 0)
        return (
            self.waiting + failed + (self.run.state is RunState.PAUSED and self.run.state_cause in CAP_CAUSES)
        )

    @property
    def is_first(self) -> bool:
        """Open, and a person can help it on."""
        return self.needs_you > 0 and self.run.state in OPEN


def lines(
    session: Session, *, state: str | None, text: str, after: str | None, limit: int, now: datetime
) -> list[RunLine]:  # fmt: skip
    """The newest first. `state` is one, or "open", "needs-you"; `after` is the id of the last run seen."""
    query = select(RunRow).order_by(RunRow.created_at.desc(), RunRow.id.desc()).limit(limit)
    if (wanted := _in_state(state)) is not None:
        query = query.where(wanted)
    if text:
        query = query.where(
            or_(RunRow.id.icontains(text, autoescape=True), RunRow.goal.icontains(text, autoescape=True))
        )
    if after is not None:
        last = runs.row(session, after)
        as_old = and_(RunRow.created_at == last.created_at, RunRow.id < last.id)
        query = query.where(or_(RunRow.created_at < last.created_at, as_old))
    found = session.scalars(query).all()
    counts, waiting = _counts(session, [row.id for row in found]), _waiting(session)
    moving = _moving(session, now)
    return [
        RunLine(
            run=runs.to_domain(row, counts.get(row.id, {})), waiting=waiting.get(row.id, 0), moves=row.id in moving
        )
        for row in found
    ]  # fmt: skip


def _in_state(state: str | None) -> ColumnElement[bool] | None:
    if state is None:
        return None
    if state == "open":
        return RunRow.state.in_(OPEN)
    if state == "needs-you":
        needing = select(PhaseRow.run_id).where(PhaseRow.state.in_([PhaseState.FAILED, PhaseState.GATE]))
        capped = and_(RunRow.state == RunState.PAUSED, RunRow.state_cause.in_(CAP_CAUSES))
        return or_(RunRow.id.in_(needing), capped)
    return RunRow.state == state


def _counts(session: Session, run_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    rows = session.execute(
        select(PhaseRow.run_id, PhaseRow.state, func.count())
        .where(PhaseRow.run_id.in_(run_ids))
        .group_by(PhaseRow.run_id, PhaseRow.state)
    )
    for run_id, state, number in rows:
        found.setdefault(run_id, {})[state] = number
    return found


def _moving(session: Session, now: datetime) -> set[str]:
    """Of all runs: open attempts are no more than there are slots."""
    held = select(AttemptRow.run_id).where(AttemptRow.outcome.is_(None), AttemptRow.lease_expires_at >= now)
    return set(session.scalars(held.distinct()))


def _waiting(session: Session) -> dict[str, int]:
    """Of all runs: pending requests are few, and the index is by their state."""
    rows = session.execute(
        select(ApprovalRequestRow.run_id, func.count())
        .where(ApprovalRequestRow.status == "pending")
        .group_by(ApprovalRequestRow.run_id)
    )
    return {row[0]: row[1] for row in rows}
