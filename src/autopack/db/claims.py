"""The claim: the one door from QUEUED into EXECUTING."""

from datetime import datetime, timedelta

from sqlalchemy import ScalarSelect, Select, String, Update, bindparam, func, select, update
from sqlalchemy.orm import Session, aliased

from autopack.db import approvals, attempts, briefing, events, idle, phases, runs
from autopack.db.columns import UtcDateTime
from autopack.db.tables import (
    AttemptRow,
    PhaseDependencyRow,
    PhaseRow,
    RunRow,
    TierRow,
)
from autopack.domain.phases import (
    CLOSED_STATES,
    OPEN_STATES,
    Claim,
    Idle,
    IdleReason,
    Phase,
    PhaseState,
    RunState,
    StateCause,
)
from autopack.errors import LeaseLost, PhaseBlocked


def claim(
    session: Session, *, run_id: str, phase_id: str | None = None, force: bool = False, worker: str,
    attempt_id: str, lease_token: str, lease_seconds: float, base_commit: str | None = None, now: datetime,
) -> Claim | Idle:  # fmt: skip
    """Takes the next due phase of the lowest open tier, or exactly `phase_id`; counts the attempt now.

    A repeat with a lease token that is known returns the same claim, so a lost answer loses nothing. Raises
    PhaseBlocked when the named phase cannot be drained now.
    """
    if (again := session.scalar(_BY_TOKEN, {"token": lease_token})) is not None:
        if again.outcome is not None:
            raise LeaseLost(f"attempt {again.id} has ended")
        return briefing.of_attempt(session, again)
    run = runs.row(session, run_id)
    _end_what_is_over(session, run_id, phase_id, now=now)
    if stopped := idle.stopped(session, run, now):
        return stopped
    if phase_id is not None:
        _make_claimable(session, run_id, phase_id, force=force, actor=worker, now=now)
        taken = session.execute(_TAKE_NAMED, {"of_run": run_id, "named": phase_id, "at": now}).first()
    else:
        taken = session.execute(_TAKE_NEXT, {"of_run": run_id, "at": now}).first()
    if taken is None:
        if phase_id is not None:
            raise PhaseBlocked(f"phase {phase_id} of run {run_id} was taken by another worker just now")
        return idle.explain(session, run, _DUE.params(of_run=run_id, at=now), now)
    run = runs.row(
        session, run_id
    )  # a cap that came before the phase was taken: who sets one counts what is taken
    number = attempts.last_number(session, run_id, taken.phase_id) + 1
    if stopped := _count_started(session, run, first=number == 1, now=now, base_commit=base_commit):
        # Nothing was started: the cap was reached by the phase that would have been next.
        session.execute(
            update(PhaseRow)
            .where(PhaseRow.run_id == run_id, PhaseRow.phase_id == taken.phase_id)
            .values(state=PhaseState.QUEUED, attempts=PhaseRow.attempts - 1, started_at=None)
        )
        return stopped
    attempt = AttemptRow(
        id=attempt_id, run_id=run_id, phase_id=taken.phase_id, number=number, worker=worker, lease_token=lease_token,
        lease_expires_at=now + timedelta(seconds=lease_seconds), claimed_at=now,
    )  # fmt: skip
    session.add(attempt)
    session.flush()
    events.record(
        session, run_id=run_id, phase_id=taken.phase_id, attempt_id=attempt_id, kind="claimed", actor=worker, now=now, number=number
    )  # fmt: skip
    return briefing.of_attempt(session, attempt)


def _end_what_is_over(session: Session, run_id: str, named: str | None, *, now: datetime) -> None:
    """Tries of lost workers, and requests that ran out. All phases are locked before the run: see `attempts`."""
    lost, due = attempts.expired(session, run_id, now=now), approvals.due(session, run_id, now=now)
    if not lost and not due:
        return
    touched = {each.phase_id for each in (*lost, *due)} | ({named} if named else set())
    phases.lock(session, [(run_id, each) for each in touched])
    attempts.give_back_expired(session, lost, now=now)
    approvals.expire(session, due, now=now)


def _take(wanted: ScalarSelect[int]) -> Update:
    """One statement: a phase that is still QUEUED becomes EXECUTING, and its attempt is counted."""
    return (
        update(PhaseRow)
        .where(PhaseRow.id == wanted, PhaseRow.state == PhaseState.QUEUED)
        .values(
            state=PhaseState.EXECUTING, attempts=PhaseRow.attempts + 1, not_before=None, updated_at=bindparam("at"),
            started_at=func.coalesce(PhaseRow.started_at, bindparam("at")),
        )
        .returning(PhaseRow.phase_id)
        .execution_options(synchronize_session=False)
    )  # fmt: skip


def _next_due() -> Select[int]:
    """The row id of the next phase: lowest open tier, then priority, then plan order. Walks one index."""
    run_id, now = bindparam("of_run", type_=String()), bindparam("at", type_=UtcDateTime())
    inner, wanted = aliased(PhaseRow), aliased(PhaseRow)
    open_tier = (
        select(TierRow.tier_index)
        .where(
            TierRow.run_id == run_id,
            select(inner.id)
            .where(
                inner.run_id == run_id, inner.tier_index == TierRow.tier_index, inner.state.in_(OPEN_STATES)
            )
            .exists(),
        )
        .order_by(TierRow.tier_index)
        .limit(1)
        .scalar_subquery()
    )
    unmet = (
        select(PhaseDependencyRow.depends_on)
        .join(wanted, (wanted.run_id == run_id) & (wanted.phase_id == PhaseDependencyRow.depends_on))
        .where(
            PhaseDependencyRow.run_id == run_id,
            PhaseDependencyRow.phase_id == PhaseRow.phase_id,
            wanted.state.not_in(CLOSED_STATES),
        )
        .correlate(PhaseRow)
        .exists()
    )
    return (
        select(PhaseRow.id)
        .where(
            PhaseRow.run_id == run_id,
            PhaseRow.tier_index == open_tier,
            PhaseRow.state == PhaseState.QUEUED,
            (PhaseRow.not_before.is_(None)) | (PhaseRow.not_before <= now),
            ~unmet,
        )
        .order_by(PhaseRow.priority_rank, PhaseRow.phase_index)
        .limit(1)
    )


# Built once: building these statements costs more than running them.
_DUE = _next_due()
# key_share: a row that was claimed since the statement began stays locked until this transaction ends, and must not
# keep its owner from inserting what refers to it.
_TAKE_NEXT = _take(_DUE.with_for_update(skip_locked=True, key_share=True).scalar_subquery())
_TAKE_NAMED = _take(
    select(PhaseRow.id)
    .where(PhaseRow.run_id == bindparam("of_run"), PhaseRow.phase_id == bindparam("named"))
    .scalar_subquery()
)
_BY_TOKEN = select(AttemptRow).where(AttemptRow.lease_token == bindparam("token"))


def _count_started(
    session: Session, run: RunRow, *, first: bool, now: datetime, base_commit: str | None
) -> Idle | None:
    """Marks the run as running, and counts phases that are started for the first time where `max_phases` asks."""
    started = run.state != RunState.QUEUED and run.base_commit is not None
    if started and run.max_phases is None:
        return None  # every claim of a run writing the run's row would make claims wait for each other
    counted = session.execute(
        update(RunRow)
        .where(RunRow.id == run.id, (RunRow.max_phases.is_(None)) | (RunRow.phases_started + int(first) <= RunRow.max_phases))
        .values(
            phases_started=RunRow.phases_started + int(first), started_at=func.coalesce(RunRow.started_at, now),
            base_commit=func.coalesce(RunRow.base_commit, base_commit),
        )
        .returning(RunRow.id)
    )  # fmt: skip
    if counted.first() is None:
        reason = f"max_phases is {run.max_phases}, and that many phases were started"
        runs.pause(session, run.id, actor="autopack", now=now, cause=StateCause.MAX_PHASES, reason=reason)
        return Idle(reason=IdleReason.BUDGET, detail=reason)
    if run.state == RunState.QUEUED:
        runs.set_state(session, run.id, RunState.RUNNING, actor="autopack", now=now)
    return None


def _make_claimable(
    session: Session, run_id: str, phase_id: str, *, force: bool, actor: str, now: datetime
) -> None:
    """Raises PhaseBlocked unless the phase may run now; a FAILED one is queued again first."""
    phase = phases.get(session, run_id, phase_id)
    if phase.state not in (PhaseState.QUEUED, PhaseState.FAILED):
        raise PhaseBlocked(
            f"phase {phase_id} of run {run_id} is {phase.state}; only QUEUED and FAILED phases can be drained"
        )
    if not force and (reason := _held_back_by(session, phase)):
        raise PhaseBlocked(
            f"phase {phase_id} of run {run_id} is held back: {reason}. Drain that first, or use --force."
        )
    if phase.state is PhaseState.FAILED:
        phases.requeue(session, run_id, phase_id, actor=actor, now=now)


def _held_back_by(session: Session, phase: Phase) -> str | None:
    earlier = session.execute(
        select(PhaseRow.tier_id, PhaseRow.phase_id, PhaseRow.state)
        .where(
            PhaseRow.run_id == phase.run_id,
            PhaseRow.tier_index < phase.tier_index,
            PhaseRow.state.in_(OPEN_STATES),
        )
        .order_by(PhaseRow.phase_index)
        .limit(1)
    ).first()
    if earlier is not None:
        return f"the earlier tier {earlier.tier_id} is open (phase {earlier.phase_id} is {earlier.state})"
    states = session.execute(
        select(PhaseRow.phase_id, PhaseRow.state)
        .where(
            PhaseRow.run_id == phase.run_id,
            PhaseRow.phase_id.in_(phase.depends_on),
            PhaseRow.state.in_(OPEN_STATES),
        )
        .limit(1)
    ).first()
    return f"it depends on {states.phase_id}, which is {states.state}" if states else None
