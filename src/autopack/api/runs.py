"""Runs: made, read, paused, resumed, cancelled."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from autopack.api.deps import After, ClockDep, DatabaseDep, OriginDep
from autopack.db import attempts, calls, events, runs
from autopack.db.telemetry import page as rows
from autopack.domain.phases import Attempt, Event, Run, StateCause
from autopack.domain.telemetry import USAGE, Selection, UsageEvent
from autopack.schemas import ActorBody, Id, PlanBody, ResumeBody
from autopack.schemas.telemetry import TelemetryCounts

router = APIRouter(prefix="/runs", tags=["runs"])
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.post("", status_code=201, responses={200: {"description": "The same run was there already."}})
def create(
    body: PlanBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep, response: Response
) -> Run:
    with database.transaction() as session:
        made = runs.create(session, body.to_domain(), actor=origin, now=clock.now())
        response.status_code = 201 if made else 200
        return runs.get(session, body.run_id)


@router.get("")
def page(database: DatabaseDep, after: Id | None = None, limit: Limit = 100) -> list[Run]:
    """In order of run_id; `after` is the last one seen."""
    with database.transaction() as session:
        return runs.page(session, after=after, limit=limit)


@router.get("/{run_id}")
def get(run_id: Id, database: DatabaseDep) -> Run:
    with database.transaction() as session:
        return runs.get(session, run_id)


@router.post("/{run_id}/pause")
def pause(run_id: Id, body: ActorBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep) -> Run:
    with database.transaction() as session:
        runs.pause(
            session, run_id, actor=f"{body.by} ({origin})", now=clock.now(), cause=StateCause.PERSON,
            reason=body.reason or f"by {body.by}",
        )  # fmt: skip
        return runs.get(session, run_id)


@router.post("/{run_id}/resume")
def resume(run_id: Id, body: ResumeBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep) -> Run:
    caps = body.model_dump(
        include=set(ResumeBody.model_fields) - set(ActorBody.model_fields), exclude_none=True
    )
    with database.transaction() as session:
        runs.resume(session, run_id, caps=caps, actor=f"{body.by} ({origin})", now=clock.now())
        return runs.get(session, run_id)


@router.post("/{run_id}/cancel")
def cancel(run_id: Id, body: ActorBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep) -> Run:
    with database.transaction() as session:
        runs.cancel(session, run_id, actor=f"{body.by} ({origin})", now=clock.now())
        return runs.get(session, run_id)


@router.get("/{run_id}/attempts")
def open_attempts(run_id: Id, database: DatabaseDep) -> list[Attempt]:
    """The attempts that are under way."""
    with database.transaction() as session:
        return attempts.open_attempts(session, run_id)


@router.get("/{run_id}/calls")
def model_calls(
    run_id: Id, database: DatabaseDep, phase_id: Id | None = None, after: After = 0, limit: Limit = 200
) -> list[UsageEvent]:
    with database.transaction() as session:
        runs.row(session, run_id)
        return rows(session, USAGE, Selection(run_id=run_id, phase_id=phase_id), after=after, limit=limit)


@router.get("/{run_id}/telemetry")
def telemetry(run_id: Id, database: DatabaseDep, phase_id: Id | None = None) -> TelemetryCounts:
    with database.transaction() as session:
        runs.row(session, run_id)
        return TelemetryCounts(**calls.telemetry_counts(session, run_id, phase_id))


@router.get("/{run_id}/events")
def run_events(run_id: Id, database: DatabaseDep, after: After = 0, limit: Limit = 200) -> list[Event]:
    with database.transaction() as session:
        runs.row(session, run_id)
        return events.page(session, run_id, after=after, limit=limit)
