"""A seat at the pages of a server, over a SQLite file of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.support_seat import Seat, seat_at


@pytest.fixture
def seat(sqlite_url: str, tmp_path: Path) -> Iterator[Seat]:
    with seat_at(sqlite_url, tmp_path) as made:
        yield made
