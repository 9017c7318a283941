"""Time and identifiers, passed in so that tests can move them by hand."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from uuid import uuid4


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Clock:
    """`now` is aware UTC; `monotonic` is in seconds; `new_id` is 32 hexadecimal digits."""

    now: Callable[[], datetime] = utc_now
    monotonic: Callable[[], float] = monotonic
    new_id: Callable[[], str] = lambda: uuid4().hex
