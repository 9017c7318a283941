"""Databases as the earlier Autopack made them, with the dirt that was found in real ones; and the way back from a copy."""

import base64
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from autopack.db.adopt.adoption import REPORT, Report, fill
from autopack.db.adopt.carry import DEFINITIONS
from autopack.db.adopt.plans import phase_back, run_back
from autopack.db.adopt.source import open_source
from autopack.db.adopt.telemetry import escalation_back, estimation_back, usage_back
from autopack.db.adopt.tiers import tier_back
from autopack.db.adopt.writer import SET_ASIDE
from autopack.db.engine import sqlite_engine
from autopack.db.identity import open_database
from autopack.db.location import located_file
from autopack.db.tables import (
    LegacyRow,
    LlmUsageEventRow,
    PhaseRow,
    RunRow,
    TierRow,
    TokenBudgetEscalationRow,
    TokenEstimationEventRow,
)

COLUMNS = {
    "runs": "id, state, created_at, updated_at, started_at, completed_at, safety_profile, run_scope, token_cap, max_phases, "
    "max_duration_minutes, tokens_used, promotion_eligible_to_main, failure_reason, goal_anchor",
    "tiers": "id, tier_id, run_id, tier_index, name, state, tokens_used",
    "phases": "id, phase_id, run_id, tier_id, phase_index, name, description, state, task_category, complexity, "
    "max_builder_attempts, builder_attempts, tokens_used, created_at, updated_at, scope, last_failure_reason",
    "llm_usage_events": "id, provider, model, run_id, phase_id, role, prompt_tokens, completion_tokens, created_at, is_doctor_call",
    "token_estimation_v2_events": "event_id, run_id, phase_id, timestamp, category, complexity, deliverable_count, "
    "deliverables_json, predicted_output_tokens, actual_output_tokens, selected_budget, success, truncated, stop_reason, model",
    "token_budget_escalation_events": "event_id, run_id, phase_id, timestamp, reason, base_value, retry_max_tokens",
    "users": "id, username, hashed_password",
}  # fmt: skip
_KEYS = {"id": "id INTEGER PRIMARY KEY", "event_id": "event_id INTEGER PRIMARY KEY AUTOINCREMENT"}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
WHEN = "2025-12-24 10:31:46.078894"


def make_earlier(path: Path, rows: Mapping[str, Iterable[Mapping[str, Any]]], *more: str, typed: bool = True) -> Path:  # fmt: skip
    """The tables that `rows` names; without types a column takes any value. `more` are statements that follow."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, found in rows.items():
            names = COLUMNS[table].split(", ")
            columns = [_KEYS.get(name, name) if typed and table != "runs" else name for name in names]
            connection.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
            for row in found:
                marks = ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))  # fmt: skip
        for statement in more:
            connection.execute(statement)
    return path


def a_run(run_id: str, state: str = "RUN_CREATED", **more: Any) -> dict[str, Any]:
    return {"id": run_id, "state": state, "created_at": WHEN, "updated_at": WHEN, "tokens_used": 0, **more}


def a_phase(run_id: str, phase_id: str, state: str = "QUEUED", **more: Any) -> dict[str, Any]:
    return {
        "run_id": run_id, "phase_id": phase_id, "state": state, "tier_id": 1, "phase_index": 0, "name": phase_id,
        "description": f"Do {phase_id}.", "task_category": "backend", "complexity": "MEDIUM", "builder_attempts": 0,
        "created_at": WHEN, "updated_at": WHEN, **more,
    }  # fmt: skip


def a_call(run_id: str | None, total: int, role: str = "builder", **more: Any) -> dict[str, Any]:
    """With the split as the earlier system guessed it."""
    prompt = int(total * {"builder": 0.4, "auditor": 0.6, "doctor": 0.7}.get(role, 0.8))
    return {
        "run_id": run_id, "phase_id": "p1", "role": role, "provider": "openai", "model": "gpt-4o", "prompt_tokens": prompt,
        "completion_tokens": total - prompt, "created_at": WHEN, "is_doctor_call": 0, **more,
    }  # fmt: skip


def a_scope(**more: Any) -> str:
    return json.dumps({"paths": ["out/"], "deliverables": ["out/p1.txt"], **more})


def filled(original: Path, copy: Path, now: datetime = NOW) -> Report:
    """Adoption into a database that is at the present schema already: migrating one costs more than the rest."""
    scratch = copy.with_name(f"{copy.name}.scratch")
    scratch.mkdir()
    engine = sqlite_engine(copy, mode="rw", fuse=True, foreign_keys=False)
    try:
        with open_source(original, scratch) as source, engine.begin() as connection:
            return fill(source, connection, original, now)
    finally:
        engine.dispose()


def found(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, values).fetchall()


# The way back

_CARRIED: dict[str, tuple[Any, Any, Any]] = {
    "runs": (RunRow, run_back, lambda row: row["id"]),
    "tiers": (TierRow, tier_back, lambda row: f"{row['run_id']}/{row['tier_id']}"),
    "phases": (PhaseRow, phase_back, lambda row: str(row["id"])),
    "llm_usage_events": (LlmUsageEventRow, usage_back, lambda row: str(row["source_row_id"])),
    "token_estimation_v2_events": (TokenEstimationEventRow, estimation_back, lambda row: str(row["source_row_id"])),
    "token_budget_escalation_events": (TokenBudgetEscalationRow, escalation_back, lambda row: str(row["source_row_id"])),
}  # fmt: skip


def assert_nothing_is_lost(original: Path, copy: Path) -> None:
    """Every value of every row of the original, of its very type, can be had from the copy."""
    with open_database(located_file(copy)) as database, database.transaction() as session:
        before = tables_of(original)
        kept = session.scalars(select(LegacyRow)).all()
        assert {row.table_name for row in kept} <= {*before, DEFINITIONS, REPORT}
        for table, (columns, rows) in before.items():
            again = _rebuilt(session, table, columns, [row for row in kept if row.table_name == table])
            assert Counter(map(repr, again)) == Counter(map(repr, rows)), table


def tables_of(path: Path) -> dict[str, tuple[list[str], list[tuple[Any, ...]]]]:
    """Columns and rows of each table. Letters of ASCII are in lower case: to SQLite, others differ from their capitals."""
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]  # fmt: skip
        found = {}
        for name in names:
            cursor = connection.execute(f"SELECT * FROM {quoted(name)}")
            found[_lower(name)] = [_lower(column[0]) for column in cursor.description], cursor.fetchall()
    return found


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _lower(name: str) -> str:
    return name.encode().lower().decode()


def _rebuilt(session: Session, table: str, columns: list[str], kept: list[LegacyRow]) -> list[tuple[Any, ...]]:  # fmt: skip
    rows = [_values(row.row) for row in kept if row.reason.startswith(SET_ASIDE)]
    if table in _CARRIED:
        into, gives_back, key_of = _CARRIED[table]
        rest = {row.row_key: _values(row.row) for row in kept if not row.reason.startswith(SET_ASIDE)}
        for found in session.execute(select(*into.__table__.c)).mappings():
            if found.get("origin") == "local":
                continue
            key = key_of(found)
            if table != "tiers" or key in rest:  # of a tier that was made there is nothing to keep
                rows.append(gives_back(found) | rest.get(key, {}))
    return [tuple(row.get(column) for column in columns) for row in rows]


def _values(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value["base64"]) if "base64" in value else float(value["real"])
    return value
