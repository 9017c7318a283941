"""A phase whose commit was taken back on the run's branch: not done any more, and not found again as done."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from autopack.db import events, phases, runs
from autopack.db.tables import AttemptRow, EventRow, LlmResponseRow, PhaseRow
from autopack.domain.phases import AttemptOutcome, FailureKind, Phase, PhaseState
from autopack.errors import Conflict

_KIND = "undone"


@dataclass(frozen=True, kw_only=True)
class Undone:
    """`commit` was the phase's; `undo_commit` is the one on the run's branch that takes it back.

    `holds` are commits below `undo_commit`, as far back as the run's head that its maker knew.
    """

    commit: str
    undo_commit: str
    by: str
    reason: str | None = None
    holds: Collection[str] = ()


def record(
    session: Session, run_id: str, phase_id: str, undone: Undone, *, actor: str, now: datetime
) -> Phase:
    """The COMPLETE phase is CANCELLED, and may be requeued; the run's work ends at the undo commit, or later.

    A repeat with the same undo commit changes nothing. Raises Conflict when that commit is not the phase's work.
    """
    phase = phases.get(session, run_id, phase_id, lock=True)
    if _is_known(session, run_id, phase_id, undone.undo_commit):
        return phase
    if phase.state is not PhaseState.COMPLETE or phase.result_commit != undone.commit:
        work = f"its commit is {phase.result_commit}" if phase.result_commit else "it has no commit"
        raise Conflict(
            f"phase {phase_id} of run {run_id} is {phase.state} and {work}; {undone.commit} cannot be undone for it"
        )
    reason = f"undone by {undone.by}" + (f": {undone.reason}" if undone.reason else "")
    session.execute(
        update(PhaseRow)
        .where(PhaseRow.run_id == run_id, PhaseRow.phase_id == phase_id)
        .values(
            state=PhaseState.CANCELLED, failure_kind=FailureKind.UNDONE, failure_reason=reason, result_commit=None,
            updated_at=now, completed_at=now,
        )
    )  # fmt: skip
    _close_journal(session, run_id, phase_id)
    runs.advance(session, run_id, undone.undo_commit, holds=undone.holds)
    events.record(
        session, run_id=run_id, phase_id=phase_id, kind=_KIND, actor=actor, now=now, commit=undone.commit,
        undo_commit=undone.undo_commit, reason=undone.reason,
    )  # fmt: skip
    runs.settle(session, run_id, actor=actor, now=now)
    return phases.get(session, run_id, phase_id)


def _is_known(session: Session, run_id: str, phase_id: str, undo_commit: str) -> bool:
    details = session.scalars(
        select(EventRow.detail).where(
            EventRow.run_id == run_id, EventRow.phase_id == phase_id, EventRow.kind == _KIND
        )
    )
    return any(detail["undo_commit"] == undo_commit for detail in details)


def _close_journal(session: Session, run_id: str, phase_id: str) -> None:
    """Answers of dead tries belong to the work that was undone: asked anew, a model answers, not the journal."""
    passed = (AttemptOutcome.COMPLETE, AttemptOutcome.NO_OP)
    last = session.scalar(
        select(AttemptRow.id)
        .where(AttemptRow.run_id == run_id, AttemptRow.phase_id == phase_id, AttemptRow.outcome.in_(passed))
        .order_by(AttemptRow.number.desc())
        .limit(1)
    )
    if last is not None:
        session.execute(
            update(LlmResponseRow)
            .where(LlmResponseRow.run_id == run_id, LlmResponseRow.phase_id == phase_id)
            .values(attempt_id=last)
        )
