"""What becomes of the rows of an earlier database: the small one here has the dirt of the real ones."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from autopack.db.adopt.adoption import Report
from autopack.db.identity import open_database
from autopack.db.location import located_file
from tests.db.support_earlier import (
    WHEN,
    a_call,
    a_phase,
    a_run,
    a_scope,
    assert_nothing_is_lost,
    filled,
    found,
    make_earlier,
)

LONG_AGO = "2025-12-01T08:00:00"


class Copy:
    """An adopted database, and the account of its making."""

    def __init__(self, path: Path, report: Report) -> None:
        self.path, self.report = path, report

    def __call__(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return found(self.path, sql, *values)

    def table(self, name: str) -> Any:
        return next(each for each in self.report.tables if each.table == name)

    def phases(self, run_id: str, columns: str = "phase_id, state") -> list[tuple[Any, ...]]:
        return self(f"SELECT {columns} FROM phases WHERE run_id = ? ORDER BY phase_index", run_id)


@pytest.fixture
def adopted(tmp_path: Path, migrated_file: Path):
    """Adopts rows of the earlier tables; that nothing is lost is asked each time."""

    def make(rows: dict[str, list[dict[str, Any]]], *more: str, typed: bool = True) -> Copy:
        original = make_earlier(tmp_path / "earlier.db", {"runs": [], "phases": [], **rows}, *more, typed=typed)  # fmt: skip
        path = tmp_path / "copy.db"
        shutil.copy(migrated_file, path)
        report = filled(original, path)
        assert_nothing_is_lost(original, path)
        assert found(path, "PRAGMA foreign_key_check") == []
        return Copy(path, report)

    return make


# Runs and phases


def test_states_of_any_case_are_ours_and_nothing_is_called_done_that_is_not(adopted):
    runs = [
        a_run("fresh"), a_run("begun", "phase_execution"), a_run("undone", "DONE_SUCCESS", failure_reason="by hand"),
        a_run("failed", "DONE_FAILED_BUDGET_EXHAUSTED"), a_run("odd", "HIBERNATING"), a_run("stopped", "CANCELLED"), a_run("bare"),
    ]  # fmt: skip
    phases = [
        a_phase("fresh", "p1", "queued"), a_phase("begun", "p1", "COMPLETE"), a_phase("begun", "p2", "executing"),
        a_phase("undone", "p1", "Gate"), a_phase("failed", "p1", "FAILED", last_failure_reason="PATCH_FAILED"),
        a_phase("odd", "p1", "SLEEPING"), a_phase("stopped", "p1"),
    ]  # fmt: skip
    copy = adopted({"runs": runs, "phases": phases})
    assert dict(copy("SELECT id, state FROM runs")) == {
        "fresh": "QUEUED", "begun": "RUNNING", "undone": "RUNNING", "failed": "DONE_FAILED_BUDGET_EXHAUSTED", "odd": "PAUSED",
        "stopped": "CANCELLED", "bare": "QUEUED",
    }  # fmt: skip
    assert copy("SELECT state_reason FROM runs WHERE id = 'undone'") == [
        ("adopted: the earlier database calls it DONE_SUCCESS; by hand",)
    ]
    assert copy.phases("begun") == [("p1", "COMPLETE"), ("p2", "QUEUED")]
    assert [copy.phases(each)[0][1] for each in ("undone", "failed", "odd", "stopped")] == ["QUEUED", "FAILED", "FAILED", "CANCELLED"]  # fmt: skip
    assert copy.phases("failed", "failure_reason") == [("PATCH_FAILED",)]
    assert "'SLEEPING', which means nothing here" in copy.phases("odd", "failure_reason")[0][0]
    assert copy.table("phases").changes["state 'Gate' became QUEUED"] == 1


def test_a_finished_run_that_calls_itself_done_stays_done_only_when_its_phases_are(adopted):
    copy = adopted({
        "runs": [a_run("good", "done_success"), a_run("bad", "DONE_SUCCESS")],
        "phases": [a_phase("good", "p1", "complete"), a_phase("bad", "p1", "complete"), a_phase("bad", "p2", "failed")],
    })  # fmt: skip
    assert copy("SELECT state FROM runs ORDER BY id") == [
        ("DONE_FAILED_REQUIRES_HUMAN_REVIEW",),
        ("DONE_SUCCESS",),
    ]


def test_what_goes_on_has_not_ended(adopted):
    ends = [
        f"ALTER TABLE phases ADD COLUMN completed_at DEFAULT '{LONG_AGO}'",
        f"UPDATE runs SET completed_at = '{LONG_AGO}'",
    ]
    copy = adopted({
        "runs": [a_run("open", "DONE_SUCCESS"), a_run("shut", "DONE_SUCCESS"), a_run("odd", "HIBERNATING")],
        "phases": [a_phase("open", "p1", "GATE"), a_phase("open", "p2", "COMPLETE"), a_phase("shut", "p1", "COMPLETE")],
    }, *ends)  # fmt: skip
    at = "2025-12-01 08:00:00.000000"
    assert dict(copy("SELECT id, completed_at FROM runs")) == {"open": None, "shut": at, "odd": None}
    assert copy.phases("open", "phase_id, completed_at") == [("p1", None), ("p2", at)]


def test_a_run_of_which_nothing_can_be_claimed_waits_for_a_person(adopted):
    tiers = [{"id": n, "tier_id": f"T{n}", "run_id": run, "tier_index": n, "name": "t"} for n, run in enumerate(["held", "held", "poor", "poor", "free", "free"])]  # fmt: skip
    phases = [
        a_phase(run, phase_id, state, tier_id=tier, phase_index=tier)
        for run, phase_id, state, tier in [
            ("held", "p1", "FAILED", 0), ("held", "p2", "QUEUED", 1), ("poor", "p1", "FAILED", 2), ("poor", "p2", "QUEUED", 3),
            ("free", "p1", "FAILED", 4), ("free", "p2", "QUEUED", 4), ("free", "p3", "QUEUED", 5),
        ]
    ]  # fmt: skip
    runs = [a_run("held", "DONE_FAILED_POLICY_VIOLATION"), a_run("poor", "DONE_FAILED_BUDGET_EXHAUSTED"), a_run("free", "DONE_SUCCESS")]  # fmt: skip
    copy = adopted({"runs": runs, "tiers": tiers, "phases": phases})
    assert dict(copy("SELECT id, state FROM runs")) == {
        "held": "DONE_FAILED_POLICY_VIOLATION", "poor": "DONE_FAILED_REQUIRES_HUMAN_REVIEW", "free": "RUNNING",
    }  # fmt: skip
    assert copy.report.runs_held_back == 2


def test_caps_that_are_passed_would_only_stop_the_run_and_are_lifted(adopted):
    caps = {"token_cap": 1000, "max_phases": 2, "max_duration_minutes": 60}
    copy = adopted({
        "runs": [a_run("kept", **caps), a_run("passed", started_at=LONG_AGO, **caps)],
        "phases": [a_phase("kept", "p1"), *(a_phase("passed", f"p{n}") for n in range(3))],
        "llm_usage_events": [a_call("kept", 999), a_call("passed", 1000)],
    })  # fmt: skip
    assert copy("SELECT id, token_cap, max_phases, max_duration_minutes, tokens_used FROM runs ORDER BY id") == [
        ("kept", 1000, 2, 60, 999), ("passed", None, None, None, 1000),
    ]  # fmt: skip
    assert sum(copy.table("runs").changes[f"{name} was passed already: no cap here"] for name in caps) == 3


def test_a_phase_of_no_tier_or_of_another_runs_gets_one_of_its_own_in_the_right_place(adopted):
    tiers = [
        {"id": 1, "tier_id": "T2", "run_id": "a", "tier_index": 2, "name": "Second"},
        {"id": 2, "tier_id": "T1", "run_id": "a", "tier_index": 1, "name": "First"},
        {"id": 3, "tier_id": "other", "run_id": "b", "tier_index": 1, "name": "Other"},
        {"id": 4, "tier_id": "T1", "run_id": "gone", "tier_index": 0, "name": "Nobody's"},
    ]
    places = {"late": 1, "lost": 99, "early": 2, "early2": 2, "strayed": 3}
    phases = [a_phase("a", name, tier_id=tier) for name, tier in places.items()] + [a_phase("b", "only", tier_id="other")]  # fmt: skip
    copy = adopted({"runs": [a_run("a"), a_run("b")], "tiers": tiers, "phases": phases})
    assert copy.phases("a", "phase_id, tier_id, tier_index") == [
        ("early", "T1", 0), ("early2", "T1", 0), ("strayed", "other", 1), ("late", "T2", 2), ("lost", "tier-99", 3),
    ]  # fmt: skip
    assert copy.phases("b", "tier_id, tier_index") == [("other", 0)]
    assert copy.report.tiers_made == 2
    assert copy.table("tiers").reasons == {"its run does not exist": 1}
    assert copy.table("phases").changes["its tier is of another run: one like it was made"] == 1


def test_ids_that_are_none_here_are_renamed_with_all_that_names_them(adopted):
    runs = [a_run("my run"), a_run("my-run"), a_run("my run"), a_run("../up")]
    phases = [a_phase("my run", "p1"), a_phase("my run", "p1"), a_phase("my run", "p/2"), a_phase("nobody's", "p1")]  # fmt: skip
    usage = [
        a_call("my run", 100),
        a_call("my run", 50, phase_id="p/2"),
        a_call("my-run-2", 7),
        a_call(None, 3),
    ]
    copy = adopted({"runs": runs, "phases": phases, "llm_usage_events": usage}, typed=False)
    assert dict(copy("SELECT id, tokens_used FROM runs")) == {"my-run": 0, "my-run-3": 150, "up": 0}
    assert copy.phases("my-run-3", "phase_id, tokens_used") == [("p1", 100), ("p1-2", 0), ("p-2", 50)]
    assert copy.table("runs").reasons == {"another run has the same id": 1}
    assert copy.table("phases").reasons == {"its run does not exist": 1}
    assert copy("SELECT run_id, total_tokens FROM llm_usage_events ORDER BY id") == [
        ("my-run-3", 100), ("my-run-3", 50), ("my-run-2", 7), (None, 3),
    ]  # fmt: skip


def test_a_phase_has_a_scope_a_goal_and_a_try_left(adopted):
    phases = [
        a_phase("r", "p1", scope=a_scope(features=["x"]), builder_attempts=5, max_builder_attempts=3),
        a_phase(
            "r",
            "p2",
            description=" ",
            scope='{"goal": "From the scope."}',
            task_category=None,
            complexity=None,
        ),
        a_phase("r", "p3", "COMPLETE", builder_attempts=1, scope="Prose."),
        a_phase("r", "p4", scope='{"paths": ["/etc/"]}'),
    ]
    copy = adopted({"runs": [a_run("r")], "phases": phases})
    first, second, third, fourth = copy.phases(
        "r", "goal, task_category, complexity, attempts, max_attempts, scope, state"
    )
    assert first[:5] == ("Do p1.", "implementation", "medium", 5, 6)
    assert json.loads(first[5]) == {"paths": ["out/"], "read_only_context": [], "deliverables": ["out/p1.txt"], "checks": []}  # fmt: skip
    assert (second[0], second[2:5]) == ("From the scope.", ("medium", 0, 3))
    assert (third[0], third[3:5], third[6]) == ("Do p3.\n\nProse.", (1, 3), "COMPLETE")
    assert fourth[6] == "FAILED"
    assert copy.table("phases").changes["scope holds names that can be no path here"] == 1


def test_moments_of_any_format_are_utc_and_an_unreadable_one_is_replaced_and_kept(adopted):
    copy = adopted({
        "runs": [a_run("r", created_at="2025-12-24T11:31:46+01:00", started_at=1766572306), a_run("s", created_at="in winter")],
        "phases": [a_phase("r", "p1", created_at=None)],
    }, typed=False)  # fmt: skip
    noon = "2025-12-24 10:31:46.000000"
    assert copy("SELECT created_at, started_at FROM runs ORDER BY id") == [(noon, noon), (WHEN, None)]
    assert copy.phases("r", "created_at") == [(noon,)]
    (kept,) = copy("SELECT row, reason FROM legacy_rows WHERE table_name = 'runs' AND row_key = 's'")
    assert json.loads(kept[0])["created_at"] == "in winter"
    assert "created_at was missing or unreadable" in kept[1]


# Telemetry


def test_usage_keeps_the_total_and_only_a_measured_split(adopted):
    usage = [
        a_call("gone", 1001), a_call(None, 1000, "auditor"), a_call("r", 333, "doctor"), a_call("r", 55, "agent:deliverables_manifest"),
        a_call("r", 0, prompt_tokens=900, completion_tokens=300), a_call("r", 0, prompt_tokens="?", completion_tokens=12),
    ]  # fmt: skip
    copy = adopted({"runs": [a_run("r")], "phases": [], "llm_usage_events": usage})
    columns = "input_tokens, output_tokens, total_tokens, cost_usd, status, usage_source, provider_mode, origin, source_row_id"
    rows = copy(f"SELECT {columns} FROM llm_usage_events ORDER BY id")
    assert [row[:3] for row in rows] == [
        (None, None, 1001), (None, None, 1000), (None, None, 333), (None, None, 55), (900, 300, 1200), (None, 12, None),
    ]  # fmt: skip
    assert {row[3:8] for row in rows} == {(None, "answered", "adopted", "live", "adopted")}
    assert [row[8] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert (copy.report.total_tokens, copy.report.unknown_splits, copy.report.calls_of_unknown_usage) == (3589, 5, 1)  # fmt: skip
    assert copy("SELECT tokens_used, calls_of_unknown_usage FROM runs") == [(1588, 1)]
    assert copy("SELECT day, tokens_used FROM daily_usage") == [("2025-12-24", 3589)]


def test_a_later_members_total_counts_where_it_gives_no_split(adopted):
    more = [
        "ALTER TABLE llm_usage_events ADD COLUMN total_tokens INTEGER",
        "UPDATE llm_usage_events SET total_tokens = 70",
    ]
    usage = [a_call("r", 0, prompt_tokens=None, completion_tokens=None), a_call("r", 0, prompt_tokens=1, completion_tokens=2)]  # fmt: skip
    copy = adopted({"runs": [a_run("r")], "llm_usage_events": usage}, *more)
    assert copy("SELECT input_tokens, total_tokens FROM llm_usage_events") == [(None, 70), (None, 70)]
    assert copy.table("llm_usage_events").changes == {"prompt and completion are not the total: their split is unknown here": 1}  # fmt: skip


def test_estimation_and_escalation_events_are_carried_whatever_run_they_name(adopted):
    event = {
        "run_id": "unknown", "phase_id": "p1", "timestamp": WHEN, "category": "IMPLEMENT_FEATURE", "complexity": "maintenance",
        "deliverable_count": 1, "deliverables_json": '["src/a.py"]', "predicted_output_tokens": 7020, "actual_output_tokens": 8192,
        "selected_budget": 8192, "success": 0, "truncated": 1, "stop_reason": "max_tokens", "model": "claude-sonnet-4-5",
    }  # fmt: skip
    raised = {"run_id": "unknown", "phase_id": "p1", "timestamp": WHEN, "reason": "truncation", "base_value": 8192, "retry_max_tokens": 12288}  # fmt: skip
    copy = adopted({
        "token_estimation_v2_events": [event, event | {"selected_budget": "much"}, event | {"stop_reason": None}],
        "token_budget_escalation_events": [raised, raised | {"retry_max_tokens": None}],
    })  # fmt: skip
    columns = "run_id, category, complexity, deliverables_json, features_json, success, truncated, is_complete, origin, estimator_version, budget_source"
    first, second = copy(f"SELECT {columns} FROM token_estimation_v2_events ORDER BY event_id")
    assert first == ("unknown", "implementation", "low", '["src/a.py"]', None, 0, 1, 1, "adopted", "earlier", None)  # fmt: skip
    assert second[7] == 0
    assert copy("SELECT from_budget, to_budget, model FROM token_budget_escalation_events") == [
        (8192, 12288, "unknown")
    ]
    assert copy.table("token_estimation_v2_events").reasons == {"it holds no estimate that can be read": 1}
    assert copy.table("token_budget_escalation_events").reasons == {"it does not say from which budget to which": 1}  # fmt: skip


# All the rest


def test_what_has_no_table_here_is_kept_as_json_and_definitions_as_text(adopted):
    more = [
        "CREATE TABLE Odd (a, b BLOB, PRIMARY KEY (a)) WITHOUT ROWID", "INSERT INTO Odd VALUES ('x', X'00FF'), (1e999, NULL)",
        "CREATE VIEW v AS SELECT 1", "CREATE TRIGGER t AFTER INSERT ON runs BEGIN SELECT 1; END",
        "CREATE VIRTUAL TABLE words USING fts5(body)",
    ]  # fmt: skip
    copy = adopted({"users": [{"username": "ann", "hashed_password": "$2b$12$abc"}]}, *more)
    kept = copy("SELECT row_key, reason, row FROM legacy_rows WHERE table_name = 'odd'")
    assert {json.dumps(json.loads(row)["b"]) for _, _, row in kept} == {'{"base64": "AP8="}', "null"}
    assert {reason for _, reason, _ in kept} == {"set aside: there is no table for it here"}
    assert copy.table("users").reasons == {"there are no accounts here": 1}
    assert copy.report.not_read == ("view v", "trigger t", "table words")
    (view,) = copy("SELECT row FROM legacy_rows WHERE row_key = 'view v'")
    assert json.loads(view[0])["sql"] == "CREATE VIEW v AS SELECT 1"


def test_rows_that_break_a_rule_of_their_table_are_read_all_the_same(adopted):
    made = [
        "CREATE TABLE z (a CHECK (a > 0), b)",
        "PRAGMA ignore_check_constraints=ON",
        "INSERT INTO z VALUES (-1, NULL)",
    ]
    stricter = (
        "UPDATE sqlite_master SET sql = 'CREATE TABLE z (a CHECK (a > 0), b NOT NULL)' WHERE name = 'z'"
    )
    copy = adopted({"runs": [a_run("r")]}, *made, "PRAGMA writable_schema=ON", stricter)
    assert copy.table("z").set_aside == 1


def test_text_that_no_database_should_hold_is_mended_here_and_kept_there(adopted):
    name = "CAST(X'61FF0062' AS TEXT)"
    copy = adopted(
        {"runs": [a_run("r")], "phases": [a_phase("r", "p1")]},
        f"UPDATE phases SET name = {name}, phase_index = 1.5, builder_attempts = 'many'",
    )
    assert copy.phases("r", "name, phase_index, attempts") == [("a\ufffd\ufffdb", 0, 0)]


def test_the_copy_is_a_database_of_today_with_each_adoption_in_its_runs_story(adopted):
    copy = adopted({"runs": [a_run("r")], "phases": [a_phase("r", "p1")]})
    with open_database(located_file(copy.path)):
        (told,) = copy("SELECT kind, detail FROM events")
    assert (told[0], json.loads(told[1])) == (
        "adopted",
        {"source": copy.report.label, "was": "RUN_CREATED", "state": "QUEUED"},
    )
