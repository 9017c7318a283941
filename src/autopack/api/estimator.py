"""Versions of the estimator, and what a calibration proposes."""

from fastapi import APIRouter, Response

from autopack.api.deps import ClockDep, DatabaseDep, OriginDep
from autopack.db import calibration, estimators
from autopack.domain.calibrate import Calibration, Present, calibrate
from autopack.domain.estimators import EstimatorVersion
from autopack.domain.observations import observations
from autopack.schemas import ActorBody
from autopack.schemas.telemetry import CalibrateBody, EstimatorVersionBody, VersionName

router = APIRouter(tags=["estimator"])
_SOMEBODY = ActorBody()  # the body may be left out


@router.post("/calibrations")
def make_calibration(body: CalibrateBody, database: DatabaseDep) -> Calibration:
    """Nothing is written. The events are read in one transaction; what is learned from them is computed after it."""
    with database.transaction() as session:
        present = estimators.present(session) if body.present is None else body.present.to_domain()
        stored = calibration.read(session)
    return _calibrated(stored, present, body)


def _calibrated(stored: calibration.Stored, present: Present, body: CalibrateBody) -> Calibration:
    usable, left_out = observations(stored.events())
    if stored.older:
        left_out[f"older than the newest {calibration.MOST_READ}"] = stored.older
    return calibrate(
        usable, left_out, present, events=len(stored.rows) + stored.older, target=body.target,
        min_samples=body.min_samples,
    )  # fmt: skip


@router.get("/estimator/versions")
def versions(database: DatabaseDep) -> list[EstimatorVersion]:
    """The one that ships with the package first, then in the order in which they were added."""
    with database.transaction() as session:
        return estimators.versions(session)


@router.post(
    "/estimator/versions", status_code=201, responses={200: {"description": "That version was in force already."}}
)  # fmt: skip
def add(
    body: EstimatorVersionBody, database: DatabaseDep, clock: ClockDep, origin: OriginDep, response: Response
) -> EstimatorVersion:
    """In force from now on, if its parent still is."""
    new = body.to_domain()
    with database.transaction() as session:
        version, changed = estimators.add(
            session, new, now=clock.now(), actor=f"{body.by} ({origin})", reason=body.reason
        )
    response.status_code = 201 if changed else 200
    return version


@router.post("/estimator/versions/{name}/activate")
def activate(
    name: VersionName,
    database: DatabaseDep,
    clock: ClockDep,
    origin: OriginDep,
    body: ActorBody = _SOMEBODY,
) -> EstimatorVersion:
    """Also the way back; the shipped version is activated by its name as well."""
    with database.transaction() as session:
        return estimators.activate(
            session, name, now=clock.now(), actor=f"{body.by} ({origin})", reason=body.reason
        )
