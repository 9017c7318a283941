"""A person changes runs and phases from a shell; the queue is real, and so is the command line."""

import getpass
import json
from typing import Any

import pytest

from tests.support import phase, plan

PHASES = [phase("p1"), phase("p2"), phase("p3")]


def test_a_run_is_changed_and_the_answer_says_what_to_expect(shell: Any, seed: Any) -> None:
    seed(plan(phases=PHASES))
    ended = shell(
        "run",
        "set",
        "r1",
        "--token-cap",
        "500",
        "--concurrency",
        "2",
        "--model",
        "openai:x",
        "--reason",
        "night",
    )
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[:3] == [
        "r1  token_cap: 500",
        "r1  concurrency: 2",
        "r1  builder_model: openai:x",
    ]
    assert "what is executing ends as it began" in ended.err
    shown = shell("run", "show", "r1").out
    assert "concurrency 2, builder openai:x" in shown
    run = json.loads(
        shell("run", "set", "r1", "--token-cap", "none", "--model", "none", "--by", "Ada", "--json").out
    )
    assert (run["token_cap"], run["concurrency"], run["builder_model"]) == (None, 2, None)
    events = shell("run", "events", "r1", "--after", "1").out.splitlines()
    assert f"  {getpass.getuser()} (127.0.0.1 " in events[0]
    assert events[0].endswith(
        "the run changed: token_cap: none -> 500, concurrency: none -> 2, builder_model: none -> openai:x (night)"
    )
    assert "  Ada (127.0.0.1 " in events[1]
    assert [each["kind"] for each in json.loads(shell("run", "events", "r1", "--json").out)] == [
        "run_created", "run_changed", "run_changed",
    ]  # fmt: skip


def test_a_cap_that_is_used_up_is_taken_and_said(shell: Any, seed: Any) -> None:
    seed(plan(phases=[phase("p1"), phase("p9")], token_cap=100_000))
    shell("drain", "--run-id", "r1", "--max-batches", "1", "--batch-size", "1")
    ended = shell("run", "set", "r1", "--token-cap", "1")
    assert ended.code == 0
    assert "token_cap 1 is not above what is used already" in ended.err
    assert shell("drain", "--run-id", "r1").code == 6
    ended = shell("run", "set", "r1", "--token-cap", "none")
    assert "the run stays paused" in ended.err
    assert "`autopack run resume r1`" in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "set", "r1"], "name what to set"),
        (["run", "set", "r1", "--token-cap", "x"], "--token-cap 'x' is no number above 0; write a whole one, or `none`"),
        (["run", "set", "r1", "--concurrency", "257"], "concurrency: Input should be less than or equal to 256"),
        (["run", "set", "r1", "--model", "gpt"], "--model 'gpt' names no model"),
        (["run", "set", "r1", "--concurrency", "2", "--by", ""], "by: String should have at least 1 character"),
        (["run", "list", "--state", "odd"], "--state 'odd' is no state of a run"),
        (["phase", "requeue", "r1"], "name the phases to requeue or --failed"),
        (["phase", "requeue", "r1", "p1", "--failed"], "not both"),
        (["phase", "skip", "r1"], "name the phases to skip"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_wrong_usage_says_what_was_wrong(shell: Any, arguments: list[str], said: str) -> None:
    ended = shell(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


def test_several_phases_are_changed_at_once(shell: Any, seed: Any) -> None:
    seed(plan(phases=PHASES))
    ended = shell("phase", "skip", "r1", "p1", "p2", "p9")
    assert (ended.code, ended.out.splitlines()) == (
        3, ["p1  SKIPPED", "p2  SKIPPED", "p9  unknown  run r1 has no phase p9"],
    )  # fmt: skip
    assert "2 of 3 phases skipped" in ended.err
    acted = json.loads(shell("phase", "requeue", "r1", "p1", "p2", "--json").out)
    assert [(each["phase_id"], each["done"], each["state"]) for each in acted] == [
        ("p1", True, "QUEUED"), ("p2", True, "QUEUED"),
    ]  # fmt: skip
    one = {"phase_id": "p1", "done": True, "state": "SKIPPED", "detail": None}
    assert json.loads(shell("phase", "skip", "r1", "p1", "--json").out) == [one]
    ended = shell("phase", "skip", "r1", "p1")
    assert (ended.code, ended.out, "p1 of run r1 is SKIPPED" in ended.err) == (3, "", True)
    ended = shell("phase", "skip", "r1", "p1", "--json")
    (told,) = json.loads(ended.out)
    assert (ended.code, told["done"], told["state"]) == (3, False, "SKIPPED")
    assert "p1 of run r1 is SKIPPED" in told["detail"]
    ended = shell("phase", "requeue", "r1", "--failed", "--json")
    assert (ended.code, json.loads(ended.out)) == (0, [])
    assert "no phase of run r1 is FAILED" in ended.err


def test_the_run_pauses_after_a_phase_and_those_that_failed_are_requeued_together(
    shell: Any, seed: Any
) -> None:
    seed(plan(phases=[phase("p1"), phase("p2", checks=["false"], max_attempts=1), phase("p3")]))
    assert shell("phase", "pause-after", "r1", "p1").out == "p1  QUEUED; the run pauses when it has ended\n"
    assert shell("phase", "pause-after", "r1", "p2").code == 0
    assert "does not pause" in shell("phase", "pause-after", "r1", "p2", "--off").out
    ended = shell("drain", "--run-id", "r1")
    assert ended.code == 5
    assert "phase p1 has ended, and the run was to pause after it" in ended.out
    shell("run", "resume", "r1", "--reason", "looked at")
    assert shell("drain", "--run-id", "r1").code == 1
    ended = shell("phase", "requeue", "r1", "--failed")
    assert (ended.code, ended.out) == (0, "p2  QUEUED\n")
    assert "1 of 1 phase requeued" in ended.err
    assert shell("phase", "pause-after", "r1", "p1").code == 3
    assert "r1  RUNNING" in shell("run", "list", "--state", "running", "--q", "TEST").out
    assert shell("run", "list", "--q", "nothing like it").out == "no such runs\n"


def test_what_happened_is_followed_until_the_run_has_ended(shell: Any, seed: Any) -> None:
    seed(plan(phases=[phase("p1")]))
    shell("run", "cancel", "r1", "--reason", "a\x1b[31mred\x1b[0m word")
    ended = shell("run", "events", "r1", "--follow", "--json")
    assert [json.loads(line)["kind"] for line in ended.out.splitlines()] == ["run_created", "run_state"]
    text = shell("run", "events", "r1", "--follow").out
    assert "the run is CANCELLED (a" in text
    assert "\x1b" not in text
    assert shell("run", "events", "r1", "--after", "99").out == "no events after 99\n"
    assert shell("run", "events", "r9").code == 3
