"""What waits for a person, from the shell: in-process and through a server, the same words and exit codes."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ended
from tests.support import auditor_answer, builder_answer, phase, plan, served, write_cassette


@pytest.fixture
def waiting(shell: Callable[..., Ended], seed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a request: a phase that writes a Makefile waits for a person."""
    lines = [builder_answer("p1", "all:\n", path="Makefile"), auditor_answer()]
    monkeypatch.setenv("AUTOPACK_REPLAY", str(write_cassette(tmp_path / "asking.jsonl", lines)))
    made = phase("p1", checks=["true"])
    made["scope"] |= {"paths": ["Makefile"], "deliverables": ["Makefile"]}
    seed(plan(phases=[made]))
    assert shell("drain", "--run-id", "r1").code == 5
    (request,) = json.loads(shell("approvals", "list", "--json").out)
    request_id: str = request["approval_id"]
    return request_id


def change(tmp_path: Path, **values: Any) -> None:
    """As a policy with a deadline would have written it, some time ago."""
    columns = ", ".join(f"{name} = ?" for name in values)
    with closing(sqlite3.connect(tmp_path / "autopack.db")) as connection, connection:
        connection.execute(f"UPDATE approval_requests SET {columns}", tuple(values.values()))


LONG_AGO = "2020-01-02 03:04:05.000000"


def test_a_request_is_shown_with_its_diff_and_all_that_it_is_bound_to(shell, waiting: str, tmp_path: Path):
    change(tmp_path, policy_hash="e" * 64, checks_hash="f" * 64, requested_at=LONG_AGO, timeout_at=LONG_AGO)
    shown = shell("approvals", "show", waiting)
    assert shown.code == 0
    facts = json.loads(shell("approvals", "show", waiting, "--json").out)
    approval = facts["approval"]
    assert facts["checks"]["passed"] is True
    assert approval["overdue"] is True
    for words in (
        f"{waiting}  r1/p1  pending (overdue)",
        " days old)",
        "2020-01-02 03:04 UTC, then it goes on waiting",
        f"base commit: {approval['base_commit']}",
        f"sha256 {approval['diff_hash']}",
        "policy:      " + "e" * 64,
        "checks:      " + "f" * 64,
        *approval["reasons"],
        approval["diff"],
        "exit 0: true",
    ):
        assert words in shown.out, words


def test_requests_are_listed_by_run_and_by_what_became_of_them(shell, waiting: str, tmp_path: Path):
    line = shell("approvals", "list", "--run", "r1").out
    assert line.startswith(f"{waiting}  r1/p1  pending, 0 min old: ")
    unknown = shell("approvals", "list", "--run", "other")
    assert (unknown.code, unknown.out, "there is no run other" in unknown.err) == (3, "", True)
    change(tmp_path, timeout_at=LONG_AGO, on_timeout="reject")
    assert shell("approvals", "list").out == "nothing is pending\n"
    assert f"{waiting}  r1/p1  expired" in shell("approvals", "list", "--status", "expired").out
    assert waiting in shell("approvals", "list", "--status", "all").out
    shown = shell("approvals", "show", waiting).out
    assert "timeout:     nobody decided before 2020-01-02 03:04 UTC" in shown
    assert "decided:" not in shown
    late = shell("approvals", "approve", waiting, "--by", "Ann")
    assert (late.code, "is expired, not pending: nobody decided" in late.err) == (3, True)
    ended = shell("drain", "--run-id", "r1", "--json")
    (failed,) = json.loads(shell("run", "show", "r1", "--json").out)["phases"]
    assert (ended.code, failed["failure_kind"]) == (1, "approval_timed_out")


@pytest.mark.parametrize("mode", ["in process", pytest.param("through a server", marks=pytest.mark.slow)])
def test_a_person_decides_once_and_for_the_run_that_was_meant(
    shell, waiting: str, sqlite_url: str, tmp_path: Path, mode: str
):
    def decide_over(*way: str) -> None:
        for arguments, words in (
            (("show", "nothere"), "there is no approval request nothere"),
            (("approve", "nothere"), "there is no approval request nothere"),
            (("reject", "nothere", "--reason", "r"), "there is no approval request nothere"),
            (("approve", waiting, "--run", "other"), "belongs to run r1, not to other; nothing was decided"),
        ):
            refused = shell("approvals", *arguments, *way)
            assert (refused.code, words in refused.err, refused.out) == (3, True, ""), arguments
        done = shell("approvals", "reject", waiting, "--reason", "no Makefile", "--by", "Ann", "--json", *way)
        assert done.code == 0, done.err
        decided = json.loads(done.out)
        assert (decided["status"], decided["responded_by"], decided["response_reason"]) == (
            "rejected", "Ann", "no Makefile",
        )  # fmt: skip
        assert decided["response_method"]
        again = shell("approvals", "approve", waiting, "--by", "Bob", *way)
        assert (again.code, "is rejected, not pending: Ann decided at" in again.err) == (3, True)
        assert "decided:     by Ann" in shell("approvals", "show", waiting, *way).out

    if mode == "in process":
        decide_over()
    else:
        with served(sqlite_url, cwd=tmp_path, warm=True) as url:
            decide_over("--api-url", url)
