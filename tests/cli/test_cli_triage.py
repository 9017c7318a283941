"""`autopack triage`: what it does with failed phases, what it says of them, and how it ends."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from autopack.cli.triage import judge
from autopack.clock import Clock
from autopack.domain.phases import PhaseState
from autopack.domain.triage import Options, Trial
from autopack.executor.triage import Stop, Stopped, Triage
from tests.support import (
    auditor_answer,
    builder_answer,
    done_record,
    git,
    make_workspace,
    phase,
    plan,
    write_cassette,
)

RECORD = {
    "record",
    "command",
    "session_id",
    "exit_code",
    "stopped",
    "reason",
    "resumable",
    "options",
    "phases",
    "totals",
    "left",
}


def triaged(shell: Any, code: int, *arguments: str | Path) -> dict[str, Any]:
    ended = shell("triage", "--json", *arguments)
    assert ended.code == code, ended.err
    record = done_record(ended.out)
    assert record["exit_code"] == code
    return record


@pytest.fixture
def failed(shell, seed, tmp_path: Path, monkeypatch) -> Any:
    """Makes a run all of whose phases have failed, with a builder that only talked; now it does better."""
    talk = [{**builder_answer(f"p{n}"), "text": "I would rather not."} for n in (1, 2, 3)]
    bad, good = write_cassette(tmp_path / "bad.jsonl", talk), tmp_path / "cassette.jsonl"

    def make(run_id: str, *names: str, **more: Any) -> None:
        seed(plan(run_id, [phase(name, max_attempts=1, **more) for name in names]))
        monkeypatch.setenv("AUTOPACK_REPLAY", str(bad))
        assert shell("drain", "--run-id", run_id).code == 1
        monkeypatch.setenv("AUTOPACK_REPLAY", str(good))

    return make


def test_failed_phases_of_all_runs_are_tried_sample_first(shell, failed, tmp_path: Path):
    failed("a", "p1", "p2")
    failed("b", "p1", checks=["false"])
    record = triaged(shell, 1)
    assert record.keys() == RECORD
    assert [(each["run_id"], each["phase_id"], each["after"]) for each in record["phases"]] == [
        ("a", "p1", "COMPLETE"), ("b", "p1", "FAILED"), ("a", "p2", "COMPLETE"),
    ]  # fmt: skip
    first, red, _ = record["phases"]
    assert (first["before"], first["attempts"], first["why"]) == ("FAILED", 1, None)
    assert (first["llm_usage_events"], first["token_estimation_v2_events"]) == (2, 1)
    assert first["yield_per_minute"] > 0
    assert (red["failure_kind"], red["new_failure"]) == ("checks_failed", True)
    assert record["totals"]["states"] == {"COMPLETE": 2, "FAILED": 1}
    assert (record["stopped"], record["resumable"], record["left"]) == ("nothing left", False, [])
    assert git(tmp_path / "workspace", "rev-list", "--count", "main..autopack/a") == "2"


def test_a_call_says_in_words_what_it_did_and_how_to_go_on(shell, failed):
    failed("a", "p1", "p2")
    ended = shell("triage", "--batch-size", "1")
    assert ended.code == 0
    tried, sums, last = ended.out.splitlines()
    assert tried.startswith("a/p1  FAILED -> COMPLETE, 1 attempt in ")
    assert sums == "tried 1: 1 COMPLETE; +2 calls, +1 estimation event"
    session_id = last.rpartition(" ")[2]
    assert "go on with --resume" in last
    assert "a/p1: trying sample" in ended.err
    ended = shell("triage", "--resume", session_id)
    assert (ended.code, "a/p2  FAILED -> COMPLETE" in ended.out) == (0, True)
    assert "1 phase was asked for" in ended.out, "the session keeps its options"
    assert "nothing is left to try" in shell("triage", "--resume", "--batch-size", "5").out
    again = shell("triage", "--resume", session_id)
    assert (again.code, "has ended" in again.err) == (3, True)


def test_a_model_that_a_person_named_for_a_run_is_told(shell, failed):
    failed("a", "p1", "p2")
    shell("phase", "requeue", "a", "p1")
    shell("run", "set", "a", "--model", "openai:x")
    assert "a: note run a asks for openai:x" in shell("triage").err


def test_a_dry_run_shows_the_order_and_writes_nothing(shell, failed):
    failed("a", "p1", "p2")
    failed("b", "p1")
    ended = shell("triage", "--dry-run", "--skip-run-prefix", "b")
    assert [line.split()[:2] for line in ended.out.splitlines()[:3]] == [
        ["sample", "a/p1"], ["waits", "a/p2"], ["left", "b/p1"],
    ]  # fmt: skip
    record = triaged(shell, 0, "--dry-run", "--run-id", "b", "--run-id", "a", "--run-id", "b")
    assert [each["run_id"] for each in record["order"]] == ["a", "b", "a"]
    assert record["order"][0]["failure_kind"] == "prose_only"
    none = shell("triage", "--resume")
    assert (none.code, "no unfinished triage session" in none.err) == (3, True)


def test_work_that_waits_for_a_person_ends_with_5(shell, seed, failed, tmp_path: Path, monkeypatch):
    failed("a", "p1", scope={"paths": ["Makefile"], "deliverables": ["Makefile"]})
    lines = [builder_answer("p1", "all:\n", path="Makefile"), auditor_answer()]
    monkeypatch.setenv("AUTOPACK_REPLAY", str(write_cassette(tmp_path / "asking.jsonl", lines)))
    assert [each["after"] for each in triaged(shell, 5)["phases"]] == ["GATE"]


def test_a_cap_that_leaves_no_room_ends_with_6(shell, failed, tmp_path: Path):
    failed("a", "p1", "p2")
    with closing(sqlite3.connect(tmp_path / "autopack.db")) as connection, connection:
        connection.execute("UPDATE runs SET token_cap = tokens_used + 1")
    record = triaged(shell, 6)
    assert [(each["again"], each["why"]) for each in record["phases"]] == [(True, "llm_boundary_hit")]
    assert (record["resumable"], "token cap" in record["left"][0]["reason"]) == (True, True)


def test_a_workspace_of_none_of_the_runs_ends_with_3(shell, failed, tmp_path: Path):
    failed("a", "p1")
    record = triaged(shell, 3, "--workspace", make_workspace(tmp_path / "other", {"x": "y\n"}))
    assert (record["phases"], record["resumable"]) == ([], True)
    assert [(each["phase_id"], "the branch autopack/a is gone" in each["reason"]) for each in record["left"]] == [("p1", True)]  # fmt: skip
    ended = shell("triage", "--workspace", tmp_path)
    assert (ended.code, "not in a git repository" in ended.err) == (3, True)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["some-session"], 2, "with --resume only"),
        (["--resume", "nosuch"], 3, "no triage session nosuch"),
        (["--resume", "no/such"], 2, "cannot be an id"),
        (["--batch-size", "0"], 2, "--batch-size"),
        (["--phase-timeout-seconds", "nan"], 2, "--phase-timeout-seconds"),
        (["--run-id", "nosuch"], 3, "no run nosuch"),
        (["--api-url", "http://127.0.0.1:1", "--in-process"], 2, "exclude each other"),
    ],
)
def test_what_cannot_be_meant_is_refused(shell, arguments: list[str], code: int, told: str):
    ended = shell("triage", *arguments)
    assert (ended.code, told in " ".join(ended.err.split())) == (code, True), ended.err
    assert ended.out == ""


def controller(*after: PhaseState, why: Stop = Stop.NOTHING_LEFT, **more: Any) -> Triage:
    tried = [
        Trial(
            run_id="a", phase_id=f"p{n}", before=PhaseState.FAILED, after=state, attempts=1, llm_usage_events=0,
            token_estimation_v2_events=0, seconds=1.0,
        )
        for n, state in enumerate(after)
    ]  # fmt: skip
    made = Triage(client=None, open_bench=None, clock=Clock(), worker_name="w", session_id="s", options=Options(), **more)  # type: ignore[arg-type]  # fmt: skip
    made.history.trials = tried
    made.stopped = Stopped(why=why, detail="")
    return made


COMPLETE, FAILED, GATE, QUEUED = PhaseState.COMPLETE, PhaseState.FAILED, PhaseState.GATE, PhaseState.QUEUED
CAPPED, ELSEWHERE = {"budgets": {"a": "cap"}}, {"refused": {"b": "another"}}


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (controller(), 0),
        (controller(COMPLETE, COMPLETE), 0),
        (controller(COMPLETE, FAILED), 1),
        (controller(GATE, FAILED), 1),
        (controller(QUEUED), 1),
        (controller(COMPLETE, GATE), 5),
        (controller(**CAPPED), 6),
        (controller(COMPLETE, **CAPPED), 0),
        (controller(**ELSEWHERE), 3),
        (controller(COMPLETE, **ELSEWHERE), 0),
        (controller(COMPLETE, FAILED, why=Stop.QUOTA), 75),
        (controller(COMPLETE, why=Stop.BATCH_SIZE), 0),
    ],
)
def test_how_it_ends_is_its_exit_code(made: Triage, code: int):
    assert judge(made, None) == code
    assert judge(made, 2) == 130
