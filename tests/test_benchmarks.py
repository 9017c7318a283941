"""The benchmark runs, and says what it is asked to say. Its figures are not judged here: machines are noisy."""

import json
import subprocess
import sys

import pytest

from tests.support import ROOT, clean_environment

pytestmark = pytest.mark.slow


def bench(*arguments, name="drain.py"):
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), "--quick", *arguments],
        cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_smoke_run_prints_the_tables_and_the_ratios():
    report = json.loads(bench("--json"))
    assert {row["database"] for row in report["rates"]} == {"SQLite FULL", "SQLite NORMAL"}
    assert {row["at"] for row in report["rates"]} == {"head", "middle", "end"}
    for row in report["rates"]:
        assert min(row["per_second"].values()) > 0
        assert row["drain_over_bare"] > 0
    assert {row["shape"] for row in report["claims"]} == {
        "plain", "second tier waiting", "priorities", "dependencies"
    }  # fmt: skip
    for row in report["processes"]:
        assert 0 < row["first_claim_seconds"] < row["first_end_seconds"]
        assert row["peak_mib"] > 10
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from drain import as_tables
    finally:
        sys.path.pop(0)
    printed = as_tables(report)
    assert "| database | queued | at | bare /s | drain /s | drain : bare |" in printed
    assert "| SQLite NORMAL | 500 | end |" in printed
    assert "ratio: the claim is" in printed
    assert "| `autopack drain` | phases drained | start to first claim, s |" in printed


def test_a_smoke_run_tells_the_cost_of_every_level_that_works_here():
    rows = {row["way"]: row for row in json.loads(bench("--json", name="sandbox.py"))}
    assert {"bare", "limits", "self-test"} <= set(rows) <= {"bare", "limits", "files", "full", "self-test"}
    assert rows["bare"]["ratio"] == 1.0
    assert all(row["ms"] > 0 for row in rows.values())
    assert "| limits |" in bench(name="sandbox.py")


def test_a_smoke_run_tells_what_an_export_costs_again():
    rows = {row["way"]: row for row in json.loads(bench("--json", name="exports.py"))}
    assert set(rows) == {"fresh", "again", "after a check"}
    assert 0 < rows["again"]["part_of_fresh"] < 1
    assert rows["fresh"]["files"] == 1000
    assert "| after a check | 1,000 |" in bench(name="exports.py")


def test_a_smoke_run_tells_what_a_calibration_costs():
    rows = {row["what"]: row for row in json.loads(bench("--json", name="calibrate.py"))}
    assert set(rows) == {
        "sort",
        "read",
        "make observations",
        "fit and back-test",
        "report",
        "the whole command",
    }
    assert rows["sort"]["ratio"] == 1.0
    assert 0 < rows["fit and back-test"]["seconds"] < rows["the whole command"]["seconds"]
    assert 1_900 < rows["fit and back-test"]["events"] <= 2_000


def test_a_smoke_run_tells_how_well_budgets_keep_their_promise():
    rows = json.loads(bench("--json", name="estimator.py"))
    assert {(row["series"], row["target"]) for row in rows} == {
        (series, target) for series in ("steady", "drifting", "switching", "jumping", "large") for target in (0.01, 0.05, 0.1)
    }  # fmt: skip
    for row in rows:
        assert row["calls"] + row["limited"] + row["refused"] == 500
        assert row["low"] <= row["rate"] == row["missed"] / row["calls"] <= row["high"]
    assert "| steady | 10% | 500 |" in bench(name="estimator.py")
