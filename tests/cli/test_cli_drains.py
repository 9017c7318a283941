"""Small real drains through the command: how each of them ends, and what it says."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support import auditor_answer, builder_answer, done_record, git, phase, plan, write_cassette

DRAINED = {"record", "command", "run", "exit_code", "reason", "batches", "attempts", "phases", "seconds"}


def drained(shell: Any, code: int, *arguments: str) -> dict[str, Any]:
    ended = shell("drain", "--run-id", "r1", "--json", *arguments)
    assert ended.code == code, ended.err
    record = done_record(ended.out)
    assert record.keys() == DRAINED
    assert record["exit_code"] == code
    return record


def test_a_drain_that_did_everything_ends_with_0(shell, seed, tmp_path: Path):
    seed(plan(phases=[phase("p1"), phase("p2"), phase("p3")]))
    record = drained(shell, 0, "--batch-size", "1")
    assert (record["run"]["state"], record["run"]["phase_counts"]) == ("DONE_SUCCESS", {"COMPLETE": 3})
    assert record["reason"] == "every phase is complete or skipped"
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["COMPLETE"] * 3
    assert record["batches"] >= 3
    assert git(tmp_path / "workspace", "rev-list", "--count", "main..autopack/r1") == "3"
    assert drained(shell, 0)["attempts"] == []


def test_a_phase_that_failed_ends_a_drain_with_1(shell, seed):
    seed(
        plan(
            phases=[
                phase("p1", checks=["false"], max_attempts=1),
                phase("p2", depends_on=["p1"]),
                phase("p3"),
            ]
        )
    )
    record = drained(shell, 1)
    assert record["run"]["phase_counts"] == {"COMPLETE": 1, "FAILED": 1, "QUEUED": 1}
    assert "failed: p1; 1 more phases are held back" in record["reason"]
    (failed,) = [each for each in record["phases"] if each["phase_id"] == "p1"]
    assert failed["failure_kind"] == "checks_failed"

    again = shell("phase", "requeue", "r1", "p1", "--by", "Ann")
    assert (again.code, "QUEUED" in again.out) == (0, True)
    assert drained(shell, 1)["attempts"] == [{"phase_id": "p1", "outcome": "FAILED"}]
    assert shell("phase", "skip", "r1", "p1").code == 0
    assert drained(shell, 0)["run"]["phase_counts"] == {"COMPLETE": 2, "SKIPPED": 1}


@pytest.fixture
def asking(shell, seed, tmp_path: Path, monkeypatch) -> Path:
    """A run whose one phase writes a Makefile, which a person must allow."""
    lines = [builder_answer("p1", "all:\n", path="Makefile"), auditor_answer()]
    monkeypatch.setenv("AUTOPACK_REPLAY", str(write_cassette(tmp_path / "asking.jsonl", lines)))
    made = phase("p1")
    made["scope"] = {"paths": ["Makefile"], "deliverables": ["Makefile"]}
    seed(plan(phases=[made]))
    return tmp_path / "workspace"


def test_work_that_waits_for_a_person_ends_a_drain_with_5_and_is_done_once_approved(shell, asking: Path):
    assert "waiting for a person's approval: p1" in drained(shell, 5)["reason"]
    (request,) = json.loads(shell("approvals", "list", "--json").out)
    assert "+all:" in request["diff"]
    assert drained(shell, 5)["attempts"] == []
    listed = shell("approvals", "list")
    assert request["approval_id"] in listed.out
    approved = shell("approvals", "approve", request["approval_id"], "--by", "Ann")
    assert (approved.code, "approved by Ann" in approved.out) == (0, True)
    assert drained(shell, 0)["run"]["state"] == "DONE_SUCCESS"
    assert git(asking, "show", "autopack/r1:Makefile") == "all:"
    assert shell("approvals", "list").out == "nothing is pending\n"


def test_work_that_a_person_rejected_is_not_done(shell, asking: Path):
    drained(shell, 5)
    (request,) = json.loads(shell("approvals", "list", "--json").out)
    assert shell("approvals", "reject", request["approval_id"]).code == 2, "a rejection needs its reason"
    assert shell("approvals", "reject", request["approval_id"], "--reason", "no Makefile").code == 0
    assert drained(shell, 1)["run"]["phase_counts"] == {"FAILED": 1}
    assert git(asking, "ls-tree", "--name-only", "autopack/r1") == "README.md"


def test_a_cap_that_is_reached_ends_a_drain_with_6_and_a_higher_one_goes_on(shell, seed):
    seed({**plan(), "token_cap": 100})
    record = drained(shell, 6)
    assert "token cap of run r1: 100 tokens" in record["run"]["state_reason"]
    assert (record["run"]["state"], record["run"]["tokens_used"]) == ("PAUSED", 0)
    resumed = shell("run", "resume", "r1", "--token-cap", "1000000", "--json")
    assert json.loads(resumed.out)["token_cap"] == 1_000_000
    assert drained(shell, 0)["run"]["state"] == "DONE_SUCCESS"


@pytest.fixture
def busy_provider() -> Iterator[str]:
    """A model server that asks for an hour."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = b'{"error": {"message": "slow down", "type": "rate_limit"}}'
            self.send_response(429)
            self.send_header("Retry-After", "3600")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
def test_a_provider_that_asks_for_an_hour_ends_a_drain_with_75(shell, seed, monkeypatch, busy_provider: str):
    seed(plan())
    monkeypatch.delenv("AUTOPACK_REPLAY")
    monkeypatch.setenv("AUTOPACK_MODEL", "openai:busy")
    monkeypatch.setenv("AUTOPACK_BASE_URL", busy_provider)
    shell("run", "set", "r1", "--model", "openai:asked")
    ended = shell("drain", "--run-id", "r1", "--json")
    assert "model: openai:asked, audited by openai:busy" in ended.err
    record = done_record(ended.out)
    assert (ended.code, record["exit_code"]) == (75, 75)
    assert "due at" in record["reason"]
    assert record["attempts"] == [{"phase_id": "p1", "outcome": "DEFERRED"}]
    assert record["phases"][0]["attempts"] == 0, "waiting spends no attempt"


def test_one_phase_is_drained_alone(shell, seed):
    seed(plan(phases=[phase("p1"), phase("p2")]))
    ended = shell("drain-one", "--run-id", "r1", "--phase-id", "p2", "--json")
    assert (ended.code, done_record(ended.out)["run"]["phase_counts"]) == (0, {"COMPLETE": 1, "QUEUED": 1})


def test_a_probe_says_whether_telemetry_grew(shell, seed, monkeypatch):
    seed(plan(phases=[phase("p1"), phase("p2")]))
    probed = shell("probe", "--run-id", "r1", "--phase-id", "p1", "--json")
    record = done_record(probed.out)
    assert (probed.code, record["verdict"]) == (0, "OK")
    assert record["grown"] == {"llm_usage_events": 2, "token_estimation_v2_events": 1}
    monkeypatch.setenv("TELEMETRY_DB_ENABLED", "0")
    silent = shell("probe", "--run-id", "r1", "--phase-id", "p2")
    assert (silent.code, "no new row in token_estimation_v2_events" in silent.out) == (1, True)


POISONED = {
    "a summary with a NUL": '{"summary": "a\\u0000b\\ud800", "files": [{"path": "out/p1.txt", "content": "x\\n"}]}',
    "a path with a NUL": '{"files": [{"path": "out/a\\u0000", "content": ""}, {"path": "out/a\\u0000", "content": ""}]}',
    "a field with a surrogate": '{"files": [{"path": "out/p1.txt", "content": "", "\\ud800": 1}]}',
    "a content with a surrogate": '{"files": [{"path": "out/p1.txt", "content": "\\ud800"}]}',
    "a content with a NUL": '{"files": [{"path": "out/p1.txt", "content": "\\u0000"}]}',
}


@pytest.mark.parametrize("text", POISONED.values(), ids=POISONED)
def test_no_answer_of_a_builder_ends_a_drain_in_an_error(shell, seed, tmp_path: Path, monkeypatch, text: str):
    lines = [{**builder_answer("p1"), "text": text}, builder_answer("p2"), auditor_answer()]
    monkeypatch.setenv("AUTOPACK_REPLAY", str(write_cassette(tmp_path / "poison.jsonl", lines)))
    seed(plan(phases=[phase("p1", max_attempts=1), phase("p2")]))
    ended = shell("drain", "--run-id", "r1", "--json")
    assert ended.code in (0, 1), ended.err
    counts = done_record(ended.out)["run"]["phase_counts"]
    assert counts in ({"COMPLETE": 1, "FAILED": 1}, {"COMPLETE": 2})


@pytest.mark.parametrize("notes", ["a\0b\ud800", "x" * 50_000])
@pytest.mark.parametrize("line", [5, 10**30])
def test_no_word_of_an_auditor_ends_a_drain_in_an_error(shell, seed, tmp_path: Path, monkeypatch, notes: str, line: int):  # fmt: skip
    issue = {"severity": "minor", "message": notes, "line": line, "path": notes[:100]}
    verdict = {**auditor_answer(), "text": json.dumps({"approved": True, "issues": [issue], "notes": notes})}
    monkeypatch.setenv(
        "AUTOPACK_REPLAY", str(write_cassette(tmp_path / "odd.jsonl", [builder_answer("p1"), verdict]))
    )
    seed(plan())
    assert drained(shell, 0)["run"]["state"] == "DONE_SUCCESS"


def test_a_check_that_prints_anything_at_all_ends_its_phase_and_not_the_drain(shell, seed):
    noise = "head -c 300000 /dev/urandom; printf '\\000\\355\\240\\200'; false"
    seed(plan(phases=[phase("p1", checks=[noise], max_attempts=1), phase("p2")]))
    assert drained(shell, 1)["run"]["phase_counts"] == {"COMPLETE": 1, "FAILED": 1}
