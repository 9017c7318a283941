"""Runs: made, read, paused, resumed, cancelled, changed."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator

from autopack.api.deps import After, ClockDep, DatabaseDep, OriginDep, Search
from autopack.db import attempts, calls, events, runs
from autopack.db.telemetry import page as rows
from autopack.domain.phases import Attempt, Event, Run, RunState
from autopack.domain.storable import reject_unstorable
from autopack.domain.telemetry import USAGE, Selection, UsageEvent
from autopack.schemas import ActorBody, Id, PersonName, PlanBody, ResumeBody
from autopack.schemas.control import RunChangesBody
from autopack.schemas.telemetry import TelemetryCounts

router = APIRouter(prefix="/runs", tags=["runs"])
Limit = Annotated[int, Query(ge=1, le=1000)]


def _named(by: str | None) -> str | None:
    reject_unstorable(by)
    return by


Maker = Annotated[PersonName | None, Query(), AfterValidator(_named)]


@router.post("", status_code=201, responses={200: {"description": "The same run was there already."}})
def create(
    body: PlanBody,
    database: DatabaseDep,
    clock: ClockDep,
    origin: OriginDep,
    response: Response,
    by: Maker = None,
) -> Run:
    """The same plan twice makes one run; another one under the same run_id is refused. `by` is for the record."""
    with database.transaction() as session:
        made = runs.create(
            session, body.to_domain(), actor=f"{by} ({origin})" if by else origin, now=clock.now()
        )
        response.status_code = 201 if made else 200
        return runs.get(session, body.run_id)


@router.get("")
def page(
    database: DatabaseDep, state: RunState | None = None, q: Search = None, after: Id | None = None, limit: Limit = 100
) -> list[Run]:  # fmt: skip
    """In order of run_id; `after` is the last one seen. `q` is a part of the id or of the goal, in upper or lower case."""
    with database.transaction() as session:
        return runs.page(session, state=state, q=q, after=after, limit=limit)


@router.get("/{run_id}")
def get(run_id: Id, database: DatabaseDep) -> Run:
    with database.transaction() as session:
        return runs.get(session, run_id)


@router.post("/{run_id}/pause")
def pause(run_id: Id, body: ActorBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep) -> Run:
    """No phase of the run is claimed from now on; what is executing ends as it would."""
    with database.transaction() as session:
        runs.pause(
            session, run_id, actor=f"{body.by} ({origin})", now=clock.now(), reason=body.reason or f"by {body.by}"
        )  # fmt: skip
        return runs.get(session, run_id)


@router.post("/{run_id}/resume")
def resume(run_id: Id, body: ResumeBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep) -> Run:
    """Goes on with a PAUSED run; caps that are named replace the run's."""
    caps = body.model_dump(
        include=set(ResumeBody.model_fields) - set(ActorBody.model_fields), exclude_none=True
    )
    with database.transaction() as session:
        runs.resume(
            session, run_id, caps=caps, actor=f"{body.by} ({origin})", now=clock.now(), reason=body.reason
        )
        return runs.get(session, run_id)


@router.post("/{run_id}/cancel")
def cancel(run_id: Id, body: ActorBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep) -> Run:
    """What is queued or waits for a person is CANCELLED now; what is executing when its worker renews, within two seconds."""
    with database.transaction() as session:
        runs.cancel(session, run_id, actor=f"{body.by} ({origin})", now=clock.now(), reason=body.reason)
        return runs.get(session, run_id)


@router.patch("/{run_id}")
def change(
    run_id: Id, body: RunChangesBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep
) -> Run:
    """Caps, concurrency and model: those that are named; null takes away.

    In force from the next claim and the next model call on. A paused run stays paused; one that has ended refuses.
    """
    with database.transaction() as session:
        runs.change(
            session, run_id, body.changes, actor=f"{body.by} ({origin})", now=clock.now(), reason=body.reason
        )
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
