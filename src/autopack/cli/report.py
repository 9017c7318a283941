"""The command that reports what happened while nobody looked: as text, or as one HTML file to be sent around."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autopack.cli.common import ApiUrl, DatabaseUrl, Json, result, result_json, say, with_client
from autopack.cli.tables import columns

if TYPE_CHECKING:
    from autopack.client import AutopackClient
    from autopack.domain.looks.digest import Digest, PhaseEnded, RunDigest
    from autopack.domain.phases import Event

_TEMPLATE = "report.html"
_STDOUT = Path("-")


def report(
    since: Annotated[
        str, typer.Option("--since", help="From this day or moment (UTC), 8h, 90m or 2d ago, or 'yesterday 18:00'.")
    ] = "24h",
    until: Annotated[str | None, typer.Option("--until", help="Before this day or moment (default: now).")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write one self-contained HTML file instead of text (-: to stdout).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file of -o if it is there.")] = False,
    api_url: ApiUrl = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Report what happened since a moment, and what waits for a person: as text, or as one HTML file."""
    from autopack.clock import Clock
    from autopack.domain.moments import moment

    now = Clock().now()
    begin, end = moment("--since", since, now) or now, moment("--until", until, now)
    _check(output, overwrite=overwrite, as_json=as_json)

    async def do(client: "AutopackClient") -> "Digest":
        return await client.digest(begin, end)

    found = with_client(api_url, database_url, do)
    if output is not None:
        _write(output, found, overwrite=overwrite)
    if as_json:
        result_json(found)
    elif output is None:
        for line in lines(found):
            result(line)


def _check(output: Path | None, *, overwrite: bool, as_json: bool) -> None:
    from autopack.errors import UsageError

    if overwrite and output in (None, _STDOUT):
        raise UsageError("--overwrite is about the file of -o: name that as well")
    if as_json and output == _STDOUT:
        raise UsageError("--json and -o - both write to stdout: name a file, or leave one out")


def _write(path: Path, found: "Digest", *, overwrite: bool) -> None:
    from autopack.cli.files import whole_file

    if path == _STDOUT:
        sys.stdout.buffer.write(page(found).encode())
        return
    with whole_file(path, overwrite=overwrite) as file:
        file.write(page(found).encode())
    say(f"written: {path}")


def page(found: "Digest") -> str:
    """One file that asks nothing of anybody: no script, no picture, no request. All text is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    import autopack
    from autopack.domain import event_words
    from autopack.domain.looks import figures, progress
    from autopack.domain.looks.words import first_line, spoken

    made = Environment(
        loader=PackageLoader("autopack.cli"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    made.filters |= {"when": _when, "line": first_line, "spoken": spoken}
    return made.get_template(_TEMPLATE).render(
        digest=found,
        figures=figures,
        words=event_words,
        how_far=progress.how_far,
        share=_share,
        version=autopack.__version__,
        again=_again(found),
    )


def _again(found: "Digest") -> str:
    """Both moments whole: to the second, what happened last would be left out."""
    from autopack.domain.looks.words import command

    return command("report", "--since", found.since.isoformat(), "--until", found.until.isoformat())


def _share(run: "RunDigest") -> list[tuple[str, int, float, float]]:
    """Of a bar that is a hundred wide: state, phases, where it begins, how wide it is."""
    total = sum(run.phase_counts.values())
    parts, begin = [], 0.0
    for state in ("COMPLETE", "SKIPPED", "EXECUTING", "GATE", "FAILED", "CANCELLED", "QUEUED"):
        number = run.phase_counts.get(state, 0)
        width = round(100 * number / total, 3) if total else 0.0
        if number:
            parts.append((state, number, round(begin, 3), width))
        begin += width
    return parts


def lines(found: "Digest") -> Iterable[str]:
    """What needs a person first."""
    from autopack.domain.looks import figures

    yield f"{_when(found.since)} to {_when(found.until)}: {figures.headline(found)}"
    yield from _section("needs you", [line for need in found.needs_you for line in _need(need.run_id, need.text, need.do)])  # fmt: skip
    yield from _section("runs", _runs(found))
    yield from _section("failed", _phases(found.failed, found.counts["failed"]))
    yield from _section("complete", _phases(found.finished, found.counts["finished"]))
    yield from _section("spent", _money(found))
    yield from _section("caps reached", [_event(event) for event in found.caps_reached])
    people = [_event(event) for event in found.by_people]
    yield from _section("by people", [*people, *_more(len(people), found.counts["by_people"])])


def _section(title: str, told: Sequence[str]) -> Iterable[str]:
    return ["", title, *(f"  {line}" for line in told)] if told else []


def _need(run_id: str, text: str, do: Sequence[str]) -> list[str]:
    return [f"{run_id}: {text}", *(f"    {each}" for each in do)]


def _runs(found: "Digest") -> list[str]:
    from autopack.domain.looks import figures, progress

    rows = []
    for run in found.runs:
        counts = progress.how_far(run.phase_counts)
        rows.append((run.run_id, figures.states(run), counts, f"{figures.tokens(run.spent)} tokens", figures.dollars(run.spent)))  # fmt: skip
    told = columns(rows).splitlines() if rows else []
    return [*told, *_more(len(rows), found.counts["runs"])]


def _phases(phases: Sequence["PhaseEnded"], number: int) -> list[str]:
    from autopack.domain.looks.words import spoken

    rows = []
    for each in phases:
        why = ": ".join(filter(None, [spoken(each.failure_kind or ""), each.reason]))
        rows.append(
            (
                f"{each.at:%m-%d %H:%M}",
                f"{each.run_id}/{each.phase_id}",
                why or (each.result_commit or "")[:12],
            )
        )
    return [*(columns(rows).splitlines() if rows else []), *_more(len(rows), number)]


def _money(found: "Digest") -> list[str]:
    from autopack.domain.looks import figures
    from autopack.domain.looks.words import count, spoken

    told = [
        f"{count(found.spent.calls, 'call')}: {figures.tokens(found.spent)} tokens, {figures.dollars(found.spent)}"
    ]
    if found.replayed.calls:
        told.append(f"replayed (nothing was paid): {count(found.replayed.calls, 'call')}, {figures.tokens(found.replayed)} tokens")  # fmt: skip
    ends = ", ".join(f"{number} {spoken(outcome)}" for outcome, number in found.attempts.items())
    return [*told, f"tries that ended: {ends}"] if ends else told


def _event(event: "Event") -> str:
    from autopack.domain.event_words import what, who

    return f"{event.created_at:%m-%d %H:%M}  {event.run_id or 'all runs'}  {what(event)}, by {who(event)}"


def _more(listed: int, number: int) -> list[str]:
    return [f"and {number - listed} more"] if number > listed else []


def _when(moment: object) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
