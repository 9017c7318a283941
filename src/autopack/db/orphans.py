"""Rows that contradict each other, and leases that ran out: what `doctor` asks of a database."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, literal, or_, select
from sqlalchemy.orm import Session

from autopack.db import attempts, phases
from autopack.db.engine import Database
from autopack.db.tables import ApprovalRequestRow, AttemptRow, EventRow, LlmUsageEventRow, PhaseRow, RunRow
from autopack.domain.doctor import Fault, Inspection, Orphans
from autopack.domain.phases import PhaseState, RunState

_SHOWN = 5
_MOVING = (PhaseState.QUEUED, PhaseState.EXECUTING, PhaseState.GATE)
_Ids = Select[Any, Any]
_Condition = ColumnElement[bool]


def inspect(session: Session, *, now: datetime) -> Inspection:
    """Reads only. Looks through whole tables, so it is for a person who asks, not for a loop."""
    theirs = (
        None
        if session.get_bind().dialect.name == "sqlite"
        else session.scalar(select(func.clock_timestamp()))
    )
    newest = session.scalar(select(func.max(EventRow.created_at)))
    found = tuple(_counted(session, fault, ids) for fault, ids in _QUERIES.items())
    return Inspection(at=now, database_at=theirs, newest_event_at=newest, orphans=found)


def _counted(session: Session, fault: Fault, ids: _Ids) -> Orphans:
    number = session.scalar(select(func.count()).select_from(ids.subquery())) or 0
    rows = session.execute(ids.limit(_SHOWN)).all() if number else []
    return Orphans(
        fault=fault, number=number, examples=tuple(" ".join(part for part in row if part) for row in rows)
    )


def _phase_of(row: type[AttemptRow] | type[ApprovalRequestRow] | type[LlmUsageEventRow]) -> _Condition:
    return and_(PhaseRow.run_id == row.run_id, PhaseRow.phase_id == row.phase_id)


def _open_attempt() -> _Condition:
    return exists().where(
        AttemptRow.run_id == PhaseRow.run_id, AttemptRow.phase_id == PhaseRow.phase_id, AttemptRow.outcome.is_(None)
    )  # fmt: skip


def _calls_of_ended() -> _Ids:
    call = LlmUsageEventRow
    return (
        select(call.run_id, call.phase_id)
        .join(AttemptRow, AttemptRow.id == call.attempt_id)
        .where(call.status == "reserved", AttemptRow.outcome.is_not(None))
        .order_by(call.id)
    )


def _gate_without_request() -> _Ids:
    request = exists().where(
        ApprovalRequestRow.run_id == PhaseRow.run_id, ApprovalRequestRow.phase_id == PhaseRow.phase_id,
        ApprovalRequestRow.status == "pending",
    )  # fmt: skip
    return _phases(PhaseRow.state == PhaseState.GATE, ~request)


def _request_without_gate() -> _Ids:
    asked = ApprovalRequestRow
    return (
        select(asked.run_id, asked.phase_id)
        .join(PhaseRow, _phase_of(asked))
        .where(asked.status == "pending", PhaseRow.state != PhaseState.GATE)
        .order_by(asked.run_id, asked.phase_id)
    )


def _attempt_without_executing() -> _Ids:
    return (
        select(AttemptRow.run_id, AttemptRow.phase_id)
        .join(PhaseRow, _phase_of(AttemptRow))
        .where(AttemptRow.outcome.is_(None), PhaseRow.state != PhaseState.EXECUTING)
        .order_by(AttemptRow.run_id, AttemptRow.phase_id)
    )


def _phases(*conditions: _Condition) -> _Ids:
    query = select(PhaseRow.run_id, PhaseRow.phase_id).where(*conditions)
    return query.order_by(PhaseRow.run_id, PhaseRow.phase_index)


def _runs_without_open_phase() -> _Ids:
    moving = exists().where(PhaseRow.run_id == RunRow.id, PhaseRow.state.in_(_MOVING))
    return (
        select(RunRow.id, literal(None)).where(RunRow.state == RunState.RUNNING, ~moving).order_by(RunRow.id)
    )


def _tokens_unexplained() -> _Ids:
    """A call under way explains what it set aside; one whose usage stayed unknown may have kept it, or given it back."""
    call = LlmUsageEventRow
    unknown = and_(
        call.status.in_(("answered", "failed")), call.total_tokens.is_(None), func.coalesce(call.usage_source, "missing") != "none"
    )  # fmt: skip
    is_open = call.status == "reserved"
    sums = (
        select(
            call.run_id,
            func.sum(case((is_open, call.reserved_tokens), else_=0)).label("least"),
            func.sum(case((or_(is_open, unknown), call.reserved_tokens), else_=0)).label("most"),
        )
        .where(call.origin == "local")
        .group_by(call.run_id)
        .subquery()
    )
    held, least, most = RunRow.tokens_reserved, func.coalesce(sums.c.least, 0), func.coalesce(sums.c.most, 0)
    return (
        select(RunRow.id, literal(None))
        .outerjoin(sums, sums.c.run_id == RunRow.id)
        .where(or_(held < least, held > most))
        .order_by(RunRow.id)
    )


_QUERIES: dict[Fault, _Ids] = {
    Fault.CALLS_OF_ENDED: _calls_of_ended(),
    Fault.GATE_WITHOUT_REQUEST: _gate_without_request(),
    Fault.REQUEST_WITHOUT_GATE: _request_without_gate(),
    Fault.EXECUTING_WITHOUT_ATTEMPT: _phases(PhaseRow.state == PhaseState.EXECUTING, ~_open_attempt()),
    Fault.ATTEMPT_WITHOUT_EXECUTING: _attempt_without_executing(),
    Fault.RUN_WITHOUT_OPEN_PHASE: _runs_without_open_phase(),
    Fault.TOKENS_UNEXPLAINED: _tokens_unexplained(),
}


def give_back_expired(database: Database, now: Callable[[], datetime]) -> int:
    """Ends the attempts of every run whose lease ran out, as the next claim there would. Returns how many.

    One transaction for each run: a second one would be locked after the first.
    """
    moment = now()
    with database.transaction() as session:
        run_ids = session.scalars(
            select(AttemptRow.run_id)
            .where(AttemptRow.outcome.is_(None), AttemptRow.lease_expires_at < moment)
            .distinct()
            .order_by(AttemptRow.run_id)
        ).all()
    ended = 0
    for run_id in run_ids:
        with database.transaction() as session:
            lost = attempts.expired(session, run_id, now=moment)
            phases.lock(session, [(run_id, each.phase_id) for each in lost])
            attempts.give_back_expired(session, lost, now=moment)
            ended += len(lost)
    return ended
