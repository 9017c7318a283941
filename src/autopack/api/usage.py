"""What model calls used and cost, and what they may cost in a day."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import AfterValidator

from autopack.api.deps import ClockDep, DatabaseDep, Moment, OriginDep
from autopack.db import daily, usage
from autopack.domain.caps import DailyAccount, day_of
from autopack.domain.storable import reject_unstorable
from autopack.domain.usage import Grouping, UsageReport, UsageSelection
from autopack.schemas.telemetry import DailyCapsBody

router = APIRouter(tags=["usage"])


def _storable(name: str | None) -> str | None:
    reject_unstorable(name)
    return name


# Rows of earlier and other databases name their runs as they please, so this is no Id.
Name = Annotated[str | None, Query(min_length=1, max_length=200), AfterValidator(_storable)]


async def _selection(
    run_id: Name = None, phase_id: Name = None, role: Name = None, model: Name = None,
    since: Moment | None = None, until: Moment | None = None,
) -> UsageSelection:  # fmt: skip
    return UsageSelection(run_id=run_id, phase_id=phase_id, role=role, model=model, since=since, until=until)


@router.get("/usage")
def totals(
    database: DatabaseDep,
    selection: Annotated[UsageSelection, Depends(_selection)],
    by: Grouping = Grouping.RUN,
    after: Annotated[str | None, Query(max_length=4000), AfterValidator(_storable)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> UsageReport:
    """Totals of model calls; `after` is the `next` of the page before."""
    with database.transaction() as session:
        return usage.report(session, by, selection, after=after, limit=limit)


@router.get("/daily-caps")
def daily_caps(database: DatabaseDep, clock: ClockDep) -> DailyAccount:
    """The caps on a day (UTC), and where today stands."""
    with database.transaction() as session:
        return daily.get(session, day_of(clock.now()))


@router.patch("/daily-caps")
def set_daily_caps(
    body: DailyCapsBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep
) -> DailyAccount:
    """Those that are named; null is no cap."""
    with database.transaction() as session:
        daily.set_caps(
            session, actor=f"{body.by} ({origin})", now=clock.now(), reason=body.reason, **body.caps
        )
        return daily.get(session, day_of(clock.now()))
