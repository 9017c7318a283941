"""Phases: read, requeued, skipped, marked to pause after. Claiming is in `claims`, ending an attempt in `attempts`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, case, func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from autopack.db import events, requests, runs
from autopack.db.tables import AttemptRow, PhaseDependencyRow, PhaseRow
from autopack.domain import lifecycle
from autopack.domain.control import PhaseActed, PhaseAction
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


def page(
    session: Session, run_id: str, *, state: PhaseState | None = None, q: str | None = None, tier: str | None = None,
    after: int, limit: int,
) -> list[Phase]:  # fmt: skip
    """In plan order; `after` is the phase_index of the last one seen, -1 at the start. `q` is a part of id, name or goal."""
    runs.row(session, run_id)
    query = select(PhaseRow).where(PhaseRow.run_id == run_id, PhaseRow.phase_index > after)
    if state is not None:
        query = query.where(PhaseRow.state == state)
    if tier is not None:
        query = query.where(PhaseRow.tier_id == tier)
    if q is not None:
        texts = (PhaseRow.phase_id, PhaseRow.name, PhaseRow.goal)
        query = query.where(or_(*(text.icontains(q, autoescape=True) for text in texts)))
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


def requeue(
    session: Session, run_id: str, phase_id: str, *, actor: str, now: datetime, reason: str | None = None
) -> Phase:
    """A person's word: the phase is due again, with all its attempts; what failed before is only told to the builder."""
    change = _Change(action=PhaseAction.REQUEUE, actor=actor, now=now, reason=reason)
    return _changed_alone(session, run_id, phase_id, change)


def skip(
    session: Session, run_id: str, phase_id: str, *, actor: str, now: datetime, reason: str | None = None
) -> Phase:
    """A person's word: go on without it. What depends on it is no longer held back."""
    change = _Change(action=PhaseAction.SKIP, actor=actor, now=now, reason=reason)
    return _changed_alone(session, run_id, phase_id, change)


def act(
    session: Session, run_id: str, phase_ids: Sequence[str], action: PhaseAction, *, actor: str, now: datetime,
    reason: str | None = None,
) -> list[PhaseActed]:  # fmt: skip
    """The same word about several phases, each by itself: one that cannot is told, and the others are done."""
    runs.row(session, run_id)
    change = _Change(action=action, actor=actor, now=now, reason=reason)
    wanted = tuple(dict.fromkeys(phase_ids))
    lock(session, [(run_id, phase_id) for phase_id in wanted])
    acted, pauses_after = [], None
    for phase_id in wanted:
        try:
            phase = _changed(session, run_id, phase_id, change)
        except (Conflict, NotFound) as error:  # raised before anything is written
            acted.append(_refused(session, run_id, phase_id, str(error)))
            continue
        acted.append(PhaseActed(phase_id=phase_id, done=True, state=change.state))
        pauses_after = phase if change.ends(phase) else pauses_after
    if any(each.done for each in acted):
        _settle(session, run_id, change, pauses_after)
    return acted


def pause_after(
    session: Session, run_id: str, phase_id: str, *, pause: bool = True, actor: str, now: datetime,
    reason: str | None = None,
) -> Phase:  # fmt: skip
    """Whether the run pauses when this phase has ended; one that waits in GATE has not. Raises Conflict when it has."""
    phase = get(session, run_id, phase_id, lock=True)
    if pause and phase.state in lifecycle.ENDED_STATES:
        raise Conflict(
            f"phase {phase_id} of run {run_id} is {phase.state}: it has ended, and nothing can be paused after it. "
            f"`autopack run pause {run_id}` pauses the run now."
        )
    if phase.pause_after == pause:
        return phase
    session.execute(
        update(PhaseRow)
        .where(PhaseRow.run_id == run_id, PhaseRow.phase_id == phase_id)
        .values(pause_after=pause, updated_at=now)
    )
    events.record(
        session, run_id=run_id, phase_id=phase_id, kind="pause_after", actor=actor, now=now, pause=pause, reason=reason
    )  # fmt: skip
    return get(session, run_id, phase_id)


@dataclass(frozen=True, kw_only=True)
class _Change:
    """A person's word about a phase, and what the phase becomes by it."""

    action: PhaseAction
    actor: str
    now: datetime
    reason: str | None

    @property
    def state(self) -> PhaseState:
        return PhaseState.QUEUED if self.action is PhaseAction.REQUEUE else PhaseState.SKIPPED

    @property
    def allowed(self) -> frozenset[PhaseState]:
        return lifecycle.REQUEUEABLE if self.action is PhaseAction.REQUEUE else lifecycle.SKIPPABLE

    @property
    def values(self) -> dict[str, Any]:
        common = {"state": self.state, "updated_at": self.now, "not_before": None, "pause_after": False}
        if self.action is PhaseAction.SKIP:
            return {**common, "completed_at": self.now}
        # Out of GATE it has not ended yet, and whoever wished to look after it still does.
        marked = case((PhaseRow.state == PhaseState.GATE, PhaseRow.pause_after), else_=False)
        return {
            **common, "pause_after": marked, "attempts": 0, "completed_at": None, "requeued_after": _LAST_NUMBER
        }  # fmt: skip

    def ends(self, phase: Phase) -> bool:
        """Whether the run is to pause because this phase, as it was, has ended by it."""
        return self.action is PhaseAction.SKIP and phase.pause_after


def _changed_alone(session: Session, run_id: str, phase_id: str, change: _Change) -> Phase:
    phase = _changed(session, run_id, phase_id, change)
    _settle(session, run_id, change, phase if change.ends(phase) else None)
    return get(session, run_id, phase_id)


def _changed(session: Session, run_id: str, phase_id: str, change: _Change) -> Phase:
    """The phase as it was. Raises Conflict where its state forbids the change."""
    phase = get(session, run_id, phase_id, lock=True)
    changed = session.execute(
        update(PhaseRow)
        .where(PhaseRow.run_id == run_id, PhaseRow.phase_id == phase_id, PhaseRow.state.in_(change.allowed))
        .values(**change.values)
        .returning(PhaseRow.id)
    ).first()
    if changed is None:
        raise Conflict(
            f"phase {phase_id} of run {run_id} is {phase.state}; "
            f"only {', '.join(sorted(change.allowed))} can become {change.state}"
        )
    what = "requeued" if change.action is PhaseAction.REQUEUE else "skipped"
    requests.void(
        session, run_id, phase_id, reason=f"the phase was {what} by {change.actor}", actor=change.actor, now=change.now
    )  # fmt: skip
    events.record(
        session, run_id=run_id, phase_id=phase_id, kind="phase_state", actor=change.actor, now=change.now,
        state=change.state, reason=change.reason,
    )  # fmt: skip
    return phase


def _refused(session: Session, run_id: str, phase_id: str, why: str) -> PhaseActed:
    found = session.scalar(_ROW, {"run": run_id, "phase": phase_id})
    state = None if found is None else PhaseState(found.state)
    return PhaseActed(phase_id=phase_id, done=False, state=state, detail=why)


def _settle(session: Session, run_id: str, change: _Change, pauses_after: Phase | None) -> None:
    if change.state is PhaseState.QUEUED:
        runs.reopen(session, run_id, actor=change.actor, now=change.now)
    runs.settle(session, run_id, actor=change.actor, now=change.now, pauses_after=pauses_after)
