"""Telemetry as text: what is written is read back, what is unknown stays so, and no spreadsheet runs it."""

import csv as stdlib_csv
import io
import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopack.domain.exports import csv, csv_header, ndjson
from autopack.domain.telemetry import ESCALATIONS, ESTIMATIONS, TABLES, USAGE
from tests.support_telemetry import ESCALATION_EVENT, MADE_AT, estimation, usage

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)


def read_back(text: str) -> list[dict[str, str]]:
    return list(stdlib_csv.DictReader(io.StringIO(text, newline=""), strict=True))


def unguarded(cell: str) -> str:
    return cell.removeprefix("'")


@settings(max_examples=60)
@given(TEXT, TEXT, st.floats(allow_nan=False, allow_infinity=False, min_value=0), JSON)
def test_what_csv_holds_is_read_back_to_the_letter(error: str, model: str, base: float, found: Any):
    event = estimation(stop_reason=error, model=model, base_output_tokens=base, features_json=[found])
    text = csv_header(ESTIMATIONS) + csv([event])
    (row,) = read_back(text)
    assert tuple(row) == ESTIMATIONS.columns
    assert unguarded(row["stop_reason"]) == error
    assert unguarded(row["model"]) == model
    assert float(row["base_output_tokens"]) == base
    assert json.loads(row["features_json"]) == [found]
    assert datetime.fromisoformat(row["timestamp"]) == MADE_AT


@pytest.mark.parametrize("start", [*"=+-@\t\r\n", *"\uff1d\uff0b\uff0d\uff20"])
def test_no_cell_is_one_that_a_spreadsheet_runs(start: str):
    (row,) = read_back(csv_header(USAGE) + csv([usage(error=f"{start}cmd|'/c calc'!A1")]))
    assert row["error"] == f"'{start}cmd|'/c calc'!A1"


def test_only_text_is_guarded_and_an_apostrophe_of_its_own_is_kept_apart():
    (row,) = read_back(csv_header(USAGE) + csv([usage(error="'=1", source_row_id=-4)]))
    assert (row["error"], row["source_row_id"]) == ("''=1", "-4")


def test_unknown_is_an_empty_cell_and_empty_text_is_not():
    line = csv([usage(error="", finish_reason=None, cost_usd=None, is_truncated=None)])
    values = dict(zip(USAGE.columns, line.removesuffix("\r\n").split(","), strict=True))
    assert (values["error"], values["finish_reason"], values["cost_usd"], values["is_truncated"]) == (
        '""',
        "",
        "",
        "",
    )


def test_csv_is_rfc_4180():
    text = csv_header(USAGE) + csv([usage(1), usage(2, error='a "b",\nc')])
    assert text.startswith("id,call_id,attempt_id,run_id,")
    assert text.count("\r\n") == 3
    assert '"a ""b"",\nc"' in text
    assert "2026-03-01T12:30:00Z" in text
    assert [row["is_complete"] for row in read_back(text)] == ["true", "true"]


@settings(max_examples=40)
@given(TEXT)
def test_an_ndjson_line_is_one_object_with_its_schema(text: str):
    lines = ndjson(ESTIMATIONS, [estimation(1, stop_reason=text), estimation(2)])
    first, second, rest = lines.split("\n")
    assert rest == ""
    assert list(json.loads(first)) == ["schema", *ESTIMATIONS.columns]
    assert json.loads(first)["schema"] == "autopack.token_estimation.v1"
    assert json.loads(first)["stop_reason"] == text
    assert json.loads(second)["actual_output_tokens"] is None, "unknown is null, never 0"
    assert json.loads(second)["deliverables_json"] == ["docs/ä.md"]


def test_every_table_has_a_schema_of_its_own_and_a_position():
    assert len({table.schema for table in TABLES.values()}) == 3
    assert USAGE.position_of(usage(9)) == 9
    assert ESCALATIONS.position_of(ESCALATION_EVENT) == 1
