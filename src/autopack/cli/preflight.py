"""`autopack preflight`: a drain tried out before it costs anything."""

import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from autopack.cli.common import ApiUrl, DatabaseUrl, Json, Workspace, connection_for, result, say
from autopack.cli.plans import STDIN, Format, PlanFormat, read_plan
from autopack.cli.records import ended, ended_badly, launched

if TYPE_CHECKING:
    from datetime import datetime

    from autopack.bootstrap import Connection
    from autopack.client import AutopackClient
    from autopack.domain.caps import DailyAccount
    from autopack.domain.phases import Phase, Run
    from autopack.domain.plan import Plan
    from autopack.domain.preflight import Finding
    from autopack.executor.outlay import Ask
    from autopack.executor.preflight import Preflight
    from autopack.settings import Settings
    from autopack.workspace.git import GitWorkspace

T = TypeVar("T")
_SUFFIXES = (".yaml", ".yml", ".json", ".toml")
_NOT_READY = 3


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """What is looked at: of a plan's file no database is opened, and estimates are those that ship with Autopack."""

    run: "Run"
    phases: "Sequence[Phase]"
    base: str
    ask: "Ask"
    basis: str
    unseen: Sequence[Path]
    day: "DailyAccount | None" = None


def preflight(
    plan: Annotated[str, typer.Argument(metavar="PLAN_OR_RUN", help="A plan's file (- is stdin), or the id of a run.")],
    workspace: Workspace = Path(),
    sandbox: Annotated[
        Literal["require", "best", "limits"] | None,
        typer.Option(help="What checks run in: the best that works here, or not at all below `files` (require)."),
    ] = None,
    form: Format = None,
    api_url: ApiUrl = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> int:  # fmt: skip
    """Try out what a drain of a plan or a run would meet: checks at the base, scopes, estimates. No model is called.

    The checks really run, in throw-away exports of the base; nothing is claimed, and nothing changes in the database.
    Exit code 0 when nothing keeps a drain from its end, else 3.
    """
    import anyio

    from autopack.settings import load_settings

    settings = load_settings()
    settings = settings if sandbox is None else settings.model_copy(update={"sandbox": sandbox})
    body = read_plan(Path(plan), form) if _is_file(plan, form) else None
    connection = None if body is not None else connection_for(api_url, False, database_url)[0]
    launched("preflight", as_json, connection, subject=plan)

    async def look() -> "Preflight":
        if connection is not None:
            return await _of_run(plan, settings, workspace, connection)
        assert body is not None
        return await _of_plan(body.to_domain(), settings, workspace)

    found, signalled = anyio.run(_until_signalled, look)
    if found is None:
        return _interrupted(signalled, as_json)
    code = 0 if found.ready else _NOT_READY
    ended("preflight", _as_record(found), code) if as_json else _tell(found)
    return code


def _interrupted(number: int, as_json: bool) -> int:
    words, code = "interrupted; nothing was changed, and nothing is left behind", 128 + number
    say(words)
    if as_json:
        ended_badly("interrupted", words, code)
    return code


def _is_file(name: str, form: PlanFormat | None) -> bool:
    """What is there as a file, or can only be one, is a plan; all else is a run."""
    path = Path(name)
    return (
        form is not None or path == STDIN or "/" in name or path.suffix.lower() in _SUFFIXES or path.is_file()
    )


async def _until_signalled(work: Callable[[], Awaitable[T]]) -> tuple[T | None, int]:
    """What the work answers; None and the signal where Ctrl-C or SIGTERM ended it, with all that it started."""
    import anyio

    from autopack.errors import AutopackError

    received: list[int] = []
    answers: list[T] = []
    refused: list[AutopackError] = []

    async def watch(scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                received.append(number)
                scope.cancel()
                return

    async with anyio.create_task_group() as group:
        group.start_soon(watch, group.cancel_scope)
        try:
            answers.append(await work())
        except AutopackError as error:
            refused.append(error)  # raised below: a task group would put it into a group of its own
        group.cancel_scope.cancel()
    if refused:
        raise refused[0]
    return (answers[0], 0) if answers else (None, received[0])


async def _of_plan(plan: "Plan", settings: "Settings", workspace: Path) -> "Preflight":
    from autopack.clock import Clock
    from autopack.domain import budget
    from autopack.domain.budget import Promise
    from autopack.domain.estimate import SHIPPED, Estimate, Features
    from autopack.workspace.git import GitWorkspace

    promise = Promise(target=settings.truncation_target, asked=0, missed=0)

    async def ask(about: Features, model: str, limit: int) -> Estimate:
        return budget.estimate(
            about,
            model,
            coefficients=SHIPPED,
            samples=(),
            promise=promise,
            output_limit=limit,
        )

    git = await GitWorkspace.open(workspace)
    run, phases = _as_queued(plan, Clock().now())
    subject = _Subject(
        run=run, phases=phases, base=await _base_of(git, run), ask=ask, unseen=_database_file(),
        basis="by the estimator as it ships: no database was looked at, so no daily cap either",
    )  # fmt: skip
    return await _fly(subject, git, settings)


async def _of_run(
    run_id: str, settings: "Settings", workspace: Path, connection: "Connection"
) -> "Preflight":
    from autopack.bootstrap import open_client
    from autopack.domain.estimate import Estimate, Features
    from autopack.workspace.git import GitWorkspace

    if connection.api_url is not None:
        connection = replace(connection, choice=None)  # to compare identities writes into the database
    async with open_client(connection, settings) as client:

        async def ask(about: Features, model: str, limit: int) -> Estimate:
            return await client.estimate(about, model, output_limit=limit, target=settings.truncation_target)

        run, phases = await client.run(run_id), await client.phases(run_id)
        git = await GitWorkspace.open(workspace)
        subject = _Subject(
            run=run, phases=phases, base=await _base_of(git, run), ask=ask, unseen=await _unseen(client),
            day=await client.daily_caps(), basis="by what earlier calls of this database needed",
        )  # fmt: skip
        return await _fly(subject, git, settings)


async def _unseen(client: "AutopackClient") -> list[Path]:
    queue = await client.connect()
    return [Path(queue["path"])] if queue.get("path") else []


def _database_file() -> list[Path]:
    """That of the queue, which checks must not see although it is not opened here."""
    from contextlib import suppress

    from autopack.db.location import locate
    from autopack.errors import AutopackError
    from autopack.settings import choose_database

    with suppress(AutopackError):
        choice = choose_database(None)
        path = locate(choice.url, choice.directory).path
        return [path] if path is not None and path.exists() else []
    return []


async def _base_of(git: "GitWorkspace", run: "Run") -> str:
    """Where the next attempt would begin; no branch is made for it."""
    from autopack.executor.ground import check_branch

    head = await git.branch_head(run.run_id)
    if run.base_commit is None:
        return head or await git.head_commit()
    if head is None and run.head_commit is None and await git.has_commit(run.base_commit):
        return run.base_commit
    return await check_branch(git, run.run_id, head, run.head_commit or run.base_commit)


def _as_queued(plan: "Plan", now: "datetime") -> "tuple[Run, list[Phase]]":
    """What the database would make of the plan."""
    from autopack.domain.phases import Phase, PhaseState, Run, RunState
    from autopack.domain.plan import content_hash

    run = Run(
        run_id=plan.run_id, goal=plan.goal, state=RunState.QUEUED, plan_hash=content_hash(plan), token_cap=plan.token_cap,
        cost_cap_usd=plan.cost_cap_usd, max_duration_minutes=plan.max_duration_minutes, max_phases=plan.max_phases, created_at=now,
    )  # fmt: skip
    phases = [
        Phase(
            run_id=plan.run_id, phase_id=each.phase_id, tier_id=plan.tiers[position].tier_id, tier_index=position,
            phase_index=number, name=each.name, goal=each.goal, task_category=each.task_category, complexity=each.complexity,
            state=PhaseState.QUEUED, priority=each.priority, risk=each.risk, scope=each.scope, depends_on=each.depends_on,
            max_attempts=each.max_attempts, created_at=now, updated_at=now,
        )
        for number, (position, each) in enumerate(plan.phases())
    ]  # fmt: skip
    return run, phases


async def _fly(subject: _Subject, git: "GitWorkspace", settings: "Settings") -> "Preflight":
    from contextlib import AsyncExitStack

    from anyio import to_thread

    from autopack.errors import ModelNotReady
    from autopack.executor.ground import read_ground
    from autopack.executor.preflight import Trial, of_error
    from autopack.workspace.checks import open_checks
    from autopack.workspace.sandbox import SandboxMode, open_sandbox
    from autopack.workspace.scratch import sweep_leftovers

    ground = await read_ground(git, subject.base)
    await to_thread.run_sync(sweep_leftovers)
    sandbox = await open_sandbox(SandboxMode(settings.sandbox), subject.unseen)
    found: list[Finding] = []
    async with AsyncExitStack() as stack:
        outlay = None
        try:
            outlay = await _open_purse(stack, subject, git, ground, settings, found)
        except ModelNotReady as error:
            found.append(of_error("model", error, "no phase can be built before that"))
        checks = await stack.enter_async_context(open_checks(git, sandbox))
        trial = Trial(
            run=subject.run, phases=subject.phases, git=git, ground=ground, checks=checks, outlay=outlay,
            report=say, found=found,
        )  # fmt: skip
        return await trial.fly()


async def _open_purse(
    stack: Any,
    subject: _Subject,
    git: "GitWorkspace",
    ground: Any,
    settings: "Settings",
    found: "list[Finding]",
) -> Any:
    """Models are opened as a drain opens them, which needs their names and keys, and asks nobody."""
    from autopack.bootstrap.models import open_models
    from autopack.clock import Clock
    from autopack.domain.edits import Format
    from autopack.domain.messages import ProviderMode
    from autopack.domain.models import load_model_table
    from autopack.domain.preflight import Finding, Level
    from autopack.errors import InvalidInput, WorkspaceRefused
    from autopack.executor.builder import Builder
    from autopack.executor.ground import settings_text
    from autopack.executor.outlay import Purse

    try:
        table = load_model_table(await settings_text(git, ground.entries))
    except InvalidInput as error:
        raise WorkspaceRefused(f"at {ground.base[:12]}: {error}") from error
    models = await stack.enter_async_context(open_models(settings, table, run=subject.run, note=say))
    replayed = models.builder.provider_mode is ProviderMode.REPLAY
    text = (
        "no model is configured: recorded answers are replayed"
        if settings.model is None
        else models.builder.model
    )
    found.append(
        Finding(
            level=Level.NOTE if replayed else Level.OK, about="model", text=text,
            do="set AUTOPACK_MODEL to have phases really built" if replayed else "",
        )
    )  # fmt: skip
    builder = Builder(
        llm=models.builder, git=git, format_for=lambda model: Format(table.format_for(model)),
        output_limit_for=lambda model: table.output_limit_for(model) or settings.output_limit,
    )  # fmt: skip
    purse = Purse(
        run=subject.run, ground=ground, builder=builder, auditor=models.auditor, choose=models.choose, prices=models.prices,
        ask=subject.ask, now=Clock().now(), basis=subject.basis, day=subject.day,
    )  # fmt: skip
    return purse.outlay


def _as_record(found: "Preflight") -> dict[str, Any]:
    return {
        "ready": found.ready, "run_id": found.run_id, "base_commit": found.base_commit, "sandbox": found.sandbox,
        "graph": asdict(found.graph), "checks": [asdict(each) for each in found.checks],
        "estimate": None if found.outlay is None else asdict(found.outlay),
        "findings": [asdict(each) for each in found.findings],
    }  # fmt: skip


def _tell(found: "Preflight") -> None:
    from collections import Counter

    from autopack.domain.looks.words import count

    graph = found.graph
    result(
        f"run {found.run_id} on {found.base_commit[:12]}: {count(graph.phases, 'phase')} in {count(graph.tiers, 'tier')}; up to {graph.at_once} at "
        f"once, {len(graph.longest_chain)} in the longest chain"
    )
    for each in found.findings:
        about = f" [{_few(each.phases)}]" if each.phases else ""
        result(
            f"{each.level:<8} {each.about}: {each.text}{about}"
            + (f"\n         -> {each.do}" if each.do else "")
        )
    counts = Counter(each.level for each in found.findings if each.level != "ok")
    told = ", ".join(f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts.items())
    result(f"{'ready' if found.ready else 'not ready'}: {told or 'nothing to say'}")


def _few(phases: Sequence[str]) -> str:
    more = f" and {len(phases) - 6} more" if len(phases) > 6 else ""
    return ", ".join(phases[:6]) + more
