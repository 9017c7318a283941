"""Whatever SQLite let into the earlier tables: nothing is lost, nothing ends in a traceback, foreign keys hold."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.db.support_earlier import (
    COLUMNS,
    WHEN,
    a_scope,
    assert_nothing_is_lost,
    filled,
    found,
    make_earlier,
)

ANYTHING = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=20), st.binary(max_size=8)
)  # fmt: skip
IDS = st.sampled_from(["r1", "r2", "R 1", "../x", "a.lock", "", 1, "1", 7.5, None, b"r1", "ü" * 200, "x\0y"])
WORDS = st.sampled_from(["queued", "COMPLETE", "Failed", "GATE", "no idea", "MEDIUM-HIGH", "backend", "auditor", "max_tokens", None])  # fmt: skip
MOMENTS = st.sampled_from([WHEN, "2025-12-24T10:31:46Z", "24.12.", 1766572306, 1e18, "0001-01-01 00:00:00+14:00", None])  # fmt: skip
SCOPES = st.sampled_from([a_scope(), '"text"', "null", "[1, 2]", "{", '{"paths": ["/etc"]}', '{"deliverables": {"code": [["a b"], 3]}}', None])  # fmt: skip
USUAL = {
    "id": IDS, "run_id": IDS, "phase_id": IDS, "tier_id": st.sampled_from([1, 2, "T1", None]), "scope": SCOPES, "state": WORDS,
    "role": WORDS, "category": WORDS, "complexity": WORDS, "task_category": WORDS, "deliverables_json": SCOPES,
} | dict.fromkeys(("created_at", "updated_at", "started_at", "timestamp"), MOMENTS)  # fmt: skip


def a_row(table: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name: USUAL.get(name, ANYTHING) | ANYTHING for name in COLUMNS[table].split(", ")})  # fmt: skip


DATABASES = st.fixed_dictionaries({table: st.lists(a_row(table), max_size=6) for table in COLUMNS})


@given(rows=DATABASES)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture])  # fmt: skip
def test_whatever_a_row_holds_it_is_carried_or_set_aside_whole(migrated_file: Path, rows: dict[str, Any]):
    with tempfile.TemporaryDirectory() as made:
        original, copy = Path(made) / "earlier.db", Path(made) / "copy.db"
        make_earlier(original, rows, typed=False)
        shutil.copy(migrated_file, copy)
        report = filled(original, copy)
        assert {each.table: each.read for each in report.tables} == {table: len(each) for table, each in rows.items()}  # fmt: skip
        assert all(each.read == each.carried + each.set_aside for each in report.tables)
        assert_nothing_is_lost(original, copy)
        assert found(copy, "PRAGMA foreign_key_check") == []
