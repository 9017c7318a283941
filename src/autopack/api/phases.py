"""Phases: read, claimed, requeued, skipped, undone, marked to pause after."""

from typing import Annotated

from fastapi import APIRouter, Query

from autopack.api.deps import After, ClockDep, DatabaseDep, OriginDep, Search
from autopack.clock import Clock
from autopack.db import attempts, claims, phases, undo
from autopack.db.engine import Database
from autopack.db.undo import Undone
from autopack.domain.control import PhaseActed
from autopack.domain.phases import Attempt, Claim, Phase, PhaseState
from autopack.schemas import ActorBody, ClaimAnswer, ClaimBody, Id, UndoneBody
from autopack.schemas.control import PauseAfterBody, PhaseActionsBody

router = APIRouter(tags=["phases"])


def take(database: Database, clock: Clock, body: ClaimBody) -> ClaimAnswer:
    with database.transaction() as session:
        found = claims.claim(
            session, run_id=body.run_id, phase_id=body.phase_id, force=body.force, worker=body.worker,
            attempt_id=clock.new_id(), lease_token=body.lease_token, lease_seconds=body.lease_seconds,
            base_commit=body.base_commit, now=clock.now(),
        )  # fmt: skip
    return ClaimAnswer(claim=found) if isinstance(found, Claim) else ClaimAnswer(idle=found)


@router.post("/phases/claim")
def claim(body: ClaimBody, database: DatabaseDep, clock: ClockDep) -> ClaimAnswer:
    return take(database, clock, body)


@router.get("/runs/{run_id}/phases")
def page(
    run_id: Id,
    database: DatabaseDep,
    state: PhaseState | None = None,
    q: Search = None,
    tier: Id | None = None,
    after: After = -1,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[Phase]:
    """In plan order; `after` is the phase_index of the last one seen. `q` is a part of the id, the name or the goal."""
    with database.transaction() as session:
        return phases.page(session, run_id, state=state, q=q, tier=tier, after=after, limit=limit)


@router.get("/runs/{run_id}/phases/{phase_id}")
def get(run_id: Id, phase_id: Id, database: DatabaseDep) -> Phase:
    with database.transaction() as session:
        return phases.get(session, run_id, phase_id)


@router.get("/runs/{run_id}/phases/{phase_id}/attempts")
def of_phase(run_id: Id, phase_id: Id, database: DatabaseDep) -> list[Attempt]:
    with database.transaction() as session:
        return attempts.of_phase(session, run_id, phase_id)


@router.post("/runs/{run_id}/phases/{phase_id}/requeue")
def requeue(
    run_id: Id, phase_id: Id, body: ActorBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep
) -> Phase:
    """A FAILED, SKIPPED, CANCELLED or waiting phase is due again, with all its attempts."""
    with database.transaction() as session:
        return phases.requeue(
            session, run_id, phase_id, actor=f"{body.by} ({origin})", now=clock.now(), reason=body.reason
        )


@router.post("/runs/{run_id}/phases/{phase_id}/skip")
def skip(
    run_id: Id, phase_id: Id, body: ActorBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep
) -> Phase:
    """The run goes on without it: later tiers and what depends on it are no longer held back."""
    with database.transaction() as session:
        return phases.skip(
            session, run_id, phase_id, actor=f"{body.by} ({origin})", now=clock.now(), reason=body.reason
        )


@router.post("/runs/{run_id}/phases/{phase_id}/pause-after")
def pause_after(
    run_id: Id, phase_id: Id, body: PauseAfterBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep
) -> Phase:
    """The run pauses when this phase has ended, if there is more of it then; with `pause` false it does not."""
    with database.transaction() as session:
        return phases.pause_after(
            session, run_id, phase_id, pause=body.pause, actor=f"{body.by} ({origin})", now=clock.now(),
            reason=body.reason,
        )  # fmt: skip


@router.post("/runs/{run_id}/phase-actions")
def act(
    run_id: Id, body: PhaseActionsBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep
) -> list[PhaseActed]:
    """Requeues or skips several phases, each by itself: one that cannot is told, and the others are done."""
    with database.transaction() as session:
        return phases.act(
            session, run_id, body.phase_ids, body.action, actor=f"{body.by} ({origin})", now=clock.now(),
            reason=body.reason,
        )  # fmt: skip


@router.post("/runs/{run_id}/phases/{phase_id}/undone")
def undone(
    run_id: Id, phase_id: Id, body: UndoneBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep
) -> Phase:
    """The phase's commit was taken back on the run's branch: it is CANCELLED, and may be requeued."""
    told = Undone(
        commit=body.commit, undo_commit=body.undo_commit, by=body.by, reason=body.reason, holds=body.holds
    )
    with database.transaction() as session:
        return undo.record(session, run_id, phase_id, told, actor=f"{body.by} ({origin})", now=clock.now())
