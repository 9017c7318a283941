"""Sessions of triage: begun, gone on with, stopped; what they try; and the failed phases that there are."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from autopack.api.deps import After, ClockDep, DatabaseDep, OriginDep
from autopack.db import runs, triage
from autopack.domain.storable import MAX_INTEGER
from autopack.domain.triage import Candidate, Item, Session
from autopack.schemas import Id
from autopack.schemas.telemetry import TriageItemBody, TriageResultBody, TriageSessionBody, TriageStopBody

router = APIRouter(prefix="/triage", tags=["triage"])
Limit = Annotated[int, Query(ge=1, le=1000)]
Position = Annotated[int, Path(ge=1, le=MAX_INTEGER)]


@router.get("/candidates")
def candidates(
    database: DatabaseDep, run_id: Id | None = None, session_id: Id | None = None,
    after_run: Id | None = None, after_phase: After = -1, limit: Limit = 200,
) -> list[Candidate]:  # fmt: skip
    """FAILED phases, in order of run and plan; with a session, also those that it has tried and that are open again.

    `after_run` and `after_phase` are the run and phase_index of the last one seen.
    """
    after = None if after_run is None else (after_run, after_phase)
    with database.transaction() as session:
        if run_id is not None:
            runs.row(session, run_id)
        return triage.candidates(session, run_id=run_id, session_id=session_id, after=after, limit=limit)


@router.post("/sessions")
def open_session(
    body: TriageSessionBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep
) -> Session:
    """Begins a session, or goes on with it under these options."""
    with database.transaction() as session:
        options = body.model_dump(mode="json")["options"]
        return triage.open_session(session, body.session_id, options, now=clock.now(), actor=origin)


@router.get("/sessions")
def page(database: DatabaseDep, unfinished: bool = False, limit: Limit = 100) -> list[Session]:
    """The newest first."""
    with database.transaction() as session:
        return triage.page(session, unfinished=unfinished, limit=limit)


@router.get("/sessions/{session_id}")
def get(session_id: Id, database: DatabaseDep) -> Session:
    with database.transaction() as session:
        return triage.get(session, session_id)


@router.post("/sessions/{session_id}/stop")
def stop(
    session_id: Id, body: TriageStopBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep
) -> Session:
    with database.transaction() as session:
        return triage.stop(
            session, session_id, reason=body.reason, ended=body.ended, now=clock.now(), actor=origin
        )


@router.get("/sessions/{session_id}/items")
def items(session_id: Id, database: DatabaseDep, after: After = 0, limit: Limit = 200) -> list[Item]:
    with database.transaction() as session:
        return triage.items(session, session_id, after=after, limit=limit)


@router.post("/sessions/{session_id}/items")
def start_item(session_id: Id, body: TriageItemBody, database: DatabaseDep, clock: ClockDep) -> Item:
    before = body.model_dump(mode="json")["before"]
    with database.transaction() as session:
        return triage.start_item(
            session, session_id, body.position, (body.run_id, body.phase_id), worker=body.worker, before=before,
            now=clock.now(),
        )  # fmt: skip


@router.post("/sessions/{session_id}/items/{position}/finish")
def finish_item(
    session_id: Id, position: Position, body: TriageResultBody, database: DatabaseDep, clock: ClockDep
) -> Item:
    result = body.model_dump(mode="json")["result"]
    with database.transaction() as session:
        return triage.finish_item(session, session_id, position, result, now=clock.now())
