"""The script `batch_drain_controller.py` as it is really started: killed in the middle, and resumed through a server."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from autopack.clock import Clock
from autopack.db import attempts, claims, runs
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.domain.phases import AttemptOutcome, Claim, FailureKind, Outcome
from autopack.schemas import PlanBody
from tests.support import (
    ROOT,
    auditor_answer,
    builder_answer,
    done_record,
    git,
    phase,
    plan,
    run_script,
    served,
    start_script,
    write_cassette,
)

SCRIPT = "batch_drain_controller.py"
RED = Outcome(
    outcome=AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED, reason="red", retryable=False
)


def fail_all(url: str, base: str, value: dict[str, Any]) -> None:
    """A run each of whose phases has failed, without the cost of a drain."""
    clock, body = Clock(), PlanBody.model_validate(value)
    with open_database(locate(url, ROOT)) as database, database.transaction() as session:
        runs.create(session, body.to_domain(), actor="test", now=clock.now())
        for each in body.tiers[0].phases:
            claim = claims.claim(
                session, run_id=body.run_id, phase_id=each.phase_id, worker="w", attempt_id=clock.new_id(),
                lease_token=clock.new_id(), lease_seconds=60.0, base_commit=base, now=clock.now(),
            )  # fmt: skip
            assert isinstance(claim, Claim)
            attempts.finish(
                session, claim.attempt_id, claim.lease_token, RED, request_id=clock.new_id(), now=clock.now()
            )


def rows(file: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(query).fetchall()


def wait_until_executing(file: Path, run_id: str, process: Any) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if rows(file, f"SELECT 1 FROM phases WHERE run_id = '{run_id}' AND state = 'EXECUTING'"):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("nothing of it was tried")


@pytest.mark.slow
def test_a_killed_session_goes_on_where_it_was_through_a_server(
    sqlite_url: str, workspace: Path, tmp_path: Path
):
    base, file = git(workspace, "rev-parse", "HEAD"), tmp_path / "autopack.db"
    for run_id, check in (("a", "true"), ("b", "sleep 1"), ("c", "true")):
        fail_all(sqlite_url, base, plan(run_id, [phase("p1", checks=[check])]))
        git(workspace, "branch", f"autopack/{run_id}")
    cassette = write_cassette(tmp_path / "cassette.jsonl", [builder_answer("p1"), auditor_answer()])
    env = {"AUTOPACK_REPLAY": str(cassette)}
    first = start_script(SCRIPT, "--database-url", sqlite_url, "--max-attempts-per-phase", "2", cwd=workspace, env=env)  # fmt: skip
    wait_until_executing(file, "b", first)
    first.kill()
    first.communicate()

    with served(sqlite_url, cwd=tmp_path) as address:
        ended = run_script(SCRIPT, "--resume", "--json", "--api-url", address, cwd=workspace, env=env)
    assert ended.returncode == 0, ended.stderr
    record = done_record(ended.stdout)
    assert [each["run_id"] for each in record["phases"]] == ["b", "c"]
    assert record["options"]["max_attempts_per_phase"] == 2
    outcomes = rows(file, "SELECT run_id, outcome FROM attempts ORDER BY run_id, number")
    assert outcomes == [
        ("a", "FAILED"), ("a", "COMPLETE"), ("b", "FAILED"), ("b", "LOST"), ("b", "COMPLETE"), ("c", "FAILED"),
        ("c", "COMPLETE"),
    ]  # fmt: skip
    items = rows(file, "SELECT run_id, json_extract(result, '$.after') FROM triage_items ORDER BY position")
    assert items == [("a", "COMPLETE"), ("b", "QUEUED"), ("b", "COMPLETE"), ("c", "COMPLETE")]
    assert rows(file, "SELECT reason FROM triage_sessions WHERE ended_at IS NOT NULL") == [
        ("nothing left: nothing is left to try",)
    ]
