"""`autopack replay-telemetry`: what a version would have budgeted, as a person sees it."""

import json
import sqlite3
from contextlib import closing

import pytest

from tests.support import ROOT, run_script

COLUMNS = (
    "call_id, run_id, phase_id, timestamp, category, complexity, deliverable_count, deliverables_json, features_json, "
    "estimator_version, predicted_output_tokens, selected_budget, actual_output_tokens, success, truncated, model, provider_mode, "
    "budget_source, target_rate, is_complete"
)
FEATURES = json.dumps(
    {"task_category": "docs", "complexity": "low", "reasoning_level": "none", "files": [["new", "doc"]]}
)


@pytest.fixture
def history(sqlite_url: str) -> None:
    """25 live calls in two runs, older ones last; a replayed one; and one whose features nobody knows."""
    rows = [
        (
            f"c{n}", "r2" if n < 5 else "r1", f"p{n}", f"2026-01-01 00:{59 - n}:00.000000", "docs", "low", 1, "[]", FEATURES,
            "linear-1", 2600, 8192, 4000 if n == 0 else 3000 + n, True, False, "m", "live", None, None, True,
        )
        for n in range(25)
    ]  # fmt: skip
    rows += [
        ("c30", "r1", *rows[0][2:16], "replay", None, None, True),
        ("c31", "unknown", *rows[0][2:8], None, *rows[0][9:]),
    ]
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection, connection:
        marks = ", ".join("?" * 20)
        connection.executemany(f"INSERT INTO token_estimation_v2_events ({COLUMNS}) VALUES ({marks})", rows)


@pytest.mark.usefixtures("history")
def test_past_calls_are_shown_with_what_a_version_would_have_asked_for(shell):
    ended = shell("replay-telemetry", "--target", "0.1", "--limit", "2")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines() == [
        "version linear-2, target 10.0%",
        "run  phase  base  times  would be  from       cut  was   cut  used",
        "r2   p1     2000  1.51   3022      conformal  no   8192  no   3001",
        "r2   p0     2000  1.51   3022      conformal  yes  8192  no   4000",
        ended.out.splitlines()[4],
        ended.out.splitlines()[5],
        "left out: 1 features unknown, 1 replayed",
    ]
    assert "1 of 25 answers cut, 4.0%" in ended.out.splitlines()[4]
    assert "as it was: 0 of 25 answers cut, 0.0% (0.0% to 13.3% with 95 % confidence)" in ended.out


@pytest.mark.usefixtures("history")
def test_a_run_is_shown_alone_and_the_others_are_learned_from_all_the_same(shell):
    told = json.loads(shell("replay-telemetry", "--target", "0.1", "--run-id", "r2", "--json").out)
    assert [each["phase_id"] for each in told["calls"]] == ["p4", "p3", "p2", "p1", "p0"]
    assert {each["budget_source"] for each in told["calls"]} == {"conformal"}
    assert (told["would_be"]["calls"], told["was"]["cut"], told["left_out"]) == (
        5,
        0,
        {"features unknown": 1, "replayed": 1},
    )


def test_a_version_that_is_not_there_is_named(shell):
    ended = shell("replay-telemetry", "--version", "linear-9")
    assert (ended.code, ended.out) == (3, "")
    assert "no estimator version linear-9" in ended.err
    assert shell("replay-telemetry", "--target", "0.9").code == 2


def test_without_any_call_it_says_so(shell):
    ended = shell("replay-telemetry")
    assert ended.code == 0
    assert "would have been: 0 calls, of none of which it is known" in ended.out
    assert "left out: nothing" in ended.out


def test_the_script_is_the_command(sqlite_url: str):
    done = run_script("replay_telemetry.py", "--json", "--database-url", sqlite_url, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["version"] == "linear-2"
