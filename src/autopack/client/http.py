"""One conversation with the API: requests that may be repeated, and answers as values of `domain` and `schemas`."""

import logging
import re
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, TypeVar, cast

import anyio
import httpx
from pydantic import TypeAdapter, ValidationError

from autopack import schemas
from autopack.errors import (
    BY_CODE,
    ApiUnreachable,
    AutopackError,
    DatabaseBusy,
    DatabaseMismatch,
    InvalidInput,
)

log = logging.getLogger(__name__)
DATABASE_HEADER, EPOCH_HEADER = "X-Autopack-Database", "X-Autopack-Epoch"
T = TypeVar("T")
B = TypeVar("B", bound=schemas.Body)
# Every write of ours may be repeated (a lease token, a call id or the same content makes it one), so a
# request whose answer was lost is sent again. About 30 seconds in all: a server may be restarting.
_PAUSES_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)


def id_part(text: str) -> str:
    """A part of an address: whatever else it holds would name something else than was meant."""
    if not re.fullmatch(schemas.ID_PATTERN, text):
        raise InvalidInput(f"{text!r} cannot be an id: letters, digits, '.', '_' and '-', at most 128")
    return text


def body_of(kind: type[B], **values: object) -> B:
    """Raises InvalidInput, as the server does, where the values cannot be sent."""
    try:
        return kind(**values)
    except ValidationError as error:
        told = schemas.validation_detail(error.errors(include_input=False))
        raise InvalidInput(f"this cannot be sent: {told}") from None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


class Conversation:
    """Raises the very class of `autopack.errors` that the server raised."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        patient: bool = True,
    ) -> None:
        self._http = http
        self._sleep = sleep
        self._pauses = _PAUSES_SECONDS if patient else ()
        self.database_id: str | None = None
        self.epoch: int | None = None
        """Counts how often the database was restored from a backup."""

    async def connect(self) -> dict[str, Any]:
        """Learns which database the server works on; every later request names it."""
        identity: dict[str, Any] = await self._call(dict[str, Any], "GET", "/identity")
        if not isinstance(identity.get("database_id"), str):
            raise ApiUnreachable(
                f"{shown(self._http.base_url)} answers, but not as Autopack's API does: no database_id"
            )
        if self.database_id is not None and self.database_id != identity["database_id"]:
            raise DatabaseMismatch(
                f"the server changed from database {self.database_id} to {identity['database_id']}"
            )
        self.database_id, self.epoch = identity["database_id"], identity.get("epoch")
        return identity

    async def _call(
        self, kind: type[T], method: str, path: str, body: schemas.Body | None = None, **query: object
    ) -> T:
        content = None if body is None else body.model_dump(mode="json")
        given = {name: str(value) for name, value in query.items() if value is not None}
        return self._decode(kind, await self._send(method, path, content, given))

    def _decode(self, kind: type[T], response: httpx.Response) -> T:
        try:
            value: T = _adapter(cast("Any", kind)).validate_json(response.content)
        except ValueError as error:
            raise ApiUnreachable(
                f"{shown(response.url)} answered something that is not Autopack's API (or another version of it): {error}"
            ) from error
        return value

    def _meant_for(self) -> dict[str, str]:
        """Another database, or this one as it was at another time, must not take what is sent."""
        known = {DATABASE_HEADER: self.database_id, EPOCH_HEADER: self.epoch}
        return {name: str(value) for name, value in known.items() if value is not None}

    async def _send(self, method: str, path: str, content: Any, query: dict[str, str]) -> httpx.Response:
        headers = self._meant_for()
        for pause in (*self._pauses, None):
            try:
                response = await self._http.request(method, path, json=content, params=query, headers=headers)
            except httpx.RequestError as error:
                if pause is None:
                    raise ApiUnreachable(
                        f"no answer from {shown(self._http.base_url)} ({type(error).__name__}: {error}). "
                        "Start it with `autopack serve`, or leave out --api-url to work in-process."
                    ) from error
                log.warning(
                    "no answer from the API, asking again", extra={"path": path, "pause_seconds": pause}
                )
                await self._sleep(pause)
                continue
            if response.status_code < 400:
                return response
            error_raised = error_from(response)
            if pause is None or not isinstance(error_raised, DatabaseBusy):
                raise error_raised
            await self._sleep(pause)
        raise AssertionError("unreachable")


def shown(url: httpx.URL) -> str:
    """Without the user and the password that a person may have written into it."""
    return str(url.copy_with(username="", password=""))


def error_from(response: httpx.Response) -> AutopackError:
    """The error that the server raised, as the same class."""
    try:
        body = response.json()
    except ValueError:
        body = {}
    if not isinstance(body, dict) or not isinstance(body.get("code"), str):
        return ApiUnreachable(
            f"{shown(response.url)} answered {response.status_code} and is not Autopack's API"
        )
    return BY_CODE.get(body["code"], AutopackError)(str(body.get("detail", "")))
