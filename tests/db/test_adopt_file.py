"""The file of an earlier database: only ever read, and its copy is whole or not there."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from autopack.clock import utc_now
from autopack.db.adopt import adoption, source
from autopack.db.adopt.adoption import adopt, copy_of
from autopack.db.adopt.source import copy as copy_file
from autopack.db.adopt.source import looks_earlier
from autopack.db.location import located_file
from autopack.db.migrate import migrate
from autopack.errors import DatabaseRefused
from tests.db.support_earlier import (
    COLUMNS,
    a_call,
    a_phase,
    a_run,
    assert_nothing_is_lost,
    found,
    make_earlier,
)
from tests.db.support_left import state_of, write_journal, write_log
from tests.support import ROOT, clean_environment

REAL = ROOT.parent / "shared" / "data" / "legacy"


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    rows = {"runs": [a_run("r")], "phases": [a_phase("r", "p1")], "llm_usage_events": [a_call("r", 100)]}
    (tmp_path / "old").mkdir()
    return make_earlier(tmp_path / "old" / "autopack.db", rows)


def test_the_original_stays_as_it_is_and_a_second_adoption_does_nothing(earlier: Path):
    earlier.chmod(0o440)
    before = state_of(earlier.parent)
    first = adopt(earlier, now=utc_now)
    after = state_of(earlier.parent)
    assert first.copy == copy_of(earlier) == earlier.with_name("autopack.adopted.db")
    assert after == before | {first.copy.name: after[first.copy.name]}
    assert first.copy.stat().st_mode & 0o777 == 0o640
    again = adopt(earlier, now=utc_now)
    assert (again.was_there, again.report) == (True, first.report)
    assert state_of(earlier.parent) == after
    identities = [found(path, "SELECT database_id FROM database_identity") for path in (first.copy, adopt(earlier, earlier.with_name("b.db"), now=utc_now).copy)]  # fmt: skip
    assert identities[0] != identities[1]


def test_what_is_in_the_way_is_never_written_over(earlier: Path):
    other, empty, another = (earlier.with_name(name) for name in ("other.db", "empty.db", "another.db"))
    other.write_text("mine")
    empty.touch()
    make_earlier(another, {"users": []})
    write_journal(another, "users", "username")
    before = state_of(earlier.parent)
    for there, why in ((other, r"and is no adopted copy.*--into"), (another, "and is no adopted copy"), (empty, "and empty: another adoption")):  # fmt: skip
        with pytest.raises(DatabaseRefused, match=f"is there already, {why}"):
            adopt(earlier, there, now=utc_now)
    assert state_of(earlier.parent) == before
    adopt(earlier, now=utc_now)
    with closing(sqlite3.connect(earlier)) as connection, connection:
        connection.execute("DELETE FROM llm_usage_events")
    with pytest.raises(DatabaseRefused, match="was made from other content"):
        adopt(earlier, now=utc_now)
    with pytest.raises(DatabaseRefused, match="could not be made: No such file"):
        adopt(earlier, earlier.parent / "nowhere" / "copy.db", now=utc_now)


@pytest.mark.parametrize(("leave", "beside", "rows"), [(write_log, "-wal", 2), (write_journal, "-journal", 1)])  # fmt: skip
def test_what_a_dead_process_left_beside_the_file_is_read_with_it_and_left_there(earlier: Path, leave, beside: str, rows: int):  # fmt: skip
    leave(earlier)
    before = state_of(earlier.parent)
    assert earlier.name + beside in before
    assert looks_earlier(earlier)
    made = adopt(earlier, now=utc_now)
    assert found(made.copy, "SELECT count(*) FROM llm_usage_events") == [(rows,)]
    after = state_of(earlier.parent)
    assert {name: after.get(name) for name in before} == before
    assert set(after) - set(before) == {made.copy.name}


def test_a_file_that_is_written_to_while_it_is_copied_is_refused(earlier: Path, monkeypatch):
    digest = source._digest

    def interrupted(path: Path, target: Path | None) -> str:
        made = digest(path, target)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM phases")
        return made

    monkeypatch.setattr(source, "_digest", interrupted)
    with pytest.raises(DatabaseRefused, match="was written to while it was copied"):
        copy_file(earlier, earlier.with_name("copy.db"))


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 3] = os.urandom(4096 * 2)
    path.write_bytes(content)


def notes(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE runs (id, distance)")
        connection.execute("CREATE TABLE phases (moon)")


def ours(path: Path) -> None:
    path.unlink()
    migrate(located_file(path), now=utc_now)


@pytest.mark.parametrize(("spoil", "why"), [
    (lambda path: path.unlink(), "there is no file"),
    (lambda path: (path.unlink(), path.mkdir()), "is not a file"),
    (lambda path: path.write_bytes(b""), "is empty: there is nothing to adopt"),
    (lambda path: path.write_text("Dear diary\n" * 9), "is not a SQLite database"),
    (lambda path: path.write_bytes(path.read_bytes()[:6000]), "Nothing was changed"),
    (damaged, "Nothing was changed"),
    (notes, r"is no database of the earlier Autopack \(phases, runs\)"),
    (ours, "is a database of this Autopack"),
])  # fmt: skip
def test_what_cannot_be_adopted_is_refused_in_words_and_leaves_nothing(earlier: Path, spoil, why: str):
    spoil(earlier)
    before = sorted(path.name for path in earlier.parent.iterdir())
    with pytest.raises(DatabaseRefused, match=why):
        adopt(earlier, now=utc_now)
    assert sorted(path.name for path in earlier.parent.iterdir()) == before


@pytest.mark.parametrize("tables", [4, 7])
def test_members_of_the_family_with_fewer_tables_and_columns_are_known(tmp_path: Path, tables: int):
    path = tmp_path / "old.db"
    make_earlier(path, {table: [] for table in list(COLUMNS)[:tables]})
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ALTER TABLE phases DROP COLUMN scope")
        connection.execute("ALTER TABLE runs DROP COLUMN goal_anchor")
        connection.execute("CREATE TABLE alembic_version (version_num)")
    assert looks_earlier(path)
    assert not looks_earlier(tmp_path / "none.db")


KILLED = """
import os, signal, sys
from pathlib import Path
from autopack.clock import utc_now
from autopack.db.adopt import adoption
def end(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "built":
    adoption.flush = end
else:
    Path.replace = end
adoption.adopt(Path(sys.argv[1]), now=utc_now)
"""


def kill_adoption(earlier: Path, when: str) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(earlier), when], env=clean_environment(), check=False, timeout=120)  # fmt: skip
    assert ended.returncode == -signal.SIGKILL


def test_an_earlier_database_that_is_in_its_log_alone_is_known(tmp_path: Path):
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE runs (id, state, token_cap)")
        connection.execute("CREATE TABLE phases (run_id, phase_id, state, tier_id)")
        connection.commit()
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", tmp_path / f"copy.db{suffix}")
    before = state_of(tmp_path)
    assert looks_earlier(tmp_path / "copy.db")
    assert state_of(tmp_path) == before


def test_an_adoption_that_is_killed_before_its_end_leaves_no_copy_and_can_be_repeated(earlier: Path):
    before = state_of(earlier.parent)
    kill_adoption(earlier, "built")
    (left,) = [path for path in earlier.parent.iterdir() if path.name not in before]
    assert left.name.startswith(".autopack.adopted.db.partial-")
    assert not adopt(earlier, now=utc_now).was_there


def test_an_adoption_that_is_killed_at_its_very_end_leaves_an_empty_copy_that_is_told_and_can_be_removed(
    earlier: Path,
):
    kill_adoption(earlier, "named")
    assert copy_of(earlier).stat().st_size == 0
    with pytest.raises(DatabaseRefused, match=r"or was killed before it could.*remove it or name another"):
        adopt(earlier, now=utc_now)
    copy_of(earlier).unlink()
    assert not adopt(earlier, now=utc_now).was_there


def test_who_comes_second_of_two_adoptions_at_once_gets_the_firsts_copy(earlier: Path, monkeypatch):
    first = []
    build = adoption._build

    def overtaken(*given):
        report = build(*given)
        if not first:
            first.append(None)
            first.append(adopt(earlier, now=utc_now))
        return report

    monkeypatch.setattr(adoption, "_build", overtaken)
    second = adopt(earlier, now=utc_now)
    assert (second.was_there, second.report, second.copy) == (True, first[1].report, first[1].copy)


def test_a_table_that_is_called_as_the_account_is_does_not_hide_it(earlier: Path):
    with closing(sqlite3.connect(earlier)) as connection, connection:
        connection.execute("CREATE TABLE adoption (id)")
        connection.execute("INSERT INTO adoption VALUES (5)")
    made = adopt(earlier, now=utc_now)
    assert adopt(earlier, now=utc_now).report == made.report


# The real ones


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real databases are not there: {REAL}")
@pytest.mark.parametrize(("name", "counts", "tokens"), [
    ("autopack_2025-12-09.db", {"runs": 18, "tiers": 17, "phases": 222, "llm_usage_events": 671}, 12_208_801),
    (
        "autopack_2025-12-24.db",
        {
            "runs": 70, "tiers": 200, "phases": 456, "llm_usage_events": 1371, "token_estimation_v2_events": 28, "decision_log": 306,
            "plan_changes": 10, "approval_requests": 4,
        },
        22_704_664,
    ),
])  # fmt: skip
def test_the_real_databases_come_over_whole(tmp_path: Path, name: str, counts: dict[str, int], tokens: int):
    original = REAL / name
    before = sha256(original.read_bytes()).hexdigest()
    made = adopt(original, tmp_path / "copy.db", now=utc_now)
    assert sha256(original.read_bytes()).hexdigest() == before
    assert {each.table: each.read for each in made.report.tables if each.read and each.table != "sqlite_sequence"} == counts  # fmt: skip
    carried = {each.table: each.carried for each in made.report.tables if each.carried}
    assert carried == {table: count for table, count in counts.items() if table in COLUMNS}
    assert (made.report.total_tokens, made.report.unknown_splits) == (tokens, counts["llm_usage_events"])
    assert found(made.copy, "SELECT sum(total_tokens), count(input_tokens) FROM llm_usage_events") == [(tokens, 0)]  # fmt: skip
    assert found(made.copy, "SELECT DISTINCT state FROM phases ORDER BY state") == [("COMPLETE",), ("FAILED",), ("QUEUED",)]  # fmt: skip
    assert found(made.copy, "PRAGMA foreign_key_check") == []
    assert_nothing_is_lost(original, made.copy)
