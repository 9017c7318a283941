"""What `autopack migrate` says about the adoption of an earlier database."""

import json
import re
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopack.cli.common import result, result_json
from autopack.domain.looks.words import count

if TYPE_CHECKING:
    from autopack.db.adopt.adoption import Adopted, Report

_SHOWN = 12


def adopt_file(original: Path, into: Path | None, *, as_json: bool) -> None:
    """Brings the earlier database into a copy beside it, and tells what became of its rows."""
    from autopack.clock import utc_now
    from autopack.db.adopt.adoption import adopt
    from autopack.errors import UsageError

    if re.match(r"[\w+]{2,}:/", str(original)) and not original.exists():
        raise UsageError(f"--adopt takes the path of a file, not a URL: {original}")
    done = adopt(original, into, now=utc_now)
    if as_json:
        result_json(_facts(done))
    else:
        for line in _told(done):
            result(line)


def _facts(done: "Adopted") -> dict[str, Any]:
    about = {
        "original": done.original,
        "copy": done.copy,
        "url": _url(done.copy),
        "was_there": done.was_there,
    }
    return about | asdict(done.report)


def _url(copy: Path) -> str | None:
    """None where no URL leads to the file: one with a question mark in its path."""
    from autopack.db.location import locate, located_file
    from autopack.errors import DatabaseRefused

    url = f"sqlite:///{copy}"
    try:
        return url if locate(url, copy.parent).path == located_file(copy).path else None
    except DatabaseRefused:
        return None


def _how_to_use(copy: Path) -> str:
    url = _url(copy)
    if url is None:
        return (
            f"To work with it: no database URL can name {copy}; give it a path without a question mark first"
        )
    return f"To work with it: set DATABASE_URL={shlex.quote(url)}"


def _told(done: "Adopted") -> list[str]:
    report = done.report
    first = "was adopted before" if done.was_there else "is adopted"
    lines = [f"{done.original} {first}: the copy is {done.copy}; the original was not changed", ""]
    lines += _table(report)
    lines += _because("Set aside, as JSON in the table legacy_rows:", report, "reasons")
    lines += _because("Put into other words; what was there is kept in legacy_rows:", report, "changes")
    if report.tiers_made:
        lines += ["", f"Made for phases without a tier of their run: {count(report.tiers_made, 'tier')}"]
    if report.not_read:
        lines += ["", f"Kept as definitions, not carried: {', '.join(report.not_read)}"]
    if report.runs_held_back:
        lines += ["", _held_back(report.runs_held_back)]
    lines += ["", _tokens(report), "", _how_to_use(done.copy)]
    return lines


def _held_back(runs: int) -> str:
    return (
        f"In {count(runs, 'run')} nothing can be claimed: what is QUEUED there is held back by phases that failed in an earlier tier. "
        "`autopack phase requeue RUN PHASE` or `autopack phase skip RUN PHASE` lets a run go on; `autopack triage --run-id "
        "RUN` tries its failed phases again"
    )


def _tokens(report: "Report") -> str:
    unknown = (
        f"; the usage of {count(report.calls_of_unknown_usage, 'call')} is unknown"
        if report.calls_of_unknown_usage
        else ""
    )
    return f"Tokens: {report.total_tokens:,}, of which the split is unknown in {count(report.unknown_splits, 'row')}{unknown}"


def _table(report: "Report") -> list[str]:
    rows = [("table", "read", "carried", "set aside")]
    rows += [(each.table, str(each.read), str(each.carried), str(each.set_aside)) for each in report.tables]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(_cells(row, widths)).rstrip() for row in rows]


def _cells(row: tuple[str, ...], widths: list[int]) -> list[str]:
    name, *numbers = row
    return [name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True))]  # fmt: skip


def _because(title: str, report: "Report", what: str) -> list[str]:
    found = []
    for table in report.tables:
        counted = list(getattr(table, what).items())
        found += [f"  {table.table}: {number} {_printable(reason)}" for reason, number in counted[:_SHOWN]]
        if len(counted) > _SHOWN:
            found.append(f"  {table.table}: {len(counted) - _SHOWN} more kinds (--json names them)")
    return ["", title, *found] if found else []


def _printable(reason: str) -> str:
    """Words of the earlier database may hold anything; a terminal is told no more than text."""
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in reason)
