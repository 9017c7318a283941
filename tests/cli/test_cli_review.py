"""Looking back over a run: every decision made again, and a phase's work taken back."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import auditor_answer, builder_answer, git, phase, plan, write_cassette

LINES = [
    builder_answer("p1", "one\ntwo\nthree\nfour\nfive\nsix\n", path="out/shared.txt"),
    builder_answer("p2", "one\ntwo\nthree\nfour\nfive\n6\n", path="out/shared.txt"),
    builder_answer("p3", "mine\n", path=".env"),
    builder_answer("p4", "all:\n", path="Makefile"),
    auditor_answer(),
]


def shared() -> dict[str, list[str]]:
    return {"paths": ["out/"], "deliverables": ["out/shared.txt"]}


@pytest.fixture
def drained(shell, seed, tmp_path: Path, monkeypatch) -> Path:
    """p1 wrote a file, p2 changed its last line, p3 was refused, p4 waits for a person."""
    monkeypatch.setenv("AUTOPACK_REPLAY", str(write_cassette(tmp_path / "review.jsonl", LINES)))
    phases = [
        phase("p1", scope=shared()),
        phase("p2", scope=shared(), depends_on=["p1"]),
        phase("p3", scope={"paths": [], "deliverables": []}),
        phase("p4", scope={"deliverables": ["Makefile"], "paths": []}),
    ]
    seed(plan(phases=phases))
    assert shell("drain", "--run-id", "r1", "--sandbox", "limits").code == 1
    return tmp_path / "workspace"


def test_every_decision_of_a_run_can_be_made_again(shell, drained: Path):
    audited = shell("audit", "r1")
    assert audited.code == 0, audited.out
    assert audited.out.splitlines() == [
        *(f"p{number} attempt 1: agrees" for number in (1, 2, 3, 4)),
        "r1: 4 decisions made again, 0 differ, 0 skipped",
    ]
    (request,) = json.loads(shell("approvals", "list", "--json").out)
    assert shell("approvals", "approve", request["approval_id"], "--by", "Ann").code == 0
    assert shell("drain", "--run-id", "r1", "--sandbox", "limits").code == 1
    again = json.loads(shell("audit", "r1", "--json").out)
    assert (again["agrees"], len(again["attempts"])) == (True, 5)


@pytest.mark.parametrize(
    ("statement", "field"),
    [
        ("UPDATE attempts SET policy_hash = 'x' WHERE phase_id = 'p1'", "policy_hash"),
        (
            "UPDATE attempts SET verdict = json_set(verdict, '$.violations', json('[]')) WHERE phase_id = 'p4'",
            "violations",
        ),
        (
            "UPDATE attempts SET verdict = json_set(verdict, '$.checks.passed', json('false')) WHERE phase_id = 'p1'",
            "decision",
        ),
        (
            "UPDATE attempts SET review = json_set(review, '$.approved', json('false')) WHERE phase_id = 'p2'",
            "decision",
        ),
        (
            "UPDATE attempts SET result_commit = (SELECT base_commit FROM attempts WHERE phase_id = 'p2') "
            "WHERE phase_id = 'p2'",
            "committed tree",
        ),
    ],
)
def test_a_record_that_was_altered_is_found(
    shell, drained: Path, sqlite_url: str, statement: str, field: str
):
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection, connection:
        assert connection.execute(statement).rowcount == 1
    audited = shell("audit", "r1")
    assert audited.code == 1
    assert f"{field} was " in audited.out


def test_an_audit_in_another_repository_says_so(shell, drained: Path, tmp_path: Path):
    other = tmp_path / "other"
    git(tmp_path, "init", "--quiet", str(other))
    (other / "file").write_text("x\n")
    git(other, "add", "file")
    git(other, "commit", "--quiet", "--message", "other")
    audited = shell("audit", "r1", "--workspace", other)
    assert "is not in this repository" in audited.out
    assert "r1: 0 decisions made again" in audited.out
    assert audited.code == 3


def test_a_phases_work_is_taken_back_and_can_be_built_anew(shell, drained: Path):
    done = git(drained, "rev-parse", "autopack/r1")
    undone = shell("undo", "r1", "p2", "--by", "Ann", "--reason", "six was right")
    assert undone.code == 0, undone.err
    assert git(drained, "show", "autopack/r1:out/shared.txt").endswith("five\nsix")
    assert git(drained, "rev-parse", "autopack/r1^") == done
    shown = json.loads(shell("phase", "show", "r1", "p2", "--json").out)["phase"]
    assert (shown["state"], shown["failure_reason"]) == ("CANCELLED", "undone by Ann: six was right")
    again = shell("undo", "r1", "p2")
    assert (again.code, "it is CANCELLED" in again.err) == (3, True)
    assert shell("phase", "requeue", "r1", "p2").code == 0
    assert shell("drain-one", "--run-id", "r1", "--phase-id", "p2", "--sandbox", "limits").code == 0
    assert git(drained, "show", "autopack/r1:out/shared.txt").endswith("five\n6")


def test_what_later_work_depends_on_is_not_taken_back_and_that_is_named(shell, drained: Path):
    before = git(drained, "rev-parse", "autopack/r1")
    refused = shell("undo", "r1", "p1")
    assert refused.code == 3
    assert "later work depends on what phase p1 changed" in refused.err
    assert "(phase p2) in out/shared.txt" in refused.err
    assert git(drained, "rev-parse", "autopack/r1") == before
    assert shell("undo", "r1", "p3").code == 3
    assert shell("undo", "r1", "p2").code == 0
    assert shell("undo", "r1", "p1").code == 0
    assert git(drained, "ls-tree", "-r", "--name-only", "autopack/r1") == "README.md"
