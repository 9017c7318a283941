"""Commands about phases."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopack.cli.common import ApiUrl, By, DatabaseUrl, Json, body_of, result, result_json, with_client

if TYPE_CHECKING:
    from autopack.client import AutopackClient
    from autopack.domain.phases import Phase
    from autopack.domain.telemetry import UsageEvent

app = typer.Typer(help="Phases: show, requeue, skip.", no_args_is_help=True)
RunArgument = Annotated[str, typer.Argument(help="The run.")]
PhaseArgument = Annotated[str, typer.Argument(help="The phase.")]


@app.command("show")
def show(
    run_id: RunArgument, phase_id: PhaseArgument, api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False
) -> None:  # fmt: skip
    """Show a phase, its attempts and its model calls."""

    async def do(client: "AutopackClient") -> tuple[Any, Any, Any]:
        phase = await client.phase(run_id, phase_id)
        return phase, await client.attempts(run_id, phase_id), await client.calls(run_id, phase_id)

    phase, attempts, calls = with_client(api_url, database_url, do)
    if as_json:
        result_json({"phase": phase, "attempts": attempts, "calls": calls})
        return
    result(f"{phase.phase_id}  {phase.state}  {phase.name}  ({phase.task_category}, {phase.complexity})")
    for attempt in attempts:
        reason = f"  {attempt.failure_kind}: {attempt.reason}" if attempt.failure_kind else ""
        result(
            f"  attempt {attempt.number}: {attempt.outcome or 'EXECUTING'}  {attempt.result_commit or ''}{reason}"
        )
    for call in calls:
        result(f"  call {_call_line(call)}")


def _call_line(call: "UsageEvent") -> str:
    """A call that was made here has a number and a maximum; one of another database may know its total alone."""
    number = f" {call.ask}" if call.ask is not None else ""
    most = f" of {call.request_max_tokens}" if call.request_max_tokens is not None else ""
    ended = ", ".join(filter(None, [f"{_tokens(call)}{most}", call.finish_reason or call.error]))
    return f"{call.role}{number}: {call.status}, {ended}"


def _tokens(call: "UsageEvent") -> str:
    if call.input_tokens is not None:
        return f"{call.input_tokens} in, {call.output_tokens} out"
    return "usage unknown" if call.total_tokens is None else f"{call.total_tokens} in and out"


def _change(
    run_id: str,
    phase_id: str,
    action: str,
    by: str,
    api_url: str | None,
    database_url: str | None,
    as_json: bool,
) -> None:
    from autopack.schemas import ActorBody

    async def do(client: "AutopackClient") -> "Phase":
        return await client.change_phase(run_id, phase_id, action, body_of(ActorBody, by=by))

    phase = with_client(api_url, database_url, do)
    result_json(phase) if as_json else result(f"{phase.phase_id}  {phase.state}")


@app.command("requeue")
def requeue(
    run_id: RunArgument, phase_id: PhaseArgument, by: By = "a person",
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Put a failed, skipped, cancelled or waiting phase back into the queue, with all its attempts."""
    _change(run_id, phase_id, "requeue", by, api_url, database_url, as_json)


@app.command("skip")
def skip(
    run_id: RunArgument, phase_id: PhaseArgument, by: By = "a person",
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Go on without a phase: later tiers and what depends on it are no longer held back."""
    _change(run_id, phase_id, "skip", by, api_url, database_url, as_json)
