"""A worker on a workspace that is proved to be the run's."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from autopack.bootstrap.models import Models, open_models
from autopack.client import AutopackClient
from autopack.clock import Clock
from autopack.db.location import locate
from autopack.domain.edits import Format
from autopack.domain.models import ModelTable, load_model_table
from autopack.domain.phases import Run
from autopack.domain.redaction import Redactor, secrets_of
from autopack.errors import DatabaseRefused, InvalidInput, WorkspaceRefused
from autopack.executor.auditor import Auditor
from autopack.executor.builder import Builder
from autopack.executor.checking import open_checking
from autopack.executor.ground import Ground, check_branch, read_ground, settings_text
from autopack.executor.liveness import worker_name
from autopack.executor.pipeline import Pipeline
from autopack.executor.worker import Progress, Worker
from autopack.settings import Settings, choose_telemetry_database
from autopack.workspace.git import GitWorkspace
from autopack.workspace.sandbox import Sandbox, SandboxMode, open_sandbox
from autopack.workspace.scratch import sweep_leftovers


@dataclass(frozen=True, kw_only=True)
class Seat:
    """A worker with what it works on."""

    worker: Worker
    models: Models
    git: GitWorkspace
    base_commit: str
    sandbox: Sandbox


@asynccontextmanager
async def open_worker(
    client: AutopackClient, run_id: str, settings: Settings, workspace: Path, *,
    clock: Clock | None = None, report: Callable[[Progress], None] = lambda _: None,
) -> AsyncIterator[Seat]:  # fmt: skip
    """A worker on a workspace that is proved to be the run's.

    Raises WorkspaceRefused, SandboxRefused and ModelNotReady before any claim.
    """
    clock = clock or Clock()
    git = await GitWorkspace.open(workspace)
    run = await client.run(run_id)
    base = await _base_of(git, run)
    ground = await read_ground(git, base)  # what is wrong with autopack.toml is said before a model is paid
    table = await _model_table(git, ground)
    await to_thread.run_sync(sweep_leftovers)
    unseen = _database_files(await client.connect())
    sandbox = await open_sandbox(SandboxMode(settings.sandbox), unseen)
    redact = Redactor(secrets_of(os.environ, await _dotenv_text(git.root))).redact

    def note(text: str) -> None:
        report(Progress(kind="note", detail=text))

    async with (
        open_models(settings, table, run=run, note=note) as models,
        open_checking(git, sandbox, client) as checking,
    ):
        builder = Builder(
            llm=models.builder, git=git, telemetry=settings.telemetry_db_enabled,
            format_for=lambda model: Format(table.format_for(model)),
            output_limit_for=lambda model: table.output_limit_for(model) or settings.output_limit,
            truncation_target=settings.truncation_target,
        )  # fmt: skip
        pipeline = Pipeline(
            client=client, git=git, builder=builder, auditor=Auditor(llm=models.auditor, second=models.second_auditor),
            checking=checking, clock=clock, choose=models.choose, has_stronger=models.has_stronger, dual_auditor=settings.dual_auditor, redact=redact,
            lease_seconds=settings.lease_seconds, prices=models.prices,
        )  # fmt: skip
        worker = Worker(
            client, pipeline, name=worker_name(), clock=clock, lease_seconds=settings.lease_seconds,
            base_commit=base, report=report, redact=redact,
        )  # fmt: skip
        yield Seat(worker=worker, models=models, git=git, base_commit=base, sandbox=sandbox)


def _database_files(queue: dict[str, Any]) -> list[Path]:
    """Files that no check may see, where they are on this machine."""
    files = [Path(queue["path"])] if queue.get("path") else []
    # One that cannot be named has no file; whoever merges into it says what is wrong.
    with suppress(DatabaseRefused):
        choice = choose_telemetry_database()
        location = locate(choice.url, choice.directory) if choice is not None else None
        files += [location.path] if location is not None and location.path is not None else []
    return files


async def _model_table(git: GitWorkspace, ground: Ground) -> ModelTable:
    try:
        return load_model_table(await settings_text(git, ground.entries))
    except InvalidInput as error:
        raise WorkspaceRefused(str(error)) from error


async def _dotenv_text(root: Path) -> str | None:
    """The workspace's `.env`, if it can be read: its secrets are taken out of prompts and reports."""
    try:
        return await anyio.Path(root / ".env").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


async def _base_of(git: GitWorkspace, run: Run) -> str:
    """The commit that the run starts or started from; the workspace must hold it and the run's work."""
    run_id = run.run_id
    head = await git.branch_head(run_id)
    if run.base_commit is None:
        return head or await git.head_commit()
    if head is not None or run.head_commit is not None:
        await check_branch(git, run_id, head, run.head_commit or run.base_commit)
    elif not await git.has_commit(run.base_commit):
        await check_branch(git, run_id, None, run.base_commit)
    return run.base_commit
