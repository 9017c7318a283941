"""The same drain, remote against a live server and in-process, leaves the same rows and ends with the same code."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select

from autopack.clock import utc_now
from autopack.db.location import locate
from autopack.db.migrate import migrate
from autopack.db.tables import (
    ApprovalRequestRow,
    AttemptRow,
    Base,
    EventRow,
    LlmResponseRow,
    LlmUsageEventRow,
    PhaseDependencyRow,
    PhaseRow,
    RunRow,
    TierRow,
    TokenBudgetEscalationRow,
    TokenEstimationEventRow,
)
from tests.support import (
    auditor_answer,
    builder_answer,
    done_record,
    make_workspace,
    phase,
    plan,
    run_script,
    served,
    write_cassette,
)

pytestmark = pytest.mark.slow

# Columns that must differ between two drains of the same run: identities, times, who worked, and commits (which hold times).
IGNORED: dict[type[Base], set[str]] = {
    RunRow: {"created_at", "updated_at", "started_at", "completed_at", "head_commit"},
    TierRow: set(),
    PhaseRow: {"id", "created_at", "updated_at", "started_at", "completed_at", "result_commit"},
    PhaseDependencyRow: set(),
    AttemptRow: {
        "id", "worker", "lease_token", "lease_expires_at", "claimed_at", "finished_at", "timings", "base_commit",
        "result_commit", "inputs_hash",
    },
    LlmUsageEventRow: {
        "id", "call_id", "attempt_id", "created_at", "completed_at", "duration_seconds", "first_token_seconds", "response_id",
    },
    LlmResponseRow: {"call_id", "attempt_id", "created_at"},
    TokenEstimationEventRow: {"event_id", "call_id", "timestamp"},
    TokenBudgetEscalationRow: {"event_id", "call_id", "timestamp"},
    ApprovalRequestRow: {
        "id", "attempt_id", "requested_at", "responded_at", "timeout_at", "base_commit", "response_method",
    },
    EventRow: {"id", "attempt_id", "actor", "created_at"},
}  # fmt: skip
# Likewise inside JSON: check reports and completions hold durations, events the ids of what they are about.
IGNORED_KEYS = {"duration_seconds", "first_token_seconds", "response_id", "approval_id", "call_id"}

ORDER: dict[type[Base], Sequence[str]] = {
    PhaseDependencyRow: ("phase_id", "depends_on"), AttemptRow: ("phase_id", "number"),
    LlmResponseRow: ("created_at", "call_id"), ApprovalRequestRow: ("requested_at",), TierRow: ("tier_index",),
}  # fmt: skip


def the_plan() -> dict[str, Any]:
    first = [
        phase("plain", checks=["test -s out/plain.txt"]),
        phase("red-first", checks=["grep -q right out/red-first.txt"]),
        phase("asks", goal="Write a Makefile.", scope={"paths": ["Makefile"], "deliverables": ["Makefile"]}),
        phase("empty-first", complexity="medium", task_category="docs"),
        phase("hopeless", checks=["false"], max_attempts=2),
        phase("rejected-first", depends_on=["plain"]),
    ]
    tiers = [{"tier_id": "T1", "phases": first}, {"tier_id": "T2", "phases": [phase("held-back")]}]
    return plan("r1", token_cap=10_000_000) | {"tiers": tiers}


def the_answers() -> list[dict[str, Any]]:
    empty = builder_answer("empty-first", ask=1) | {"text": '{"summary": "nothing", "files": []}'}
    major = [{"severity": "major", "message": "the text is too short"}]
    return [
        auditor_answer(),
        builder_answer("plain"),
        builder_answer("red-first", "wrong\n", ask=1),
        builder_answer("red-first", "right\n", ask=2),
        builder_answer("asks", "all:\n\ttrue\n", path="Makefile"),
        empty,
        builder_answer("empty-first", "there\n", ask=2),
        builder_answer("hopeless"),
        auditor_answer("rejected-first", approved=False, issues=major, ask=1),
        builder_answer("rejected-first", "short\n", ask=1),
        builder_answer("rejected-first", "long enough\n", ask=2),
    ]


@dataclass(frozen=True, kw_only=True)
class Ended:
    codes: list[int]
    reasons: list[str]
    attempts: list[dict[str, Any]]
    rows: dict[str, list[dict[str, Any]]]


def drained(url: str, workspace: Path, cassette: Path, way: list[str]) -> Ended:
    """Drain, approve what waits, drain again; `way` says how the queue is reached."""
    cwd, env = workspace.parent, {"AUTOPACK_REPLAY": str(cassette)}
    plan_file = cwd / "plan.json"
    plan_file.write_text(json.dumps(the_plan()))
    created = run_script("autopack", "run", "create", str(plan_file), *way, cwd=cwd, warm=True)
    assert created.returncode == 0, created.stderr
    codes, reasons, attempts = [], [], []
    for drain in (1, 2):
        done = run_script(
            "drain_queued_phases.py", "--run-id", "r1", "--workspace", str(workspace), "--json", *way, cwd=cwd, env=env, warm=True
        )  # fmt: skip
        record = done_record(done.stdout)
        codes.append(done.returncode)
        reasons.append(record["reason"])
        attempts += record["attempts"]
        if drain == 1:
            listed = run_script(
                "autopack", "approvals", "list", "--run-id", "r1", "--json", *way, cwd=cwd, warm=True
            )
            (request,) = json.loads(listed.stdout)
            approved = run_script(
                "autopack",
                "approvals",
                "approve",
                request["approval_id"],
                "--by",
                "me",
                *way,
                cwd=cwd,
                warm=True,
            )
            assert approved.returncode == 0, approved.stderr
    return Ended(codes=codes, reasons=reasons, attempts=attempts, rows=stored(url))


def stored(url: str) -> dict[str, list[dict[str, Any]]]:
    engine = create_engine(locate(url, Path.cwd()).url)
    found = {}
    with engine.connect() as connection:
        for table, ignored in IGNORED.items():
            columns = table.__table__.c
            order = [
                columns[name] for name in ORDER.get(table, [next(iter(table.__table__.primary_key)).name])
            ]
            rows = connection.execute(select(*columns).order_by(*order)).mappings()
            found[table.__tablename__] = [
                {name: without(value) for name, value in row.items() if name not in ignored} for row in rows
            ]
    engine.dispose()
    return found


def without(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without(each) for name, each in value.items() if name not in IGNORED_KEYS}
    return [without(each) for each in value] if isinstance(value, list) else value


@pytest.fixture
def twins(tmp_path: Path) -> list[tuple[str, Path]]:
    """Two databases, and two copies of one workspace: even their base commit is the same."""
    original = make_workspace(tmp_path / "original")
    made = []
    for name in ("in-process", "remote"):
        directory = tmp_path / name
        shutil.copytree(original, directory / "workspace")
        url = f"sqlite:///{directory / 'autopack.db'}"
        migrate(locate(url, directory), now=utc_now)
        made.append((url, directory / "workspace"))
    return made


def test_a_remote_drain_leaves_the_same_rows_as_one_in_process(
    twins: list[tuple[str, Path]], tmp_path: Path
) -> None:
    cassette = write_cassette(tmp_path / "cassette.jsonl", the_answers())
    (here, here_workspace), (there, there_workspace) = twins
    in_process = drained(here, here_workspace, cassette, ["--database-url", here])
    with served(there, cwd=tmp_path, warm=True) as address:
        remote = drained(there, there_workspace, cassette, ["--api-url", address])

    assert remote.codes == in_process.codes == [1, 1]
    assert remote.reasons == in_process.reasons
    assert "failed: hopeless; 1 more phases are held back" in in_process.reasons[1]
    assert remote.attempts == in_process.attempts
    for name, rows in in_process.rows.items():
        assert remote.rows[name] == rows, name
    assert_everything_happened(in_process.rows)


def assert_everything_happened(rows: dict[str, list[dict[str, Any]]]) -> None:
    """Equal and empty would prove nothing."""
    assert {row["phase_id"]: row["state"] for row in rows["phases"]} == {
        "plain": "COMPLETE", "red-first": "COMPLETE", "asks": "COMPLETE", "empty-first": "COMPLETE",
        "hopeless": "FAILED", "rejected-first": "COMPLETE", "held-back": "QUEUED",
    }  # fmt: skip
    ends = {
        (row["phase_id"], row["number"]): (row["outcome"], row["failure_kind"]) for row in rows["attempts"]
    }
    assert ends == {
        ("plain", 1): ("COMPLETE", None),
        ("red-first", 1): ("FAILED", "checks_failed"), ("red-first", 2): ("COMPLETE", None),
        ("asks", 1): ("NEEDS_APPROVAL", None), ("asks", 2): ("COMPLETE", None),
        ("empty-first", 1): ("COMPLETE", None),
        ("hopeless", 1): ("FAILED", "checks_failed"), ("hopeless", 2): ("FAILED", "checks_failed"),
        ("rejected-first", 1): ("FAILED", "audit_rejected"), ("rejected-first", 2): ("COMPLETE", None),
    }  # fmt: skip
    assert [row["status"] for row in rows["approval_requests"]] == ["used"]
    became_work = [row["phase_id"] for row in rows["token_estimation_v2_events"] if row["success"]]
    assert sorted(became_work) == ["asks", "empty-first", "plain", "red-first", "rejected-first"]
    assert len(rows["token_estimation_v2_events"]) == 10
    assert {row["status"] for row in rows["llm_usage_events"]} == {"answered"}
    assert rows["runs"][0]["tokens_reserved"] == 0
