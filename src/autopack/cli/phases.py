"""Commands about phases."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from autopack.cli.common import (
    ApiUrl,
    By,
    DatabaseUrl,
    Json,
    Reason,
    result,
    result_json,
    say,
    with_client,
)

if TYPE_CHECKING:
    from autopack.client import AutopackClient
    from autopack.domain.control import PhaseActed
    from autopack.domain.phases import Phase
    from autopack.domain.telemetry import UsageEvent

app = typer.Typer(no_args_is_help=True)
RunArgument = Annotated[str, typer.Argument(help="The run.")]
PhaseArgument = Annotated[str, typer.Argument(help="The phase.")]
PhasesArgument = Annotated[list[str] | None, typer.Argument(metavar="PHASE_ID...", help="The phases.")]


@app.command("show")
def show(
    run_id: RunArgument, phase_id: PhaseArgument, api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False
) -> None:  # fmt: skip
    """Show a phase, its attempts with the rules that they broke, and its model calls."""
    from autopack.domain.event_words import plain
    from autopack.domain.looks.words import command
    from autopack.domain.phase_log import fired_rules

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
        for rule in fired_rules(attempt.verdict or {}):
            result(f"    {plain(rule)}")
    for call in calls:
        result(f"  call {_call_line(call)}")
    result(f"more:   {command('phase', 'log', run_id, phase_id)}, or diff instead of log")
    if phase.state in ("QUEUED", "FAILED"):
        result(f"repeat: {command('drain-one', '--run-id', run_id, '--phase-id', phase_id)}")


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


@app.command("requeue")
def requeue(
    run_id: RunArgument,
    phase_ids: PhasesArgument = None,
    failed: Annotated[bool, typer.Option("--failed", help="All FAILED phases of the run.")] = False,
    by: By = "a person", reason: Reason = None,
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> int:  # fmt: skip
    """Put failed, skipped, cancelled or waiting phases back into the queue, with all their attempts.

    Of several, each by itself: exit code 3 where one could not be requeued, and the others are.
    """
    asked = _Asked(run_id=run_id, action="requeue", by=by, reason=reason)
    return _act(asked, phase_ids or [], failed, (api_url, database_url), as_json)


@app.command("skip")
def skip(
    run_id: RunArgument,
    phase_ids: PhasesArgument = None,
    by: By = "a person", reason: Reason = None,
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> int:  # fmt: skip
    """Go on without phases: later tiers and what depends on them are no longer held back.

    Of several, each by itself: exit code 3 where one could not be skipped, and the others are.
    """
    asked = _Asked(run_id=run_id, action="skip", by=by, reason=reason)
    return _act(asked, phase_ids or [], False, (api_url, database_url), as_json)


@app.command("pause-after")
def pause_after(
    run_id: RunArgument,
    phase_id: PhaseArgument,
    off: Annotated[bool, typer.Option("--off", help="Take the wish back.")] = False,
    by: By = "a person", reason: Reason = None,
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Pause the run when this phase has ended, if there is more of it then.

    A phase that waits for approval has not ended. Other phases that are executing at that moment end as they would.
    """

    async def do(client: "AutopackClient") -> "Phase":
        return await client.pause_after(run_id, phase_id, by=by, reason=reason, pause=not off)

    phase = with_client(api_url, database_url, do)
    if as_json:
        result_json(phase)
        return
    how = "pauses" if phase.pause_after else "does not pause"
    result(f"{phase.phase_id}  {phase.state}; the run {how} when it has ended")


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A person's word about phases of a run."""

    run_id: str
    action: Literal["requeue", "skip"]
    by: str
    reason: str | None


def _act(
    asked: _Asked, phase_ids: list[str], failed: bool, place: tuple[str | None, str | None], as_json: bool
) -> int:
    from autopack.errors import UsageError

    if failed and phase_ids:
        raise UsageError("name phases, or --failed for all that failed, not both")
    if not failed and not phase_ids:
        either = " or --failed" if asked.action == "requeue" else ""
        raise UsageError(f"name the phases to {asked.action}{either}")

    async def do(client: "AutopackClient") -> "list[PhaseActed]":
        wanted = await _failed_ones(client, asked.run_id) if failed else phase_ids
        return await client.act_on_phases(
            asked.run_id, wanted, asked.action, by=asked.by, reason=asked.reason
        )

    acted = with_client(*place, do)
    _tell(asked, acted, as_json)
    return 0 if all(each.done for each in acted) else 3


async def _failed_ones(client: "AutopackClient", run_id: str) -> list[str]:
    from autopack.domain.phases import PhaseState

    return [phase.phase_id for phase in await client.phases(run_id, state=PhaseState.FAILED)]


def _tell(asked: _Asked, acted: "list[PhaseActed]", as_json: bool) -> None:
    """One phase that cannot is an error of the command; of several, each is told."""
    from autopack.domain.looks.words import count
    from autopack.errors import Conflict

    done = sum(each.done for each in acted)
    if as_json:
        result_json(acted)
    elif len(acted) == 1 and not done:
        raise Conflict(acted[0].detail or f"phase {acted[0].phase_id} could not be changed")
    else:
        for each in acted:
            result(
                f"{each.phase_id}  {each.state or 'unknown'}" + (f"  {each.detail}" if each.detail else "")
            )
    what = "requeued" if asked.action == "requeue" else "skipped"
    say(
        f"{done} of {count(len(acted), 'phase')} {what}"
        if acted
        else f"no phase of run {asked.run_id} is FAILED"
    )
