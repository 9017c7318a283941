"""A database of its own for telemetry: made by migrate, filled by merge and after each drain, told by doctor."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from autopack.bootstrap import Connection, open_client
from autopack.bootstrap.worker import open_worker
from autopack.cli.common import connection_for, with_telemetry_client
from autopack.cli.merge import share_run
from autopack.client import AutopackClient
from autopack.db.tables import REVISION
from autopack.settings import choose_database, load_settings
from tests.support import done_record, plan


@pytest.fixture
def telemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that TELEMETRY_DATABASE_URL names; it does not exist yet."""
    path = tmp_path / "telemetry.db"
    monkeypatch.setenv("TELEMETRY_DATABASE_URL", f"sqlite:///{path}")
    return path


def rows_in(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT run_id, origin FROM llm_usage_events ORDER BY id").fetchall()


def identity_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        found: str = connection.execute("SELECT database_id FROM database_identity").fetchone()[0]
        return found


def test_migrate_makes_the_telemetry_database_as_well(shell, telemetry: Path):
    first = shell("migrate")
    assert (first.code, first.out.splitlines()) == (
        0,
        [f"at {REVISION} already: nothing to do", f"telemetry: migrated from nothing to {REVISION}"],
    )
    assert (
        f"telemetry database: sqlite:///{telemetry} (TELEMETRY_DATABASE_URL in the environment)" in first.err
    )
    told = json.loads(shell("migrate", "--json").out)
    assert (told["before"], told["telemetry"]["before"], told["telemetry"]["after"]) == (REVISION,) * 3
    assert told["telemetry"]["url"] == f"sqlite:///{telemetry}"
    assert "telemetry" not in json.loads(
        shell("migrate", "--database-url", told["telemetry"]["url"], "--json").out
    )


def test_a_telemetry_database_that_is_the_queues_or_a_copy_is_refused(
    shell, telemetry: Path, tmp_path: Path, monkeypatch
):
    shutil.copy(tmp_path / "autopack.db", telemetry)
    for url, words in (
        (f"sqlite:///{telemetry}", "is a copy of the other"),
        (f"sqlite:///{tmp_path}/autopack.db", "queue's own"),
    ):
        monkeypatch.setenv("TELEMETRY_DATABASE_URL", url)
        other = tmp_path / "other.db"
        for arguments in (["migrate"], ["telemetry", "merge", other]):
            refused = shell(*arguments)
            assert (refused.code, words in refused.err, "does not exist yet" in refused.err) == (
                3,
                True,
                True,
            )
        told = shell("doctor")
        assert (told.code, "BAD  telemetry database: " in told.out, words in told.out) == (3, True, True)


def test_doctor_tells_of_the_telemetry_database(shell, telemetry: Path, monkeypatch):
    assert f"BAD  telemetry database: there is no database at {telemetry}" in shell("doctor").out
    shell("migrate")
    well = shell("doctor")
    assert well.code == 0
    assert f"ok   telemetry database: {identity_of(telemetry)} at revision {REVISION}" in well.out
    monkeypatch.setenv("TELEMETRY_DATABASE_URL", " ")
    assert (
        "BAD  telemetry database: TELEMETRY_DATABASE_URL in the environment is empty" in shell("doctor").out
    )
    monkeypatch.delenv("TELEMETRY_DATABASE_URL")
    assert "ok   telemetry database: none of its own" in shell("doctor").out


def test_a_drain_leaves_its_telemetry_in_both_databases(shell, seed, telemetry: Path, tmp_path: Path):
    shell("migrate")
    seed(plan())
    drained = shell("drain", "--run-id", "r1", "--json")
    assert (drained.code, done_record(drained.out)["exit_code"]) == (0, 0)
    assert "telemetry: 3 new rows merged into the telemetry database" in drained.err
    assert rows_in(telemetry) == [("r1", "merged")] * 2
    again = shell("telemetry", "merge", tmp_path / "autopack.db")
    assert again.out.splitlines()[:2] == [
        "llm_usage_events: 2 read, 0 added, 0 updated, 2 already there",
        "token_estimation_v2_events: 1 read, 0 added, 0 updated, 1 already there",
    ]


@pytest.mark.parametrize(("url", "why"), [("sqlite:///missing.db", "there is no database at"), ("", "is empty"), ("x", "cannot be read")])  # fmt: skip
def test_what_cannot_be_merged_after_a_drain_hurts_nothing(
    shell, seed, sqlite_url: str, monkeypatch, url: str, why: str
):
    seed(plan())
    monkeypatch.setenv("TELEMETRY_DATABASE_URL", url)
    drained = shell("drain", "--run-id", "r1")
    assert (drained.code, "DONE_SUCCESS" in drained.out) == (0, True)
    (line,) = [line for line in drained.err.splitlines() if line.startswith("telemetry")]
    assert why in line
    assert f"`autopack telemetry merge {sqlite_url}` carries it over" in line


def test_checks_may_see_neither_database(shell, seed, telemetry: Path, tmp_path: Path):
    seed(plan())
    connection, settings = connection_for(None, True, None, banner=False)

    async def unseen() -> tuple[Path, ...]:
        async with (
            open_client(connection, settings) as client,
            open_worker(client, "r1", settings, Path()) as seat,
        ):
            return seat.sandbox.unseen

    assert anyio.run(unseen) == (tmp_path / "autopack.db", telemetry)


def test_nothing_is_merged_where_telemetry_is_off_or_the_queue_is_elsewhere(
    shell, seed, telemetry: Path, monkeypatch, capsys
):
    shell("migrate")
    seed(plan())
    monkeypatch.setenv("TELEMETRY_DB_ENABLED", "0")
    assert "\ntelemetry" not in shell("drain", "--run-id", "r1").err
    monkeypatch.delenv("TELEMETRY_DB_ENABLED")
    # A remote drain may name the server's database too, to prove that it is the same one.
    remote = Connection(api_url="http://127.0.0.1:8000", choice=choose_database(None))
    share_run(remote, load_settings(), "r1")
    assert capsys.readouterr() == ("", "")
    assert rows_in(telemetry) == []


def test_merge_takes_a_file_or_a_url_and_needs_a_target(
    shell, seed, tmp_path: Path, sqlite_url: str, monkeypatch
):
    odd = tmp_path / "odd ?#%name.db"
    seed(plan())
    assert shell("drain", "--run-id", "r1").code == 0
    shell("migrate", "--database-url", f"sqlite:///{tmp_path}/plain.db")
    (tmp_path / "plain.db").rename(odd)

    nowhere = shell("telemetry", "merge", sqlite_url)
    assert (nowhere.code, "set TELEMETRY_DATABASE_URL, or name a database with --into" in nowhere.err) == (
        2,
        True,
    )
    told = json.loads(shell("telemetry", "merge", sqlite_url, "--into", odd, "--json").out)
    assert (told["source"], told["open_calls"]) == (sqlite_url, 0)
    assert told["source_database_id"] == identity_of(tmp_path / "autopack.db")
    assert told["tables"][0] == {
        "table": "llm_usage_events",
        "read": 2,
        "added": 2,
        "updated": 0,
        "already_there": 0,
    }
    back = shell("telemetry", "merge", odd, "--into", sqlite_url)
    assert "llm_usage_events: 2 read, 0 added, 0 updated, 2 already there" in back.out

    monkeypatch.chdir(tmp_path)
    for source, words in (
        ("gone.db", "there is no database at"),
        ("", "name a database"),
        ("mysql://h/n", "not supported"),
    ):
        wrong = shell("telemetry", "merge", source, "--into", odd)
        assert (wrong.code, words in wrong.err) == (2 if not source else 3, True), source
    assert not (tmp_path / "gone.db").exists()


def test_contradictions_end_with_the_code_of_a_refusal_and_a_list(
    shell, seed, telemetry: Path, tmp_path: Path
):
    shell("migrate")
    seed(plan())
    shell("drain", "--run-id", "r1")
    with closing(sqlite3.connect(telemetry)) as connection, connection:
        connection.execute("UPDATE llm_usage_events SET model = 'another'")
    refused = shell("telemetry", "merge", tmp_path / "autopack.db")
    assert (refused.code, refused.out) == (3, "")
    assert "nothing was merged: 2 rows" in refused.err
    assert refused.err.count("differs in model") == 2


def test_who_studies_telemetry_reads_the_telemetry_database_unless_another_is_named(
    shell, telemetry: Path, sqlite_url: str, tmp_path: Path, monkeypatch
):
    async def which(client: AutopackClient) -> str:
        return str((await client.connect())["database_id"])

    shell("migrate")
    queue = identity_of(tmp_path / "autopack.db")
    assert with_telemetry_client(None, None, which) == identity_of(telemetry)
    assert with_telemetry_client(None, sqlite_url, which) == queue
    monkeypatch.delenv("TELEMETRY_DATABASE_URL")
    assert with_telemetry_client(None, None, which) == queue
    (Path.cwd() / ".env").write_text("TELEMETRY_DATABASE_URL=sqlite:///../telemetry.db\n", encoding="utf-8")
    assert with_telemetry_client(None, None, which) == identity_of(telemetry)
