"""The telemetry tables as they are, for exports: read page by page, with a cursor where an export keeps one."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import AfterValidator

from autopack.api.deps import After, ClockDep, DatabaseDep, Moment
from autopack.db import telemetry
from autopack.domain.storable import reject_unstorable
from autopack.domain.telemetry import (
    ESCALATIONS,
    ESTIMATIONS,
    USAGE,
    EscalationEvent,
    EstimationEvent,
    ExportCursor,
    Selection,
    UsageEvent,
)
from autopack.schemas.telemetry import CursorAnswer, CursorBody

router = APIRouter(prefix="/telemetry", tags=["telemetry"])


def _storable(name: str | None) -> str | None:
    reject_unstorable(name)
    return name


Limit = Annotated[int, Query(ge=1, le=1000)]
# Rows of earlier and other databases name their runs as they please, so this is no Id.
Found = Annotated[str | None, Query(min_length=1, max_length=200), AfterValidator(_storable)]
CursorName = Annotated[str, Query(min_length=1, max_length=200), AfterValidator(_storable)]


async def _selection(
    run_id: Found = None, phase_id: Found = None, since: Moment | None = None, until: Moment | None = None
) -> Selection:  # fmt: skip
    return Selection(run_id=run_id, phase_id=phase_id, since=since, until=until)


SelectionDep = Annotated[Selection, Depends(_selection)]


@router.get("/usage")
def usage(
    database: DatabaseDep, selection: SelectionDep, after: After = 0, limit: Limit = 200
) -> list[UsageEvent]:
    """In order of `id`; `after` is the last one seen. The other two likewise, by `event_id`."""
    with database.transaction() as session:
        return telemetry.page(session, USAGE, selection, after=after, limit=limit)


@router.get("/usage/final")
def final_usage(
    database: DatabaseDep, clock: ClockDep, after: After = 0, limit: Limit = 200
) -> list[UsageEvent]:
    """As far as nothing before may still come or change: what an export with a cursor takes."""
    with database.transaction() as session:
        return telemetry.final_usage(session, after=after, limit=limit, now=clock.now())


@router.get("/estimations")
def estimations(
    database: DatabaseDep, selection: SelectionDep, after: After = 0, limit: Limit = 200
) -> list[EstimationEvent]:
    with database.transaction() as session:
        return telemetry.page(session, ESTIMATIONS, selection, after=after, limit=limit)


@router.get("/escalations")
def escalations(
    database: DatabaseDep, selection: SelectionDep, after: After = 0, limit: Limit = 200
) -> list[EscalationEvent]:
    with database.transaction() as session:
        return telemetry.page(session, ESCALATIONS, selection, after=after, limit=limit)


@router.get("/cursor")
def cursor(name: CursorName, database: DatabaseDep) -> CursorAnswer:
    with database.transaction() as session:
        return CursorAnswer(cursor=telemetry.cursor(session, name))


@router.put("/cursor")
def move_cursor(body: CursorBody, database: DatabaseDep, clock: ClockDep) -> ExportCursor:
    with database.transaction() as session:
        return telemetry.move_cursor(
            session, body.name, expected=body.expected, position=body.position,
            mapping_version=body.mapping_version, now=clock.now(),
        )  # fmt: skip
