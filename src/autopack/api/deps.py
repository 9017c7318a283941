"""What routes take: the database and the clock that the app was made with, and who is asking.

`async`, though nothing is awaited: FastAPI would send a plain function to a worker thread, once a request each.
"""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Header, Query, Request
from pydantic import AfterValidator, AwareDatetime, Field

from autopack.clock import Clock
from autopack.db.engine import Database
from autopack.domain.storable import MAX_INTEGER, reject_unstorable


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


async def _clock(request: Request) -> Clock:
    clock: Clock = request.app.state.clock
    return clock


async def _origin(request: Request, user_agent: Annotated[str, Header()] = "") -> str:
    """Where a person's command came from, for the audit trail."""
    host = request.client.host if request.client else "?"
    return f"{host} {user_agent[:100]}".strip()


def _searched(text: str | None) -> str | None:
    """An empty field of a form asks for nothing."""
    reject_unstorable(text)
    return text or None


# A year from the end on either side: every zone's offset still leaves a moment that can be told in UTC.
Moment = Annotated[
    AwareDatetime, Field(ge=datetime(2, 1, 1, tzinfo=UTC), le=datetime(9998, 12, 31, tzinfo=UTC))
]
Search = Annotated[str | None, Query(max_length=200), AfterValidator(_searched)]
After = Annotated[int, Query(ge=-1, le=MAX_INTEGER)]
DatabaseDep = Annotated[Database, Depends(_database)]
ClockDep = Annotated[Clock, Depends(_clock)]
OriginDep = Annotated[str, Depends(_origin)]
