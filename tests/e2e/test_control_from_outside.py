"""A drain in one process, a person's words in others: on the same SQLite file, and through a server."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import (
    auditor_answer,
    builder_answer,
    phase,
    plan,
    run_script,
    served,
    start_warm,
    write_cassette,
)

SOON_SECONDS = 40


class Seat:
    """A person at a shell, beside a drain."""

    def __init__(self, workspace: Path, env: dict[str, str], place: tuple[str, ...]) -> None:
        self.workspace, self.env, self.place = workspace, env, place

    def says(self, *words: str) -> Any:
        ended = run_script(
            "autopack", *words, *self.place, "--json", cwd=self.workspace, env=self.env, warm=True
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def sees(self, what: Any) -> Any:
        until = time.monotonic() + SOON_SECONDS
        while time.monotonic() < until:
            if found := what():
                return found
            time.sleep(0.2)
        raise AssertionError("it was not seen in time")

    def executing(self) -> list[str]:
        run = self.says("run", "show", "r1")
        return [each["phase_id"] for each in run["phases"] if each["state"] == "EXECUTING"]


@contextmanager
def seated(way: str, workspace: Path, tmp_path: Path, sqlite_url: str) -> Iterator[Seat]:
    names = [f"p{number}" for number in range(1, 7)]
    lines = [*(builder_answer(name) for name in names), auditor_answer()]
    env = {
        "DATABASE_URL": sqlite_url,
        "AUTOPACK_REPLAY": str(write_cassette(tmp_path / "cassette.jsonl", lines)),
    }
    made = plan(phases=[phase(name, checks=["sleep 300"]) for name in names])
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(made), encoding="utf-8")
    if way == "file":
        yield Seat(workspace, env, ())
        return
    with served(sqlite_url, cwd=workspace, warm=True) as url:
        yield Seat(workspace, {"AUTOPACK_REPLAY": env["AUTOPACK_REPLAY"]}, ("--api-url", url))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["file", "server"])
def test_a_run_that_another_process_drains_is_widened_and_cancelled(
    way: str, workspace: Path, tmp_path: Path, sqlite_url: str
) -> None:
    with seated(way, workspace, tmp_path, sqlite_url) as seat:
        seat.says("run", "create", str(tmp_path / "plan.yaml"))
        drain = start_warm(
            "autopack", "drain", "--run-id", "r1", *seat.place, "--json", cwd=workspace, env=seat.env
        )
        try:
            seat.sees(lambda: seat.executing() == ["p1"])
            seat.says("run", "set", "r1", "--concurrency", "3", "--by", "Ada", "--reason", "hurry")
            seat.sees(lambda: len(seat.executing()) == 3)
            seat.says("run", "cancel", "r1", "--by", "Ada")
            _, said = drain.communicate(timeout=SOON_SECONDS)
            assert drain.returncode == 1, said
        finally:
            drain.kill()
        events = seat.says("run", "events", "r1")
    told = [event for event in events if event["kind"] in ("run_changed", "run_state")]
    assert [event["actor"].split(" (")[0] for event in told[1:]] == ["Ada", "Ada"]
    stopped = [event for event in events if event["kind"] == "finished"]
    assert {event["detail"]["outcome"] for event in stopped} == {"CANCELLED"}
    assert len(stopped) == 3
    # Heard within two seconds: a second and a half until it is asked, and the rest for a busy machine to kill and tell.
    waited = [_moment(event) - _moment(told[-1]) for event in stopped]
    assert max(waited) < 5, waited


def _moment(event: dict[str, Any]) -> float:
    from datetime import datetime

    return datetime.fromisoformat(event["created_at"]).timestamp()
