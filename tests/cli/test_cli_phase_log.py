"""`phase log` and `phase diff`: for a person, for a pipe, and for a program."""

import json
import sys
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from autopack.cli.phase_log import _not_in
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.domain.phases import AttemptOutcome, FailureKind
from tests.db.support_queue import Queue
from tests.support import phase, plan

DIFF = "diff --git a/a b/a\n+title \x1b]0;owned\x07 \x9b31m \u202ereversed\n-old\n"


RULE = {"rule": "delete a file", "path": "a", "reason": "a: delete a file: a person decides", "action": "ask"}


@pytest.fixture
def done(shell, seed, sqlite_url: str, tmp_path: Path) -> None:
    """p1 failed after a try of which everything is kept, and p2 waits for it."""
    seed(plan(phases=[phase("p1", max_attempts=1), phase("p2", depends_on=["p1"])]))
    red = {
        "command": "make",
        "passed": False,
        "reason": "exit code 3",
        "exit_code": 3,
        "output": "\x1b[31mred\n",
    }
    with open_database(locate(sqlite_url, tmp_path)) as database:
        queue = Queue(database)
        queue.finish(
            queue.claim(), AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED, reason="red", diff=DIFF,
            check_report={"passed": False, "results": [red]},
            verdict={"decision": "blocked", "reasons": ["red"], "violations": [RULE]},
        )  # fmt: skip


def test_the_log_says_what_happened_and_how_to_see_more(shell, done):
    log = shell("phase", "log", "r1", "p1")
    assert (log.code, log.err) == (0, "")
    assert [line.split(maxsplit=3)[2:] for line in log.out.splitlines()] == [
        ["#1", "claim    attempt 1 begun; by w1"],
        ["#1", "checks   $ make"],
        ["#1", "checks   \ufffd[31mred"],
        ["#1", "checks   -> exit code 3"],
        ["#1", "checks   the checks did not pass"],
        ["#1", "gate     gate: blocked: red"],
        ["#1", "gate       rule 'delete a file' (ask): a: delete a file: a person decides"],
        ["#1", "event    attempt ended as FAILED, checks failed; the phase is FAILED"],
    ]
    short = shell("phase", "log", "r1", "p1", "--tail", "2", "--attempt", "1")
    assert short.out.splitlines() == log.out.splitlines()[-2:]
    assert "the last 2 lines; --tail shows more" in short.err
    record = json.loads(shell("phase", "log", "r1", "p1", "--json").out)
    assert record.keys() == {"run_id", "phase_id", "state", "step", "lines", "cut"}
    assert record["lines"][0].keys() == {"at", "attempt", "source", "text"}
    assert shell("phase", "log", "r1", "p2").err == "p2 is QUEUED; nothing has happened in it yet\n"


def test_a_phase_is_shown_with_the_rules_that_fired_and_what_to_do(shell, done):
    shown = shell("phase", "show", "r1", "p1").out.splitlines()
    assert "    rule 'delete a file' (ask): a: delete a file: a person decides" in shown
    assert "more:   autopack phase log r1 p1, or diff instead of log" in shown
    assert "repeat: autopack drain-one --run-id r1 --phase-id p1" in shown
    assert "repeat" not in shell("phase", "show", "r1", "p1", "--json").out


def test_following_ends_when_the_phase_has_ended(shell, done):
    followed = shell("phase", "log", "r1", "p1", "--follow", "--tail", "3")
    assert (followed.code, len(followed.out.splitlines())) == (0, 3)


def test_what_is_new_is_what_was_not_there_before():
    lines: Any = ["a", "b", "b", "between", "c"]
    assert list(_not_in(Counter(["a", "b", "c"]), lines)) == ["b", "between"]


def test_a_diff_that_is_not_there_is_no_error_and_one_that_is_cut_is_said(
    shell, done, sqlite_url, tmp_path: Path
):
    nothing = shell("phase", "diff", "r1", "p2")
    assert (nothing.code, nothing.out, nothing.err) == (
        0,
        "",
        "p2 has no attempt yet: there is nothing to show\n",
    )
    record = json.loads(shell("phase", "diff", "r1", "p1", "--json").out)
    assert record.keys() == {"run_id", "phase_id", "attempt", "base_commit", "result_commit", "diff", "cut"}
    whole = f"{DIFF}[cut: the diff has 900000 characters in all]\n"
    assert shell("phase", "requeue", "r1", "p1").code == 0
    with open_database(locate(sqlite_url, tmp_path)) as database:
        queue = Queue(database, ids=count(100))
        queue.finish(queue.claim(), diff=whole, result_commit="c" * 40)
    cut = shell("phase", "diff", "r1", "p1")
    assert (cut.code, cut.out) == (0, whole)
    assert f"cannot be applied; `git show {'c' * 40}` shows it whole" in cut.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("r1", "p9"), 3, "has no phase p9"),
        (("r9", "p1"), 3, "no run r9"),
        (("r1", "p1", "--attempt", "5"), 3, "has no attempt 5"),
        (("r1", "p1", "--attempt", "0"), 2, "--attempt"),
        (("r 1", "p1"), 2, "cannot be an id"),
    ],
)
def test_what_is_not_there_is_said(shell, done, arguments: tuple[str, ...], code: int, said: str):
    for name in ("log", "diff"):
        ended = shell("phase", name, *arguments)
        assert (ended.code, ended.out) == (code, "")
        assert said in ended.err
    both = shell("phase", "log", "r1", "p1", "--follow", "--json")
    assert (both.code, "exclude each other" in both.err) == (2, True)


def test_on_a_terminal_nothing_that_a_model_wrote_acts(shell, done, monkeypatch: pytest.MonkeyPatch):
    assert shell("phase", "diff", "r1", "p1").out == DIFF, "a pipe gets it as it is"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    shown = shell("phase", "diff", "r1", "p1", "--attempt", "1").out
    assert "\x1b[32m+title \\x1b]0;owned\\x07 \\x9b31m \\u202ereversed\x1b[m\n" in shown
    assert shown.endswith("\x1b[31m-old\x1b[m\n")
    monkeypatch.setenv("NO_COLOR", "1")
    plain = shell("phase", "diff", "r1", "p1").out
    assert "\x1b" not in plain
    assert plain.endswith("\n-old\n")
