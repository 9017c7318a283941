"""The composition root: settings become a database, an app, a client, models, a workspace and a worker."""

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from fastapi import FastAPI

from autopack.api.app import create_app
from autopack.api.cleanup import CLEANUP_SECONDS
from autopack.api.guard import Access
from autopack.client import AutopackClient, in_process, remote
from autopack.clock import Clock
from autopack.db.engine import Database
from autopack.db.identity import open_database, read_identity, write_nonce
from autopack.db.location import locate
from autopack.domain.addresses import shown_address
from autopack.domain.edits import Format
from autopack.domain.messages import ProviderMode, Role
from autopack.domain.models import ModelTable, load_model_table
from autopack.domain.phases import Claim
from autopack.domain.redaction import Redactor, secrets_of
from autopack.errors import DatabaseMismatch, DatabaseRefused, InvalidInput, WorkspaceRefused
from autopack.executor.auditor import Auditor
from autopack.executor.builder import Builder
from autopack.executor.checking import open_checking
from autopack.executor.ground import Ground, check_branch, read_ground, settings_text
from autopack.executor.liveness import worker_name
from autopack.executor.pipeline import Pipeline
from autopack.executor.worker import Progress, Worker
from autopack.llm.base import LLM
from autopack.llm.gateway import ModelConfig, open_llm
from autopack.llm.price_file import load_price_file
from autopack.llm.pricing import Prices
from autopack.settings import (
    DatabaseChoice,
    Settings,
    choose_database,
    choose_telemetry_database,
    explicit_database,
    load_settings,
)
from autopack.workspace.git import GitWorkspace
from autopack.workspace.sandbox import Sandbox, SandboxMode, open_sandbox
from autopack.workspace.scratch import sweep_leftovers

NONCE_TRIES = 5
REMEDY = "Nothing was claimed. Start the server on the same DATABASE_URL, or unset DATABASE_URL here."


def make_app() -> FastAPI:
    """The app that a server runs: it opens the chosen database when it starts."""
    return create_app(_open_chosen, access=server_access, cleanup_seconds=CLEANUP_SECONDS)


@contextmanager
def _open_chosen() -> Iterator[Database]:
    with open_chosen(choose_database(None)) as database:
        yield database


def server_access() -> Access:
    """Who may use a server of this environment."""
    settings = load_settings()
    hosts = frozenset(host.strip().lower() for host in settings.allowed_hosts.split(",") if host.strip())
    return Access(api_key=_secret(settings.api_key), allowed_hosts=hosts)


@contextmanager
def open_chosen(choice: DatabaseChoice, *, one_session: bool = False) -> Iterator[Database]:
    with open_database(locate(choice.url, choice.directory), one_session=one_session) as database:
        yield database


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A way to the queue. `api_url` is None in-process; `choice` is the database that was named or defaulted to."""

    api_url: str | None
    choice: DatabaseChoice | None


def choose_connection(
    *, api_url: str | None, in_process: bool, database_url: str | None, settings: Settings
) -> Connection:
    """In-process unless an API is named. Remote keeps a named database only to compare identities."""
    url = api_url or (None if in_process else settings.api_url)
    if url is None:
        return Connection(api_url=None, choice=choose_database(database_url))
    return Connection(api_url=url.rstrip("/"), choice=explicit_database(database_url))


@asynccontextmanager
async def open_client(
    connection: Connection, settings: Settings, *, clock: Clock | None = None
) -> AsyncIterator[AutopackClient]:
    """The client, connected. In-process it owns the one engine and the one session of this process."""
    key = _secret(settings.api_key)
    if connection.api_url is not None:
        async with remote(connection.api_url, api_key=key) as client:
            if connection.choice is not None:
                await prove_same_database(client, connection.choice, connection.api_url, clock or Clock())
            yield client
        return
    assert connection.choice is not None
    with open_chosen(connection.choice, one_session=True) as database:
        app = create_app(lambda: nullcontext(database), access=lambda: Access(api_key=key), clock=clock)
        async with in_process(app, api_key=key) as client:
            yield client


async def prove_same_database(
    client: AutopackClient, choice: DatabaseChoice, api_url: str, clock: Clock
) -> None:
    """Raises DatabaseMismatch unless server and `choice` are the same database, and not just copies of one.

    A mark written through our own engine must be read back by the server. None is written into a database of
    another identity: what is plainly not the server's is left as it was.
    """
    theirs = await client.connect()
    # Another drain may write its own mark between our write and the server's answer: that proves nothing.
    for _ in range(NONCE_TRIES):
        if await _reads_back(client, theirs, choice, api_url, clock):
            return
    raise DatabaseMismatch(
        f"the server at {shown_address(api_url)} works on {theirs['url']} (database {theirs['database_id']}), which is not "
        f"{locate(choice.url, choice.directory).masked}, named by {choice.rule}. {REMEDY}"
    )


async def _reads_back(
    client: AutopackClient, theirs: dict[str, Any], choice: DatabaseChoice, api_url: str, clock: Clock
) -> bool:
    """Whether the server reads what is written here. A database of another identity is not written into."""
    try:
        with open_chosen(choice) as database, database.transaction() as session:
            ours = read_identity(session, database.location)
            if ours.database_id != theirs["database_id"]:
                return False
            nonce = clock.new_id()
            write_nonce(session, nonce)
    except DatabaseRefused as error:
        raise DatabaseMismatch(
            f"the server at {shown_address(api_url)} works on {theirs['url']} (database {theirs['database_id']}), and {choice.rule} "
            f"names a database that cannot be compared with it: {error} {REMEDY}"
        ) from error
    return bool((await client.connect())["nonce"] == nonce)


@dataclass(frozen=True, kw_only=True)
class Models:
    """The configured models, and those that the workspace's autopack.toml names for some phases."""

    builder: LLM
    auditor: LLM
    second_auditor: LLM
    table: ModelTable
    named: Mapping[str, LLM]
    prices: Prices

    def choose(self, role: Role, claim: Claim) -> LLM | None:
        name = self.table.name_for(
            role,
            task_category=claim.phase.task_category,
            attempt=claim.failures + 1,
            escalations=claim.escalations,
        )
        return self.named.get(name) if name else None

    def providers(self, task_category: str) -> frozenset[str]:
        """Those that a phase of this category needs, as long as no failure asks for another model."""
        used = [self.second_auditor]
        for role, default in ((Role.BUILDER, self.builder), (Role.AUDITOR, self.auditor)):
            name = self.table.name_for(role, task_category=task_category, attempt=1, escalations=0)
            used.append(self.named.get(name, default) if name else default)
        return frozenset(llm.provider for llm in used)

    def all_providers(self) -> frozenset[str]:
        opened = (self.builder, self.auditor, self.second_auditor, *self.named.values())
        return frozenset(llm.provider for llm in opened)


@asynccontextmanager
async def open_models(settings: Settings, table: ModelTable) -> AsyncIterator[Models]:
    """Each model once. Raises ModelNotReady for any that could not be called, before anything is claimed."""
    prices = Prices(file=load_price_file(settings.prices)) if settings.prices else Prices()
    builder = open_llm(_model_config(settings, settings.model, prices))
    opened = {builder.model: builder}

    def open_named(name: str) -> LLM:
        if name not in opened:
            opened[name] = open_llm(_model_config(settings, name, prices))
        return opened[name]

    # Without any model configured nothing may call one; a cassette of recorded answers knows them by model.
    several = builder.provider_mode is ProviderMode.LIVE or settings.replay is not None
    try:
        auditor = open_named(settings.auditor_model) if settings.auditor_model and several else builder
        name = settings.second_auditor_model
        second = open_named(name) if name and several else builder
        named = {name: open_named(name) for name in sorted(table.names())} if several else {}
        yield Models(
            builder=builder, auditor=auditor, second_auditor=second, table=table, named=named, prices=prices
        )
    finally:
        for llm in opened.values():
            await llm.aclose()


def _model_config(settings: Settings, model: str | None, prices: Prices) -> ModelConfig:
    return ModelConfig(
        model=model, base_url=settings.base_url, openai_api_key=_secret(settings.openai_api_key),
        anthropic_api_key=_secret(settings.anthropic_api_key), replay_file=settings.replay, record_file=settings.record,
        prices=prices,
    )  # fmt: skip


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
    base = await _base_of(client, git, run_id)
    ground = await read_ground(git, base)  # what is wrong with autopack.toml is said before a model is paid
    table = await _model_table(git, ground)
    await to_thread.run_sync(sweep_leftovers)
    unseen = _database_files(await client.connect())
    sandbox = await open_sandbox(SandboxMode(settings.sandbox), unseen)
    redact = Redactor(secrets_of(os.environ, await _dotenv_text(git.root))).redact
    async with open_models(settings, table) as models, open_checking(git, sandbox, client) as checking:
        builder = Builder(
            llm=models.builder, git=git, telemetry=settings.telemetry_db_enabled,
            format_for=lambda model: Format(table.format_for(model)),
            output_limit_for=lambda model: table.output_limit_for(model) or settings.output_limit,
            truncation_target=settings.truncation_target,
        )  # fmt: skip
        pipeline = Pipeline(
            client=client, git=git, builder=builder, auditor=Auditor(llm=models.auditor, second=models.second_auditor),
            checking=checking, clock=clock, choose=models.choose, has_stronger=lambda claim: table.has_stronger(claim.escalations), dual_auditor=settings.dual_auditor, redact=redact,
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


async def _base_of(client: AutopackClient, git: GitWorkspace, run_id: str) -> str:
    """The commit that the run starts or started from; the workspace must hold it and the run's work."""
    run = await client.run(run_id)
    head = await git.branch_head(run_id)
    if run.base_commit is None:
        return head or await git.head_commit()
    if head is not None or run.head_commit is not None:
        await check_branch(git, run_id, head, run.head_commit or run.base_commit)
    elif not await git.has_commit(run.base_commit):
        await check_branch(git, run_id, None, run.base_commit)
    return run.base_commit


def _secret(value: object) -> str | None:
    return value.get_secret_value() if hasattr(value, "get_secret_value") else None
