"""The main job: drain a run, drain one phase of it, or probe that a phase leaves telemetry behind."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from autopack.cli.common import (
    ApiUrl,
    DatabaseUrl,
    InProcess,
    Json,
    PhaseArgument,
    PhaseId,
    RunArgument,
    RunId,
    Workspace,
    connection_for,
    either,
    result,
    say,
    unread_or_not,
)
from autopack.cli.interrupts import until_interrupted
from autopack.cli.merge import share_run
from autopack.cli.notify import telling
from autopack.cli.records import ended, launched
from autopack.cli.tables import run_line

if TYPE_CHECKING:
    from autopack.bootstrap import Connection
    from autopack.bootstrap.worker import Seat
    from autopack.client import AutopackClient
    from autopack.domain.phases import Run
    from autopack.executor.worker import Drained, Request
    from autopack.schemas.telemetry import TelemetryCounts
    from autopack.settings import Settings


Sandbox = Annotated[
    Literal["require", "best", "limits"] | None,
    typer.Option(help="What checks run in: the best that works here, or not at all below `files` (require)."),
]
DualAuditor = Annotated[
    bool | None,
    typer.Option(
        "--dual-auditor/--no-dual-auditor", help="Ask a second auditor (default: where a phase is risky)."
    ),
]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A drain that has ended: what it did, what the run is now, and the exit code that says so."""

    run: "Run"
    drained: "Drained"
    exit_code: int
    reason: str
    seconds: float


def drain(
    run: RunArgument = None,
    run_id: RunId = None,
    in_process: InProcess = False,
    api_url: ApiUrl = None,
    database_url: DatabaseUrl = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Phases in a batch (default: no limit).")
    ] = None,
    max_batches: Annotated[int | None, typer.Option(min=1, help="End after so many batches.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Phases of one tier at once.")] = 1,
    stop_on_first_failure: Annotated[
        bool, typer.Option("--stop-on-first-failure", help="End when a phase has failed for good.")
    ] = False,
    sandbox: Sandbox = None,
    dual_auditor: DualAuditor = None,
    workspace: Workspace = Path(),
    as_json: Json = False,
) -> int:
    """Drain a run until nothing of it is due, or nothing can move without a person."""
    from autopack.executor.worker import Request

    if max_batches is not None and batch_size is None:
        batch_size = 10
    request = Request(
        run_id=either(run, run_id, "RUN", "--run-id"), batch_size=batch_size, max_batches=max_batches, concurrency=concurrency,
        stop_on_first_failure=stop_on_first_failure,
    )  # fmt: skip
    connection, settings = connection_for(api_url, in_process, database_url)
    return _drain(request, connection, with_flags(settings, sandbox, dual_auditor), workspace, as_json)


def drain_one(
    run: RunArgument = None,
    phase: PhaseArgument = None,
    run_id: RunId = None,
    phase_id: PhaseId = None,
    in_process: InProcess = False,
    api_url: ApiUrl = None,
    database_url: DatabaseUrl = None,
    workspace: Workspace = Path(),
    force: Annotated[
        bool, typer.Option("--force", help="Even when an earlier tier or a dependency is open.")
    ] = False,
    sandbox: Sandbox = None,
    dual_auditor: DualAuditor = None,
    as_json: Json = False,
) -> int:
    """Drain exactly one phase, QUEUED or FAILED, and no other."""
    from autopack.executor.worker import Request

    request = Request(
        run_id=either(run, run_id, "RUN", "--run-id"),
        phase_id=either(phase, phase_id, "PHASE", "--phase-id"),
        force=force,
    )
    connection, settings = connection_for(api_url, in_process, database_url)
    return _drain(request, connection, with_flags(settings, sandbox, dual_auditor), workspace, as_json)


def with_flags(settings: "Settings", sandbox: str | None, dual_auditor: bool | None) -> "Settings":
    """A flag goes before the environment."""
    given = {"sandbox": sandbox, "dual_auditor": dual_auditor}
    return settings.model_copy(update={name: value for name, value in given.items() if value is not None})


def _drain(
    request: "Request", connection: "Connection", settings: "Settings", workspace: Path, as_json: bool
) -> int:
    import anyio

    command = "drain" if request.phase_id is None else "drain-one"
    launched(command, as_json, connection, run_id=request.run_id, phase_id=request.phase_id)
    finished = anyio.run(_connected_drain, connection, settings, workspace, request)
    if as_json:
        ended(command, as_record(finished), finished.exit_code)
    else:
        with unread_or_not():
            result(f"{finished.run.run_id}  {run_line(finished.run)}")
            result(f"ended: {finished.reason}")
    share_run(connection, settings, request.run_id)
    return finished.exit_code


async def _connected_drain(
    connection: "Connection", settings: "Settings", workspace: Path, request: "Request"
) -> Finished:
    from autopack.bootstrap import open_client

    async with open_client(connection, settings) as client:
        return await run_drain(client, settings, workspace, request)


async def run_drain(
    client: "AutopackClient", settings: "Settings", workspace: Path, request: "Request"
) -> Finished:
    """One drain over a client that is open: everything that it uses is made once and reused by every batch."""

    from autopack.bootstrap.worker import open_worker
    from autopack.cli.display import open_display
    from autopack.executor.worker import Drained, one_error

    started = time.monotonic()
    run = await client.run(request.run_id)
    if request.phase_id is not None:
        await client.phase(request.run_id, request.phase_id)
    with one_error():
        async with (
            telling(client, settings) as told,
            open_display(client, run) as show,
            open_worker(client, request.run_id, settings, workspace, report=told.beside(show)) as seat,
        ):
            await told.follow(request.run_id)
            _say_what_works(seat)
            drained = Drained()
            number = await until_interrupted(lambda: seat.worker.drain(request, drained), seat.worker.stop)
            drained.stopped = drained.stopped or seat.worker.stopped
            told.hurried = number is not None
    run = await client.run(request.run_id)
    code, reason = judge(run, drained, request, number)
    return Finished(
        run=run, drained=drained, exit_code=code, reason=reason, seconds=time.monotonic() - started
    )


def _say_what_works(seat: "Seat") -> None:
    from autopack.domain.messages import ProviderMode

    say(
        f"workspace: {seat.git.root} from {seat.base_commit[:12]} (uncommitted changes are not seen, checkouts not touched)"
    )
    say(f"sandbox: {seat.sandbox.level}" + (f"; {seat.sandbox.risks}" if seat.sandbox.risks else ""))
    builder = seat.models.asked_for.last or seat.models.builder  # what a person names for the run goes first
    if builder.provider_mode is ProviderMode.REPLAY:
        say("model: recorded answers, no model is called (set AUTOPACK_MODEL to call one)")
    else:
        say(f"model: {builder.model}, audited by {seat.models.auditor.model}")


def judge(run: "Run", drained: "Drained", request: "Request", number: int | None) -> tuple[int, str]:
    """The exit code of DESIGN section 8, and why the drain ended in words."""
    from autopack.domain.phases import IdleReason, PhaseState

    if number is not None:
        return 128 + number, drained.stopped or "interrupted"
    mine = {phase.phase_id: phase.state for phase in drained.phases.values()}
    failed = (
        PhaseState.FAILED in mine.values()
        if request.phase_id
        else bool(run.phase_counts.get(PhaseState.FAILED))
    )
    if drained.idle is None:
        return int(failed), drained.stopped or "stopped"
    codes = {
        IdleReason.APPROVAL: 5, IdleReason.PAUSED: 5, IdleReason.BUDGET: 6, IdleReason.NOT_BEFORE: 75,
        IdleReason.CANCELLED: 1, IdleReason.FAILED: 1,
    }  # fmt: skip
    code = codes.get(drained.idle.reason, 0)
    return (1 if failed and code in (0, 5) else code), drained.idle.detail


def as_record(finished: Finished) -> dict[str, Any]:
    """What the done record of `--json` holds, with the exit code."""
    return {
        "run": finished.run,
        "reason": finished.reason,
        "batches": finished.drained.batches,
        "attempts": [
            {"phase_id": phase_id, "outcome": outcome} for phase_id, outcome in finished.drained.outcomes
        ],
        "phases": [asdict(phase) for phase in finished.drained.phases.values()],
        "seconds": round(finished.seconds, 3),
    }


def probe(
    run: RunArgument = None,
    phase: PhaseArgument = None,
    run_id: RunId = None,
    phase_id: PhaseId = None,
    in_process: InProcess = False,
    api_url: ApiUrl = None,
    database_url: DatabaseUrl = None,
    workspace: Workspace = Path(),
    as_json: Json = False,
) -> int:
    """Drain one phase and see whether both telemetry tables grew. 0 only if it is COMPLETE and they did."""
    import anyio

    from autopack.executor.worker import Request

    run_id, phase_id = either(run, run_id, "RUN", "--run-id"), either(phase, phase_id, "PHASE", "--phase-id")
    connection, settings = connection_for(api_url, in_process, database_url)
    request = Request(run_id=run_id, phase_id=phase_id)
    launched("probe", as_json, connection, run_id=run_id, phase_id=phase_id)
    finished, before, after = anyio.run(_probed, connection, settings, workspace, request)
    verdict = probe_verdict(finished, phase_id, before, after)
    grown = {name: getattr(after, name) - getattr(before, name) for name in type(after).model_fields}
    code = 0 if verdict == "OK" else 1
    if as_json:
        record = {**as_record(finished), "before": before, "after": after, "grown": grown, "verdict": verdict}
        ended("probe", record, code)
    else:
        with unread_or_not():
            for name, more in grown.items():
                result(f"{name}: {getattr(before, name)} -> {getattr(after, name)} (+{more})")
            result(f"verdict: {verdict}")
    share_run(connection, settings, run_id)
    return code


async def _probed(
    connection: "Connection", settings: "Settings", workspace: Path, request: "Request"
) -> tuple[Finished, "TelemetryCounts", "TelemetryCounts"]:
    from autopack.bootstrap import open_client

    async with open_client(connection, settings) as client:
        before = await client.telemetry(request.run_id)
        finished = await run_drain(client, settings, workspace, request)
        return finished, before, await client.telemetry(request.run_id)


def probe_verdict(
    finished: Finished, phase_id: str, before: "TelemetryCounts", after: "TelemetryCounts"
) -> str:
    phase = finished.drained.phases.get(phase_id)
    if phase is None:
        return f"FAILED: {phase_id} was not drained ({finished.reason})"
    if phase.state != "COMPLETE":
        return f"FAILED: {phase_id} is {phase.state} ({(phase.failure_reason or '').strip().partition(chr(10))[0]})"
    still = [name for name in type(after).model_fields if getattr(after, name) <= getattr(before, name)]
    return f"FAILED: COMPLETE, but no new row in {', '.join(still)}" if still else "OK"
