"""Looking back over a run: every decision made again, and a phase's work taken back."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
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


def test_approved_work_is_decided_the_same_again(shell, approved: Path):
    again = json.loads(shell("audit", "r1", "--json").out)
    assert (again["agrees"], len(again["attempts"])) == (True, 5)


_SET = "UPDATE attempts SET"
ALTERED = {
    "another policy": (f"{_SET} policy_hash = 'x' WHERE phase_id = 'p1'", "policy_hash"),
    "a violation left out": (f"{_SET} verdict = json_set(verdict, '$.violations', json('[]')) WHERE phase_id = 'p4'", "violations"),
    "green called red": (f"{_SET} verdict = json_set(verdict, '$.checks.passed', json('false')) WHERE phase_id = 'p1'", "decision"),
    "another review": (f"{_SET} review = json_set(review, '$.approved', json('false')) WHERE phase_id = 'p2'", "decision"),
    "an unreadable review": (f"{_SET} review = '{{}}' WHERE phase_id = 'p2'", "verdict"),
    "another commit of the branch": (
        f"{_SET} result_commit = (SELECT base_commit FROM attempts WHERE phase_id = 'p2') WHERE phase_id = 'p2'", "committed tree",
    ),
    "no commit": (f"{_SET} result_commit = NULL WHERE phase_id = 'p2'", "result_commit"),
    "a commit that is not there": (f"{_SET} result_commit = '{'0' * 39}1' WHERE phase_id = 'p2'", "result_commit"),
    "a tree that is not there": (f"{_SET} result_tree = '{'0' * 39}1' WHERE phase_id = 'p2'", "committed tree"),
    "no verdict": (f"{_SET} verdict = NULL WHERE phase_id = 'p1'", "verdict"),
    "a verdict of nothing": (f"{_SET} verdict = json_object('decision', 'ok') WHERE phase_id = 'p1'", "verdict"),
    "a recovery of nothing": (f"{_SET} verdict = json_object('decision', 'ok', 'reasons', json('[]')) WHERE phase_id = 'p1'", "verdict"),
    "rejected work called done": (f"{_SET} outcome = 'COMPLETE' WHERE phase_id = 'p3'", "result_commit"),
    "refused work called needless": (f"{_SET} outcome = 'NO_OP' WHERE phase_id = 'p3'", "outcome"),
    "a rejection taken for a yes": ("UPDATE approval_requests SET status = 'rejected'", "approval_id"),
    "approved by nobody": ("UPDATE approval_requests SET responded_by = NULL", "approval_id"),
    "another diff approved": ("UPDATE approval_requests SET diff_hash = 'x'", "approval_id"),
}  # fmt: skip


@pytest.fixture
def approved(shell, drained: Path) -> Path:
    """And then p4 was approved, and is done as well."""
    (request,) = json.loads(shell("approvals", "list", "--json").out)
    assert shell("approvals", "approve", request["approval_id"], "--by", "Ann").code == 0
    assert shell("drain", "--run-id", "r1", "--sandbox", "limits").code == 1
    return drained


@contextmanager
def altered(sqlite_url: str, *statements: str) -> Iterator[None]:
    """The database with these changes, which are taken back afterwards."""
    file = sqlite_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file)) as connection, closing(sqlite3.connect(":memory:")) as as_it_was:
        connection.backup(as_it_was)
        with connection:
            for statement in statements:
                assert connection.execute(statement).rowcount, statement
        yield
        as_it_was.backup(connection)


def test_a_record_that_was_altered_is_found(shell, approved: Path, sqlite_url: str):
    for name, (statement, field) in ALTERED.items():
        with altered(sqlite_url, statement):
            audited = shell("audit", "r1")
        assert audited.code == 1, name
        assert f"{field} was " in audited.out, name
    assert shell("audit", "r1").code == 0


def test_what_a_dead_worker_committed_is_skipped_only_if_it_did(shell, drained: Path, sqlite_url: str):
    recovered = (
        "CREATE TEMP TABLE again AS SELECT * FROM attempts WHERE phase_id = 'p1'",
        """UPDATE again SET id = 'again', number = 2, lease_token = 'again', verdict = json_object('decision', 'ok', 'reasons', json('[]')),
        base_commit = NULL, policy_hash = NULL, result_tree = NULL, plan = NULL, plan_hash = NULL, changes = NULL,
        inputs_hash = NULL, review = NULL, check_report = NULL""",
        "UPDATE attempts SET outcome = 'LOST' WHERE phase_id = 'p1'",
        "INSERT INTO attempts SELECT * FROM again",
    )
    with altered(sqlite_url, *recovered):
        audited = shell("audit", "r1")
    assert audited.code == 0, audited.out
    assert "p1 attempt 2: skipped: an earlier attempt, whose worker died, made its commit" in audited.out
    of_p2 = "UPDATE attempts SET result_commit = (SELECT result_commit FROM attempts WHERE phase_id = 'p2') WHERE id = 'again'"
    with altered(sqlite_url, *recovered, of_p2):
        audited = shell("audit", "r1")
    assert (audited.code, "p1 attempt 2: verdict was None" in audited.out) == (1, True)


def test_what_was_done_before_decisions_were_stored_whole_is_skipped(shell, drained: Path, sqlite_url: str):
    of_old = """UPDATE attempts SET policy_hash = NULL, result_tree = NULL, plan = NULL, plan_hash = NULL, changes = NULL,
        inputs_hash = NULL, verdict = json_object('decision', 'ok', 'reasons', json('[]'), 'failure_kind', NULL) WHERE phase_id = 'p1'"""
    with altered(sqlite_url, of_old):
        audited = shell("audit", "r1")
    assert audited.code == 0
    assert "p1 attempt 1: skipped: it is from before decisions were stored" in audited.out


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


@pytest.mark.parametrize("words", [("--by", ""), ("--by", "A" * 201), ("--reason", "x" * 20_001)])
def test_what_the_queue_would_refuse_is_not_on_the_branch_first(shell, drained: Path, words: tuple[str, str]):
    before = git(drained, "rev-parse", "autopack/r1")
    refused = shell("undo", "r1", "p2", *words)
    assert (refused.code, "wrong options" in refused.err) == (2, True)
    assert git(drained, "rev-parse", "autopack/r1") == before
