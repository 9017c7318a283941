"""One run as a person follows it: its tiers and phases, what is being done now, the last tries and the last events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from autopack.db import approvals, runs
from autopack.db.looks import events as all_events
from autopack.db.looks import outlook, why
from autopack.db.pages.pulse import last_event
from autopack.db.tables import ApprovalRequestRow, AttemptRow, EventRow, PhaseRow, TierRow
from autopack.domain.looks.outlook import Outlook
from autopack.domain.looks.why import Why
from autopack.domain.phases import Event, PhaseState, Run

PAGE = 1000
LAST_TRIES = 200
LAST_EVENTS = 20
MOST_REQUESTS = 50
_REASON_CHARS = 300


@dataclass(frozen=True, kw_only=True)
class PhaseLine:
    """A phase without its scope and goal, of which there may be a great many."""

    phase_index: int
    phase_id: str
    tier_id: str
    name: str
    state: PhaseState
    attempts: int
    max_attempts: int
    tokens_used: int
    failure_kind: str | None
    failure_reason: str | None
    not_before: datetime | None
    pause_after: bool
    step: str | None = None
    """What is being done now, with the worker that does it and since when."""
    worker: str | None = None
    claimed_at: datetime | None = None
    request_id: str | None = None
    why: str | None = None


@dataclass(frozen=True, kw_only=True)
class Try:
    """One attempt for the timeline."""

    phase_id: str
    number: int
    outcome: str | None
    claimed_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Request:
    """A decision that waits for a person, without its diff."""

    approval_id: str
    phase_id: str
    reasons: tuple[str, ...]
    requested_at: datetime
    overdue: bool


@dataclass(frozen=True, kw_only=True)
class Board:
    run: Run
    """With its phases counted."""
    why: Why
    outlook: Outlook
    tiers: Mapping[str, str]
    """Names by id, in order."""
    phases: Sequence[PhaseLine]
    further: int | None
    """Where the next page begins."""
    requests: Sequence[Request]
    failed_first: Sequence[str]
    tries: Sequence[Try]
    events: Sequence[Event]
    event_id: int


def read(
    session: Session, run_id: str, *, now: datetime, state: PhaseState | None, text: str, after: int
) -> Board:
    """`state` and `text` choose the phases that are listed. Raises NotFound."""
    run = runs.get(session, run_id)
    approvals.expire_due(session, run_id, now=now)
    explained = why.why(session, run_id, now=now)
    lines = _phases(session, run_id, state=state, text=text, after=after)
    requests = _requests(session, run_id, now)
    return Board(
        run=run, why=explained, outlook=outlook.look(session, run_id), tiers=_tiers(session, run_id),
        phases=_told(session, run_id, lines[:PAGE], explained, requests), further=lines[PAGE - 1].phase_index if len(lines) > PAGE else None,
        requests=requests, failed_first=_failed(session, run_id), tries=_tries(session, run_id),
        events=_events(session, run_id), event_id=last_event(session),
    )  # fmt: skip


def failed(session: Session, run_id: str, *, limit: int) -> list[str]:
    """The phases that a person may want tried again, in the order of the plan."""
    query = select(PhaseRow.phase_id).where(PhaseRow.run_id == run_id, PhaseRow.state == PhaseState.FAILED)
    return list(session.scalars(query.order_by(PhaseRow.phase_index).limit(limit)))


def _failed(session: Session, run_id: str) -> list[str]:
    return failed(session, run_id, limit=MOST_REQUESTS)


def _tiers(session: Session, run_id: str) -> dict[str, str]:
    query = select(TierRow.tier_id, TierRow.name).where(TierRow.run_id == run_id).order_by(TierRow.tier_index)
    return {row.tier_id: row.name for row in session.execute(query)}


def _phases(
    session: Session, run_id: str, *, state: PhaseState | None, text: str, after: int
) -> list[PhaseLine]:
    table = PhaseRow
    query: Any = select(
        table.phase_index, table.phase_id, table.tier_id, table.name, table.state, table.attempts, table.max_attempts,
        table.tokens_used, table.failure_kind, table.not_before, table.pause_after,
        func.substr(table.failure_reason, 1, _REASON_CHARS).label("failure_reason"),
    ).where(table.run_id == run_id, table.phase_index > after)  # fmt: skip
    if state is not None:
        query = query.where(table.state == state)
    if text:
        texts = (table.phase_id, table.name, table.goal)
        query = query.where(or_(*(each.icontains(text, autoescape=True) for each in texts)))
    rows = session.execute(query.order_by(table.phase_index).limit(PAGE + 1)).mappings()
    return [PhaseLine(**{**row, "state": PhaseState(row["state"])}) for row in rows]


def _told(
    session: Session, run_id: str, lines: Sequence[PhaseLine], explained: Why, requests: Sequence[Request]
) -> list[PhaseLine]:
    """With what is being done now, and why nothing is."""
    query = select(AttemptRow.phase_id, AttemptRow.step, AttemptRow.worker, AttemptRow.claimed_at)
    at_work = {
        row.phase_id: row
        for row in session.execute(query.where(AttemptRow.run_id == run_id, AttemptRow.outcome.is_(None)))
    }
    held = {each.phase_id: each.text for each in explained.phases if each.state is not PhaseState.EXECUTING}
    asked = {each.phase_id: each.approval_id for each in requests}
    told = []
    for line in lines:
        if line.phase_id in at_work:
            row = at_work[line.phase_id]
            line = replace(line, step=row.step, worker=row.worker, claimed_at=row.claimed_at)
        elif line.phase_id in held or line.phase_id in asked:
            line = replace(line, why=held.get(line.phase_id), request_id=asked.get(line.phase_id))
        told.append(line)
    return told


def _requests(session: Session, run_id: str, now: datetime) -> list[Request]:
    table = ApprovalRequestRow
    rows = session.execute(
        select(table.id, table.phase_id, table.reasons, table.requested_at, table.timeout_at)
        .where(table.run_id == run_id, table.status == "pending")
        .order_by(table.requested_at, table.id)
        .limit(MOST_REQUESTS)
    )
    return [
        Request(
            approval_id=row.id, phase_id=row.phase_id, reasons=tuple(row.reasons), requested_at=row.requested_at,
            overdue=row.timeout_at is not None and row.timeout_at <= now,
        )
        for row in rows
    ]  # fmt: skip


def _tries(session: Session, run_id: str) -> list[Try]:
    """The last ones, in the order in which they began."""
    table = AttemptRow
    rows = session.execute(
        select(table.phase_id, table.number, table.outcome, table.claimed_at, table.finished_at)
        .where(table.run_id == run_id)
        .order_by(table.claimed_at.desc(), table.id.desc())
        .limit(LAST_TRIES)
    )
    return [Try(**row) for row in reversed(rows.mappings().all())]


def _events(session: Session, run_id: str) -> list[Event]:
    """The last ones, the newest first."""
    query = select(EventRow).where(EventRow.run_id == run_id).order_by(EventRow.id.desc()).limit(LAST_EVENTS)
    return all_events.to_domain(session.scalars(query).all())
