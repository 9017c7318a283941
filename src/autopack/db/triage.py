"""Sessions of triage, what they tried, and the failed phases that they choose from."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, tuple_, update
from sqlalchemy.orm import Session as DatabaseSession
from sqlalchemy.orm import aliased

from autopack.db import events, phases
from autopack.db.tables import AttemptRow, PhaseRow, RunRow, TriageItemRow, TriageSessionRow
from autopack.domain.phases import AttemptOutcome, FailureKind, JsonObject, PhaseState, RunState
from autopack.domain.triage import Candidate, Item, Key, Session, failure_class
from autopack.errors import Conflict, NotFound

_SHOWN_CHARS = 300
_FAILED = (AttemptOutcome.FAILED, AttemptOutcome.LOST)


def open_session(
    session: DatabaseSession, session_id: str, options: JsonObject, *, now: datetime, actor: str = "autopack"
) -> Session:
    """Begins a session, or goes on with one under these options. Raises Conflict where it has ended."""
    found = session.get(TriageSessionRow, session_id, with_for_update=True)
    if found is None:
        found = TriageSessionRow(session_id=session_id, options=options, created_at=now, updated_at=now)
        session.add(found)
        _record(session, "triage_begun", session_id, actor=actor, now=now, options=options)
    elif found.ended_at is not None:
        raise Conflict(f"triage session {session_id} has ended ({found.reason}); begin a new one")
    else:
        if found.reason is not None:  # a repeat of the same request is no second beginning
            _record(session, "triage_begun", session_id, actor=actor, now=now, options=options)
        found.options, found.reason, found.updated_at = options, None, now
    session.flush()
    return _session(found)


def get(session: DatabaseSession, session_id: str) -> Session:
    return _session(_row(session, session_id))


def page(session: DatabaseSession, *, unfinished: bool, limit: int) -> list[Session]:
    """The newest first."""
    query = select(TriageSessionRow)
    if unfinished:
        query = query.where(TriageSessionRow.ended_at.is_(None))
    newest = query.order_by(TriageSessionRow.created_at.desc(), TriageSessionRow.session_id).limit(limit)
    return [_session(row) for row in session.scalars(newest)]


def stop(
    session: DatabaseSession, session_id: str, *, reason: str, ended: bool, now: datetime, actor: str = "autopack"
) -> Session:  # fmt: skip
    """Why a call of the session stopped; `ended` where nothing is left to try. A repeat changes nothing."""
    found = _row(session, session_id, lock=True)
    if found.ended_at is None:
        if ended or found.reason != reason:
            _record(session, "triage_stopped", session_id, actor=actor, now=now, reason=reason, ended=ended)
        found.reason, found.updated_at, found.ended_at = reason, now, now if ended else None
        session.flush()
    return _session(found)


def _record(
    session: DatabaseSession, kind: str, session_id: str, *, actor: str, now: datetime, **detail: Any
) -> None:
    """A session is about phases of several runs, so its events are of none."""
    events.record(session, run_id=None, kind=kind, actor=actor, now=now, session_id=session_id, **detail)


def items(session: DatabaseSession, session_id: str, *, after: int, limit: int) -> list[Item]:
    """In the order of trying; `after` is the last position seen."""
    _row(session, session_id)
    query = select(TriageItemRow).where(
        TriageItemRow.session_id == session_id, TriageItemRow.position > after
    )
    return [_item(row) for row in session.scalars(query.order_by(TriageItemRow.position).limit(limit))]


def start_item(
    session: DatabaseSession, session_id: str, position: int, key: Key, *, worker: str, before: JsonObject, now: datetime
) -> Item:  # fmt: skip
    """A phase is tried from now on. A repeat by the same worker changes nothing.

    Raises Conflict where the position is not the next one: another controller works on the session.
    """
    parent = _row(session, session_id, lock=True)
    phases.get(session, *key)
    under_way = {"worker": worker, "before": before}
    found = session.get(TriageItemRow, (session_id, position))
    if found is not None and (found.run_id, found.phase_id) == key and found.result == under_way:
        return _item(found)
    last = session.scalar(
        select(func.max(TriageItemRow.position)).where(TriageItemRow.session_id == session_id)
    )
    if parent.ended_at is not None or position != (last or 0) + 1:
        raise Conflict(f"another controller works on triage session {session_id}; this one stops")
    row = TriageItemRow(
        session_id=session_id,
        position=position,
        run_id=key[0],
        phase_id=key[1],
        result=under_way,
        started_at=now,
    )
    session.add(row)
    parent.updated_at = now
    session.flush()
    return _item(row)


def finish_item(
    session: DatabaseSession, session_id: str, position: int, result: JsonObject, *, now: datetime
) -> Item:
    """What came of it. The first end counts: a repeat, or a controller that was thought dead, changes nothing."""
    parent = _row(session, session_id, lock=True)
    written = session.execute(
        update(TriageItemRow)
        .where(
            TriageItemRow.session_id == session_id, TriageItemRow.position == position, TriageItemRow.finished_at.is_(None)
        )
        .values(result=result, finished_at=now)
        .returning(TriageItemRow.position)
    ).first()  # fmt: skip
    if written is not None:
        parent.updated_at = now
        session.flush()
    found = session.get(TriageItemRow, (session_id, position), populate_existing=True)
    if found is None:
        raise NotFound(f"triage session {session_id} has no item {position}")
    return _item(found)


def candidates(
    session: DatabaseSession, *, run_id: str | None, session_id: str | None, after: tuple[str, int] | None, limit: int
) -> list[Candidate]:  # fmt: skip
    """FAILED phases, and those of the session that are open again, in order of run and plan; `after` is the last seen."""
    if session_id is not None:
        _row(session, session_id)
    query = _candidates(session_id)
    if run_id is not None:
        query = query.where(PhaseRow.run_id == run_id)
    if after is not None:
        query = query.where(tuple_(PhaseRow.run_id, PhaseRow.phase_index) > tuple_(*after))
    rows = session.execute(query.order_by(PhaseRow.run_id, PhaseRow.phase_index).limit(limit)).all()
    tried = _tried(session, [(row.PhaseRow.run_id, row.PhaseRow.phase_id) for row in rows])
    return [_candidate(row, tried) for row in rows]


def _candidates(session_id: str | None) -> Select[*tuple[Any, ...]]:
    """Phases, each with its run's state and base, and with kind and reason of its last attempt that failed."""
    earlier, failed = aliased(AttemptRow), aliased(AttemptRow)
    last = (
        select(func.max(earlier.number))
        .where(
            earlier.run_id == PhaseRow.run_id, earlier.phase_id == PhaseRow.phase_id, earlier.outcome.in_(_FAILED)
        )
        .correlate(PhaseRow)
        .scalar_subquery()
    )  # fmt: skip
    of_phase = and_(
        failed.run_id == PhaseRow.run_id, failed.phase_id == PhaseRow.phase_id, failed.number == last
    )
    return (
        select(PhaseRow, RunRow.state, RunRow.base_commit, failed.failure_kind, failed.reason)
        .join(RunRow, RunRow.id == PhaseRow.run_id)
        .outerjoin(failed, of_phase)
        .where(_is_wanted(session_id))
    )


def _is_wanted(session_id: str | None) -> ColumnElement[bool]:
    is_failed = PhaseRow.state == PhaseState.FAILED
    if session_id is None:
        return is_failed
    of_session = (
        select(TriageItemRow.position)
        .where(
            TriageItemRow.session_id == session_id,
            TriageItemRow.run_id == PhaseRow.run_id,
            TriageItemRow.phase_id == PhaseRow.phase_id,
        )
        .correlate(PhaseRow)
        .exists()
    )
    return or_(is_failed, and_(PhaseRow.state.in_([PhaseState.QUEUED, PhaseState.EXECUTING]), of_session))


def _tried(session: DatabaseSession, keys: Sequence[Key]) -> dict[Key, int]:
    """Attempts that were claimed while a session of triage had the phase; those that had to wait say nothing."""
    if not keys:
        return {}
    runs = sorted({run_id for run_id, _ in keys})
    query = (
        select(AttemptRow.run_id, AttemptRow.phase_id, func.count(AttemptRow.id.distinct()))
        .join(
            TriageItemRow,
            (TriageItemRow.run_id == AttemptRow.run_id) & (TriageItemRow.phase_id == AttemptRow.phase_id),
        )
        .where(
            AttemptRow.run_id.in_(runs),
            or_(AttemptRow.outcome.is_(None), AttemptRow.outcome != AttemptOutcome.DEFERRED),
            AttemptRow.claimed_at >= TriageItemRow.started_at,
            or_(TriageItemRow.finished_at.is_(None), AttemptRow.claimed_at <= TriageItemRow.finished_at),
        )
        .group_by(AttemptRow.run_id, AttemptRow.phase_id)
    )
    return {(run_id, phase_id): int(count) for run_id, phase_id, count in session.execute(query)}


def _candidate(row: Any, tried: dict[Key, int]) -> Candidate:
    phase, key = row.PhaseRow, (row.PhaseRow.run_id, row.PhaseRow.phase_id)
    # A phase of an earlier database has no attempts; it knows its failure itself.
    told = (row.failure_kind, row.reason) if row.failure_kind else (phase.failure_kind, phase.failure_reason)
    kind, reason = FailureKind(told[0]) if told[0] else None, told[1]
    return Candidate(
        run_id=key[0], run_state=RunState(row.state), has_base=row.base_commit is not None, phase_id=key[1],
        tier_index=phase.tier_index, phase_index=phase.phase_index, task_category=phase.task_category,
        state=PhaseState(phase.state), failure_kind=kind, failure_reason=reason and reason.strip()[:_SHOWN_CHARS],
        signature=failure_class(kind, reason, key), tried=tried.get(key, 0),
    )  # fmt: skip


def _row(session: DatabaseSession, session_id: str, *, lock: bool = False) -> TriageSessionRow:
    found = session.get(TriageSessionRow, session_id, with_for_update=lock or None)
    if found is None:
        raise NotFound(f"there is no triage session {session_id} in this database")
    return found


def _session(row: TriageSessionRow) -> Session:
    return Session(
        session_id=row.session_id, options=row.options, reason=row.reason, created_at=row.created_at,
        updated_at=row.updated_at, ended_at=row.ended_at,
    )  # fmt: skip


def _item(row: TriageItemRow) -> Item:
    return Item(
        session_id=row.session_id, position=row.position, run_id=row.run_id, phase_id=row.phase_id, result=row.result,
        started_at=row.started_at, finished_at=row.finished_at,
    )  # fmt: skip
