"""`why`, `watch` and `report`, as a person runs them: on what a real drain left, and while another one works."""

import html
import json
import os
import pty
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from rich.console import Console

from autopack.bootstrap import open_client
from autopack.cli.board import Board
from autopack.cli.common import connection_for
from autopack.cli.watch_table import screen
from autopack.cli.watched import Watched
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.domain.phases import AttemptOutcome, Run
from autopack.executor.liveness import worker_name
from autopack.executor.worker import Progress
from autopack.schemas import ActorBody, ClaimBody
from tests.cli.conftest import Ended
from tests.db.support_queue import Queue
from tests.support import clean_environment, command, phase, plan, run_script, start_warm

Shell, Seed = Callable[..., Ended], Callable[[Any], Ended]
HOSTILE = "<script>alert(1)</script>{{ 7*7 }}\u202e"


@pytest.fixture
def drained(shell: Shell, seed: Seed) -> Shell:
    """p1 is complete, p2 failed, p3 depends on it."""
    seed(plan("r1", [phase("p1"), phase("p2", checks=["exit 1"], max_attempts=1), phase("p3", depends_on=["p2"])], goal=HOSTILE))  # fmt: skip
    assert shell("drain", "--run-id", "r1", "--sandbox", "limits").code == 1
    return shell


def test_what_a_drain_left_is_explained_and_reported(
    drained: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = drained("why", "r1")
    assert why.code == 0
    lines = why.out.splitlines()
    assert lines[0] == "r1  DONE_FAILED_REQUIRES_HUMAN_REVIEW"
    assert lines[1] == "The run has ended with 1 failed phase; 1 more phase is held back by that."
    assert any(line.startswith("p2  FAILED  failed: checks failed") for line in lines)
    assert any("depends on p2, which is FAILED" in line for line in lines)
    assert why.out.count("autopack phase requeue r1 p2") == 1
    told = json.loads(drained("why", "r1", "--json").out)
    assert (told["run_id"], told["moves"], told["counts"]) == ("r1", False, {"failed": 1, "dependency": 1})
    assert drained("why", "r9").code == 3
    report = drained("report", "--since", "1h")
    assert "1 thing needs you; 1 phase complete, 1 failed; 0 tokens, $0.00" in report.out
    assert "new, failed requires human review" in report.out
    assert "replayed (nothing was paid)" in report.out
    digest = json.loads(drained("report", "--json").out)
    assert [need["need"] for need in digest["needs_you"]] == ["failed"]
    page = tmp_path / "report.html"
    written = drained("report", "-o", page)
    assert (written.code, written.out) == (0, "")
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "{{ 7*7 }}" in text
    assert "\u202e" not in text
    assert drained("report", "-o", page).code == 2
    assert drained("report", "-o", page, "--overwrite").code == 0
    again = shlex.split(html.unescape(text.rsplit("<code>", 1)[1].partition("</code>")[0]))
    assert json.loads(drained(*again[1:], "--json").out)["finished"] == digest["finished"]
    monkeypatch.chdir(tmp_path)
    assert "<!doctype html>" in drained("report", "-o", "-").out.lower()
    assert not (tmp_path / "-").exists()
    both = drained("report", "-o", "-", "--json")
    assert (both.code, "both write to stdout" in both.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--since", "soon"], 2, "is no moment"),
        (["--since", "2999-01-01"], 2, "still to come"),
        (["--since", "1h", "--until", "2h"], 2, "is not after since"),
        (["--overwrite"], 2, "name that as well"),
        (["--overwrite", "-o", "-"], 2, "name that as well"),
        (["-o", "."], 2, "is no file"),
        (["-o", "nowhere/report.html"], 2, "there is no directory"),
        (["-o", "/dev/full"], 2, "is no file"),
    ],
)
def test_a_report_that_cannot_be_made_says_why(
    shell: Shell, arguments: list[str], code: int, said: str
) -> None:
    ended = shell("report", *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err


def test_watch_ends_with_the_run(shell: Shell, seed: Seed, tmp_path: Path, sqlite_url: str) -> None:
    """The run changes in this process, while the watch is a process of its own."""
    seed(plan("r1", [phase("p1"), phase("p2")]))
    env = {"DATABASE_URL": sqlite_url}
    watch = start_warm("autopack", "watch", "r1", "--interval", "0.2", "--json", cwd=tmp_path, env=env)
    try:
        assert shell("phase", "skip", "r1", "p1").code == 0
        assert shell("run", "cancel", "r1", "--reason", "enough").code == 0
        out, err = watch.communicate(timeout=60)
    finally:
        watch.kill()
    assert (watch.wait(), err) == (1, "")
    records = [json.loads(line) for line in out.splitlines()]
    assert (records[0]["record"], records[0]["run_id"]) == ("launch", "r1")
    assert (records[-1]["record"], records[-1]["exit_code"]) == ("done", 1)
    assert records[-1]["run"]["phase_counts"] == {"SKIPPED": 1, "CANCELLED": 1}
    again = shell("watch", "r1")
    assert again.code == 1
    assert again.out.splitlines() == ["r1  CANCELLED (enough); 1 CANCELLED, 1 SKIPPED; 0 tokens"]
    assert shell("watch", "r9").code == 3


def test_a_worker_that_was_killed_is_not_said_to_work(shell: Shell, seed: Seed, sqlite_url: str) -> None:
    """Its lease is live for a minute still; that its process is gone can be known on this machine."""
    seed(plan("r1", [phase("p1"), phase("p2")]))
    process = subprocess.Popen(["sleep", "100"])

    async def claim_and_look() -> tuple[Watched, list[Any], bool]:
        connection, settings = connection_for(None, True, sqlite_url, banner=False)
        async with open_client(connection, settings) as client:
            await client.claim(ClaimBody(run_id="r1", worker=worker_name(process.pid), lease_token="t" * 32))
            watched = await Watched.of(client, "r1")
            moved = watched.moves
            process.kill()
            process.wait()
            return watched, await watched.look(client), moved

    assert "is taken when a slot is free" not in shell("why", "r1").out
    try:
        watched, changes, moved = anyio.run(claim_and_look)
    finally:
        process.kill()
        process.wait()
    assert (moved, watched.moves) == (True, False)
    assert [each.after for each in changes] == ["its worker is gone; any drain takes it back"]
    why = shell("why", "r1")
    assert why.out.splitlines()[1] == (
        "Nothing moves: 1 phase is marked as being worked on, but its worker is gone; any drain takes the work back."
    )
    assert "its worker is gone; any drain takes it back" in why.out
    assert "is due, and nothing drains this run" in why.out
    assert why.out.count("autopack drain --run-id r1") == 1
    assert not json.loads(shell("why", "r1", "--json").out)["moves"]


def test_a_board_counts_what_is_complete_and_gives_no_time_to_what_stands_still(
    shell: Shell, seed: Seed, sqlite_url: str
) -> None:
    seed(plan("r1", [phase("p1"), phase("p2")]))

    async def run() -> Run:
        connection, settings = connection_for(None, True, sqlite_url, banner=False)
        async with open_client(connection, settings) as client:
            return await client.run("r1")

    counts = {"FAILED": 1, "SKIPPED": 1, "QUEUED": 1}
    board = Board(run=replace(anyio.run(run), phase_counts=counts), finished=1)
    assert board.line().startswith("0/3 complete, 1 failed, 1 skipped, 0 tokens")
    assert board.left() == ""
    board.take(Progress(kind="claimed", phase_id="p2", detail="attempt 1"))
    assert board.left().endswith(" left")


def test_a_console_without_any_special_character_shows_why(
    shell: Shell, seed: Seed, tmp_path: Path, sqlite_url: str
) -> None:
    seed(plan("r1"))
    ended = run_script("autopack", "why", "r1", cwd=tmp_path, env={"DATABASE_URL": sqlite_url, "PYTHONIOENCODING": "ascii"}, warm=True)  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "1 phase is due, and nothing drains this run." in ended.stdout


def test_the_live_table_fits_its_window(shell: Shell, seed: Seed, sqlite_url: str) -> None:
    seed(plan("r3", [phase(f"p{number:02}", name="[red]") for number in range(30)], token_cap=5000))

    async def look() -> Watched:
        connection, settings = connection_for(None, True, sqlite_url, banner=False)
        async with open_client(connection, settings) as client:
            watched = await Watched.of(client, "r3")
            await client.change_phase("r3", "p07", "skip", ActorBody())
            changes = await watched.look(client)
            assert changes[0].line().endswith("  p07  QUEUED -> SKIPPED")
            assert (changes[0].record()["record"], changes[0].record()["after"]) == ("state", "SKIPPED")
            assert [(each.phase_id, each.before, each.after) for each in changes] == [
                ("p07", "QUEUED", "SKIPPED")
            ]
            await client.change_run("r3", "cancel", ActorBody())
            await watched.look(client)
            assert watched.has_ended
            await watched.forecast(client)
            return watched

    watched = anyio.run(look)
    for width, height in ((40, 10), (100, 12)):
        out = StringIO()
        Console(file=out, width=width, height=height, no_color=True).print(
            screen(watched, width=width, height=height)
        )
        lines = out.getvalue().splitlines()
        assert len(lines) <= height
        assert max(map(len, lines)) <= width
        assert "CANCELLED" in lines[0]
        assert "0/5000 tokens" in lines[1]
        assert lines[-1].startswith("and ")
        assert out.getvalue().isascii()


def test_on_a_terminal_there_is_a_table(shell: Shell, seed: Seed, tmp_path: Path, sqlite_url: str) -> None:
    seed(plan("r1"))
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        env = clean_environment(DATABASE_URL=sqlite_url, TERM="xterm", COLUMNS="60", LINES="20")
        os.execve(command("autopack")[0], command("autopack", "watch", "r1"), env)
    seen = b""
    while b"QUEUED  p1" not in seen:
        seen += os.read(terminal, 65536)
    os.write(terminal, b"\x03")
    try:
        while more := os.read(terminal, 65536):
            seen += more
    except OSError:  # the other side is gone
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert b"Traceback" not in seen


def test_nothing_that_others_wrote_acts_on_a_terminal(shell: Any, seed: Any, sqlite_url: str, tmp_path: Path):
    acts = "\x1b]0;owned\x07\x9b31m\u202ered"
    seed(plan(phases=[phase("p1", name=f"name {acts}"), phase("p2")], goal=f"goal {acts}"))
    asked = {
        "reasons": [f"why {acts}"], "plan": {"summary": "s", "files": []}, "diff": f"+{acts}\u200b\n", "diff_hash": "d" * 64,
        "base_commit": "b" * 40,
    }  # fmt: skip
    with open_database(locate(sqlite_url, tmp_path)) as database:
        queue = Queue(database, ids=count(100))
        queue.finish(queue.claim(), AttemptOutcome.NEEDS_APPROVAL, reason=f"reason {acts}", approval=asked)
    assert shell("run", "pause", "r1", "--reason", f"pause {acts}").code == 0
    request = json.loads(shell("approvals", "list", "--json").out)[0]["approval_id"]
    for words in (
        ("run", "list"), ("run", "show", "r1"), ("run", "show", "r1", "--json"), ("phase", "show", "r1", "p1"), ("why", "r1"),
        ("report",), ("approvals", "list"), ("approvals", "show", request), ("phase", "log", "r1", "p1"), ("run", "events", "r1"),
    ):  # fmt: skip
        ended = shell(*words)
        told = ended.out + ended.err
        assert told.strip(), words
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(told), words
    assert "+\\x1b]0;owned\\x07\\x9b31m\\u202ered\\u200b" in shell("approvals", "show", request).out
    assert json.loads(shell("run", "show", "r1", "--json").out)["run"]["goal"] == f"goal {acts}"
