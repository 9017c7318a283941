"""Whatever SQLite let into the earlier tables: nothing is lost, nothing ends in a traceback, foreign keys hold."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from autopack.db.adopt.values import key_of
from tests.db.support_earlier import (
    COLUMNS,
    NOW,
    WHEN,
    a_scope,
    assert_nothing_is_lost,
    filled,
    found,
    make_earlier,
    quoted,
    tables_of,
)

ANYTHING = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=20), st.binary(max_size=8)
)  # fmt: skip
IDS = st.sampled_from(["r1", "r1 ", " r1", "R1", "r2", "R 1", "R-1", "../x", "a.lock", "", 1, "1", 7.5, 1e18, "1e+18", None, b"r1", "ü" * 200, "ü" * 201, "x\0y"])  # fmt: skip
WORDS = st.sampled_from(["queued", "COMPLETE", "Failed", "GATE", "no idea", "MEDIUM-HIGH", "backend", "auditor", "max_tokens", None])  # fmt: skip
MOMENTS = st.sampled_from([WHEN, "2025-12-24T10:31:46Z", "24.12.", "1712010112345", 1766572306, 1e18, "0001-01-01 00:00:00+14:00", None])  # fmt: skip
SCOPES = st.sampled_from([a_scope(), '"text"', "null", "[1, 2]", "{", '{"paths": ["/etc"]}', '{"deliverables": {"code": [["a b"], 3]}}', None])  # fmt: skip
TOKENS = st.sampled_from([0, 0, 40, 60, 100, 1234, "12", 9 * 10**18, -1, None])
NAMES = st.sets(st.sampled_from(["É", "é", "K", "\u212a", "rowid", "a b", 'q"']), min_size=4)
USUAL = {
    "id": IDS, "run_id": IDS, "phase_id": IDS, "tier_id": st.sampled_from([1, 2, "T1", None]), "scope": SCOPES, "state": WORDS,
    "role": WORDS, "category": WORDS, "complexity": WORDS, "task_category": WORDS, "deliverables_json": SCOPES,
} | dict.fromkeys(("created_at", "updated_at", "started_at", "timestamp"), MOMENTS) | dict.fromkeys(
    ("prompt_tokens", "completion_tokens", "predicted_output_tokens", "actual_output_tokens", "selected_budget"), TOKENS
)  # fmt: skip


def a_row(table: str) -> st.SearchStrategy[dict[str, Any]]:
    usual = {name: USUAL.get(name, ANYTHING) for name in COLUMNS[table].split(", ")}
    return st.fixed_dictionaries(usual) | st.fixed_dictionaries({name: each | ANYTHING for name, each in usual.items()})  # fmt: skip


DATABASES = st.fixed_dictionaries({table: st.lists(a_row(table), max_size=6) for table in COLUMNS})


def statements(names: set[str], columns: set[str], total: Any) -> list[str]:
    """Tables of those names; a total that was added later; a column called as SQLite calls a row's number."""
    listed = ", ".join(map(quoted, columns))
    return [
        f"ALTER TABLE llm_usage_events ADD COLUMN Total_Tokens DEFAULT {'NULL' if total is None else repr(total)}",
        *([f"ALTER TABLE llm_usage_events ADD COLUMN {quoted('rowid')} DEFAULT 1"] if "rowid" in columns else []),
        *(f"CREATE TABLE {quoted(name)} ({listed})" for name in names),
        *(f"INSERT INTO {quoted(name)} VALUES ({', '.join(map(str, range(len(columns))))})" for name in names),
    ]  # fmt: skip


@given(rows=DATABASES, names=NAMES, columns=NAMES, total=TOKENS)
# An example is a database: making a failure smaller takes minutes.
@settings(max_examples=15, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture])  # fmt: skip
def test_whatever_a_row_holds_it_is_carried_or_set_aside_whole(migrated_file: Path, rows: dict[str, Any], names: set[str], columns: set[str], total: Any):  # fmt: skip
    with tempfile.TemporaryDirectory() as made:
        original, copy = Path(made) / "earlier.db", Path(made) / "copy.db"
        make_earlier(original, rows, *statements(names, columns, total), typed=False)
        shutil.copy(migrated_file, copy)
        report = filled(original, copy)
        counts = {table: len(each) for table, (_, each) in tables_of(original).items()}
        assert {each.table: each.read for each in report.tables} == counts
        assert all(each.read == each.carried + each.set_aside for each in report.tables)
        assert_nothing_is_lost(original, copy)
        assert found(copy, "PRAGMA foreign_key_check") == []
        assert_tokens_are_those_of_the_right(rows, copy)


def assert_tokens_are_those_of_the_right(rows: dict[str, Any], copy: Path) -> None:
    """No fewer than the parts that can be read, of no other run, and of no other day."""
    kept = dict(found(copy, "SELECT source_row_id, total_tokens FROM llm_usage_events"))
    spent: Counter[str | None] = Counter()
    for number, row in enumerate(rows["llm_usage_events"], start=1):
        parts = [row["prompt_tokens"], row["completion_tokens"]]
        if all(isinstance(each, int) and 0 <= each <= 10**12 for each in parts):
            assert kept[number] >= sum(parts)
        spent[key_of(row["run_id"])] += kept[number] or 0
    runs = {key_of(run["id"]) for run in rows["runs"]} - {None}
    used = [tokens for (tokens,) in found(copy, "SELECT tokens_used FROM runs WHERE tokens_used > 0")]
    assert sorted(used) == sorted(spent[run] for run in runs if spent[run])
    assert not found(copy, "SELECT 1 FROM daily_usage WHERE day = ?", NOW.date().isoformat())
