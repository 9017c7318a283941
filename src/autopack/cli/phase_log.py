"""What a phase did: `phase log` and `phase diff`."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from autopack.cli.common import ApiUrl, DatabaseUrl, Json, client_for, result, result_json, say, with_client
from autopack.cli.phases import PhaseArgument, RunArgument

if TYPE_CHECKING:
    from autopack.client import AutopackClient
    from autopack.domain.kept_diff import PhaseDiff
    from autopack.domain.phase_log import LogLine, PhaseLog

_POLL_SECONDS = 1.0
_COLOURS = {"+": "32", "-": "31", "@": "36", "d": "1"}  # added, removed, place, and the name of a file
AttemptOption = Annotated[int | None, typer.Option("--attempt", min=1, help="Only of this attempt.")]


def log(
    run_id: RunArgument,
    phase_id: PhaseArgument,
    attempt: AttemptOption = None,
    tail: Annotated[int, typer.Option(min=1, max=2000, help="How many lines at most: the last ones.")] = 200,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Go on until the phase is neither queued nor being worked on."),
    ] = False,
    api_url: ApiUrl = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Show what happened in a phase: events, steps, model calls, what the checks printed, verdicts. Oldest first."""
    from autopack.errors import UsageError

    if follow and as_json:
        raise UsageError("--follow and --json exclude each other: poll `phase log --json` instead")
    if follow:
        _follow(run_id, phase_id, attempt, tail, api_url, database_url)
        return

    async def do(client: "AutopackClient") -> "PhaseLog":
        return await client.phase_log(run_id, phase_id, attempt=attempt, tail=tail)

    found = with_client(api_url, database_url, do)
    if as_json:
        result_json(found)
        return
    _say_what_is_missing(found)
    for line in found.lines:
        result(_shown(line))


def _say_what_is_missing(found: "PhaseLog") -> None:
    if not found.lines:
        say(f"{found.phase_id} is {found.state}; nothing has happened in it yet")
    elif found.cut:
        say(f"the last {len(found.lines)} lines; --tail shows more")
    if found.step:
        say(f"now: {found.step}")


def _shown(line: "LogLine") -> str:
    attempt = "" if line.attempt is None else f"#{line.attempt}"
    return f"{line.at:%Y-%m-%d %H:%M:%S}  {attempt:<3} {line.source:<7}  {line.text}".rstrip()


def _follow(
    run_id: str, phase_id: str, attempt: int | None, tail: int, api_url: str | None, database_url: str | None
) -> None:
    """What is new is what was not among the last lines before: lines of one moment may come in between others."""
    import anyio

    from autopack.domain.phase_log import MAX_TAIL
    from autopack.domain.phases import PhaseState

    async def talk() -> None:
        seen: Counter[LogLine] | None = None
        step = None
        async with client_for(api_url, False, database_url) as client:
            while True:
                found = await client.phase_log(run_id, phase_id, attempt=attempt, tail=MAX_TAIL)
                for line in found.lines[-tail:] if seen is None else _not_in(seen, found.lines):
                    result(_shown(line))
                if found.step and found.step != step:
                    say(f"now: {found.step}")
                if found.state not in (PhaseState.QUEUED, PhaseState.EXECUTING):
                    return
                seen, step = Counter(found.lines), found.step
                await anyio.sleep(_POLL_SECONDS)

    anyio.run(talk)


def _not_in(seen: "Counter[LogLine]", lines: "Iterable[LogLine]") -> "Iterator[LogLine]":
    left = seen.copy()
    for line in lines:
        if left[line] > 0:
            left[line] -= 1
        else:
            yield line


def diff(
    run_id: RunArgument,
    phase_id: PhaseArgument,
    attempt: AttemptOption = None,
    api_url: ApiUrl = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Print what a phase changed: of the attempt whose work it is, else of the last that left a diff. For `git apply`, too."""

    async def do(client: "AutopackClient") -> "PhaseDiff":
        return await client.phase_diff(run_id, phase_id, attempt=attempt)

    found = with_client(api_url, database_url, do)
    if as_json:
        result_json(found)
        return
    if found.diff:
        _print(found.diff)
    if (remark := _remark(found)) is not None:
        say(remark)


def _remark(found: "PhaseDiff") -> str | None:
    """What a person should know who sees nothing, or not everything."""
    if found.attempt is None:
        return f"{found.phase_id} has no attempt yet: there is nothing to show"
    where = f"; `git show {found.result_commit}` shows it whole" if found.result_commit else ""
    if found.diff is None:
        return f"attempt {found.attempt} left no diff{where}"
    if not found.diff:
        return f"attempt {found.attempt} changed nothing"
    return f"cut: it was too long to be kept whole, and cannot be applied{where}" if found.cut else None


def _print(diff: str) -> None:
    """As it is, for whoever reads it on; to a terminal with nothing in it that acts, and in colour unless NO_COLOR is set."""
    from autopack.domain.visible import visible

    if not sys.stdout.isatty():
        sys.stdout.flush()
        sys.stdout.buffer.write(diff.encode())  # whatever the locale's encoding is
        return
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    for line in diff.removesuffix("\n").split("\n"):
        shown = visible(line)
        colour = None if plain else _COLOURS.get(line[:1])
        sys.stdout.write(f"\x1b[{colour}m{shown}\x1b[m\n" if colour else f"{shown}\n")
