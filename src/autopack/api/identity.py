"""Which database this server works on, and whether it is well."""

from fastapi import APIRouter

from autopack.api.deps import DatabaseDep
from autopack.db.identity import Identity, read_identity

router = APIRouter(tags=["identity"])


@router.get("/identity")
def identity(database: DatabaseDep) -> Identity:
    with database.transaction() as session:
        return read_identity(session, database.location)


@router.get("/health/live")
def live() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/health/ready")
def ready(database: DatabaseDep) -> dict[str, str]:
    """200 only when the database answers and is the one that was opened."""
    with database.transaction() as session:
        read_identity(session, database.location)
    return {"status": "ready"}
