"""INCIDENTS D2: what emptied the database was a test of the project itself, with the drain's environment."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e import support_hostile
from tests.e2e.support_incidents import (
    Growth,
    another_database,
    counts,
    outcome,
    query,
    seed,
    small_run,
    sqlite_path,
    states,
)
from tests.support import clean_environment, make_workspace, run_script

pytestmark = pytest.mark.slow


@contextmanager
def somebody_listening() -> Iterator[tuple[str, list[str]]]:
    """The URL of a server, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_error(400)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def canaries(url: str, api_url: str, directory: Path) -> dict[str, str]:
    """What a drain may be started with, none of it a check's business."""
    return {
        "DATABASE_URL": url,
        "QUEUE_DATABASE_URL": url,
        "TEST_DB_DIRECTORY": str(directory),
        "AUTOPACK_API_URL": api_url,
        "AUTOPACK_API_KEY": "canary-autopack-key",
        "AUTOPACK_X": "canary-autopack-x",
        "OPENAI_API_KEY": "sk-canary-openai",
        "ANTHROPIC_API_KEY": "sk-canary-anthropic",
        "GITHUB_TOKEN": "canary-github",
        "PGPASSWORD": "canary-postgres",
        "TELEMETRY_DB_ENABLED": "1",
        "SOMETHING_ELSE": "canary-anything",
    }


def hostile_file(directory: Path, blast_area: Path) -> Path:
    text = Path(support_hostile.__file__).read_text(encoding="utf-8")
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "test_of_the_project.py"
    path.write_text(text.replace("@BLAST_AREA@", str(blast_area)), encoding="utf-8")
    return path


def environment_seen(url: str) -> Mapping[str, str]:
    """What the check printed, as the attempt's stored report has it."""
    [(report,)] = query(url, "SELECT check_report FROM attempts WHERE outcome = 'COMPLETE'")
    report = json.loads(report) if isinstance(report, str) else report
    [seen] = [line for line in report["results"][0]["output"].splitlines() if line.startswith("SEEN ")]
    found: dict[str, str] = json.loads(seen.removeprefix("SEEN "))
    return found


def test_a_projects_tests_that_drop_delete_and_post_what_they_find_reach_nothing(
    database_url: str, tmp_path: Path
) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    script = hostile_file(workspace, tmp_path)
    make_workspace(workspace, {script.name: script.read_text(encoding="utf-8")})
    plan_file, cassette = small_run(tmp_path, 1, f"python3 {script.name}")
    seed(database_url, plan_file)
    growth = Growth(database_url)

    with somebody_listening() as (api_url, asked):
        given = canaries(database_url, api_url, tmp_path)
        done = run_script(
            "drain_queued_phases.py", "--run-id", "r1", "--in-process", cwd=workspace,
            env={**given, "AUTOPACK_REPLAY": str(cassette)},
        )  # fmt: skip

    assert done.returncode == 0, outcome(done)
    growth.check()
    assert asked == []
    assert states(database_url, "r1") == {"p1": "COMPLETE"}
    # In a full sandbox the tree stands at the workspace's own path, and PWD says so.
    seen = {name: value.replace(str(workspace), "") for name, value in environment_seen(database_url).items()}
    assert not seen.keys() & given.keys()
    assert not [name for name in seen if name.startswith(("AUTOPACK", "PG")) or "DATABASE" in name]
    leaked = [
        name
        for name, value in seen.items()
        for canary in given.values()
        if len(canary) > 1 and canary in value
    ]
    assert leaked == []
    assert "canary" not in json.dumps(dict(seen))


def test_the_hostile_tests_would_have_destroyed_what_they_were_led_to(
    database_url: str, tmp_path: Path
) -> None:
    script = hostile_file(tmp_path / "elsewhere", tmp_path)
    with another_database(database_url, "victim") as victim, somebody_listening() as (api_url, asked):
        env = clean_environment(DATABASE_URL=victim, AUTOPACK_API_URL=api_url)
        subprocess.run([sys.executable, str(script)], env=env, check=True, capture_output=True, timeout=30)
        gone = not sqlite_path(victim).exists() if victim.startswith("sqlite:") else counts(victim) == {}
    assert gone
    assert asked == ["/runs"]


def test_the_workspaces_settings_cannot_ask_for_the_database_or_a_key(
    sqlite_url: str, tmp_path: Path
) -> None:
    settings = '[checks]\nenv = { DATABASE_URL = "sqlite:///autopack.db" }\n'
    workspace = make_workspace(tmp_path / "workspace", {"autopack.toml": settings})
    plan_file, cassette = small_run(tmp_path, 1, "true")
    seed(sqlite_url, plan_file)
    growth = Growth(sqlite_url)
    done = run_script(
        "drain_queued_phases.py", "--run-id", "r1", cwd=workspace,
        env={"DATABASE_URL": sqlite_url, "AUTOPACK_REPLAY": str(cassette)}, warm=True,
    )  # fmt: skip
    assert done.returncode == 3, outcome(done)
    assert "DATABASE_URL looks like a secret or a database, checks get none of these" in done.stderr
    growth.check()
    assert states(sqlite_url, "r1") == {"p1": "QUEUED"}
