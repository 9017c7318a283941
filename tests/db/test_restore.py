"""Backups that are whole, and their way back: nothing that is there is lost, nobody goes on in a past that is gone."""

import os
import shlex
import signal
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text as sql

from autopack.db import backup as backups
from autopack.db import restore as restores
from autopack.db.backup import copy_whole, dump_command, read_copy, restore_commands
from autopack.db.identity import open_database, read_identity
from autopack.db.location import locate, located_file
from autopack.db.restore import Restored, restore
from autopack.db.unfinished import take_back_second_name, unfinished
from autopack.domain.phases import AttemptOutcome, PhaseState
from autopack.errors import DatabaseRefused, LeaseLost, UsageError
from tests.db.support_queue import Queue
from tests.support import phase, plan

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIRST = int(NOW.timestamp()) * 1000 + 1  # the epoch of what was restored now
PLAN = plan(phases=[phase("p1"), phase("p2")])
IDS = count(1)  # of one database, whenever it is opened


@pytest.fixture
def path(sqlite_url: str) -> Path:
    found = located_file(Path(sqlite_url.removeprefix("sqlite:///"))).path
    assert found is not None
    return found


@contextmanager
def opened(path: Path) -> Iterator[Queue]:
    with open_database(located_file(path), synchronous="OFF") as database:
        yield Queue(database, ids=IDS)


def put_back(saved: Path, path: Path, *, replace: bool = True, at: datetime = NOW) -> Restored:
    return restore(saved, located_file(path), replace=replace, actor="ann (here)", now=at)


@pytest.fixture
def saved(path: Path, tmp_path: Path) -> Path:
    """A backup from the middle of a drain: p1 is under way. Since then it was finished."""
    with opened(path) as queue:
        queue.create(PLAN)
        claim = queue.claim()
        copy_whole(path, tmp_path / "saved.db")
        queue.finish(claim)
    return tmp_path / "saved.db"


def state_of(path: Path, phase_id: str) -> str:
    with closing(sqlite3.connect(path)) as connection:
        found: str = connection.execute(
            "SELECT state FROM phases WHERE phase_id = ?", (phase_id,)
        ).fetchone()[0]
    return found  # fmt: skip


# Backup


def test_a_backup_is_taken_while_a_writer_is_in_the_middle_of_its_work(path: Path, tmp_path: Path):
    with opened(path) as queue:
        queue.create(PLAN)
        with queue.session() as session:
            claim = queue.claim_in(session)
            copy_whole(path, tmp_path / "saved.db")
    found = read_copy(tmp_path / "saved.db")
    assert (found.rows["phases"], found.rows["attempts"]) == (2, 0), "what was not committed is not in it"
    assert claim is not None
    assert found.bytes == (tmp_path / "saved.db").stat().st_size
    assert stat.S_IMODE((tmp_path / "saved.db").stat().st_mode) == 0o600


def test_a_backup_takes_no_name_from_another_file_and_leaves_nothing_behind(path: Path, tmp_path: Path):
    other = tmp_path / "other"
    other.write_text("mine")
    with pytest.raises(DatabaseRefused, match="exists already"):
        copy_whole(path, other)
    assert other.read_text() == "mine"
    with pytest.raises(DatabaseRefused, match="No such file or directory"):
        copy_whole(path, tmp_path / "no" / "where")
    assert list(tmp_path.glob("*.partial")) == []


def test_a_damaged_database_makes_no_backup(path: Path, tmp_path: Path):
    with opened(path) as queue:
        queue.create(plan(phases=[phase(f"p{n}") for n in range(200)]))
    spoil(path)
    with pytest.raises(DatabaseRefused, match=r"cannot be copied|damaged"):
        copy_whole(path, tmp_path / "saved.db")
    assert not (tmp_path / "saved.db").exists()


def spoil(path: Path) -> None:
    """What a failing disk does: the header stays, most pages are gone."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


def test_what_is_printed_for_postgresql_holds_no_password():
    location = locate(
        "postgresql://me:hunter2@db.example:5433/queue?password=hunter3&sslmode=require", Path("/")
    )
    told = [
        dump_command(location, None),
        dump_command(location, Path("a b.dump")),
        *restore_commands(location, Path("x")),
    ]
    assert all("hunter" not in each and "***" not in each for each in told)
    assert "pg_dump --format=custom --file=queue.dump" in told[0]
    assert "postgresql://me@db.example:5433/queue?sslmode=require" in told[0]
    assert "'--file=a b.dump'" in told[1]
    assert "epoch = greatest(epoch, " in told[3]


# Restore


def test_a_restored_database_is_as_it_was_and_says_so(path: Path, saved: Path):
    assert state_of(path, "p1") == "COMPLETE"
    path.chmod(0o640)
    done = put_back(saved, path)
    assert (done.epoch_before, done.database.epoch, done.given_back) == (1, FIRST, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert done.kept is not None
    assert state_of(done.kept, "p1") == "COMPLETE", "what was there before is kept"
    assert unfinished(path) == []
    with opened(path) as queue:
        last = queue.rows(restores.EventRow)[-1]
        assert (last["kind"], last["run_id"], last["actor"]) == ("restored", None, "ann (here)")
        assert last["detail"] == {"backup": "saved.db", "epoch": FIRST, "attempts_given_back": 1}
        queue.now = NOW + timedelta(seconds=1)
        taken = queue.claim()
        assert (taken.phase.phase_id, taken.number) == ("p1", 2), "the try that was under way is lost"
        assert [each.outcome for each in queue.tries("p1")] == [AttemptOutcome.LOST, None]


def test_a_worker_of_the_past_can_write_nothing_into_what_was_restored(path: Path, tmp_path: Path):
    with opened(path) as queue:
        queue.create(PLAN)
        claim = queue.claim()
        copy_whole(path, tmp_path / "saved.db")
    put_back(tmp_path / "saved.db", path)
    with opened(path) as queue:
        for write in (lambda: queue.finish(claim), lambda: queue.renew(claim), lambda: queue.reserve(claim)):
            with pytest.raises(LeaseLost):
                write()
        assert queue.phase("p1").state is PhaseState.EXECUTING


def test_the_epoch_never_goes_back(path: Path, saved: Path):
    assert put_back(saved, path).database.epoch == FIRST
    assert put_back(saved, path, at=NOW - timedelta(days=1)).database.epoch == FIRST + 1, (
        "the clock went back"
    )


def test_the_epoch_never_comes_again_also_where_the_restored_file_was_moved_away(path: Path, saved: Path):
    first = put_back(saved, path).database.epoch
    path.rename(path.with_name("away.db"))
    assert put_back(saved, path, at=NOW + timedelta(milliseconds=5)).database.epoch > first


def test_the_epoch_that_is_printed_for_postgresql_never_comes_again(postgres_url: str):
    location = locate(postgres_url, Path("/"))
    command = restore_commands(location, Path("x"))[1]
    wanted = next(
        word for word in shlex.split(command) if word.startswith("--command=UPDATE database_identity")
    )
    with open_database(location) as database:
        found = []
        for _ in range(2):
            with database.transaction() as session:
                session.execute(sql(wanted.removeprefix("--command=")))
                found.append(read_identity(session, location).epoch)
                session.rollback()
    assert 10**12 < found[0] < found[1]


def test_nothing_that_is_there_is_replaced_unless_that_was_said(path: Path, saved: Path):
    before = path.read_bytes()
    with pytest.raises(DatabaseRefused, match="--replace"):
        put_back(saved, path, replace=False)
    assert path.read_bytes() == before
    elsewhere = path.with_name("elsewhere.db")
    assert put_back(saved, elsewhere, replace=False).kept is None
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o600


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")


def another(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE database_identity SET database_id = 'another'")


def text(path: Path) -> None:
    path.write_text("not a database\n" * 100)


def fresh(path: Path, make: Callable[[Path], None]) -> None:
    if make is not another:
        path.unlink()
    make(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [(foreign, "is not Autopack's"), (another, "is database another"), (text, "is no SQLite database")],
)
def test_what_is_not_this_database_stays_where_it_is(path: Path, saved: Path, make: Any, words: str):
    fresh(path, make)
    before = path.read_bytes()
    with pytest.raises(DatabaseRefused, match=words):
        put_back(saved, path)
    assert path.read_bytes() == before
    assert list(path.parent.glob("*before-restore*")) == []


@pytest.mark.parametrize(
    ("make", "words"), [(foreign, "no backup of a database"), (text, "no SQLite database")]
)
def test_what_is_no_backup_is_refused(path: Path, tmp_path: Path, make: Any, words: str):
    make(tmp_path / "odd.db")
    before = path.read_bytes()
    with pytest.raises(DatabaseRefused, match=words):
        put_back(tmp_path / "odd.db", path)
    with pytest.raises(UsageError, match="no backup at"):
        put_back(tmp_path / "nothing.db", path)
    with pytest.raises(UsageError, match="the database itself"):
        put_back(path, path)
    assert path.read_bytes() == before


def test_a_backup_of_a_newer_autopack_is_refused_and_one_of_an_older_is_not(path: Path, saved: Path):
    with closing(sqlite3.connect(saved)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseRefused, match=r"revision 9999.*newer"):
        put_back(saved, path)
    with closing(sqlite3.connect(saved)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0003'")
    assert put_back(saved, path).database.revision == "0003"


def test_a_damaged_database_is_replaced_and_kept_with_what_lies_beside_it(path: Path, saved: Path):
    spoil(path)
    path.with_name(path.name + "-wal").write_bytes(b"left over")
    done = put_back(saved, path)
    assert state_of(path, "p1") == "EXECUTING"
    assert done.kept is not None
    assert done.kept.with_name(done.kept.name + "-wal").read_bytes() == b"left over"
    assert not path.with_name(path.name + "-wal").exists(), "it would be written into the restored database"


def test_what_a_database_that_is_gone_left_beside_it_would_spoil_the_restored_one(path: Path, saved: Path):
    path.unlink()
    path.with_name(path.name + "-journal").write_bytes(b"left over")
    with pytest.raises(DatabaseRefused, match=r"autopack\.db-journal lies in"):
        put_back(saved, path)
    assert not path.exists()


# In use


def hold(path: str, how: str, ready: Any) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in how.split(";"):
        connection.execute(statement).fetchall()
    ready.set()
    signal.pause()


@pytest.mark.parametrize(
    "how",
    ["SELECT 1 FROM runs", "BEGIN IMMEDIATE", "PRAGMA journal_mode=WAL; SELECT 1 FROM runs"],
    ids=["idle", "writing", "idle, in WAL mode"],
)
def test_a_database_that_somebody_has_open_is_not_replaced(path: Path, saved: Path, how: str, monkeypatch):
    monkeypatch.setattr(restores, "_PATIENCE_SECONDS", 0.05)
    forks = get_context("fork")
    ready = forks.Event()
    holder = forks.Process(target=hold, args=(str(path), how, ready), daemon=True)
    holder.start()
    try:
        assert ready.wait(20)
        with pytest.raises(DatabaseRefused, match=f"in use by process {holder.pid} "):
            put_back(saved, path)
    finally:
        holder.kill()
        holder.join()
    assert state_of(path, "p1") == "COMPLETE"
    assert put_back(saved, path).kept is not None
    assert state_of(path, "p1") == "EXECUTING"


def test_an_engine_that_was_not_seen_notices_before_it_writes(path: Path, saved: Path, monkeypatch):
    monkeypatch.setattr(restores, "openers", lambda _: [])
    with opened(path) as queue:
        put_back(saved, path)
        with pytest.raises(DatabaseRefused, match="was replaced while it was in use"):
            queue.create(plan(run_id="r2"))
    assert read_copy(path).rows["runs"] == 1


# Killed


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def restore_and_die(saved: Path, path: Path, place: Any, name: str) -> None:
    setattr(place, name, die)
    put_back(saved, path)


@pytest.mark.parametrize(
    ("place", "name", "state"),
    [
        (restores, "read_copy", "COMPLETE"), (restores, "flush", "COMPLETE"), (restores, "_give_owner", "COMPLETE"),
        (Path, "rename", "COMPLETE"), (restores, "take_back_second_name", "COMPLETE"), (os, "fsync", "COMPLETE"),
    ],
)  # fmt: skip
def test_killed_at_any_point_the_old_database_or_the_new_one_is_there_whole(
    path: Path, saved: Path, place: Any, name: str, state: str
):
    child = get_context("fork").Process(target=restore_and_die, args=(saved, path, place, name))
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert state_of(path, "p1") == state
    take_back_second_name(path)
    with opened(path) as queue:
        assert queue.phase("p1").state == state
    assert put_back(saved, path, at=NOW + timedelta(seconds=1)).database.epoch == FIRST + 1000
    assert state_of(path, "p1") == "EXECUTING"


def test_killed_after_the_new_one_has_its_name_it_is_there_whole(path: Path, saved: Path):
    renamed = Path.rename

    def rename_and_die(self: Path, target: Path) -> None:
        renamed(self, target)
        die()

    child = get_context("fork").Process(target=restore_and_die_renaming, args=(saved, path, rename_and_die))
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    with opened(path) as queue:
        assert queue.phase("p1").state == "EXECUTING"
    assert len(list(path.parent.glob("*before-restore*"))) == 1


def restore_and_die_renaming(saved: Path, path: Path, rename: Any) -> None:
    Path.rename = rename  # type: ignore[method-assign]
    put_back(saved, path)


def test_killed_where_there_was_no_database_the_new_one_has_two_names_and_keeps_one(path: Path, saved: Path):
    elsewhere = path.with_name("elsewhere.db")
    child = get_context("fork").Process(target=restore_and_die, args=(saved, elsewhere, Path, "unlink"))
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert elsewhere.stat().st_nlink == 2
    assert take_back_second_name(elsewhere) is not None
    with opened(elsewhere) as queue:
        assert queue.phase("p1").state == "EXECUTING"


def test_a_name_is_taken_back_only_where_it_is_of_the_very_same_file(path: Path, saved: Path):
    kept = put_back(saved, path).kept
    assert kept is not None
    assert take_back_second_name(path) is None
    assert kept.exists()


def test_a_full_disk_leaves_the_database_as_it_was(path: Path, saved: Path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(restores, "flush", full)
    with pytest.raises(DatabaseRefused, match=r"No space left on device\. It is as it was"):
        put_back(saved, path)
    monkeypatch.setattr(backups, "flush", full)
    with pytest.raises(DatabaseRefused, match="No space left on device"):
        copy_whole(path, path.with_name("b.db"))
    assert path.read_bytes() == before
    assert {each.name for each in path.parent.glob("*db*")} <= {
        "autopack.db",
        "autopack.db-journal",
        "saved.db",
    }
