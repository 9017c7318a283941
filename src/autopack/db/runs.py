"""Runs: made from a plan, read, paused, resumed, cancelled, changed, and settled from what their phases became."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from autopack.db import events, requests
from autopack.db.tables import PhaseDependencyRow, PhaseRow, RunRow, TierRow
from autopack.domain import lifecycle
from autopack.domain.phases import FailureKind, Phase, PhaseState, Run, RunState, StateCause
from autopack.domain.plan import Plan, content_hash
from autopack.errors import Conflict, NotFound

_INSERT_AT_ONCE = 1000
# Statements of every claim and every end are built once: building one costs more than running it.
_ROW = select(RunRow).where(RunRow.id == bindparam("run")).execution_options(populate_existing=True)
# key_share: FOR NO KEY UPDATE. FOR UPDATE would also shut out every insert that refers to the run, and deadlock with claims.
_ROW_LOCKED = _ROW.with_for_update(key_share=True)
_PHASES_LOCKED = (
    select(PhaseRow.id)
    .where(PhaseRow.run_id == bindparam("run"))
    .order_by(PhaseRow.id)
    .with_for_update(key_share=True)
)
# One probe of an index per state: counting would cost more the longer the run is.
_STATES_PRESENT = select(
    *(
        select(PhaseRow.id)
        .where(PhaseRow.run_id == bindparam("run"), PhaseRow.state == state)
        .exists()
        .label(state.value)
        for state in PhaseState
    )
)


def create(session: Session, plan: Plan, *, actor: str, now: datetime) -> bool:
    """Stores the run with all its phases QUEUED. False when the same run is already there.

    Raises Conflict when the id is taken by a run of other content.
    """
    digest = content_hash(plan)
    there = session.scalar(select(RunRow.plan_hash).where(RunRow.id == plan.run_id))
    if there is not None:
        if there != digest:
            raise Conflict(
                f"run {plan.run_id} exists with other content; choose another run_id, nothing was changed"
            )
        return False
    session.execute(
        insert(RunRow).values(
            id=plan.run_id, goal=plan.goal, state=RunState.QUEUED, plan_hash=digest, safety_profile=plan.safety_profile,
            token_cap=plan.token_cap, cost_cap_usd=plan.cost_cap_usd, max_duration_minutes=plan.max_duration_minutes,
            max_phases=plan.max_phases, created_at=now, updated_at=now,
        )
    )  # fmt: skip
    tiers = [
        {"run_id": plan.run_id, "tier_id": tier.tier_id, "tier_index": index, "name": tier.name}
        for index, tier in enumerate(plan.tiers)
    ]
    _insert_all(session, TierRow, tiers)
    _insert_all(session, PhaseRow, _phase_values(plan, now))
    dependencies = [
        {"run_id": plan.run_id, "phase_id": phase.phase_id, "depends_on": wanted}
        for _, phase in plan.phases()
        for wanted in phase.depends_on
    ]
    _insert_all(session, PhaseDependencyRow, dependencies)
    events.record(session, run_id=plan.run_id, kind="run_created", actor=actor, now=now, plan_hash=digest)
    return True


def _insert_all(session: Session, table: type[Any], rows: Iterable[dict[str, Any]]) -> None:
    rows = list(rows)
    for start in range(0, len(rows), _INSERT_AT_ONCE):
        session.execute(insert(table), rows[start : start + _INSERT_AT_ONCE])


def _phase_values(plan: Plan, now: datetime) -> list[dict[str, Any]]:
    return [
        {
            "run_id": plan.run_id, "phase_id": phase.phase_id, "tier_id": plan.tiers[tier_index].tier_id,
            "tier_index": tier_index, "phase_index": phase_index, "name": phase.name, "goal": phase.goal,
            "task_category": phase.task_category, "complexity": phase.complexity, "risk": phase.risk, "state": PhaseState.QUEUED,
            "priority": phase.priority, "priority_rank": -phase.priority, "max_attempts": phase.max_attempts,
            "scope": {
                "paths": list(phase.scope.paths), "read_only_context": list(phase.scope.read_only_context),
                "deliverables": list(phase.scope.deliverables), "checks": list(phase.scope.checks),
            },
            "created_at": now, "updated_at": now,
        }
        for phase_index, (tier_index, phase) in enumerate(plan.phases())
    ]  # fmt: skip


def row(session: Session, run_id: str, *, lock: bool = False) -> RunRow:
    """The row; `lock` makes other transactions that lock it wait (on SQLite every transaction does)."""
    found = session.scalar(_ROW_LOCKED if lock else _ROW, {"run": run_id})
    if found is None:
        raise NotFound(f"there is no run {run_id} in this database")
    return found


def get(session: Session, run_id: str) -> Run:
    """The run with its phases counted by state."""
    found = row(session, run_id)
    return to_domain(found, phase_counts(session, [run_id]).get(run_id, {}))


def phase_counts(session: Session, run_ids: Collection[str]) -> dict[str, dict[str, int]]:
    """By run and state, what there is."""
    rows = session.execute(
        select(PhaseRow.run_id, PhaseRow.state, func.count())
        .where(PhaseRow.run_id.in_(run_ids))
        .group_by(PhaseRow.run_id, PhaseRow.state)
    )
    found: dict[str, dict[str, int]] = {}
    for run_id, state, count in rows:
        found.setdefault(run_id, {})[str(state)] = int(count)
    return found


def page(
    session: Session, *, state: RunState | None = None, q: str | None = None, after: str | None, limit: int
) -> list[Run]:
    """In order of run_id. `q` is a part of the id or of the goal, in upper or lower case."""
    query = select(RunRow).order_by(RunRow.id).limit(limit)
    if state is not None:
        query = query.where(RunRow.state == state)
    if q is not None:
        query = query.where(
            RunRow.id.icontains(q, autoescape=True) | RunRow.goal.icontains(q, autoescape=True)
        )
    if after is not None:
        query = query.where(RunRow.id > after)
    rows = session.scalars(query).all()
    counts = phase_counts(session, [each.id for each in rows])
    return [to_domain(each, counts.get(each.id, {})) for each in rows]


def to_domain(row: RunRow, counts: dict[str, int]) -> Run:
    return Run(
        run_id=row.id, goal=row.goal, state=RunState(row.state), plan_hash=row.plan_hash, safety_profile=row.safety_profile,
        state_cause=StateCause(row.state_cause) if row.state_cause else None, state_reason=row.state_reason,
        token_cap=row.token_cap, cost_cap_usd=row.cost_cap_usd, max_duration_minutes=row.max_duration_minutes,
        max_phases=row.max_phases, concurrency=row.concurrency, builder_model=row.builder_model, tokens_used=row.tokens_used, tokens_reserved=row.tokens_reserved, cost_usd=row.cost_usd,
        calls_of_unknown_usage=row.calls_of_unknown_usage, base_commit=row.base_commit, head_commit=row.head_commit,
        created_at=row.created_at, started_at=row.started_at, completed_at=row.completed_at, phase_counts=counts,
    )  # fmt: skip


def set_state(
    session: Session, run_id: str, state: RunState, *, actor: str, now: datetime,
    cause: StateCause | None = None, reason: str | None = None, said: str | None = None,
) -> None:  # fmt: skip
    """Writes a state that differs from the present one, with its event; that has what a person `said`, else the reason."""
    changed = session.execute(
        update(RunRow)
        .where(RunRow.id == run_id, RunRow.state != state)
        .values(
            state=state, state_cause=cause, state_reason=reason, updated_at=now,
            completed_at=now if state in lifecycle.DONE_STATES else None,
        )
        .returning(RunRow.id)
    )  # fmt: skip
    if changed.first() is not None:
        events.record(
            session, run_id=run_id, kind="run_state", actor=actor, now=now, state=state, reason=said or reason
        )


def pause(
    session: Session, run_id: str, *, actor: str, now: datetime, cause: StateCause = StateCause.PERSON,
    reason: str | None = None,
) -> None:  # fmt: skip
    """No phase of the run is claimed from now on; what is executing ends as it would."""
    found = row(session, run_id, lock=True)
    if found.state in lifecycle.DONE_STATES:
        raise Conflict(f"run {run_id} is {found.state}; there is nothing to pause")
    reason = reason or f"by {actor}"
    if found.state == RunState.PAUSED and cause is StateCause.PERSON and found.state_cause != cause:
        # A cap holds it already; from now on a person does, and more room would not be all it takes.
        values = {"state_cause": cause, "state_reason": reason, "updated_at": now}
        session.execute(update(RunRow).where(RunRow.id == run_id).values(**values))
        events.record(
            session,
            run_id=run_id,
            kind="run_state",
            actor=actor,
            now=now,
            state=RunState.PAUSED,
            reason=reason,
        )
    set_state(session, run_id, RunState.PAUSED, actor=actor, now=now, cause=cause, reason=reason)


def resume(
    session: Session, run_id: str, *, caps: Mapping[str, Any] | None = None, actor: str, now: datetime,
    reason: str | None = None,
) -> None:  # fmt: skip
    """Goes on with a PAUSED run; `caps` (columns of the run) replace the present ones."""
    _lock_phases_to_count(session, run_id, caps or {})
    found = row(session, run_id, lock=True)
    if found.state != RunState.PAUSED:
        raise Conflict(f"run {run_id} is {found.state}, not PAUSED")
    _write(session, found, caps or {}, actor=actor, now=now, reason=reason)
    set_state(session, run_id, RunState.RUNNING, actor=actor, now=now, said=reason)
    settle(session, run_id, actor=actor, now=now)


def change(
    session: Session, run_id: str, changes: Mapping[str, Any], *, actor: str, now: datetime, reason: str | None = None
) -> None:  # fmt: skip
    """What `changes` names (`control.CHANGEABLE`) is so from the next claim and the next model call on; None takes away."""
    _lock_phases_to_count(session, run_id, changes)
    found = row(session, run_id, lock=True)
    if found.state in lifecycle.DONE_STATES:
        raise Conflict(
            f"run {run_id} is {found.state}; there is nothing left to change. Requeue a phase of it first."
        )
    _write(session, found, changes, actor=actor, now=now, reason=reason)


def _lock_phases_to_count(session: Session, run_id: str, changes: Mapping[str, Any]) -> None:
    """Before the run, as everybody does: a claim under way is not seen, and would not be counted. Those that
    come later see the cap."""
    if changes.get("max_phases") is not None:
        session.execute(_PHASES_LOCKED, {"run": run_id}).all()


def _write(
    session: Session, found: RunRow, changes: Mapping[str, Any], *, actor: str, now: datetime, reason: str | None
) -> None:  # fmt: skip
    changed = {
        name: [getattr(found, name), value]
        for name, value in changes.items()
        if getattr(found, name) != value
    }
    if not changed:
        return
    values = {name: after for name, (_, after) in changed.items()}
    if "max_phases" in changed and found.max_phases is None:
        # Claims count for a run that has such a cap, and only then.
        started = select(func.count()).where(PhaseRow.run_id == found.id, PhaseRow.started_at.is_not(None))
        values["phases_started"] = started.scalar_subquery()
    session.execute(update(RunRow).where(RunRow.id == found.id).values(updated_at=now, **values))
    events.record(
        session, run_id=found.id, kind="run_changed", actor=actor, now=now, changes=changed, reason=reason
    )


def cancel(session: Session, run_id: str, *, actor: str, now: datetime, reason: str | None = None) -> None:
    """Queued and waiting phases are CANCELLED now; an executing one is told at its next renewal.

    A run that is paused for a cap ends as DONE_FAILED_BUDGET_EXHAUSTED: the work left was not afforded.
    """
    # All of them, before the run: one that comes to be queued meanwhile may be locked by who waits for the run.
    session.execute(_PHASES_LOCKED, {"run": run_id}).all()
    found = row(session, run_id, lock=True)
    if found.state in lifecycle.DONE_STATES:
        raise Conflict(f"run {run_id} is {found.state}; there is nothing to cancel")
    session.execute(
        update(PhaseRow)
        .where(PhaseRow.run_id == run_id, PhaseRow.state.in_([PhaseState.QUEUED, PhaseState.GATE]))
        .values(state=PhaseState.CANCELLED, pause_after=False, updated_at=now, completed_at=now)
    )
    requests.void(session, run_id, None, reason=f"the run was cancelled by {actor}", actor=actor, now=now)
    cause = StateCause(found.state_cause) if found.state_cause else None
    state = lifecycle.given_up(RunState(found.state), cause)
    why = reason
    if state is RunState.CANCELLED:
        cause = StateCause.PERSON
    else:
        why = found.state_reason  # the cap that was the end of it
    set_state(session, run_id, state, actor=actor, now=now, cause=cause, reason=why, said=reason)


def advance(session: Session, run_id: str, commit: str, *, holds: Collection[str]) -> None:
    """The run's branch must hold `commit` from now on, unless what it had to hold already is not among what `commit` holds.

    Workers do not tell of their commits in the order in which they made them.
    """
    if row(session, run_id, lock=True).head_commit in (None, *holds):
        session.execute(update(RunRow).where(RunRow.id == run_id).values(head_commit=commit))


def settle(
    session: Session, run_id: str, *, actor: str, now: datetime, pauses_after: Phase | None = None
) -> None:
    """Writes what the run is now that some phase of it has changed.

    `pauses_after` has ended just now, and a person wished to look before the run goes on, if there is more of it.
    """
    found = row(session, run_id, lock=True)
    state, cause, reason = lifecycle.run_state(RunState(found.state), _states(session, run_id)), None, None
    if pauses_after is not None and state not in lifecycle.DONE_STATES:
        state, cause = RunState.PAUSED, StateCause.PERSON
        reason = f"phase {pauses_after.phase_id} has ended, and the run was to pause after it"
    if state != found.state:
        set_state(session, run_id, state, actor=actor, now=now, cause=cause, reason=reason)


def reopen(session: Session, run_id: str, *, actor: str, now: datetime) -> None:
    """A run that had ended has work again (a phase was requeued)."""
    if row(session, run_id, lock=True).state in lifecycle.DONE_STATES:
        set_state(session, run_id, RunState.RUNNING, actor=actor, now=now)


def _states(session: Session, run_id: str) -> lifecycle.PhaseStates:
    there = session.execute(_STATES_PRESENT, {"run": run_id}).one()
    present = frozenset(state for state, is_there in zip(PhaseState, there, strict=True) if is_there)

    def ended_by(state: PhaseState, kind: FailureKind) -> bool:
        of_kind = select(PhaseRow.id).where(
            PhaseRow.run_id == run_id, PhaseRow.state == state, PhaseRow.failure_kind == kind
        )
        return state in present and session.scalar(of_kind.limit(1)) is not None

    return lifecycle.PhaseStates(
        present=present, policy_failures=ended_by(PhaseState.FAILED, FailureKind.POLICY_VIOLATION),
        undone=ended_by(PhaseState.CANCELLED, FailureKind.UNDONE),
    )  # fmt: skip
