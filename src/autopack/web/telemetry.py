"""What estimates were worth and what calls cost: charts, each with the table that it is drawn from.

Recorded answers are apart: they are shown only where the filter asks for them.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import AfterValidator

from autopack.api.deps import ClockDep, DatabaseDep
from autopack.db import estimators
from autopack.db.engine import Database
from autopack.db.pages import charts
from autopack.domain.charts import MOST_POINTS, Bucket, Estimates, Filter, Spend, Spending
from autopack.domain.compared import compared
from autopack.domain.estimators import EstimatorVersion
from autopack.domain.messages import ProviderMode
from autopack.domain.moments import moment
from autopack.domain.storable import reject_unstorable
from autopack.web.rendering import command, page

router = APIRouter(prefix="/ui/telemetry", include_in_schema=False)
_BY_HOUR_WITHIN = timedelta(days=3)
_SHOWN_ROWS = 60
MODES = (ProviderMode.LIVE, ProviderMode.REPLAY)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """The filter as it is written in the address, and as it is meant."""

    run: str
    model: str
    since: str
    mode: ProviderMode
    wanted: Filter
    by_hour: bool

    @property
    def query(self) -> dict[str, str]:
        given = {"run": self.run, "model": self.model, "since": self.since, "mode": self.mode.value}
        return {name: value for name, value in given.items() if value and (name, value) != ("mode", "live")}


def _storable(text: str) -> str:
    reject_unstorable(text)
    return text.strip()


_Word = Annotated[str, Query(max_length=200), AfterValidator(_storable)]


async def _asked(
    clock: ClockDep,
    run: _Word = "",
    model: _Word = "",
    since: _Word = "",
    mode: ProviderMode = ProviderMode.LIVE,
) -> _Asked:
    now = clock.now()
    begin = moment("since", since or None, now)
    wanted = Filter(run_id=run or None, model=model or None, since=begin, mode=mode)
    by_hour = begin is not None and now - begin <= _BY_HOUR_WITHIN
    return _Asked(run=run, model=model, since=since, mode=mode, wanted=wanted, by_hour=by_hour)


_AskedDep = Annotated[_Asked, Depends(_asked)]


@dataclass(frozen=True, kw_only=True)
class _Figures:
    estimates: Estimates
    buckets: list[Bucket]
    spending: Spending


def _read(database: Database, asked: _Asked) -> tuple[_Figures, list[EstimatorVersion], int]:
    """The figures, the versions of the estimator, and how many calls were answered from a recording instead."""
    with database.transaction() as session:
        found = _Figures(
            estimates=charts.estimates(session, asked.wanted),
            buckets=charts.truncation(session, asked.wanted, by_hour=asked.by_hour),
            spending=charts.spent(session, asked.wanted),
        )
        replayed = 0
        if not found.spending.total.calls and asked.mode is ProviderMode.LIVE:
            recorded = replace(asked.wanted, mode=ProviderMode.REPLAY)
            replayed = charts.spent(session, recorded).total.calls
        return found, estimators.versions(session), replayed


@router.get("")
def show(request: Request, asked: _AskedDep, database: DatabaseDep) -> HTMLResponse:
    found, versions, replayed = _read(database, asked)
    return page(
        request, "telemetry.html", asked=asked, modes=MODES, estimates=found.estimates, spending=found.spending,
        buckets=found.buckets[-_SHOWN_ROWS:], older=max(0, len(found.buckets) - _SHOWN_ROWS),
        days=found.spending.by_day[-_SHOWN_ROWS:], older_days=max(0, len(found.spending.by_day) - _SHOWN_ROWS),
        points=found.estimates.points[:_SHOWN_ROWS], most_points=MOST_POINTS, versions=compared(versions),
        replayed=replayed, commands=_commands(asked),
    )  # fmt: skip


@router.get("/data.json")
def data(asked: _AskedDep, database: DatabaseDep) -> JSONResponse:
    """What the charts draw, as columns. Moments are seconds since 1970, in UTC."""
    with database.transaction() as session:
        estimates = charts.estimates(session, asked.wanted)
        buckets = charts.truncation(session, asked.wanted, by_hour=asked.by_hour)
        spending = charts.spent(session, asked.wanted)
    drawn = {
        "estimates": _drawn_estimates(estimates), "truncation": _drawn_buckets(buckets), "cost": _drawn_days(spending.by_day)
    }  # fmt: skip
    return JSONResponse(drawn, headers={"Cache-Control": "no-store"})


def _drawn_estimates(found: Estimates) -> dict[str, Any]:
    """In order of the predictions. A logarithmic axis begins at 1."""
    points = sorted(found.points, key=lambda point: point.predicted)
    actual = [max(1, point.actual) for point in points]
    return {
        "predicted": [max(1, point.predicted) for point in points],
        "whole": [None if point.cut else each for point, each in zip(points, actual, strict=True)],
        "cut": [each if point.cut else None for point, each in zip(points, actual, strict=True)],
    }


def _drawn_buckets(found: list[Bucket]) -> dict[str, Any]:
    return {
        "at": [_seconds(bucket.at) for bucket in found],
        "answers": [bucket.answers.value for bucket in found],
        "promised": [bucket.promised.value for bucket in found],
        "target": [bucket.target for bucket in found],
    }


def _drawn_days(found: tuple[Spend, ...]) -> dict[str, Any]:
    return {
        "at": [_seconds(day.key[0]) for day in found],
        "usd": [day.cost_usd for day in found],
        "unknown": [day.of_unknown_cost for day in found],
    }


def _seconds(at: str) -> int:
    """Of "2026-03-01" or "2026-03-01 14"."""
    return int(datetime.fromisoformat(f"{at}:00" if " " in at else at).replace(tzinfo=UTC).timestamp())


def _commands(asked: _Asked) -> list[tuple[str, str]]:
    words: list[object] = []
    for option, value in (("--run-id", asked.run), ("--model", asked.model), ("--since", asked.since)):
        words += [option, value] if value else []
    return [
        *(
            (f"cost by {by}", command("autopack", "usage", "--by", by, *words))
            for by in ("day", "model", "role")
        ),
        ("versions of the estimator", command("autopack", "estimator", "list")),
        ("what a calibration would change", command("autopack", "calibrate")),
        ("all events", command("autopack", "telemetry", "export", "--help")),
    ]
