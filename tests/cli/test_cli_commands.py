"""Every command: its help, its JSON, and a console that is not as one wishes."""

import io
import json
import subprocess
from pathlib import Path

import pytest

from autopack.db.tables import REVISION
from tests.support import clean_environment, command, phase, plan


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
    names = {finding["name"] for finding in json.loads(shell("doctor", "--json").out)["findings"]}
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


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8"])
def test_a_console_of_any_encoding_shows_what_it_can(shell, seed, monkeypatch, encoding: str):
    seed(plan(phases=[phase("p1", name="\U0001f680 \u65e5\u672c \u00fc")]))

    def shown(*arguments: str) -> str:
        sent = io.BytesIO()
        with monkeypatch.context() as patch, io.TextIOWrapper(sent, encoding=encoding) as console:
            patch.setattr("sys.stdout", console)
            ended = shell(*arguments)
            assert (ended.code, ended.err) == (0, ""), arguments
            return sent.getvalue().decode(encoding)

    assert "r1" in shown("run", "show", "r1")
    told = json.loads(shown("run", "show", "r1", "--json"))
    assert told["phases"][0]["name"] == "\U0001f680 \u65e5\u672c \u00fc"
    assert ("\U0001f680" if encoding == "utf-8" else "\\U0001f680") in shown("phase", "show", "r1", "p1")


def test_help_needs_no_character_that_an_old_console_lacks():
    done = subprocess.run(
        command("autopack", "-h"), capture_output=True, check=True, env=clean_environment(PYTHONIOENCODING="ascii:strict"),
    )  # fmt: skip
    assert b"Usage: autopack" in done.stdout
