"""INCIDENTS D6: a database that is not whole, or not ours, is refused by every command but `migrate`, and left as it is."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from autopack.cli import main
from autopack.clock import utc_now
from autopack.db.location import locate
from autopack.db.migrate import migrate
from tests.e2e.support_incidents import listing, outcome
from tests.support import TELEMETRY_RUN, run_script

pytestmark = pytest.mark.slow


def script(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def whole(path: Path, *statements: str) -> None:
    migrate(locate(f"sqlite:///{path}", path.parent), now=utc_now)
    script(path, *statements)


def three_tables(path: Path) -> None:
    """As the seed script of incident B made it."""
    script(
        path,
        "CREATE TABLE runs (id TEXT PRIMARY KEY, state TEXT)",
        "CREATE TABLE tiers (tier_id TEXT, run_id TEXT)",
        "CREATE TABLE phases (phase_id TEXT, run_id TEXT, state TEXT)",
        "INSERT INTO runs VALUES ('telemetry-collection-v4', 'QUEUED')",
        "INSERT INTO phases VALUES ('telemetry-p1-string-util', 'telemetry-collection-v4', 'QUEUED')",
    )


def two_links(path: Path) -> None:
    whole(path)
    os.link(path, path.with_name("second-name.db"))


NOTES = ("CREATE TABLE notes (body TEXT)", "INSERT INTO notes VALUES ('mine')")


@dataclass(frozen=True, kw_only=True)
class Unfit:
    make: Callable[[Path], object]
    what: str
    to_do: str
    migrates: bool = False


UNFIT = {
    "missing": Unfit(
        make=lambda path: None, what="there is no database at {path}", to_do="Run `autopack migrate`", migrates=True
    ),
    "empty file": Unfit(
        make=lambda path: path.touch(), what="the database {path} is empty", to_do="Run `autopack migrate`", migrates=True
    ),
    "no tables": Unfit(
        make=lambda path: script(path, "CREATE TABLE t (a)", "DROP TABLE t"), what="the database {path} has no tables",
        to_do="Run `autopack migrate`", migrates=True,
    ),
    "three of the tables": Unfit(
        make=three_tables, what="the database {path} holds tables of an earlier Autopack or a part of a schema (phases, runs, tiers)",
        to_do="carries an earlier Autopack's into a copy beside it; or name another with DATABASE_URL",
    ),
    "older revision": Unfit(
        make=lambda path: whole(path, "UPDATE alembic_version SET version_num = '0000'"),
        what="the database {path} is at revision 0000; this Autopack needs", to_do="Run `autopack migrate`",
    ),
    "no revision": Unfit(
        make=lambda path: whole(path, "DELETE FROM alembic_version"),
        what="the database {path} is at revision none; this Autopack needs", to_do="Run `autopack migrate`",
    ),
    "newer than the code": Unfit(
        make=lambda path: whole(path, "UPDATE alembic_version SET version_num = '9999'"),
        what="the database {path} is at revision 9999, newer than this Autopack knows", to_do="Upgrade Autopack, or name another",
    ),
    "a table was dropped": Unfit(
        make=lambda path: whole(path, "DROP TABLE approval_requests"),
        what="the database {path} lacks approval_requests: something dropped them", to_do="Restore a backup",
    ),
    "without identity": Unfit(
        make=lambda path: whole(path, "DELETE FROM database_identity"),
        what="the database {path} has lost its identity row", to_do="Restore a backup",
    ),
    "not a database": Unfit(
        make=lambda path: path.write_text("Dear diary,\n" * 500, encoding="utf-8"), what="{path} is not a SQLite database",
        to_do="Name another with DATABASE_URL",
    ),
    "a directory": Unfit(
        make=lambda path: path.mkdir(), what="{path} is not a file", to_do="Name a database file with DATABASE_URL"
    ),
    "two hard links": Unfit(
        make=two_links, what="the database file {path} has 2 hard links", to_do="Keep one of them (copy the file instead of linking it)"
    ),
    "another program's": Unfit(
        make=lambda path: script(path, *NOTES), what="the database {path} belongs to another program (notes)",
        to_do="Name another with DATABASE_URL",
    ),
    "another program's in WAL mode": Unfit(
        make=lambda path: script(path, "PRAGMA journal_mode=WAL", *NOTES),
        what="the database {path} belongs to another program (notes)", to_do="Name another with DATABASE_URL",
    ),
}  # fmt: skip

ONE_PHASE = ("--run-id", TELEMETRY_RUN, "--phase-id", "telemetry-p1-string-util")
COMMANDS = {
    "drain_one_phase.py": ("drain-one", *ONE_PHASE),
    "drain_queued_phases.py": ("drain", "--run-id", TELEMETRY_RUN),
    "probe_telemetry_phase.py": ("probe", *ONE_PHASE),
    "db_identity_check.py": ("identity",),
    "create_telemetry_collection_run.py": ("seed-telemetry",),
    "run list": ("run", "list"),
    "serve": ("serve", "--port", "0"),
}


@pytest.fixture(params=UNFIT)
def unfit(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Unfit, Path]:
    case = UNFIT[request.param]
    directory = tmp_path / "databases"
    directory.mkdir()
    case.make(directory / "queue.db")
    return case, directory / "queue.db"


@pytest.fixture
def here(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_server(*_: object, **__: object) -> None:
        raise AssertionError("a server was started")

    monkeypatch.chdir(workspace)
    monkeypatch.setattr("uvicorn.run", no_server)


@pytest.mark.usefixtures("here")
def test_every_command_refuses_it_in_words_and_changes_nothing(
    unfit: tuple[Unfit, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case, path = unfit
    before = listing(path.parent)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{path}")
    for command in COMMANDS.values():
        exit_code = main(command)
        told = capsys.readouterr().err
        assert exit_code == 3, (command, told)
        refusal = told.partition("autopack: ")[2]
        assert case.what.format(path=path) in refusal, command
        assert case.to_do in refusal, command
        assert "Traceback" not in told
        assert listing(path.parent) == before, command


@pytest.mark.usefixtures("here")
def test_migrate_makes_it_whole_or_refuses_and_changes_nothing(
    unfit: tuple[Unfit, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case, path = unfit
    before = listing(path.parent)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{path}")
    exit_code = main(["migrate"])
    told = capsys.readouterr()
    if case.migrates:
        assert exit_code == 0, told.err
        assert main(["identity"]) == 0
        return
    assert exit_code == 3, told.err
    assert str(path) in told.err
    assert "Traceback" not in told.err
    assert listing(path.parent) == before


@pytest.mark.parametrize("name", ["three of the tables", "empty file", "newer than the code"])
def test_the_scripts_themselves_refuse_it(name: str, workspace: Path, tmp_path: Path) -> None:
    path = tmp_path / "databases" / "queue.db"
    path.parent.mkdir()
    UNFIT[name].make(path)
    before = listing(path.parent)
    done = run_script(
        "drain_queued_phases.py", "--run-id", TELEMETRY_RUN, cwd=workspace, env={"DATABASE_URL": f"sqlite:///{path}"},
        warm=True,
    )  # fmt: skip
    assert done.returncode == 3, outcome(done)
    assert UNFIT[name].what.format(path=path) in done.stderr
    assert done.stdout == ""
    assert listing(path.parent) == before


def test_serve_refuses_a_database_that_is_behind(workspace: Path, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    UNFIT["older revision"].make(path)
    before = path.read_bytes()
    done = run_script(
        "autopack", "serve", "--port", "0", "--database-url", f"sqlite:///{path}", cwd=workspace, warm=True
    )
    assert done.returncode == 3, outcome(done)
    assert "this Autopack needs" in done.stderr
    assert path.read_bytes() == before
