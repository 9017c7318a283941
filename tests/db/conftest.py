"""A queue on a migrated database of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from autopack.db.identity import open_database
from autopack.db.location import locate
from tests.db.support_queue import Queue


@pytest.fixture
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Queue]:
    """On SQLite, unless the test is marked with ON_BOTH or ON_POSTGRESQL."""
    url: str = request.getfixturevalue(getattr(request, "param", "sqlite_url"))
    with open_database(locate(url, tmp_path)) as database:
        yield Queue(database)
