"""Phases: read, requeued, skipped. Claiming is in `claims`, ending an attempt in `attempts`."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select, tuple_, update
from sqlalchemy.orm import Session

from autopack.db import events, requests, runs
from autopack.db.tables import AttemptRow, PhaseDependencyRow, PhaseRow
from autopack.domain import lifecycle
from autopack.domain.phases import FailureKind, Phase, PhaseState, Scope
from autopack.errors import Conflict, NotFound

_ROW = (
    select(PhaseRow)
    .where(PhaseRow.run_id == bindparam("run"), PhaseRow.phase_id == bindparam("phase"))
    .execution_options(populate_existing=True)
)
_ROW_LOCKED = _ROW.with_for_update(key_share=True)
_DEPENDENCIES = (
    select(PhaseDependencyRow.phase_id, PhaseDependencyRow.depends_on)
    .where(
        PhaseDependencyRow.run_id == bindparam("run"),
        PhaseDependencyRow.phase_id.in_(bindparam("phases", expanding=True)),
    )
    .order_by(PhaseDependencyRow.depends_on)
)
_LAST_NUMBER = (
    select(func.coalesce(func.max(AttemptRow.number), 0))
    .where(AttemptRow.run_id == PhaseRow.run_id, AttemptRow.phase_id == PhaseRow.phase_id)
    .correlate(PhaseRow)
    .scalar_subquery()
)


def get(session: Session, run_id: str, phase_id: str, *, lock: bool = False) -> Phase:
    """`lock` keeps other transactions from changing it. Who locks its run as well does so afterwards."""
    return to_domain(session, _row(session, run_id, phase_id, lock=lock))


def lock(session: Session, keys: Collection[tuple[str, str]]) -> None:
    """Locks phases, as (run id, phase id), in the order in which everybody locks several."""
    several = tuple_(PhaseRow.run_id, PhaseRow.phase_id).in_(keys)
    session.execute(
        select(PhaseRow.id).where(several).order_by(PhaseRow.id).with_for_update(key_share=True)
    ).all()


def _row(session: Session, run_id: str, phase_id: str, *, lock: bool = False) -> PhaseRow:
    found = session.scalar(_ROW_LOCKED if lock else _ROW, {"run": run_id, "phase": phase_id})
    if found is None:
        runs.row(session, run_id)
        raise NotFound(f"run {run_id} has no phase {phase_id}")
    return found


def page(session: Session, run_id: str, *, state: PhaseState | None, after: int, limit: int) -> list[Phase]:
    """In plan order; `after` is the phase_index of the last one seen, -1 at the start."""
    runs.row(session, run_id)
    query = select(PhaseRow).where(PhaseRow.run_id == run_id, PhaseRow.phase_index > after)
    if state is not None:
        query = query.where(PhaseRow.state == state)
    rows = session.scalars(query.order_by(PhaseRow.phase_index).limit(limit)).all()
    wanted = _dependencies(session, run_id, [row.phase_id for row in rows])
    return [_to_domain(row, wanted.get(row.phase_id, ())) for row in rows]


def _dependencies(session: Session, run_id: str, phase_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    rows = session.execute(_DEPENDENCIES, {"run": run_id, "phases": list(phase_ids)})
    found: dict[str, tuple[str, ...]] = {}
    for phase_id, wanted in rows:
        found[phase_id] = (*found.get(phase_id, ()), wanted)
    return found


def to_domain(session: Session, row: PhaseRow) -> Phase:
    return _to_domain(row, _dependencies(session, row.run_id, [row.phase_id]).get(row.phase_id, ()))


def _to_domain(row: PhaseRow, depends_on: tuple[str, ...]) -> Phase:
    return Phase(
        run_id=row.run_id, phase_id=row.phase_id, tier_id=row.tier_id, tier_index=row.tier_index,
        phase_index=row.phase_index, name=row.name, goal=row.goal, task_category=row.task_category,
        complexity=row.complexity, risk=row.risk, state=PhaseState(row.state), priority=row.priority,
        scope=Scope(**{name: tuple(paths) for name, paths in row.scope.items()}), depends_on=depends_on,
        attempts=row.attempts, max_attempts=row.max_attempts, not_before=row.not_before,
        failure_kind=FailureKind(row.failure_kind) if row.failure_kind else None, failure_reason=row.failure_reason,
        result_commit=row.result_commit, tokens_used=row.tokens_used, pause_after=row.pause_after, created_at=row.created_at,
        updated_at=row.updated_at, started_at=row.started_at, completed_at=row.completed_at,
    )  # fmt: skip


def requeue(session: Session, run_id: str, phase_id: str, *, actor: str, now: datetime) -> Phase:
    """A person's word: the phase is due again, with all its attempts; what failed before is only told to the builder."""
    return _change(
        session,
        run_id,
        phase_id,
        lifecycle.REQUEUEABLE,
        PhaseState.QUEUED,
        actor=actor,
        now=now,
        attempts=0,
        completed_at=None,
        requeued_after=_LAST_NUMBER,
    )


def skip(session: Session, run_id: str, phase_id: str, *, actor: str, now: datetime) -> Phase:
    """A person's word: go on without it. What depends on it is no longer held back."""
    return _change(
        session,
        run_id,
        phase_id,
        lifecycle.SKIPPABLE,
        PhaseState.SKIPPED,
        actor=actor,
        now=now,
        completed_at=now,
    )


def _change(
    session: Session, run_id: str, phase_id: str, allowed: frozenset[PhaseState], state: PhaseState,
    *, actor: str, now: datetime, **values: Any,
) -> Phase:  # fmt: skip
    phase = get(session, run_id, phase_id, lock=True)
    changed = session.execute(
        update(PhaseRow)
        .where(PhaseRow.run_id == run_id, PhaseRow.phase_id == phase_id, PhaseRow.state.in_(allowed))
        .values(state=state, updated_at=now, not_before=None, **values)
        .returning(PhaseRow.id)
    ).first()
    if changed is None:
        raise Conflict(
            f"phase {phase_id} of run {run_id} is {phase.state}; only {', '.join(sorted(allowed))} can become {state}"
        )
    reason = f"the phase was {'requeued' if state is PhaseState.QUEUED else 'skipped'} by {actor}"
    requests.void(session, run_id, phase_id, reason=reason, actor=actor, now=now)
    events.record(
        session, run_id=run_id, phase_id=phase_id, kind="phase_state", actor=actor, now=now, state=state
    )
    if state is PhaseState.QUEUED:
        runs.reopen(session, run_id, actor=actor, now=now)
    runs.settle(session, run_id, actor=actor, now=now)
    return get(session, run_id, phase_id)
