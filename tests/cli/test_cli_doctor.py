"""`autopack doctor`, `backup` and `restore`, as a person types them."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from autopack.db.identity import open_database
from autopack.db.location import located_file
from autopack.workspace import scratch
from autopack.workspace.liveness import identity
from tests.db.support_queue import Queue
from tests.support import git, phase, plan, served

pytestmark = pytest.mark.slow


def findings(ended: Any) -> dict[str, list[dict[str, Any]]]:
    told = json.loads(ended.out)
    assert told.keys() == {"well", "fixed", "findings"}
    assert ended.code == (0 if told["well"] else 3)
    found: dict[str, list[dict[str, Any]]] = {}
    for each in told["findings"]:
        assert each.keys() == {"name", "level", "detail", "fix"}
        assert each["level"] in ("ok", "note", "bad")
        found.setdefault(each["name"], []).append(each)
    return found


@pytest.fixture
def path(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory of this test's own: the machine's may hold what others left."""
    directory = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


def dead_worker() -> str:
    """The name of a process that has been, and is gone."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = identity(child.pid)
    child.communicate()
    return name


def claim(path: Path, **more: Any) -> None:
    with open_database(located_file(path), synchronous="OFF") as database:
        Queue(database).claim(**more)


def test_a_doctor_finds_what_a_killed_drain_left_and_gives_it_back(shell, seed, path: Path, temporary: Path):
    seed(plan(phases=[phase("p1"), phase("p2")]))
    claim(path, worker=dead_worker(), lease_seconds=1e9, base_commit=None)
    left = temporary / "autopack-check-left"
    left.mkdir()
    (left / ".owner").write_text(dead_worker())
    mine = temporary / "autopack-check-mine"
    mine.mkdir()
    scratch.mark_owner(mine)

    before = findings(shell("doctor", "--json"))
    assert "r1 p1 is held by a worker that is gone" in before["attempts"][0]["detail"]
    assert str(left) in before["leftovers"][0]["detail"]
    assert str(mine) not in before["leftovers"][0]["detail"]

    ended = shell("doctor", "--fix", "--json")
    assert json.loads(ended.out)["fixed"] == [
        "gave back r1 p1 (attempt 1): its worker is gone",
        "removed 1 of 1 temporary directories that killed processes left",
    ]
    after = findings(ended)
    assert after["attempts"][0]["detail"] == "none under way"
    assert "leftovers" not in after
    assert (left.exists(), mine.exists()) == (False, True)
    events = [event["kind"] for event in rows(path, "events")]
    assert events[-1] == "finished"
    assert json.loads(shell("doctor", "--fix", "--json").out)["fixed"] == []


def rows(path: Path, table: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]


def test_a_live_workers_attempt_is_left_alone(shell, seed, path: Path):
    seed(plan())
    claim(path, worker=identity(os.getppid()), lease_seconds=1e9, base_commit=None)
    ended = shell("doctor", "--fix", "--json")
    assert json.loads(ended.out)["fixed"] == []
    assert findings(ended)["attempts"][0]["detail"].startswith("1 under way")
    assert rows(path, "attempts")[0]["outcome"] is None


def test_a_doctor_looks_at_the_workspace(shell, seed, path: Path, tmp_path: Path):
    seed(plan())
    assert shell("drain", "--run-id", "r1").code == 0
    seed(plan(run_id="r2", phases=[phase("p2"), phase("p3")]))
    assert shell("drain-one", "--run-id", "r2", "--phase-id", "p2").code == 0
    workspace = Path.cwd()
    assert findings(shell("doctor", "--json"))["branches"][0]["level"] == "ok"
    git(workspace, "branch", "-D", "autopack/r2")
    lock = workspace / ".git/packed-refs.lock"
    lock.touch()
    os.utime(lock, (1, 1))
    git(workspace, "worktree", "add", "-q", str(tmp_path / "beside"))
    shutil.rmtree(tmp_path / "beside")
    (workspace / "autopack.toml").write_text("[policy]\nno_such_setting = 1\n")
    git(workspace, "add", "autopack.toml")
    git(workspace, "commit", "-qm", "odd")
    found = findings(shell("doctor", "--json"))
    assert "the branch autopack/r2 is gone" in found["branches"][0]["detail"]
    assert (found["git lock"][0]["level"], found["worktrees"][0]["level"]) == ("bad", "note")
    assert found["worktrees"][0]["fix"] == "git worktree prune"
    assert "no_such_setting" in found["autopack.toml"][0]["detail"]
    assert lock.exists(), "it may be somebody's"


def test_a_doctor_says_what_is_wrong_where_there_is_nothing(shell, tmp_path: Path, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.setenv("AUTOPACK_MODEL", "nonsense")
    found = findings(shell("doctor", "--json", "--fix"))
    assert {name for name, each in found.items() if each[0]["level"] == "bad"} == {
        "database", "git", "workspace", "model",
    }  # fmt: skip
    assert "nonsense" in found["model"][0]["detail"]
    assert list(empty.iterdir()) == []


def test_a_doctor_shows_no_key_and_knows_which_models_have_a_price(shell, monkeypatch):
    monkeypatch.delenv("AUTOPACK_REPLAY")
    monkeypatch.setenv("AUTOPACK_MODEL", "openai:gpt-4o")
    monkeypatch.setenv("AUTOPACK_AUDITOR_MODEL", "openai:nobody-has-heard-of-this")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    ended = shell("doctor", "--json")
    found = findings(ended)
    assert "keys present: OPENAI_API_KEY" in found["model"][0]["detail"]
    assert "sk-very" not in ended.out
    assert found["prices"][0]["level"] == "note"
    assert "openai:nobody-has-heard-of-this" in found["prices"][0]["detail"]
    assert "gpt-4o" not in found["prices"][0]["detail"]


def test_a_doctor_finds_damage_inside(shell, seed, path: Path):
    seed(plan(phases=[phase(f"p{n}") for n in range(300)]))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO phase_dependencies VALUES ('r1', 'p1', 'nobody')")
    found = findings(shell("doctor", "--json"))
    assert "1 of phase_dependencies" in found["foreign keys"][0]["detail"]
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 40_000)
    found = findings(shell("doctor", "--json"))
    assert "autopack restore BACKUP" in found["database"][0]["fix"]


def test_a_doctor_offers_no_change_of_what_is_not_ours(shell, path: Path):
    path.unlink(missing_ok=True)
    assert findings(shell("doctor", "--json"))["database"][0]["fix"].startswith("autopack migrate, where")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE notes (line TEXT)")
    (told,) = findings(shell("doctor", "--json"))["database"]
    assert ("belongs to another program" in told["detail"], told["fix"]) == (True, None)
    path.write_text("Dear diary,\n" * 500)
    (told,) = findings(shell("doctor", "--json"))["database"]
    assert "is not a SQLite database. Is this the file you meant?" in told["detail"]
    assert told["fix"].endswith("--replace, where this is the file you meant")


def test_a_doctor_asks_a_server(shell, seed, path: Path, sqlite_url: str, tmp_path: Path, monkeypatch):
    seed(plan())
    claim(path, worker="elsewhere", lease_seconds=1e-3, base_commit=None)
    with served(sqlite_url, cwd=tmp_path, warm=True) as url:
        ended = shell("doctor", "--api-url", url, "--fix", "--json")
        assert json.loads(ended.out)["fixed"] == ["gave back 1 more, whose lease had run out"]
        found = findings(ended)
        assert (
            found["same database"][0]["level"]
            == found["server"][0]["level"]
            == found["orphans"][0]["level"]
            == "ok"
        )
        assert "version" not in found
        other = tmp_path / "other.db"
        monkeypatch.setenv("DATABASE_URL", f"sqlite:///{other}")
        assert (
            "cannot be compared"
            in findings(shell("doctor", "--api-url", url, "--json"))["server"][0]["detail"]
        )
    found = findings(shell("doctor", "--api-url", url, "--json"))
    assert "no answer from" in found["server"][0]["detail"]
    assert not other.exists()


# Backup and restore


def test_a_backup_and_its_way_back(shell, seed, path: Path, tmp_path: Path):
    seed(plan())
    told = json.loads(shell("backup", "--json").out)
    assert (told["rows"]["runs"], told["epoch"], told["path"][: len(str(path))]) == (1, 1, str(path))
    assert shell("backup", "-o", tmp_path).code == 0, "a directory takes the file"
    refused = shell("backup", "-o", told["path"])
    assert (refused.code, "exists already" in refused.err) == (3, True)
    assert findings(shell("doctor", "--json"))["backups"][0]["detail"].count("autopack.db.backup-") == 2

    assert shell("drain", "--run-id", "r1").code == 0
    refused = shell("restore", told["path"])
    assert (refused.code, "--replace" in refused.err) == (3, True)
    back = json.loads(shell("restore", told["path"], "--replace", "--by", "ann", "--json").out)
    assert (back["epoch"] > 10**12, back["epoch_before"], back["needs_migration"]) == (True, 1, False)
    assert Path(back["kept"]).is_file()
    assert rows(path, "phases")[0]["state"] == "QUEUED"
    assert rows(path, "events")[-1]["actor"].startswith("ann (")
    assert shell("identity").out.splitlines()[1] == f"epoch: {back['epoch']}"
    again = shell("drain", "--run-id", "r1")
    assert again.code == 0, "what was done since is done again, on a branch that has it already"


def test_a_restore_of_an_older_backup_says_what_comes_next(shell, tmp_path: Path):
    saved = tmp_path / "older.db"
    assert shell("backup", "-o", saved).code == 0
    with closing(sqlite3.connect(saved)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0003'")
    ended = shell("restore", saved, "--to", f"sqlite:///{tmp_path}/new.db")
    assert (ended.code, "`autopack migrate` brings it to" in ended.err) == (0, True)
    missing = shell("restore", tmp_path / "nothing.db")
    assert (missing.code, "there is no backup at" in missing.err) == (2, True)


def test_postgresql_has_tools_of_its_own_and_they_are_named(shell, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@db.example/queue")
    for arguments, program in ((["backup"], "pg_dump"), (["restore", "x.dump"], "pg_restore")):
        ended = shell(*arguments)
        assert (ended.code, f"  {program} " in ended.err, "hunter2" in ended.err) == (3, True, False)


def test_what_a_restore_that_was_killed_left_is_put_right(shell, path: Path):
    second = path.with_name(f"{path.name}.before-restore-20260101T000000000000.db")
    os.link(path, second)
    assert "hard links" in findings(shell("doctor", "--json"))["database"][0]["detail"]
    ended = shell("doctor", "--fix", "--json")
    assert str(second) in json.loads(ended.out)["fixed"][0]
    assert (second.exists(), path.exists(), findings(ended)["database"][0]["level"]) == (False, True, "ok")
