"""Calls and events of an earlier database: whose they are, when they were, what they used, and that they count once."""

import shutil
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, func, select

from autopack.clock import utc_now
from autopack.db.adopt import source
from autopack.db.adopt.adoption import adopt
from autopack.db.adopt.values import integer, moment
from autopack.db.adopt.writer import Writer
from autopack.db.identity import open_database
from autopack.db.location import located_file
from autopack.db.merge import Merged, merge
from autopack.db.tables import LegacyRow
from autopack.errors import Conflict, DatabaseRefused
from tests.db.support_earlier import (
    NOW,
    WHEN,
    a_call,
    a_phase,
    a_run,
    assert_nothing_is_lost,
    filled,
    found,
    make_earlier,
)
from tests.support import ROOT

REAL = ROOT.parent / "shared" / "data" / "legacy"
USAGE = "llm_usage_events"
ESTIMATIONS = "token_estimation_v2_events"
ESCALATIONS = "token_budget_escalation_events"
PREDICTED = {
    "run_id": "r", "phase_id": "p1", "timestamp": WHEN, "category": "docs", "complexity": "low", "deliverable_count": 1,
    "deliverables_json": "[]", "predicted_output_tokens": 10, "actual_output_tokens": 20, "selected_budget": 30, "success": 1,
    "truncated": 0, "stop_reason": "end_turn", "model": "gpt-4o",
}  # fmt: skip
RAISED = {"run_id": "r", "phase_id": "p1", "timestamp": WHEN, "reason": "truncation", "base_value": 8192, "retry_max_tokens": 12288}  # fmt: skip
Adopt = Callable[..., Path]


@pytest.fixture
def adopted(tmp_path: Path, migrated_file: Path) -> Adopt:
    """The adopted copy of the file of that name, which is made of `rows` and `more` unless it is there."""

    def make(rows: dict[str, list[dict[str, Any]]], *more: str, name: str = "earlier", now: datetime = NOW, typed: bool = True) -> Path:  # fmt: skip
        original, copy = tmp_path / f"{name}.db", tmp_path / f"{name}-{uuid4().hex}.db"
        if not original.exists():
            make_earlier(original, {"runs": [], "phases": [], **rows}, *more, typed=typed)
        shutil.copy(migrated_file, copy)
        run(copy, f"UPDATE database_identity SET database_id = '{uuid4().hex}'")
        filled(original, copy, now)
        assert_nothing_is_lost(original, copy)
        return copy

    return make


def run(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


# What was used


@pytest.mark.parametrize(("prompt", "completion", "total", "kept"), [
    (1234, 777, 0, (1234, 777, 2011)),
    (1234, 777, 2011, (1234, 777, 2011)),
    (1234, 777, 3000, (None, None, 3000)),
    (1234, 777, 1500, (None, None, 2011)),
    (0, 0, 0, (None, None, 0)),
    (None, None, 70, (None, None, 70)),
    (None, None, 0, (None, None, 0)),
    (1234, None, 0, (1234, None, None)),
    (1234, None, 2000, (None, None, 2000)),
])  # fmt: skip
def test_a_total_that_was_added_later_takes_no_tokens_away(adopted, prompt, completion, total, kept):
    call = a_call("r", 0, prompt_tokens=prompt, completion_tokens=completion)
    column = f"ALTER TABLE {USAGE} ADD COLUMN total_tokens INTEGER NOT NULL DEFAULT {total}"
    copy = adopted({"runs": [a_run("r")], USAGE: [call]}, column)
    assert found(copy, f"SELECT input_tokens, output_tokens, total_tokens FROM {USAGE}") == [kept]
    assert found(copy, "SELECT tokens_used FROM runs") == [(kept[2] or 0,)]


def test_numbers_that_no_call_can_use_are_set_aside_or_unknown(adopted):
    huge = 9 * 10**18
    events = [PREDICTED, PREDICTED | {"selected_budget": huge}, PREDICTED | {"predicted_output_tokens": huge}, PREDICTED | {"actual_output_tokens": huge}]  # fmt: skip
    copy = adopted({ESTIMATIONS: events, ESCALATIONS: [RAISED, RAISED | {"retry_max_tokens": huge}]})
    assert found(copy, f"SELECT selected_budget, actual_output_tokens, is_complete FROM {ESTIMATIONS}") == [
        (30, 20, 1), (30, None, 0),
    ]  # fmt: skip
    assert found(copy, f"SELECT to_budget FROM {ESCALATIONS}") == [(12288,)]
    aside = found(copy, "SELECT table_name, reason FROM legacy_rows WHERE reason LIKE 'set aside: its numbers of tokens%'")  # fmt: skip
    assert sorted(table for table, _ in aside) == [ESCALATIONS, ESTIMATIONS, ESTIMATIONS]


# When it was


def test_a_call_without_a_moment_is_never_one_of_today(adopted):
    usage = [a_call("r", 100, created_at=None), a_call("odd", 20, created_at="?"), a_call("gone", 3, created_at=None)]  # fmt: skip
    rows = {"runs": [a_run("r"), a_run("odd", created_at="?", updated_at=WHEN)], USAGE: usage}
    copy = adopted(rows)
    assert found(copy, "SELECT day, tokens_used FROM daily_usage ORDER BY day") == [("1970-01-01", 23), ("2025-12-24", 100)]  # fmt: skip
    later = adopted(rows, now=NOW + timedelta(days=9))
    everything = f"SELECT * FROM {USAGE}"
    assert found(copy, everything) == found(later, everything)


@pytest.mark.parametrize(("said", "meant"), [
    ("2025-12-24 10:31:46 UTC", datetime(2025, 12, 24, 10, 31, 46, tzinfo=UTC)),
    ("1712010112345", datetime(2024, 4, 1, 22, 21, 52, 345000, tzinfo=UTC)),
    ("1733072400", datetime(2024, 12, 1, 17, tzinfo=UTC)),
    ("20251224", datetime(2025, 12, 24, tzinfo=UTC)),
    ("1712010112345 days", None),
])  # fmt: skip
def test_text_of_digits_is_a_number_since_1970_unless_it_is_a_date(said: str, meant: datetime | None):
    assert moment(said) == meant


def test_a_long_number_is_not_cut():
    assert (integer("0" * 40 + "5"), integer("1" * 35), integer("1" * 5000)) == (5, None, None)


# Whose it is


def test_calls_of_what_does_not_exist_are_nobody_elses(adopted):
    long = "r" * 200
    usage = [a_call("r", 1), a_call("r ", 10), a_call(" r", 100), a_call("r ", 1000), a_call("r-2", 10_000), a_call(f"{long}!", 100_000)]  # fmt: skip
    phases = [a_phase("r", "p1"), a_phase("r", "p/2")]
    usage += [a_call("r", 2, phase_id="p1 "), a_call("r", 4, phase_id="p-2"), a_call("r", 8, phase_id="p/2")]
    copy = adopted({"runs": [a_run("r"), a_run("x")], "phases": phases, USAGE: usage})
    assert dict(found(copy, "SELECT id, tokens_used FROM runs")) == {"r": 15, "x": 0}
    assert dict(found(copy, "SELECT phase_id, tokens_used FROM phases")) == {"p1": 1, "p-2": 8}
    of_gone = found(copy, f"SELECT run_id, sum(total_tokens) FROM {USAGE} WHERE run_id <> 'r' GROUP BY run_id")  # fmt: skip
    assert sorted(total for _, total in of_gone) == [100, 1010, 10_000, 100_000]


def test_a_call_of_no_run_is_not_that_of_a_run_without_a_name(adopted):
    copy = adopted({"runs": [a_run("")], USAGE: [a_call(None, 5), a_call("", 7)]}, typed=False)
    assert found(copy, "SELECT tokens_used FROM runs") == [(7,)]


# Counted once

STATE = ({"runs": [a_run("r"), a_run("my run")], "phases": [a_phase("r", "p1")]}, {
    USAGE: [
        a_call("r", 100), a_call("gone", 1001), a_call(None, 7), a_call("my run", 50, "strange", prompt_tokens=33, completion_tokens=17),
        a_call("r", 9, created_at=None), a_call("r ", 11), a_call("r", 0, prompt_tokens="?", completion_tokens=12),
    ],
    ESTIMATIONS: [PREDICTED, PREDICTED | {"timestamp": None}], ESCALATIONS: [RAISED],
})  # fmt: skip
LATER = (
    "UPDATE runs SET state = 'DONE_SUCCESS', updated_at = '2026-01-05', tokens_used = 5",
    "UPDATE phases SET state = 'COMPLETE'",
    "INSERT INTO runs (id, state, created_at) VALUES ('a later one', 'RUN_CREATED', '2025-12-25')",
    f"ALTER TABLE {USAGE} ADD COLUMN total_tokens INTEGER NOT NULL DEFAULT 0",
    f"INSERT INTO {USAGE} (run_id, role, prompt_tokens, completion_tokens, created_at) VALUES ('a later one', 'x', 1, 3, '2025-12-25')",
)  # fmt: skip


def merged(target: Path, *sources: Path) -> list[Merged]:
    with ExitStack() as opened:
        into = opened.enter_context(open_database(located_file(target)))
        return [merge(opened.enter_context(open_database(located_file(each))), into) for each in sources]


def usage_counts(results: Iterable[Merged]) -> list[tuple[int, int]]:
    tables = [next(each for each in result.tables if each.table == USAGE) for result in results]
    return [(table.added, table.already_there) for table in tables]


def test_two_states_of_one_database_are_counted_once(adopted, tmp_path: Path):
    rows = STATE[0] | STATE[1]
    before = adopted(rows)
    run(tmp_path / "earlier.db", *LATER)
    after = adopted({}, now=NOW + timedelta(days=9))
    target = adopted({}, name="target")
    results = merged(target, before, after, before, after)
    assert usage_counts(results) == [(7, 0), (1, 7), (0, 7), (0, 8)]
    assert [sum(table.added for table in each.tables) for each in results] == [10, 1, 0, 0]
    total = f"SELECT sum(total_tokens), count(DISTINCT source_database_id) FROM {USAGE}"
    assert found(target, total) == [(1182, 1)]


@pytest.mark.parametrize("change", [
    "UPDATE runs SET id = 'another'", "UPDATE runs SET created_at = NULL", "DELETE FROM runs",
])  # fmt: skip
def test_what_may_be_of_another_database_is_refused_and_not_counted_again(adopted, tmp_path: Path, change: str):  # fmt: skip
    rows = {"runs": [a_run("r")], USAGE: [a_call("r", 100)]}
    before = adopted(rows)
    run(tmp_path / "earlier.db", change)
    target = adopted({}, name="target")
    with pytest.raises(Conflict, match="made as row 1 of database legacy:"):
        merged(target, before, adopted({}))
    assert found(target, f"SELECT sum(total_tokens) FROM {USAGE}") == [(100,)]


def test_a_database_without_a_dated_run_is_known_by_its_content_alone(adopted):
    rows = {"runs": [a_run("r", created_at=None)], USAGE: [a_call("r", 100)]}
    target = adopted({}, name="target")
    assert usage_counts(merged(target, adopted(rows), adopted(rows))) == [(1, 0), (0, 1)]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real databases are not there: {REAL}")
def test_the_real_databases_are_two_states_of_one_and_counted_once(adopted, tmp_path: Path):
    states = [adopt(REAL / f"autopack_2025-12-{day}.db", tmp_path / f"{day}.db", now=utc_now).copy for day in ("09", "24")]  # fmt: skip
    target = adopted({}, name="target")
    assert usage_counts(merged(target, *states, *states)) == [(671, 0), (700, 671), (0, 671), (0, 1371)]
    assert found(target, f"SELECT count(*), sum(total_tokens) FROM {USAGE}") == [(1371, 22_704_664)]


# Names of tables and columns


def test_names_that_differ_in_letters_beyond_ascii_are_different(adopted):
    copy = adopted({"runs": [a_run("r")]}, 'CREATE TABLE "É" (k, "\u212a")', 'CREATE TABLE "é" (a)', 'INSERT INTO "É" VALUES (1, 2)', 'INSERT INTO "é" VALUES (3)')  # fmt: skip
    assert found(copy, "SELECT table_name FROM legacy_rows WHERE reason LIKE 'set aside%' ORDER BY id") == [("É",), ("é",)]  # fmt: skip


@pytest.mark.parametrize("table", ['CREATE TABLE "Straße" (a)', 'CREATE TABLE t (strasse, "straße")'])
def test_a_name_that_is_taken_for_another_is_refused(adopted, monkeypatch, table: str):
    monkeypatch.setattr(source, "folded", str.casefold)
    with pytest.raises(DatabaseRefused, match="would be lost, for two"):
        adopted({"runs": [a_run("r")]}, table, "CREATE TABLE strasse (b)")


@pytest.mark.parametrize("named", ["CREATE TABLE odd (abcX)", "CREATE TABLE abcX (odd)", "CREATE VIEW abcX AS SELECT 1"])  # fmt: skip
def test_a_name_that_is_no_text_is_refused_in_words(tmp_path: Path, named: str):
    path = make_earlier(tmp_path / "earlier.db", {"runs": [], "phases": []}, named)
    path.write_bytes(path.read_bytes().replace(b"abcX", b"abc\xff"))
    with pytest.raises(DatabaseRefused, match=r"the name of \w+ abc\\udcff.* is no text"):
        adopt(path, now=utc_now)


def test_a_column_called_rowid_is_not_the_rows_number(adopted, tmp_path: Path):
    rows = {"runs": [a_run("r")], USAGE: [a_call("r", 100), a_call("r", 100)]}
    copy = adopted(rows, f"ALTER TABLE {USAGE} ADD COLUMN ROWID DEFAULT 1")
    assert found(copy, f"SELECT source_row_id FROM {USAGE} ORDER BY id") == [(1,), (2,)]


def test_runs_are_told_apart_whatever_their_column_takes_for_equal(adopted, tmp_path: Path):
    make_earlier(tmp_path / "earlier.db", {"runs": [a_run(each) for each in ("A", "a", "0.3", "1e+18")]})
    run(
        tmp_path / "earlier.db", "CREATE TABLE phases (id INTEGER PRIMARY KEY, phase_id, run_id COLLATE NOCASE, state, tier_id)",
        "INSERT INTO phases (phase_id, run_id, state) VALUES ('p1', 'A', 'QUEUED'), ('p2', 'a', 'QUEUED'), ('p3', 'A', 'QUEUED'), "
        "('p4', 0.3, 'QUEUED'), ('p5', 0.1 + 0.2, 'QUEUED'), ('p6', '0.3', 'QUEUED'), ('p7', 1e18, 'QUEUED'), ('p8', '1e+18', 'QUEUED')",
        "CREATE TABLE llm_usage_events (run_id COLLATE NOCASE)", "INSERT INTO llm_usage_events VALUES ('B '), ('b ')",
    )  # fmt: skip
    copy = adopted({})
    of_run = dict(found(copy, "SELECT run_id, group_concat(phase_id, ' ') FROM phases GROUP BY run_id"))
    assert {key: sorted(of_run[key].split()) for key in of_run} == {
        "A": ["p1", "p3"], "a": ["p2"], "0.3": ["p4", "p6"], "1e-18": ["p7", "p8"],
    }  # fmt: skip


# Memory


def test_large_rows_are_not_all_held_at_once(migrated_file: Path, tmp_path: Path):
    path = tmp_path / "copy.db"
    shutil.copy(migrated_file, path)
    engine = create_engine(located_file(path).url)
    with engine.begin() as connection:
        writer = Writer(connection, "legacy:test", NOW)
        for number in range(20):
            writer.keep("blobs", str(number), "as it was", {"x": b"x" * 1_000_000})
        written = connection.scalar(select(func.count()).select_from(LegacyRow)) or 0
        assert 20 - written < 10
        writer.flush()
        assert connection.scalar(select(func.count()).select_from(LegacyRow)) == 20
    engine.dispose()
