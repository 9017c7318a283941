"""What people ask about: why a run does not move, what happened meanwhile, who works on what, how much is left."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from autopack.api.deps import After, ClockDep, DatabaseDep, Moment
from autopack.db.looks import digest, events, outlook, why, workers
from autopack.domain.looks.digest import Digest
from autopack.domain.looks.outlook import Outlook
from autopack.domain.looks.why import Why
from autopack.domain.looks.workers import WorkerLook
from autopack.domain.phases import Event
from autopack.schemas import Id

router = APIRouter(tags=["looks"])
Limit = Annotated[int, Query(ge=1, le=1000)]


class LastEvent(BaseModel):
    """0 where nothing has happened yet."""

    event_id: int


@router.get("/runs/{run_id}/why")
def why_run(run_id: Id, database: DatabaseDep, clock: ClockDep) -> Why:
    """Why the run moves or does not, in plain words, with the commands that help; then each phase that is not done.

    Of phases that wait for the like only the first 20 are listed; `counts` and `not_listed` tell of the others.
    """
    with database.transaction() as session:
        return why.why(session, run_id, now=clock.now())


@router.get("/runs/{run_id}/outlook")
def outlook_of_run(run_id: Id, database: DatabaseDep) -> Outlook:
    """How many tokens, how much money and time the open phases will take, and what that is made from. Unknown is null."""
    with database.transaction() as session:
        return outlook.look(session, run_id)


@router.get("/digest")
def digest_since(
    since: Moment, database: DatabaseDep, clock: ClockDep, until: Moment | None = None
) -> Digest:
    """What waits for a person now, and what happened from `since` and before `until` (default: now)."""
    with database.transaction() as session:
        return digest.digest(session, since=since, until=until, now=clock.now())


@router.get("/workers")
def all_workers(database: DatabaseDep, clock: ClockDep, limit: Limit = 1000) -> list[WorkerLook]:
    """Who holds which phase, in order of the workers' names; no more than `limit` leases in all."""
    with database.transaction() as session:
        return workers.look(session, now=clock.now(), limit=limit)


@router.get("/events")
def all_events(
    database: DatabaseDep, after: After = 0, limit: Limit = 200, run_id: Id | None = None, since: Moment | None = None
) -> list[Event]:  # fmt: skip
    """What happened, of all runs or of one, in order; `after` is the event_id of the last one seen."""
    with database.transaction() as session:
        return events.page(session, after=after, limit=limit, run_id=run_id, since=since)


@router.get("/events/last")
def last_event(database: DatabaseDep) -> LastEvent:
    """The id of the newest event: cheap, to be asked often."""
    with database.transaction() as session:
        return LastEvent(event_id=events.last_id(session))
