"""Moments as people write them, on the command line and in the address of a page. Pure."""

import re
from datetime import UTC, datetime, timedelta

from autopack.errors import UsageError

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DAYS_AGO = {"today": 0, "yesterday": 1}


def moment(option: str, text: str | None, now: datetime) -> datetime | None:
    """A day, a moment (UTC where it names no zone), how long ago: 30m, 24h, 7d, 2w, or "yesterday 18:00". Raises UsageError."""
    if text is None:
        return None
    try:
        if ago := re.fullmatch(r"([0-9]{1,6})([mhdw])", text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(_dated(text, now))
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} {text!r} is no moment; write 2026-11-01, 2026-11-01T10:00:00Z, 24h for a day ago, "
            "or 'yesterday 18:00' (UTC)"
        ) from None


def _dated(text: str, now: datetime) -> str:
    """With its date, where it names the day by a word."""
    word, _, clock = text.strip().lower().partition(" ")
    if word not in _DAYS_AGO:
        return text
    day = now.astimezone(UTC).date() - timedelta(days=_DAYS_AGO[word])
    return f"{day}T{clock.strip()}" if clock.strip() else f"{day}"
