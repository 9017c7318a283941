"""Moments, spans, counts and commands as a person reads them. Pure."""

import shlex
from datetime import UTC, datetime, timedelta

_FIRST_LINE_CHARS = 200


def at(moment: datetime, now: datetime) -> str:
    """14:05 UTC; with its day where that is not today."""
    moment = moment.astimezone(UTC)
    same_day = moment.date() == now.astimezone(UTC).date()
    return f"{moment:%H:%M}{'' if same_day else f' on {moment:%Y-%m-%d}'} UTC"


def span(duration: timedelta) -> str:
    """In the largest units that say enough: 12 s, 5 min, 3 h 20 min, 4 days."""
    seconds = max(0, int(duration.total_seconds()))
    minutes, hours = seconds // 60, seconds // 3600
    if seconds < 90:
        return f"{seconds} s"
    if minutes < 90:
        return f"{minutes} min"
    if hours < 48:
        rest = minutes % 60
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{hours // 24} days"


def count(number: int, thing: str) -> str:
    """1 phase, 3 phases, 2 tries."""
    if number == 1:
        return f"1 {thing}"
    return f"{number} {thing[:-1]}ies" if thing.endswith("ry") else f"{number} {thing}s"


def first_line(text: str | None) -> str:
    """Of a reason, which may be a whole log. What a terminal would obey, or could not show, is a question mark."""
    stripped = (text or "").strip()
    line = stripped.splitlines()[0].strip() if stripped else ""
    shown = "".join(
        character if character.isprintable() else "?" for character in line[: _FIRST_LINE_CHARS + 1]
    )
    return shown if len(shown) <= _FIRST_LINE_CHARS else f"{shown[: _FIRST_LINE_CHARS - 3]}..."


def command(*words: str) -> str:
    """A command of ours, to be copied into a shell."""
    return shlex.join(("autopack", *words))


def spoken(name: str) -> str:
    """A state or a kind as a person says it: "policy violation", "waiting for you"."""
    return "waiting for you" if name == "GATE" else name.removeprefix("DONE_").replace("_", " ").lower()


def process(worker: str) -> str:
    """A worker's name, which says where and when its process was started, as a person looks for it."""
    parts = worker.split("|")
    return f"process {parts[3]} on {parts[0]}" if len(parts) == 5 else worker
