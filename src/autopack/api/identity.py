"""Which database this server works on, and whether it is well."""

from dataclasses import dataclass

from fastapi import APIRouter

import autopack
from autopack.api.deps import DatabaseDep
from autopack.db.identity import Identity, read_identity

router = APIRouter(tags=["identity"])


@dataclass(frozen=True, kw_only=True)
class Served(Identity):
    """`version` is the server's Autopack."""

    version: str


@router.get("/identity")
def identity(database: DatabaseDep) -> Served:
    """Which database this server works on. `epoch` is 1, and another one after each restore from a backup.

    Clients send `database_id` as X-Autopack-Database and `epoch` as X-Autopack-Epoch: another one is answered 409.
    """
    with database.transaction() as session:
        found = read_identity(session, database.location)
    return Served(**vars(found), version=autopack.__version__)


@router.get("/health/live")
def live() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/health/ready")
def ready(database: DatabaseDep) -> dict[str, str]:
    """200 only when the database answers and is the one that was opened."""
    with database.transaction() as session:
        read_identity(session, database.location)
    return {"status": "ready"}
