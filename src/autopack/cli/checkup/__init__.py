"""What `doctor` looks at, in the order in which a drain would need it, and what it puts right."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from autopack.bootstrap import choose_connection, open_client
from autopack.cli.checkup import database, models, places, queue, repair
from autopack.domain.doctor import Finding, bad
from autopack.errors import AutopackError, UsageError
from autopack.settings import Settings, load_settings

if TYPE_CHECKING:
    from autopack.client import AutopackClient

__all__ = ["examine"]


async def examine(
    *, api_url: str | None, database_url: str | None, workspace: Path, fix: bool
) -> tuple[list[str], list[Finding]]:
    """What was put right, where that was asked for, and what was found afterwards."""
    settings, findings = _settings()
    server = api_url or settings.api_url
    fixed: list[str] = []
    if server is None:
        fixed += repair.files(database_url) if fix else []
        findings += [*database.examine(database_url), database.telemetry(database_url)]
    else:
        findings += await queue.examine_server(server, settings, database_url)
    findings += places.dotenv()
    if all(finding.name not in ("database", "server") or finding.level != "bad" for finding in findings):
        repaired, found = await _queue(server, database_url, settings, workspace, fix=fix)
        fixed += repaired
        findings += found
    findings += await places.examine(workspace, settings)
    findings += await models.examine(workspace, settings)
    return fixed, findings


def _settings() -> tuple[Settings, list[Finding]]:
    """Those of the environment; where they cannot be read, the defaults, and a word about it."""
    try:
        return load_settings(), []
    except UsageError as error:
        return Settings.model_construct(), [bad("model", str(error), "correct or unset what is named")]


async def _queue(
    server: str | None, database_url: str | None, settings: Settings, workspace: Path, *, fix: bool
) -> tuple[list[str], list[Finding]]:
    """What is asked through the client, as a drain would: the same in-process and of a server."""
    try:
        async with _client(server, database_url, settings) as client:
            fixed = await repair.queue(client) if fix else []
            return fixed, [*await queue.examine(client), *await places.branches(client, workspace)]
    except AutopackError as error:
        return [], [bad("queue", str(error))]


@asynccontextmanager
async def _client(
    server: str | None, database_url: str | None, settings: Settings
) -> AsyncIterator["AutopackClient"]:
    connection = choose_connection(
        api_url=server, in_process=server is None, database_url=database_url, settings=settings
    )  # fmt: skip
    async with open_client(connection, settings) as client:
        yield client
