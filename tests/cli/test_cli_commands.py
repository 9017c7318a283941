"""Every command: its help, its JSON, and a console that is not as one wishes."""

import json
import socket
import subprocess
from pathlib import Path

import pytest
import typer

from autopack.cli import app
from autopack.db.tables import REVISION
from tests.support import clean_environment, command, phase, plan, run_script

COMMANDS = sorted(
    [[info.name] for info in app.registered_commands]
    + [
        [group.name, info.name]
        for group in app.registered_groups
        for info in (group.typer_instance or typer.Typer()).registered_commands
    ]
)


@pytest.mark.parametrize("name", [[], *COMMANDS], ids=" ".join)
def test_every_command_explains_itself(shell, name: list[str]):
    for flag in ("-h", "--help"):
        ended = shell(*name, flag)
        assert (ended.code, ended.err) == (0, "")
        assert "Usage" in ended.out
        assert " ".join(name) in ended.out


def test_a_person_without_arguments_is_helped(shell):
    assert "Usage" in "".join(vars(shell())[part] for part in ("out", "err"))


def test_runs_are_shown_paused_resumed_and_cancelled(shell, seed):
    assert shell("run", "list").out == "no runs\n"
    seed(plan(phases=[phase("p1"), phase("p2")]))
    assert "QUEUED" in shell("run", "list").out
    (listed,) = json.loads(shell("run", "list", "--json").out)
    assert (listed["run_id"], listed["phase_counts"]) == ("r1", {"QUEUED": 2})
    shown = json.loads(shell("run", "show", "r1", "--json").out)
    assert [each["phase_id"] for each in shown["phases"]] == ["p1", "p2"]
    table = shell("run", "show", "r1").out.splitlines()
    assert table[1].split() == ["phase", "tier", "state", "attempts", "tokens", "commit", "why"]

    paused = shell("run", "pause", "r1", "--by", "Ann", "--reason", "lunch")
    assert paused.out.startswith("r1  PAUSED (lunch)")
    drained = shell("drain", "--run-id", "r1")
    assert (drained.code, "is paused (lunch)" in drained.out) == (5, True)
    assert shell("run", "resume", "r1").out.startswith("r1  RUNNING")
    assert shell("run", "cancel", "r1", "--json").code == 0
    ended = shell("drain", "--run-id", "r1")
    assert (ended.code, "is cancelled" in ended.out) == (1, True)


def test_a_phase_is_shown_with_its_attempts_and_calls(shell, seed):
    seed(plan())
    assert shell("drain", "--run-id", "r1").code == 0
    shown = json.loads(shell("phase", "show", "r1", "p1", "--json").out)
    assert shown.keys() == {"phase", "attempts", "calls"}
    assert [call["role"] for call in shown["calls"]] == ["builder", "auditor"]
    text = shell("phase", "show", "r1", "p1").out
    assert "attempt 1: COMPLETE" in text
    assert "call builder 1: answered, 100 in, 50 out" in text


def test_the_telemetry_run_is_seeded_once(shell):
    assert "created: 10 phases" in shell("seed-telemetry").out
    assert "is already there" in shell("seed-telemetry").out
    assert json.loads(shell("seed-telemetry", "--run-id", "other", "--json").out)["created"]


def test_migrate_and_identity_say_which_database(shell, tmp_path: Path):
    migrated = json.loads(shell("migrate", "--json").out)
    assert migrated["before"] == migrated["after"] == REVISION
    facts = json.loads(shell("identity", "--json").out)
    assert facts.keys() >= {
        "database_id",
        "revision",
        "dialect",
        "url",
        "path",
        "chosen_by",
        "runs",
        "phases",
        "telemetry",
    }
    assert facts["path"] == str(tmp_path / "autopack.db")
    assert "database_id: " in shell("identity").out


def test_doctor_finds_nothing_where_all_is_well_and_says_what_is_not(shell, tmp_path: Path, monkeypatch):
    well = shell("doctor")
    assert (well.code, "BAD" in well.out) == (0, False)
    names = {finding["name"] for finding in json.loads(shell("doctor", "--json").out)}
    assert names >= {"database url", "database", "workspace", "sandbox", "model", "disk"}
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/nothing.db")
    monkeypatch.setenv("AUTOPACK_LEASE_SECONDS", "abc")
    monkeypatch.chdir("/")
    ill = shell("doctor")
    assert ill.code == 3
    assert "BAD  database: there is no database at" in ill.out
    assert "BAD  workspace: " in ill.out
    assert "BAD  model: " in ill.out
    assert not (tmp_path / "nothing.db").exists()


@pytest.mark.slow
def test_a_reader_that_leaves_early_is_no_error(shell, seed, sqlite_url: str, tmp_path: Path):
    seed(plan(phases=[phase(f"p{n}") for n in range(500)]))
    line = " ".join(command("autopack", "run", "show", "r1", "--json")) + " | head -1; echo ${PIPESTATUS[0]}"
    done = subprocess.run(
        ["bash", "-c", line], env=clean_environment(DATABASE_URL=sqlite_url), cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["{", "0"]
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp1252", "utf-8"])
def test_a_console_of_any_encoding_shows_what_it_can(
    shell, seed, sqlite_url: str, tmp_path: Path, encoding: str
):
    seed(plan(phases=[phase("p1", name="\U0001f680 \u65e5\u672c \u00fc")]))
    for arguments in (
        ["run", "show", "r1"],
        ["run", "show", "r1", "--json"],
        ["phase", "show", "r1", "p1"],
        ["-h"],
    ):
        done = subprocess.run(
            command("autopack", *arguments), capture_output=True, cwd=tmp_path, check=False,
            env=clean_environment(DATABASE_URL=sqlite_url, PYTHONIOENCODING=encoding),
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b""), arguments
        shown = done.stdout.decode(encoding)
        if arguments[0] == "phase":
            assert ("\U0001f680" if encoding == "utf-8" else "\\U0001f680") in shown
        if "--json" in arguments:
            assert json.loads(shown)["phases"][0]["name"] == "\U0001f680 \u65e5\u672c \u00fc"


@pytest.mark.slow
def test_a_server_that_cannot_have_its_port_does_not_end_as_if_all_were_well(sqlite_url: str, tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = run_script(
            "autopack", "serve", "--port", port, "--database-url", sqlite_url, cwd=tmp_path, warm=True
        )
    assert ended.returncode not in (0, 2)
    assert "address already in use" in ended.stderr
