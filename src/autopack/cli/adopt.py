"""What `autopack migrate` says about the adoption of an earlier database."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopack.cli.common import result, result_json

if TYPE_CHECKING:
    from autopack.db.adopt.adoption import Adopted, Report

_SHOWN = 12


def adopt_file(original: Path, into: Path | None, *, as_json: bool) -> None:
    """Brings the earlier database into a copy beside it, and tells what became of its rows."""
    from autopack.clock import utc_now
    from autopack.db.adopt.adoption import adopt

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


def _url(copy: Path) -> str:
    return f"sqlite:///{copy}"


def _told(done: "Adopted") -> list[str]:
    report = done.report
    first = "was adopted before" if done.was_there else "is adopted"
    lines = [f"{done.original} {first}: the copy is {done.copy}; the original was not changed", ""]
    lines += _table(report)
    lines += _because("Set aside, as JSON in the table legacy_rows:", report, "reasons")
    lines += _because("Put into other words; what was there is kept in legacy_rows:", report, "changes")
    if report.tiers_made:
        lines += ["", f"Made for phases without a tier of their run: {report.tiers_made} tiers"]
    if report.not_read:
        lines += ["", f"Kept as definitions, not carried: {', '.join(report.not_read)}"]
    lines += ["", _tokens(report), "", f"To work with it: set DATABASE_URL={_url(done.copy)}"]
    return lines


def _tokens(report: "Report") -> str:
    unknown = (
        f"; {report.calls_of_unknown_usage} calls are of unknown usage"
        if report.calls_of_unknown_usage
        else ""
    )
    return f"Tokens: {report.total_tokens:,}, of which the split is unknown in {report.unknown_splits} rows{unknown}"


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
