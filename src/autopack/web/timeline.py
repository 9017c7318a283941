"""The last tries as bars on one scale of time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from autopack.db.pages.run_board import Try

WIDTH = 1000.0
MOST_LINES = 30
_LEAST = 4.0
"""Of a try that took no time: it is still to be seen."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    x: float
    width: float
    kind: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Line:
    phase_id: str
    bars: tuple[Bar, ...]
    last: Try


def lines(tries: Sequence[Try], now: datetime) -> list[Line]:
    """One line per phase, those that were tried last; `now` is where a bar ends that has no end yet."""
    by_phase: dict[str, list[Try]] = {}
    for each in tries:
        by_phase[each.phase_id] = [*by_phase.pop(each.phase_id, []), each]
    shown = list(by_phase.items())[-MOST_LINES:]
    if not shown:
        return []
    told = [each for _, of_phase in shown for each in of_phase]
    start = min(each.claimed_at for each in told)
    end = max(max(each.claimed_at, _end(each, now)) for each in told)
    scale = WIDTH / max(1.0, (end - start).total_seconds())
    return [
        Line(phase_id=phase_id, bars=tuple(_bar(each, start, scale, now) for each in of_phase), last=of_phase[-1])
        for phase_id, of_phase in shown
    ]  # fmt: skip


def _end(each: Try, now: datetime) -> datetime:
    return max(each.finished_at or now, each.claimed_at)


def _bar(each: Try, start: datetime, scale: float, now: datetime) -> Bar:
    x = (each.claimed_at - start).total_seconds() * scale
    width = max(_LEAST, (_end(each, now) - each.claimed_at).total_seconds() * scale)
    until = f"{each.finished_at:%H:%M:%S}" if each.finished_at else "now"
    outcome = each.outcome or "EXECUTING"
    return Bar(
        x=round(min(x, WIDTH - _LEAST), 1), width=round(width, 1), kind=outcome.lower(),
        text=f"attempt {each.number}, {outcome}, {each.claimed_at:%H:%M:%S} to {until}",
    )  # fmt: skip
