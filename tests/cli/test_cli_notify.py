"""Notices of a real drain: a command and a webhook are told, and nothing that they do changes how the drain ends."""

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.domain.phases import AttemptOutcome, FailureKind
from tests.db.support_queue import Queue
from tests.support import (
    auditor_answer,
    builder_answer,
    make_workspace,
    phase,
    plan,
    run_script,
    start_warm,
    write_cassette,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def ear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """The command is a program that writes down what it is told; answers what it wrote."""
    told = tmp_path / "told.jsonl"
    program = tmp_path / "an ear.py"
    program.write_text(f"import sys\nopen({str(told)!r}, 'a').write(sys.stdin.read())\n")
    monkeypatch.setenv("AUTOPACK_NOTIFY_COMMAND", f"{sys.executable} '{program}'")
    return lambda: [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []


def test_a_drain_tells_what_happened_and_ends_as_it_would(shell, seed, ear):
    seed(plan(phases=[phase("p1", checks=["false"], max_attempts=1)]))
    ended = shell("drain", "--run-id", "r1")
    assert (ended.code, "notify" in ended.err) == (1, False)
    failed, done = ear()
    assert (failed["event"], failed["phase"]["phase_id"], failed["run"]["run_id"]) == ("failed", "p1", "r1")
    assert (done["event"], done["phase"]) == ("done", None)
    assert done["run"]["state"] == "DONE_FAILED_REQUIRES_HUMAN_REVIEW"
    assert shell("drain", "--run-id", "r1").code == 1
    assert len(ear()) == 2, "what was so before is no news"


@pytest.mark.parametrize("command", ["no-such-program", "sh -c 'echo {; exec <&-; kill -9 $$'"])
def test_a_command_that_fails_changes_nothing(shell, seed, monkeypatch: pytest.MonkeyPatch, command: str):
    seed(plan())
    monkeypatch.setenv("AUTOPACK_NOTIFY_COMMAND", command)
    ended = shell("drain", "--run-id", "r1", "--json")
    assert ended.code == 0
    assert next(line for line in ended.err.splitlines() if "notify" in line).startswith(
        "notify: done was not told by the command: "
    )
    assert ended.err.count("notify") == 1


def test_triage_tells_too(shell, seed, ear, sqlite_url: str, tmp_path: Path):
    seed(plan(phases=[phase("p1", checks=["false"], max_attempts=1)]))
    with open_database(locate(sqlite_url, tmp_path)) as database:
        queue = Queue(database)
        failed = {"failure_kind": FailureKind.CHECKS_FAILED, "retryable": False}
        queue.finish(queue.claim(base_commit=None), AttemptOutcome.FAILED, **failed)
    assert shell("triage", "--run-id", "r1").code == 1
    told = ear()[0]
    assert (told["event"], told["run"]["run_id"]) == ("failed", "r1")


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """A webhook's server; what was posted to it."""
    found: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AUTOPACK_NOTIFY_URL", f"http://127.0.0.1:{server.server_port}/hook")
    monkeypatch.setenv("AUTOPACK_NOTIFY_SECRET", SECRET)
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def test_notify_test_tries_out_both_and_says_what_came_of_each(shell, ear, posted):
    tried = shell("notify-test", "--json")
    assert tried.code == 0, tried.err
    record = json.loads(tried.out)
    assert record.keys() == {"id", "exit_code", "channels"}
    assert {(each["channel"], each["told"], each["fault"]) for each in record["channels"]} == {
        ("command", True, None), ("webhook", True, None),
    }  # fmt: skip
    (told,) = ear()
    assert posted == [told]
    assert (told["event"], told["id"], told["run"]) == ("test", record["id"], None)


def test_notify_test_ends_with_3_where_one_was_not_told(shell, ear, posted, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AUTOPACK_NOTIFY_COMMAND", "sh -c 'echo no mail here; exit 5'")
    tried = shell("notify-test")
    assert tried.code == 3
    assert "command: sh ended with exit code 5: no mail here" in tried.out
    assert "webhook: told" in tried.out


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ({}, 3, "nobody is to be told"),
        ({"URL": "https://hooks.example/x"}, 2, "AUTOPACK_NOTIFY_SECRET is not"),
        ({"URL": "hooks.example", "SECRET": SECRET}, 2, "AUTOPACK_NOTIFY_URL is no address"),
        ({"URL": "https://hooks.example", "SECRET": "tiny"}, 2, "too short to sign with"),
        ({"COMMAND": "echo 'open"}, 2, "cannot be parted into words"),
        ({"COMMAND": "  "}, 2, "names no program"),
        ({"COMMAND": "true", "TIMEOUT_SECONDS": "0"}, 2, "AUTOPACK_NOTIFY_TIMEOUT_SECONDS"),
    ],
)
def test_what_is_set_wrongly_is_said_before_anything_is_claimed(
    shell, seed, monkeypatch, settings, code: int, said: str
):
    seed(plan())
    for name, value in settings.items():
        monkeypatch.setenv(f"AUTOPACK_NOTIFY_{name}", value)
    tried = shell("notify-test")
    assert (tried.code, said in tried.err) == (code, True), tried.err
    if settings:
        drained = shell("drain", "--run-id", "r1")
        assert (drained.code, said in drained.err) == (2, True), drained.err
        for name in settings:
            monkeypatch.delenv(f"AUTOPACK_NOTIFY_{name}")
        assert json.loads(shell("run", "show", "r1", "--json").out)["run"]["state"] == "QUEUED"


@pytest.mark.slow
def test_ctrl_c_ends_the_wait_for_a_command_that_never_ends(tmp_path: Path, sqlite_url: str):
    workspace = make_workspace(tmp_path / "workspace")
    program = tmp_path / "never.py"
    program.write_text(
        f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)\n"
    )
    cassette = write_cassette(tmp_path / "cassette.jsonl", [builder_answer("p1"), auditor_answer()])
    environment = {
        "DATABASE_URL": sqlite_url, "AUTOPACK_REPLAY": str(cassette), "AUTOPACK_NOTIFY_TIMEOUT_SECONDS": "300",
        "AUTOPACK_NOTIFY_COMMAND": f"{sys.executable} {program}",
    }  # fmt: skip
    made = tmp_path / "plan.yaml"
    made.write_text(yaml.safe_dump(plan()))
    created = run_script("autopack", "run", "create", str(made), cwd=workspace, env=environment, warm=True)
    assert created.returncode == 0, created.stderr
    drain = start_warm("autopack", "drain", "--run-id", "r1", cwd=workspace, env=environment)
    try:
        until = time.monotonic() + 60
        while not (tmp_path / "pid").exists() and time.monotonic() < until and drain.poll() is None:
            time.sleep(0.02)
        started = time.monotonic()
        drain.send_signal(signal.SIGINT)
        drain.send_signal(signal.SIGINT)
        out, err = drain.communicate(timeout=30)
    finally:
        drain.kill()
    assert time.monotonic() - started < 20
    # Ctrl-C may still have met the drain itself; once that is over, it changes nothing about how it ended.
    assert drain.returncode in (0, 130), err
    assert "DONE_SUCCESS" in out
    assert "no longer waited for" in err
    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()
    assert "Traceback" not in err
