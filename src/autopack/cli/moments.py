"""Moments as people write them."""

import re
from datetime import UTC, datetime, timedelta

from autopack.errors import UsageError

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(option: str, text: str | None, now: datetime) -> datetime | None:
    """A day, a moment (UTC where it names no zone), or how long ago: 30m, 24h, 7d, 2w. Raises UsageError."""
    if text is None:
        return None
    try:
        if ago := re.fullmatch(r"([0-9]{1,6})([mhdw])", text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} {text!r} is no moment; write 2026-11-01, 2026-11-01T10:00:00Z, or 24h for a day ago"
        ) from None
