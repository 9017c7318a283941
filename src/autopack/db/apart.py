"""A telemetry database is one of its own: never the queue's, nor a copy of it, whose rows would count twice."""

from sqlalchemy import inspect, select
from sqlalchemy.exc import DBAPIError

from autopack.db.engine import runtime_engine
from autopack.db.identity import check_sqlite_file
from autopack.db.location import Location
from autopack.db.tables import DatabaseIdentityRow
from autopack.errors import DatabaseRefused

_REMEDY = (
    "Telemetry needs a database of its own: name one that does not exist yet, and run `autopack migrate`."
)


def refuse_not_apart(queue: Location, telemetry: Location) -> None:
    """Raises DatabaseRefused for one database under two names, and for a copy. What cannot be read is not compared."""
    if queue.url == telemetry.url:
        raise DatabaseRefused(
            f"TELEMETRY_DATABASE_URL names the queue's own database, {queue.masked}. Nothing was changed. {_REMEDY}"
        )
    ours, theirs = _identity(queue), _identity(telemetry)
    if ours is not None and theirs is not None:
        refuse_same_identity(queue, ours, telemetry, theirs)


def refuse_same_identity(one: Location, one_id: str, other: Location, other_id: str) -> None:
    if one_id == other_id:
        raise DatabaseRefused(
            f"{one.masked} and {other.masked} are the same database, or one is a copy of the other (identity {one_id}). "
            f"Nothing was changed. {_REMEDY}"
        )


def _identity(location: Location) -> str | None:
    """At any revision. None where there is none to be read."""
    engine = runtime_engine(location, read_only=True)
    try:
        if location.path is not None:
            check_sqlite_file(location)
        with engine.connect() as connection:
            if not inspect(connection).has_table("database_identity"):
                return None
            return connection.execute(select(DatabaseIdentityRow.database_id)).scalar()
    except (DatabaseRefused, DBAPIError):
        return None
    finally:
        engine.dispose()
