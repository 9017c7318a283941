"""Telemetry is carried from database to database: each row once, with where it was made, or nothing at all."""

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import InternalError

from autopack.db.columns import Base
from autopack.db.engine import Database
from autopack.db.identity import open_database, read_identity
from autopack.db.location import locate, located_file
from autopack.db.merge import KINDS, PAGE_ROWS, Merged, merge
from autopack.db.tables import (
    LlmResponseRow,
    LlmUsageEventRow,
    TokenBudgetEscalationRow,
    TokenEstimationEventRow,
)
from autopack.domain.messages import ProviderMode
from autopack.errors import Conflict, DatabaseRefused
from tests.db.support_migrations import ROWS, make_old
from tests.db.support_queue import START, Queue, failed
from tests.support import phase, plan

_POSTGRESQL = pytest.mark.postgres
Make = Callable[[str], Database]
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture
def make(migrated_file: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Opens a migrated database of that name: SQLite, or PostgreSQL for the (one) name "postgresql"."""
    opened = []

    def open_one(name: str) -> Database:
        if name == "postgresql":
            location = locate(request.getfixturevalue("postgres_url"), tmp_path)
        else:
            location = located_file(tmp_path / f"{name}.db")
            copy_of(migrated_file, tmp_path / f"{name}.db")
        context = open_database(location)
        opened.append(context)
        return context.__enter__()

    yield open_one
    for context in opened:
        context.__exit__(None, None, None)


def copy_of(template: Path, path: Path) -> None:
    shutil.copy(template, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE database_identity SET database_id = ?", (uuid4().hex,))


def fill(database: Database, *, first: int = 1, run_id: str = "r1") -> Queue:
    """A run with a call of each status, two of them with estimates, one of these escalated. `first` numbers its ids."""
    queue = Queue(database, ids=count(first))
    queue.create(plan(run_id, [phase("p1"), phase("p2")]))
    claim = queue.claim(run_id=run_id)
    answered = queue.reserve(claim).call_id
    queue.settle(claim, answered)
    queue.settle(claim, (cut := queue.reserve(claim)).call_id, **failed("cut off \U0001f4a5", paid=True))
    queue.settle(claim, queue.reserve(claim, provider_mode=ProviderMode.REPLAY).call_id)
    queue.reserve(claim)
    queue.lost(claim)
    queue.reserve(queue.claim(run_id=run_id), request_key="another question")
    add(
        database,
        TokenEstimationEventRow,
        estimation(answered, run_id, success=True),
        estimation(cut.call_id, run_id, success=None),
    )
    add(database, TokenBudgetEscalationRow, escalation(cut.call_id, run_id))
    return queue


def estimation(call_id: str, run_id: str, **more: Any) -> dict[str, Any]:
    return {
        "call_id": call_id, "run_id": run_id, "phase_id": "p1", "timestamp": START, "category": "docs", "complexity": "low",
        "deliverable_count": 1, "deliverables_json": ["\u00fc.py"], "features_json": {"files": [["new", "py"]]},
        "estimator_version": "linear-2", "predicted_output_tokens": 100, "selected_budget": 200, "truncated": False,
        "model": "m", "provider_mode": "live", "alpha": 0.1 + 0.2, **more,
    }  # fmt: skip


def escalation(call_id: str, run_id: str) -> dict[str, Any]:
    return {
        "call_id": call_id, "run_id": run_id, "phase_id": "p1", "timestamp": START, "reason": "truncated",
        "from_budget": 100, "to_budget": 200, "model": "m",
    }  # fmt: skip


def adopted(call_id: str, **more: Any) -> dict[str, Any]:
    """A row of an earlier Autopack: it has no attempt, and only a total."""
    return {
        "call_id": call_id, "role": "doctor", "status": "answered", "provider": "openai", "model": "m",
        "provider_mode": "live", "reserved_tokens": 0, "total_tokens": 77, "created_at": START, "origin": "adopted",
        "source_database_id": "earlier", "source_row_id": 5, **more,
    }  # fmt: skip


def add(database: Database, table: type[Base], *rows: Mapping[str, Any]) -> None:
    """Rows that name the same columns."""
    with database.transaction() as session:
        session.execute(insert(Base.metadata.tables[table.__tablename__]), list(rows))


def change(database: Database, table: type[Any], call_id: str, **values: Any) -> None:
    with database.transaction() as session:
        session.execute(update(table).where(table.call_id == call_id).values(**values))


def telemetry(database: Database) -> Rows:
    """Every row of the merged tables by call, without its number here."""
    with database.transaction() as session:
        return {
            kind.table.name: [
                {name: value for name, value in row.items() if name not in ("id", "event_id")}
                for row in session.execute(select(kind.table).order_by(kind.table.c.call_id)).mappings()
            ]
            for kind in KINDS
        }


def identity(database: Database) -> str:
    with database.transaction() as session:
        return read_identity(session, database.location).database_id


def counts(merged: Merged) -> list[tuple[int, int, int, int]]:
    return [(each.read, each.added, each.updated, each.already_there) for each in merged.tables]


def calls_of(queue: Queue) -> list[str]:
    return [row["call_id"] for row in queue.rows(LlmUsageEventRow)]


@pytest.mark.parametrize(
    ("source", "target"),
    [("a", "b"), pytest.param("a", "postgresql", marks=_POSTGRESQL), pytest.param("postgresql", "b", marks=_POSTGRESQL)],
)  # fmt: skip
def test_what_is_closed_is_carried_once_with_where_it_was_made(make: Make, source: str, target: str) -> None:
    a, b = make(source), make(target)
    queue = fill(a)
    before = telemetry(a)
    with open_database(a.location, read_only=True) as only_read:
        first, second = merge(only_read, b), merge(only_read, b)
    assert counts(first) == [(4, 4, 0, 0), (2, 2, 0, 0), (1, 1, 0, 0)]
    assert counts(second) == [(4, 0, 0, 4), (2, 0, 0, 2), (1, 0, 0, 1)]
    assert first.open_calls == 1
    assert (first.source_database_id, first.target_database_id) == (identity(a), identity(b))
    assert telemetry(a) == before

    made_here = {"origin": "merged", "source_database_id": identity(a), "attempt_id": None}
    for name, rows in telemetry(b).items():
        kept = [row for row in before[name] if row.get("status") != "reserved"]
        assert [row["source_row_id"] for row in rows] == list(range(1, len(kept) + 1))
        place = {key: value for key, value in made_here.items() if key in kept[0]}
        assert rows == [{**row, **place, "source_row_id": n} for n, row in enumerate(kept, 1)]
    statuses = [row["status"] for row in queue.rows(LlmUsageEventRow)]
    assert statuses == ["answered", "failed", "answered", "abandoned", "reserved"]
    with b.transaction() as session:
        assert session.scalars(select(LlmResponseRow.call_id)).all() == [], "answers stay with their queue"


def test_by_way_of_another_database_is_the_same_as_directly(make: Make) -> None:
    a, b, by_way, directly = (make(name) for name in ("a", "b", "c", "d"))
    fill(a)
    add(a, LlmUsageEventRow, adopted("e1"), adopted("e2", source_database_id=None, source_row_id=None))
    fill(b, first=100, run_id="r2")
    merge(a, b)
    merge(b, by_way)
    merge(a, directly)
    merge(b, directly)
    assert telemetry(by_way) == telemetry(directly)
    usage = {row["call_id"]: row for row in telemetry(by_way)["llm_usage_events"]}
    assert len(usage) == 4 + 2 + 4
    places = [
        tuple(usage[name][key] for key in ("origin", "source_database_id", "source_row_id"))
        for name in ("e1", "e2")
    ]
    assert places == [("adopted", "earlier", 5), ("adopted", identity(a), 7)]
    assert {row["source_database_id"] for row in usage.values()} == {"earlier", identity(a), identity(b)}
    assert counts(merge(by_way, directly))[0] == (10, 0, 0, 10)


def test_what_was_made_here_is_recognised_when_it_comes_back(make: Make) -> None:
    a, b = make("a"), make("b")
    queue = fill(a)
    merge(a, b)
    before = telemetry(a)
    assert counts(merge(b, a)) == [(4, 0, 0, 4), (2, 0, 0, 2), (1, 0, 0, 1)]
    assert telemetry(a) == before
    # As after a backup was restored: what others have heard since does not change the money of a run here.
    abandoned = calls_of(queue)[3]
    change(
        b, LlmUsageEventRow, abandoned, status="answered", input_tokens=5, output_tokens=5, total_tokens=10
    )
    assert counts(merge(b, a))[0] == (4, 0, 0, 4)
    assert telemetry(a) == before


def test_a_late_answer_and_a_late_judgement_are_carried_after(make: Make) -> None:
    a, b, stale = make("a"), make("b"), make("c")
    queue = fill(a)
    merge(a, b)
    merge(a, stale)
    abandoned, cut = calls_of(queue)[3], calls_of(queue)[1]
    change(
        a, LlmUsageEventRow, abandoned, status="answered", usage_source="provider", input_tokens=30, output_tokens=12,
        total_tokens=42, cost_usd=0.25, is_complete=True, error=None, completed_at=START, model="openai:m-2026",
    )  # fmt: skip
    change(a, TokenEstimationEventRow, cut, success=False)
    assert counts(merge(a, b)) == [(4, 0, 1, 3), (2, 0, 1, 1), (1, 0, 0, 1)]
    change(a, TokenEstimationEventRow, cut, success=True)
    assert counts(merge(a, b)) == [(4, 0, 0, 4), (2, 0, 1, 1), (1, 0, 0, 1)]
    for name, rows in telemetry(b).items():
        there = {row["call_id"]: row for row in telemetry(a)[name]}
        place = ("attempt_id", "origin", "source_database_id", "source_row_id")
        assert all(row[key] == there[row["call_id"]][key] for row in rows for key in row if key not in place)

    newest = telemetry(b)
    assert counts(merge(stale, b)) == [(4, 0, 0, 4), (2, 0, 0, 2), (1, 0, 0, 1)]
    assert telemetry(b) == newest, "an older copy takes nothing back"


@pytest.mark.parametrize(
    ("table", "values", "words"),
    [
        (LlmUsageEventRow, {"output_tokens": 13, "total_tokens": 43}, "differs in output_tokens, total_tokens"),
        (LlmUsageEventRow, {"status": "abandoned", "run_id": "r9"}, "differs in run_id, status"),
        (LlmUsageEventRow, {"source_row_id": 99}, "row 99 of database"),
        (LlmUsageEventRow, {"source_database_id": "elsewhere"}, "row 1 of database elsewhere"),
        (TokenEstimationEventRow, {"selected_budget": 1, "success": None}, "differs in selected_budget, success"),
        (TokenBudgetEscalationRow, {"to_budget": 1}, "differs in to_budget"),
    ],
)  # fmt: skip
def test_rows_that_contradict_each_other_stop_the_merge(
    make: Make, table: type[Base], values: dict[str, Any], words: str
) -> None:
    a, b = make("a"), make("b")
    queue = fill(a)
    merge(a, b)
    call = telemetry(a)[table.__tablename__][0]["call_id"]
    change(b, table, call, **values)
    add(a, LlmUsageEventRow, adopted("new"))
    change(a, LlmUsageEventRow, calls_of(queue)[3], status="failed", error="late")
    before = telemetry(b)
    with pytest.raises(
        Conflict, match=f"(?s)nothing was merged: 1 rows of .*{table.__tablename__} call_id {call}: .*{words}"
    ) as told:
        merge(a, b)
    assert told.value.exit_code == 3
    assert telemetry(b) == before


def test_many_contradictions_are_counted_and_the_first_are_told(make: Make) -> None:
    a, b = make("a"), make("b")
    add(a, LlmUsageEventRow, *(adopted(f"e{n:02}") for n in range(30)))
    add(b, LlmUsageEventRow, *(adopted(f"e{n:02}", total_tokens=78) for n in range(25)))
    with pytest.raises(Conflict) as told:
        merge(a, b)
    lines = str(told.value).splitlines()
    assert "25 rows" in lines[0]
    assert [line.split()[2] for line in lines[1:-1]] == [f"e{n:02}:" for n in range(20)]
    assert lines[-1].strip() == "... and 5 more"
    assert len(telemetry(b)["llm_usage_events"]) == 25


def test_the_same_database_and_a_copy_of_it_are_refused(make: Make, tmp_path: Path) -> None:
    a = make("a")
    fill(a)
    assert a.location.path is not None
    shutil.copy(a.location.path, tmp_path / "copy.db")
    with open_database(located_file(tmp_path / "copy.db")) as copy:
        for source, target in ((a, a), (copy, a), (a, copy)):
            with pytest.raises(
                DatabaseRefused, match=r"same database, or one is a copy .* does not exist yet"
            ):
                merge(source, target)


def test_one_run_alone_is_carried(make: Make) -> None:
    a, b = make("a"), make("b")
    fill(a)
    fill(a, first=100, run_id="r2")
    merged = merge(a, b, run_id="r2")
    assert (counts(merged), merged.open_calls) == ([(4, 4, 0, 0), (2, 2, 0, 0), (1, 1, 0, 0)], 1)
    assert {row["run_id"] for rows in telemetry(b).values() for row in rows} == {"r2"}


@pytest.mark.parametrize("target", ["b", pytest.param("postgresql", marks=_POSTGRESQL)])
def test_more_than_a_page_comes_whole_and_merges_at_once_wait_for_each_other(make: Make, target: str) -> None:
    a, b = make("a"), make(target)
    number = PAGE_ROWS + 1
    add(a, LlmUsageEventRow, *(adopted(f"e{n}", source_row_id=n) for n in range(number)))
    told: list[Merged] = []

    def work() -> None:
        with open_database(a.location, read_only=True) as source, open_database(b.location) as into:
            told.append(merge(source, into))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = sorted(counts(each)[0] for each in told)
    assert done == [(number, 0, 0, number), (number, 0, 0, number), (number, number, 0, 0)]
    rows = telemetry(b)["llm_usage_events"]
    assert sorted(row["source_row_id"] for row in rows) == list(range(number))


@pytest.mark.postgres
def test_what_the_target_cannot_hold_stops_the_merge_in_words(make: Make) -> None:
    """SQLite keeps texts of any length in its columns."""
    a, b = make("a"), make("postgresql")
    add(a, LlmUsageEventRow, adopted("e1"), adopted("e2", model="m" * 300))
    with pytest.raises(DatabaseRefused, match=r"nothing was merged into it: value too long"):
        merge(a, b)
    assert telemetry(b)["llm_usage_events"] == []


@pytest.mark.parametrize("name", ["a", pytest.param("postgresql", marks=_POSTGRESQL)])
def test_a_source_is_opened_to_be_read_and_nothing_else(make: Make, name: str) -> None:
    a = make(name)
    with open_database(a.location, read_only=True) as source:
        with pytest.raises((DatabaseRefused, InternalError), match=r"read-?only|cannot be written"):
            add(source, LlmUsageEventRow, adopted("e1"))
        assert telemetry(source)["llm_usage_events"] == []


def test_a_source_of_an_earlier_revision_is_sent_to_be_migrated(tmp_path: Path) -> None:
    old = make_old(f"sqlite:///{tmp_path}/old.db", tmp_path, "0002", ROWS)
    with (
        pytest.raises(DatabaseRefused, match=r"at revision 0002.*autopack migrate"),
        open_database(old, read_only=True),
    ):
        pass
