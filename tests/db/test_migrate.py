"""Migrations: the only thing that makes or changes a schema, and never at the cost of a row."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from autopack.clock import utc_now
from autopack.db import runs
from autopack.db.columns import Base
from autopack.db.identity import open_database
from autopack.db.location import Location, locate
from autopack.db.migrate import Migrated, migrate, script_location
from autopack.db.tables import REVISION
from autopack.errors import DatabaseRefused
from autopack.schemas import PlanBody
from tests.support import clean_environment, phase, plan, run_script, start_warm

FOLLOWING = f"{int(REVISION) + 1:04}"
NEXT = '''"""A revision for tests: rebuilds the parent table `runs`."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"
MAY_LOSE_ROWS = {may_lose}


def upgrade():
    with op.batch_alter_table("runs") as batch:
        batch.add_column(sa.Column("colour", sa.Text(), nullable=True))
        batch.alter_column("goal", existing_type=sa.Text(), nullable=True)
{more}
'''


def location_of(url: str) -> Location:
    return locate(url, Path("/"))


def with_next_revision(directory: Path, more: str = "", may_lose: tuple[str, ...] = ()) -> Path:
    """A copy of the project's revisions with one more."""
    scripts = directory / "scripts"
    (scripts / "versions").mkdir(parents=True)
    for source in script_location().rglob("*.*"):
        if "__pycache__" not in source.parts:
            (scripts / source.relative_to(script_location())).write_bytes(source.read_bytes())
    body = NEXT.format(more=more, may_lose=may_lose, revision=FOLLOWING, before=REVISION)
    (scripts / "versions" / f"{FOLLOWING}_next.py").write_text(body, encoding="utf-8")
    return scripts


def fill(url: str) -> dict[str, int]:
    """Two runs with phases and dependencies; returns the rows of each table."""
    with open_database(location_of(url)) as database:
        for name in ("a", "b"):
            body = PlanBody.model_validate(plan(name, [phase("p1"), phase("p2", depends_on=["p1"])]))
            with database.transaction() as session:
                runs.create(session, body.to_domain(), actor="test", now=utc_now())
    return row_counts(url)


def row_counts(url: str) -> dict[str, int]:
    engine = create_engine(location_of(url).url)
    with engine.connect() as connection:
        counts = {
            name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()
            for name in sorted(Base.metadata.tables)
        }
    engine.dispose()
    return counts


def revision_of(url: str) -> str | None:
    engine = create_engine(location_of(url).url)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    engine.dispose()
    return found


def test_the_code_works_on_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(script_location()))
    assert ScriptDirectory.from_config(config).get_current_head() == REVISION


def test_the_migrated_schema_is_the_one_that_the_code_uses(database_url: str) -> None:
    engine = create_engine(location_of(database_url).url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_a_second_migration_finds_nothing_to_do_and_keeps_the_identity(database_url: str) -> None:
    with open_database(location_of(database_url)) as database:
        before = identity(database)
    again = migrate(location_of(database_url), now=utc_now)
    assert not again.changed
    assert again.backup is None
    with open_database(location_of(database_url)) as database:
        assert identity(database) == before


def identity(database: object) -> str:
    from autopack.db.identity import read_identity

    with database.transaction() as session:  # type: ignore[attr-defined]
        return read_identity(session, database.location).database_id  # type: ignore[attr-defined]


def test_rebuilding_a_parent_table_keeps_every_child_row(database_url: str, tmp_path: Path) -> None:
    before = fill(database_url)
    assert before["phases"] == 4
    done = migrate(location_of(database_url), now=utc_now, scripts=with_next_revision(tmp_path))
    assert (done.before, done.after) == (REVISION, FOLLOWING)
    assert row_counts(database_url) == before


def test_a_backup_is_made_before_an_existing_file_is_changed(sqlite_url: str, tmp_path: Path) -> None:
    before = fill(sqlite_url)
    done = migrate(location_of(sqlite_url), now=utc_now, scripts=with_next_revision(tmp_path))
    assert done.backup is not None
    assert done.backup.parent == tmp_path
    assert row_counts(f"sqlite:///{done.backup}") == before
    assert revision_of(f"sqlite:///{done.backup}") == REVISION
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('    raise RuntimeError("half-way")\n', "half-way"),
        ('    op.execute("INSERT INTO nowhere VALUES (1)")\n', "nothing was changed"),
        ('    op.execute("DELETE FROM phase_dependencies")\n', "lose rows"),
        ("    op.execute(\"UPDATE database_identity SET database_id = 'x'\")\n", "identity"),
    ],
)
def test_a_migration_that_fails_half_way_leaves_the_old_schema(
    database_url: str, tmp_path: Path, more: str, words: str
) -> None:
    before = fill(database_url)
    with pytest.raises((DatabaseRefused, RuntimeError), match=words):
        migrate(location_of(database_url), now=utc_now, scripts=with_next_revision(tmp_path, more))
    assert revision_of(database_url) == REVISION
    assert row_counts(database_url) == before
    with open_database(location_of(database_url)):
        pass


def test_rows_may_go_where_the_revision_says_so(sqlite_url: str, tmp_path: Path) -> None:
    before = fill(sqlite_url)
    more = '    op.execute("DELETE FROM phase_dependencies")\n'
    scripts = with_next_revision(tmp_path, more, may_lose=("phase_dependencies",))
    migrate(location_of(sqlite_url), now=utc_now, scripts=scripts)
    assert row_counts(sqlite_url) == before | {"phase_dependencies": 0}


def test_rows_that_would_point_nowhere_stop_the_migration(sqlite_url: str, tmp_path: Path) -> None:
    fill(sqlite_url)
    more = "    op.execute(\"UPDATE phases SET tier_id = 'gone' WHERE run_id = 'a'\")\n"
    with pytest.raises(DatabaseRefused, match="pointing nowhere"):
        migrate(location_of(sqlite_url), now=utc_now, scripts=with_next_revision(tmp_path, more))
    assert revision_of(sqlite_url) == REVISION


@pytest.mark.slow
def test_a_migration_killed_half_way_leaves_the_old_schema(sqlite_url: str, tmp_path: Path) -> None:
    before = fill(sqlite_url)
    more = "    import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    scripts = with_next_revision(tmp_path, more)
    program = (
        "import sys; from pathlib import Path; from autopack.clock import utc_now\n"
        "from autopack.db.location import locate; from autopack.db.migrate import migrate\n"
        "migrate(locate(sys.argv[1], Path('/')), now=utc_now, scripts=Path(sys.argv[2]))\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, sqlite_url, str(scripts)], env=clean_environment(), capture_output=True, check=False
    )  # fmt: skip
    assert killed.returncode == -9, killed.stderr
    assert revision_of(sqlite_url) == REVISION
    assert row_counts(sqlite_url) == before


def test_threads_that_migrate_at_once_make_one_schema(tmp_path: Path, empty_postgres_url: str) -> None:
    for url in (f"sqlite:///{tmp_path}/new.db", empty_postgres_url):
        done: list[Migrated | DatabaseRefused] = []

        def work(url: str = url, done: list[Migrated | DatabaseRefused] = done) -> None:
            try:
                done.append(migrate(location_of(url), now=utc_now))
            except DatabaseRefused as error:
                done.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(result.changed for result in done if isinstance(result, Migrated)) == [
            False,
            False,
            False,
            True,
        ]
        assert row_counts(url)["database_identity"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def test_processes_that_migrate_at_once_make_one_schema(
    dialect: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = (
        f"sqlite:///{tmp_path}/new.db"
        if dialect == "sqlite"
        else request.getfixturevalue("empty_postgres_url")
    )
    started = [start_warm("autopack", "migrate", "--database-url", url, cwd=tmp_path) for _ in range(4)]
    told = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0] * 4, told
    assert sum(f"migrated from nothing to {REVISION}" in out for out, _ in told) == 1
    assert row_counts(url)["database_identity"] == 1


def _three_tables(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        for name in ("runs", "tiers", "phases"):
            connection.execute(f"CREATE TABLE {name} (id TEXT)")
            connection.execute(f"INSERT INTO {name} VALUES ('kept')")
    connection.close()


def _newer(path: Path) -> None:
    migrate(locate(f"sqlite:///{path}", path.parent), now=utc_now)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()


def _text(path: Path) -> None:
    path.write_text("not a database, but long enough to look like a file\n" * 20, encoding="utf-8")


@pytest.mark.parametrize(
    ("make", "words"),
    [(_three_tables, "no migration made"), (_newer, "newer"), (_text, "not a SQLite database"), (Path.mkdir, "not a file")],
)  # fmt: skip
def test_migrate_refuses_what_is_not_its_own_and_changes_nothing(
    make: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "odd.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(DatabaseRefused, match=words):
        migrate(locate(f"sqlite:///{path}", tmp_path), now=utc_now)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_migrate_fills_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    done = migrate(locate("sqlite:///empty.db", tmp_path), now=utc_now)
    assert done.changed
    assert row_counts(f"sqlite:///{tmp_path}/empty.db")["database_identity"] == 1


def test_migrate_says_which_directory_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatabaseRefused, match="does not exist"):
        migrate(locate("sqlite:///nowhere/new.db", tmp_path), now=utc_now)


@pytest.mark.slow
def test_an_installed_wheel_migrates_too(tmp_path: Path) -> None:
    """The revisions are packed into the wheel: no checkout is needed."""
    root = Path(__file__).parents[2]
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    built = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=root, capture_output=True, text=True, check=True
    )  # fmt: skip
    wheel = tmp_path / built.stdout.strip().splitlines()[-1]
    installed = tmp_path / "installed"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(installed)], check=True)
    assert (installed / "autopack" / "_alembic" / "versions").is_dir()
    done = run_script(
        "autopack", "migrate", "--database-url", "sqlite:///new.db", cwd=tmp_path, env={"PYTHONPATH": str(installed)}
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert revision_of(f"sqlite:///{tmp_path}/new.db") == REVISION
