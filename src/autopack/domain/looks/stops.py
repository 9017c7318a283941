"""Why a run is paused, and what lets it go on: by whom and why, or which cap and how much would do. Pure."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from autopack.domain.looks.words import at, command, first_line
from autopack.domain.phases import CAP_CAUSES, Run, StateCause

_TOKENS_NEEDED = re.compile(r"the cap would have to be (\d+) or more")
_DOLLARS_NEEDED = re.compile(r"the cap would have to be (\d+(?:\.\d+)?) USD or more")
_CAPS = re.compile(r"(?:token|cost) cap of |max_phases is |max_duration_minutes is ")


@dataclass(frozen=True, kw_only=True)
class Pause:
    """The event of the pause."""

    actor: str
    at: datetime


def paused(run: Run, pause: Pause | None, now: datetime) -> tuple[str, tuple[str, ...]]:
    """In a sentence, and the commands with which it goes on."""
    when = f" at {at(pause.at, now)}" if pause else ""
    why = first_line(run.state_reason)
    if run.state_cause in CAP_CAUSES:
        return f"Paused{when} for a cap: {why}.", _with_more_room(run, now)
    by = f" by {person(pause.actor)}" if pause else ""
    told = f": {why}" if why and not why.startswith("by ") else ""
    return f"Paused{by}{when}{told}. Nothing more of it is claimed.", (command("run", "resume", run.run_id),)


def person(actor: str) -> str:
    """Of "alice (127.0.0.1 autopack)" alice."""
    return actor.partition(" (")[0]


def is_about_a_cap(reason: str | None) -> bool:
    return _CAPS.match(reason or "") is not None


def _with_more_room(run: Run, now: datetime) -> tuple[str, ...]:
    resume = ("run", "resume", run.run_id)
    tokens, dollars = needed_tokens(run.state_reason), needed_dollars(run.state_reason)
    # A cap on cost that names no sum met a price that is unknown: no cap keeps such a call below it.
    if run.state_cause is StateCause.DAILY_CAP:
        cap = ("--daily-tokens", tokens) if tokens else ("--daily-cost-usd", dollars or "none")
        return command("budget", "set", *cap), command(*resume)
    if run.state_cause is StateCause.TOKEN_CAP:
        return (command(*resume, "--token-cap", tokens or "N"),)
    if run.state_cause is StateCause.COST_CAP:
        if dollars is None:
            return command("run", "set", run.run_id, "--cost-cap-usd", "none"), command(*resume)
        return (command(*resume, "--cost-cap-usd", dollars),)
    if run.state_cause is StateCause.MAX_PHASES:
        return (command(*resume, "--max-phases", str(sum(run.phase_counts.values()))),)
    return (command(*resume, "--max-duration-minutes", str(_an_hour_more(run, now))),)


def needed_tokens(reason: str | None) -> str | None:
    """The lowest cap under which the call that was refused would have fitted."""
    found = _TOKENS_NEEDED.search(reason or "")
    return found and found[1]


def needed_dollars(reason: str | None) -> str | None:
    found = _DOLLARS_NEEDED.search(reason or "")
    return found and found[1]


def _an_hour_more(run: Run, now: datetime) -> int:
    elapsed = now - (run.started_at or now)
    return int(elapsed / timedelta(minutes=1)) + 60
