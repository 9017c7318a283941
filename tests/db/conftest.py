"""A queue on a migrated database of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from autopack.db.identity import open_database
from autopack.db.location import locate
from tests.db.support_queue import Queue


@pytest.fixture
def queue(database_url: str, tmp_path: Path) -> Iterator[Queue]:
    with open_database(locate(database_url, tmp_path)) as database:
        yield Queue(database)


@pytest.fixture
def postgres_queue(postgres_url: str, tmp_path: Path) -> Iterator[Queue]:
    with open_database(locate(postgres_url, tmp_path)) as database:
        yield Queue(database)
