"""A client that was connected before a backup was restored must not go on in a past that is gone."""

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from autopack.api.app import create_app
from autopack.client import remote
from autopack.db.backup import copy_whole
from autopack.db.identity import open_database
from autopack.db.location import located_file
from autopack.db.restore import restore
from autopack.errors import DatabaseMismatch
from autopack.schemas import PlanBody
from tests.api.conftest import live
from tests.support import free_port, plan

pytestmark = pytest.mark.anyio


@contextmanager
def serving(path: Path, port: int) -> Iterator[str]:
    app = create_app(lambda: open_database(located_file(path), synchronous="OFF"))
    with live(app, port) as url:
        yield url


async def test_it_is_refused_until_it_connects_anew(sqlite_url: str, tmp_path: Path):
    path, saved, port = Path(sqlite_url.removeprefix("sqlite:///")), tmp_path / "saved.db", free_port()
    copy_whole(path, saved)
    async with AsyncExitStack() as stack:
        with serving(path, port) as url:
            before = await stack.enter_async_context(remote(url, patient=False))
            await before.create_run(PlanBody.model_validate(plan()))
        restore(saved, located_file(path), replace=True, actor="ann", now=datetime(2026, 1, 1, tzinfo=UTC))
        with serving(path, port) as url:
            for ask in (before.connect, lambda: before.run("r1"), lambda: before.give_back_expired()):
                with pytest.raises(
                    DatabaseMismatch, match=r"restored from a backup \(epoch 1767225600001\).*\(epoch 1\)"
                ):
                    await ask()
            async with remote(url, patient=False) as after:
                assert (await after.runs(), after.epoch) == ([], 1767225600001)
                assert [event.kind for event in await after.all_events()] == ["restored"]
