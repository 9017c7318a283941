"""What a phase did: the diff that was kept of an attempt, and the last lines of the phase's log.

Reports may hold megabytes, so they are read one attempt after the other, the newest first, until there are enough lines.
"""

from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from autopack.db import phases
from autopack.db.tables import AttemptRow, EventRow, LlmUsageEventRow
from autopack.domain.kept_diff import PhaseDiff, is_cut
from autopack.domain.phase_log import (
    Call,
    LogLine,
    PhaseLog,
    Report,
    call_lines,
    event_line,
    in_order,
    report_lines,
)
from autopack.domain.phases import Event, Phase
from autopack.errors import NotFound

_CALL = tuple(name for name in Call.__dataclass_fields__ if name != "attempt")


def diff(session: Session, run_id: str, phase_id: str, *, attempt: int | None = None) -> PhaseDiff:
    """Of the attempt with this number. Without one: of the attempt whose work is the phase's, else of the last that left
    a diff. Raises NotFound where there is no such run, phase or attempt.
    """
    phase = phases.get(session, run_id, phase_id)
    number = attempt if attempt is not None else _telling(session, phase)
    if number is None:
        return PhaseDiff(run_id=run_id, phase_id=phase_id, attempt=None)
    row = session.execute(
        select(AttemptRow.base_commit, AttemptRow.result_commit, AttemptRow.diff).where(
            AttemptRow.run_id == run_id, AttemptRow.phase_id == phase_id, AttemptRow.number == number
        )
    ).first()
    if row is None:
        raise _no_attempt(phase, number)
    return PhaseDiff(
        run_id=run_id, phase_id=phase_id, attempt=number, base_commit=row.base_commit, result_commit=row.result_commit,
        diff=row.diff, cut=row.diff is not None and is_cut(row.diff),
    )  # fmt: skip


def _telling(session: Session, phase: Phase) -> int | None:
    """The attempt that a person means who names none."""
    made = (
        select(AttemptRow.number)
        .where(AttemptRow.run_id == phase.run_id, AttemptRow.phase_id == phase.phase_id)
        .order_by(AttemptRow.number.desc())
        .limit(1)
    )
    if phase.result_commit is not None:
        found = session.scalar(made.where(AttemptRow.result_commit == phase.result_commit))
        if found is not None:
            return found
    found = session.scalar(made.where(AttemptRow.diff.is_not(None)))
    return found if found is not None else session.scalar(made)


def log(session: Session, run_id: str, phase_id: str, *, attempt: int | None = None, tail: int) -> PhaseLog:
    """The last `tail` lines about the phase, or about one attempt of it. Raises NotFound as `diff` does."""
    phase = phases.get(session, run_id, phase_id)
    tries = _tries(session, phase)
    if attempt is not None:
        tries = [row for row in tries if row.number == attempt]
        if not tries:
            raise _no_attempt(phase, attempt)
    only = None if attempt is None else tries[0].id
    numbers = {row.id: row.number for row in tries}
    lines, more = _of_events(session, phase, numbers, only=only, most=tail)
    asked, more_asked = _of_calls(session, phase, numbers, only=only, most=tail)
    reported, more_reported = _of_reports(session, tries, most=tail)
    every = in_order([*lines, *asked, *reported])
    open_try = next((row for row in tries if row.finished_at is None), None)
    return PhaseLog(
        run_id=run_id, phase_id=phase_id, state=phase.state, step=None if open_try is None else open_try.step,
        lines=tuple(every[-tail:]), cut=more or more_asked or more_reported or len(every) > tail,
    )  # fmt: skip


def _no_attempt(phase: Phase, number: int) -> NotFound:
    return NotFound(f"phase {phase.phase_id} of run {phase.run_id} has no attempt {number}")


def _tries(session: Session, phase: Phase) -> list[Row[Any]]:
    """The newest first, without what is large."""
    query = select(
        AttemptRow.id, AttemptRow.number, AttemptRow.step, AttemptRow.claimed_at, AttemptRow.finished_at
    ).where(AttemptRow.run_id == phase.run_id, AttemptRow.phase_id == phase.phase_id)
    return list(session.execute(query.order_by(AttemptRow.number.desc())))


def _of_events(
    session: Session, phase: Phase, numbers: dict[str, int], *, only: str | None, most: int
) -> tuple[list[LogLine], bool]:
    """With whether there are more of them."""
    query = select(EventRow).where(EventRow.run_id == phase.run_id, EventRow.phase_id == phase.phase_id)
    if only is not None:
        query = query.where(EventRow.attempt_id == only)
    rows = session.scalars(query.order_by(EventRow.id.desc()).limit(most + 1)).all()
    lines = [event_line(_event(row), numbers.get(row.attempt_id or "")) for row in reversed(rows[:most])]
    return lines, len(rows) > most


def _event(row: EventRow) -> Event:
    return Event(
        event_id=row.id, run_id=row.run_id, phase_id=row.phase_id, attempt_id=row.attempt_id, kind=row.kind,
        actor=row.actor, detail=row.detail, created_at=row.created_at,
    )  # fmt: skip


def _of_calls(
    session: Session, phase: Phase, numbers: dict[str, int], *, only: str | None, most: int
) -> tuple[list[LogLine], bool]:
    table = LlmUsageEventRow
    columns = [getattr(table, name) for name in _CALL]
    query = select(table.attempt_id, *columns).where(
        table.run_id == phase.run_id, table.phase_id == phase.phase_id, table.origin == "local"
    )
    if only is not None:
        query = query.where(table.attempt_id == only)
    rows = session.execute(query.order_by(table.id.desc()).limit(most + 1)).all()
    calls = (
        Call(attempt=numbers.get(row.attempt_id), **{name: getattr(row, name) for name in _CALL})
        for row in reversed(rows[:most])
    )
    return [line for call in calls for line in call_lines(call)], len(rows) > most


def _of_reports(session: Session, tries: list[Row[Any]], *, most: int) -> tuple[list[LogLine], bool]:
    """Attempts of a phase follow each other: once the newest have lines enough, no older one is among the last."""
    found: list[LogLine] = []
    for row in tries:
        if row.finished_at is None:
            continue
        if len(found) >= most:
            return found, True
        found = _reported(session, row) + found
    return found, False


def _reported(session: Session, row: Row[Any]) -> list[LogLine]:
    columns = (
        AttemptRow.reason,
        AttemptRow.check_report,
        AttemptRow.review,
        AttemptRow.verdict,
        AttemptRow.timings,
    )
    told = session.execute(select(*columns).where(AttemptRow.id == row.id)).one()
    return report_lines(
        Report(number=row.number, claimed_at=row.claimed_at, finished_at=row.finished_at, **told._asdict())
    )
