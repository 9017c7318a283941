"""A phase's page: its attempts in short, and one of them with all that is kept of it but its diff."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from autopack.db.tables import ApprovalRequestRow, AttemptRow, LlmResponseRow, LlmUsageEventRow
from autopack.domain.phases import JsonObject
from autopack.domain.telemetry import USAGE, UsageEvent
from autopack.errors import NotFound

MOST_ATTEMPTS = 200
MOST_CALLS = 200
_SHORT = (
    AttemptRow.id, AttemptRow.number, AttemptRow.worker, AttemptRow.outcome, AttemptRow.failure_kind, AttemptRow.reason,
    AttemptRow.step, AttemptRow.base_commit, AttemptRow.result_commit, AttemptRow.claimed_at, AttemptRow.finished_at,
    AttemptRow.lease_expires_at,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class AttemptLine:
    """An attempt as the list of them tells it."""

    id: str
    number: int
    worker: str
    outcome: str | None
    failure_kind: str | None
    reason: str | None
    step: str | None
    base_commit: str | None
    result_commit: str | None
    claimed_at: datetime
    finished_at: datetime | None
    lease_expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class AttemptLook:
    """What is kept of one attempt. Its calls are those that it made, and those whose answers it used."""

    line: AttemptLine
    check_report: JsonObject | None
    review: JsonObject | None
    verdict: JsonObject | None
    timings: JsonObject | None
    calls: tuple[UsageEvent, ...]
    more_calls: int
    from_journal: frozenset[str]
    """Call ids of answers that an earlier try had paid for, and that this one found in the journal."""


def attempt_lines(session: Session, run_id: str, phase_id: str) -> list[AttemptLine]:
    """The newest first."""
    query = select(*_SHORT).where(AttemptRow.run_id == run_id, AttemptRow.phase_id == phase_id)
    rows = session.execute(query.order_by(AttemptRow.number.desc()).limit(MOST_ATTEMPTS)).mappings()
    return [AttemptLine(**row) for row in rows]


def attempt_look(session: Session, lines: Sequence[AttemptLine], number: int | None) -> AttemptLook | None:
    """The attempt of that number, or the newest. Raises NotFound where there is no such attempt."""
    if not lines and number is None:
        return None
    line = lines[0] if number is None else next((each for each in lines if each.number == number), None)
    if line is None:
        raise NotFound(f"there is no attempt {number} of this phase")
    kept = session.execute(
        select(AttemptRow.check_report, AttemptRow.review, AttemptRow.verdict, AttemptRow.timings).where(
            AttemptRow.id == line.id
        )
    ).one()
    calls, more, from_journal = _calls(session, line.id)
    return AttemptLook(
        line=line, check_report=kept.check_report, review=kept.review, verdict=kept.verdict, timings=kept.timings,
        calls=tuple(calls), more_calls=more, from_journal=from_journal,
    )  # fmt: skip


def pending_approval(session: Session, run_id: str, phase_id: str) -> str | None:
    """The id of the request that a person has yet to decide."""
    request = ApprovalRequestRow
    return session.scalar(
        select(request.id)
        .where(request.run_id == run_id, request.phase_id == phase_id, request.status == "pending")
        .order_by(request.requested_at.desc())
        .limit(1)
    )


def _calls(session: Session, attempt_id: str) -> tuple[list[UsageEvent], int, frozenset[str]]:
    """The newest calls of the attempt, oldest first, and those whose answers it took out of the journal."""
    table = LlmUsageEventRow
    columns = [getattr(table, name) for name in USAGE.columns]
    found = select(LlmResponseRow.call_id).where(LlmResponseRow.attempt_id == attempt_id)
    its_own = table.attempt_id == attempt_id
    wanted = its_own | table.call_id.in_(found)
    rows = session.execute(select(*columns).where(wanted).order_by(table.id.desc()).limit(MOST_CALLS)).all()
    calls = [UsageEvent(**dict(zip(USAGE.columns, row, strict=True))) for row in reversed(rows)]
    total = session.scalar(select(func.count()).select_from(table).where(wanted)) or 0
    journaled = frozenset(call.call_id for call in calls if call.attempt_id != attempt_id)
    return calls, total - len(calls), journaled
