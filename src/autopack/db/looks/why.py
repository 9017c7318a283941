"""A run as `domain/looks/why` wants it: about ten statements, whether it has ten phases or ten thousand."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Subquery, and_, case, func, literal, select
from sqlalchemy.orm import Session, aliased

from autopack.db import approvals, runs
from autopack.db.looks.workers import LEASE, lease
from autopack.db.tables import ApprovalRequestRow, AttemptRow, EventRow, PhaseDependencyRow, PhaseRow
from autopack.domain.looks.stops import Pause
from autopack.domain.looks.why import Blocker, HeldPhase, Hold, OpenTier, Situation, Why, explain
from autopack.domain.phases import CLOSED_STATES, OPEN_STATES, FailureKind, PhaseState, RunState

_LISTED = 20  # of each kind
_REASON_CHARS = 1000
# Of several that hold back the others, the one that needs a person.
_NEEDS_MOST = (PhaseState.FAILED, PhaseState.CANCELLED, PhaseState.GATE, PhaseState.EXECUTING)


def why(session: Session, run_id: str, *, now: datetime) -> Why:
    """Why the run moves or does not. Raises NotFound."""
    approvals.expire_due(session, run_id, now=now)
    return explain(situation(session, run_id, now=now), now)


def situation(session: Session, run_id: str, *, now: datetime) -> Situation:
    run = runs.get(session, run_id)
    rows = session.execute(_first_of_each(run_id, now)).all()
    live, ended = session.execute(_leases(run_id, now)).one()
    phases = _with_holders(session, run_id, rows, now)
    return Situation(
        run=run, counts={Hold(row.hold): row.alike for row in rows}, live_leases=live, ended_leases=ended,
        next_due=session.scalar(_next_due(run_id, now)), tier=_open_tier(session, run_id),
        pause=pause_of(session, run_id) if run.state is RunState.PAUSED else None, phases=phases,
    )  # fmt: skip


def _first_of_each(run_id: str, now: datetime) -> Select[Any]:
    """The phases that are not done, by what holds them: of each kind the first, with how many are alike."""
    held = _held(run_id, now)
    ranked = select(
        held.c.id, held.c.hold,
        func.row_number().over(partition_by=held.c.hold, order_by=(held.c.priority_rank, held.c.phase_index)).label("place"),
        func.count().over(partition_by=held.c.hold).label("alike"),
    ).subquery()  # fmt: skip
    return (
        select(
            PhaseRow.phase_id, PhaseRow.tier_id, PhaseRow.state, PhaseRow.failure_kind, PhaseRow.not_before,
            func.substr(PhaseRow.failure_reason, 1, _REASON_CHARS).label("failure_reason"), ranked.c.hold, ranked.c.alike,
        )
        .join(ranked, ranked.c.id == PhaseRow.id)
        .where(ranked.c.place <= _LISTED)
        .order_by(_place_of(ranked.c.hold, list(Hold)), ranked.c.place)
    )  # fmt: skip


def _held(run_id: str, now: datetime) -> Subquery:
    earlier, wanted = aliased(PhaseRow), aliased(PhaseRow)
    open_tier = (
        select(func.min(earlier.tier_index))
        .where(earlier.run_id == run_id, earlier.state.in_(OPEN_STATES))
        .scalar_subquery()
    )
    unmet = (
        select(PhaseDependencyRow.depends_on)
        .join(wanted, and_(wanted.run_id == run_id, wanted.phase_id == PhaseDependencyRow.depends_on))
        .where(
            PhaseDependencyRow.run_id == run_id,
            PhaseDependencyRow.phase_id == PhaseRow.phase_id,
            # Not "in" the open ones: SQLite would begin with all of these, for each phase.
            wanted.state.not_in(CLOSED_STATES),
        )
        .correlate(PhaseRow)
        .exists()
    )
    hold = case(
        (PhaseRow.state == PhaseState.FAILED, Hold.FAILED.value),
        (PhaseRow.state == PhaseState.GATE, Hold.APPROVAL.value),
        (PhaseRow.state == PhaseState.EXECUTING, Hold.EXECUTING.value),
        (PhaseRow.state == PhaseState.CANCELLED, Hold.CANCELLED.value),
        (PhaseRow.tier_index > open_tier, Hold.TIER.value),
        (unmet, Hold.DEPENDENCY.value),
        (PhaseRow.not_before > now, Hold.NOT_BEFORE.value),
        else_=literal(Hold.DUE.value),
    )
    return (
        select(PhaseRow.id, PhaseRow.priority_rank, PhaseRow.phase_index, hold.label("hold"))
        .where(PhaseRow.run_id == run_id, PhaseRow.state.in_(OPEN_STATES))
        .subquery()
    )


def _place_of(column: Any, order: Sequence[str]) -> Any:
    return case({str(value): place for place, value in enumerate(order)}, value=column, else_=len(order))


def _leases(run_id: str, now: datetime) -> Select[int, int]:
    live = func.coalesce(func.sum(case((AttemptRow.lease_expires_at >= now, 1), else_=0)), 0)
    return select(live, func.count() - live).where(AttemptRow.run_id == run_id, AttemptRow.outcome.is_(None))


def _next_due(run_id: str, now: datetime) -> Select[datetime | None]:
    return select(func.min(PhaseRow.not_before)).where(
        PhaseRow.run_id == run_id, PhaseRow.state == PhaseState.QUEUED, PhaseRow.not_before > now
    )


def _open_tier(session: Session, run_id: str) -> OpenTier | None:
    is_open = (PhaseRow.run_id == run_id, PhaseRow.state.in_(OPEN_STATES))
    first = (
        select(PhaseRow.tier_id, func.count())
        .where(*is_open)
        .group_by(PhaseRow.tier_index, PhaseRow.tier_id)
        .order_by(PhaseRow.tier_index)
        .limit(1)
    )
    found = session.execute(first).first()
    if found is None:
        return None
    tier_id, open_phases = found
    blocker = session.execute(
        select(PhaseRow.phase_id, PhaseRow.state)
        .where(*is_open, PhaseRow.tier_id == tier_id)
        .order_by(_place_of(PhaseRow.state, _NEEDS_MOST), PhaseRow.phase_index)
        .limit(1)
    ).one()
    return OpenTier(tier_id=tier_id, open_phases=open_phases, blocker=_blocker(blocker))


def pause_of(session: Session, run_id: str) -> Pause | None:
    """The newest change of the run's state: the one that paused it."""
    found = session.execute(
        select(EventRow.actor, EventRow.created_at)
        .where(EventRow.run_id == run_id, EventRow.kind == "run_state")
        .order_by(EventRow.id.desc())
        .limit(1)
    ).first()
    return found and Pause(actor=found.actor, at=found.created_at)


def _with_holders(session: Session, run_id: str, rows: Sequence[Any], now: datetime) -> tuple[HeldPhase, ...]:
    """Of those that are listed: who has them, who is asked, what they depend on."""

    def named(hold: Hold) -> list[str]:
        return [row.phase_id for row in rows if row.hold == hold]

    leases = _leases_of(session, run_id, named(Hold.EXECUTING))
    requests = _requests_of(session, run_id, named(Hold.APPROVAL))
    blockers = _blockers_of(session, run_id, named(Hold.DEPENDENCY))
    delays = _delays_of(session, run_id, named(Hold.NOT_BEFORE))
    found = []
    for row in rows:
        held, why_it_failed = leases.get(row.phase_id), delays.get(row.phase_id, row)
        kind = why_it_failed.failure_kind
        found.append(
            HeldPhase(
                phase_id=row.phase_id, tier_id=row.tier_id, state=PhaseState(row.state), hold=Hold(row.hold),
                failure_kind=FailureKind(kind) if kind else None, failure_reason=why_it_failed.failure_reason,
                not_before=row.not_before, worker=held.worker if held else None,
                lease=lease(held, now) if held else None, approval_id=requests.get(row.phase_id),
                blocker=blockers.get(row.phase_id),
            )
        )  # fmt: skip
    return tuple(found)


def _delays_of(session: Session, run_id: str, phase_ids: Collection[str]) -> dict[str, Any]:
    """The last try of each: a phase that only waits keeps no word of why."""
    wanted = (
        select(
            AttemptRow.phase_id, AttemptRow.failure_kind,
            func.substr(AttemptRow.reason, 1, _REASON_CHARS).label("failure_reason"),
        )
        .where(AttemptRow.run_id == run_id, AttemptRow.phase_id.in_(phase_ids))
        .order_by(AttemptRow.number)
    )  # fmt: skip
    return {row.phase_id: row for row in session.execute(wanted)} if phase_ids else {}


def _leases_of(session: Session, run_id: str, phase_ids: Collection[str]) -> dict[str, Any]:
    wanted = select(*LEASE).where(
        AttemptRow.run_id == run_id, AttemptRow.outcome.is_(None), AttemptRow.phase_id.in_(phase_ids)
    )
    return {row.phase_id: row for row in session.execute(wanted)} if phase_ids else {}


def _requests_of(session: Session, run_id: str, phase_ids: Collection[str]) -> dict[str, str]:
    wanted = select(ApprovalRequestRow.phase_id, ApprovalRequestRow.id).where(
        ApprovalRequestRow.run_id == run_id,
        ApprovalRequestRow.phase_id.in_(phase_ids),
        ApprovalRequestRow.status == "pending",
    )
    return {row.phase_id: row.id for row in session.execute(wanted)} if phase_ids else {}


def _blockers_of(session: Session, run_id: str, phase_ids: Collection[str]) -> dict[str, Blocker]:
    """Of several, the one that needs a person; then the first of the plan."""
    wanted = (
        select(PhaseDependencyRow.phase_id.label("of_phase"), PhaseRow.phase_id, PhaseRow.state)
        .join(
            PhaseRow,
            and_(PhaseRow.run_id == run_id, PhaseRow.phase_id == PhaseDependencyRow.depends_on),
        )
        .where(
            PhaseDependencyRow.run_id == run_id,
            PhaseDependencyRow.phase_id.in_(phase_ids),
            PhaseRow.state.in_(OPEN_STATES),
        )
        .order_by(_place_of(PhaseRow.state, _NEEDS_MOST), PhaseRow.phase_index)
    )
    found: dict[str, Blocker] = {}
    for row in session.execute(wanted) if phase_ids else ():
        found.setdefault(row.of_phase, _blocker(row))
    return found


def _blocker(row: Any) -> Blocker:
    return Blocker(phase_id=row.phase_id, state=PhaseState(row.state))
