"""Telemetry as text: NDJSON objects and CSV lines that can be read back without a loss. Pure."""

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from autopack.domain.telemetry import E, TelemetryTable

# A spreadsheet runs a cell that begins so as a formula. The apostrophe is among them, so that taking one off
# gives back every text.
# Of the signs, the full-width ones too: some spreadsheets take them for the narrow ones.
_RUN_BY_SPREADSHEETS = (*"=+-@", *"\uff1d\uff0b\uff0d\uff20", "\t", "\r", "\n", "'")
_NEEDS_QUOTES = re.compile(r'[",\r\n]|^\s|\s$|^$')


def ndjson(table: TelemetryTable[E], events: Iterable[E]) -> str:
    """One JSON object a line; `schema` says which fields it has, and what they mean."""
    return "".join(_JSON.encode({"schema": table.schema} | vars(event)) + "\n" for event in events)


def csv_header(table: TelemetryTable[Any]) -> str:
    return ",".join(table.columns) + "\r\n"


def csv(events: Iterable[E]) -> str:
    """RFC 4180. Unknown is an empty cell, empty text is `""`; text that a spreadsheet would run begins with '."""
    return "".join(",".join(map(_cell, vars(event).values())) + "\r\n" for event in events)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return _quoted(f"'{value}" if value.startswith(_RUN_BY_SPREADSHEETS) else value)
    if isinstance(value, datetime):
        return _moment(value)
    return _quoted(_JSON.encode(value))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _NEEDS_QUOTES.search(text) else text


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_moment)
