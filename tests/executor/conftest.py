from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.executor.support_pipeline import Stage, staged
from tests.support import make_workspace


@pytest.fixture
async def stage(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """A client on a migrated database, a repository, and a model that says what the test tells it to."""
    files = {"README.md": "# A workspace\n", "src/old.py": "OLD = 1\n"}
    async with staged(sqlite_url, make_workspace(tmp_path / "workspace", files)) as stage:
        yield stage
