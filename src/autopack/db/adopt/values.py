"""Single values of an earlier database, of whatever type SQLite let in. Pure: None says that a value cannot be read."""

import base64
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from autopack.domain.storable import MAX_INTEGER, storable_text

Value = str | int | float | bytes | None
"""What SQLite gives. Bytes of a text that are not UTF-8 arrive as lone surrogates ("surrogateescape")."""

_TRUE = frozenset({"1", "true", "t", "yes", "y"})
_FALSE = frozenset({"0", "false", "f", "no", "n"})
# Moments as numbers: seconds since 1970 up to here (the year 5138), above it milliseconds, then microseconds.
_LAST_SECOND = 10**11
# ISO 8601 would take these digits for a year, a month and so on. A plain date has eight.
_NUMBER = re.compile(r"\s*\d{9,}(\.\d+)?\s*")
_UTC = re.compile(r"\s*(UTC|GMT|Z)\s*$", re.IGNORECASE)


def text(value: Value, longest: int | None = None) -> str | None:
    """As text that every database keeps, at most `longest` characters; None for NULL and for blank text."""
    if value is None:
        return None
    said = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return storable_text(said)[:longest].strip() or None


def key_of(value: Value) -> str | None:
    """An id, as the rows of other tables name it: to look up by, not to be stored."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return None if value is None else str(value)


def integer(value: Value) -> int | None:
    """A whole number of at most 63 bits."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value) if "." in value or "e" in value.lower() else int(value)
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        value = int(value)
    return value if isinstance(value, int) and abs(value) <= MAX_INTEGER else None


def count(value: Value) -> int | None:
    """A whole number that is not negative."""
    found = integer(value)
    return found if found is not None and found >= 0 else None


def flag(value: Value) -> bool | None:
    said = (text(value) or "").lower()
    return True if said in _TRUE else False if said in _FALSE else None


def moment(value: Value) -> datetime | None:
    """ISO 8601 with a blank or a T, with a zone or (then it is UTC) without; or a number since 1970."""
    try:
        if isinstance(value, str):
            return _since_1970(float(value)) if _NUMBER.fullmatch(value) else _of_text(value)
        return _since_1970(value) if isinstance(value, int | float) else None
    except (ValueError, OverflowError, OSError):
        return None


def _of_text(said: str) -> datetime:
    with suppress(ValueError):
        found = datetime.fromisoformat(_UTC.sub("+00:00", said.strip()))
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return _since_1970(float(said))


def _since_1970(number: float) -> datetime:
    for _ in range(2):
        number = number / 1000 if abs(number) > _LAST_SECOND else number
    return datetime.fromtimestamp(number, UTC)


def written(found: datetime | None) -> str | None:
    """As the earlier system wrote most moments."""
    return None if found is None else found.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")  # fmt: skip


def same(one: Any, other: Any) -> bool:
    """Of the same type as well: 1 is not "1", nor 1.0."""
    return type(one) is type(other) and bool(one == other)


def as_json(values: Mapping[str, Value]) -> dict[str, Any]:
    """A row as JSON from which each value can be had again: bytes as {"base64": ...}, an infinite number as {"real": ...}."""
    return {name: _as_json(value) for name, value in values.items()}


def _as_json(value: Value) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"real": repr(value)}
    return value
