"""Commands about runs."""

from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopack.cli.common import (
    ApiUrl,
    By,
    DatabaseUrl,
    Json,
    Reason,
    body_of,
    result,
    result_json,
    say,
    with_client,
)
from autopack.cli.plans import Format, PlanFile, read_plan
from autopack.cli.tables import phase_table, run_line, run_settings
from autopack.cli.values import NONE, number_or_none

if TYPE_CHECKING:
    from autopack.client import AutopackClient
    from autopack.domain.phases import Run, RunState
    from autopack.schemas import PlanBody

app = typer.Typer(no_args_is_help=True)
RunArgument = Annotated[str, typer.Argument(help="The run.")]
TELEMETRY_RUN = "telemetry-collection-v4"


@app.command("create")
def create(
    plan: PlanFile,
    form: Format = None,
    by: By = "a person",
    api_url: ApiUrl = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Create a run from a plan. The same plan twice is no error; another one under the same run_id is."""
    _create(read_plan(plan, form), by, api_url, database_url, as_json)


def _create(plan: "PlanBody", by: str, api_url: str | None, database_url: str | None, as_json: bool) -> None:
    from autopack.domain.looks.words import count

    async def do(client: "AutopackClient") -> tuple["Run", bool]:
        return await client.create_run(plan, by=by)

    run, made = with_client(api_url, database_url, do)
    if as_json:
        result_json({"created": made, "run": run})
        return
    phases = count(sum(run.phase_counts.values()), "phase")
    result(f"run {run.run_id} {'created' if made else 'is already there'}: {phases} ({run_line(run)})")


def seed_telemetry(
    run_id: Annotated[str, typer.Option("--run-id", help="The run to create.")] = TELEMETRY_RUN,
    by: By = "a person",
    api_url: ApiUrl = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Seed the telemetry collection run: one tier, ten phases under examples/telemetry_utils/."""
    _create(telemetry_plan(run_id), by, api_url, database_url, as_json)


def packaged_plan(name: str, **instead: str) -> "PlanBody":
    """A plan that ships with the package; `instead` takes the place of what it says."""
    import yaml

    from autopack.schemas import PlanBody

    text = (files("autopack") / "data" / name).read_text(encoding="utf-8")
    return PlanBody.model_validate({**yaml.safe_load(text), **instead})


def telemetry_plan(run_id: str) -> "PlanBody":
    from pydantic import ValidationError

    from autopack.errors import UsageError

    try:
        return packaged_plan("telemetry_collection.yaml", run_id=run_id)
    except ValidationError:
        raise UsageError(
            f"--run-id {run_id!r} cannot be a run's id: letters, digits, '.', '_' and '-', at most 128"
        ) from None


@app.command("list")
def list_runs(
    state: Annotated[str | None, typer.Option("--state", help="Only runs in this state: RUNNING, PAUSED, ...")] = None,
    q: Annotated[str | None, typer.Option("--q", help="Only those with this in their id or goal.")] = None,
    api_url: ApiUrl = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """List the runs."""
    wanted = None if state is None else _run_state(state)

    async def do(client: "AutopackClient") -> list["Run"]:
        found = await client.runs(state=wanted, q=q)
        while found and (more := await client.runs(state=wanted, q=q, after=found[-1].run_id)):
            found += more
        return found

    found = with_client(api_url, database_url, do)
    if as_json:
        result_json(found)
        return
    for run in found:
        result(f"{run.run_id}  {run_line(run)}")
    if not found:
        result("no runs" if state is None and q is None else "no such runs")


def _run_state(text: str) -> "RunState":
    from autopack.domain.phases import RunState
    from autopack.errors import UsageError

    try:
        return RunState(text.upper())
    except ValueError:
        raise UsageError(f"--state {text!r} is no state of a run; there are {', '.join(RunState)}") from None


@app.command("show")
def show(
    run_id: RunArgument, api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False
) -> None:
    """Show a run with its phases."""

    async def do(client: "AutopackClient") -> tuple[Any, Any]:
        return await client.run(run_id), await client.phases(run_id)

    run, phases = with_client(api_url, database_url, do)
    if as_json:
        result_json({"run": run, "phases": phases})
        return
    result(f"{run.run_id}  {run_line(run)}")
    if chosen := run_settings(run):
        result(f"  {chosen}")
    result(phase_table(phases))


def _change(
    run_id: str, action: str, body: Any, api_url: str | None, database_url: str | None, as_json: bool
) -> None:
    async def do(client: "AutopackClient") -> "Run":
        return await client.change_run(run_id, action, body)

    run = with_client(api_url, database_url, do)
    result_json(run) if as_json else result(f"{run.run_id}  {run_line(run)}")


@app.command("pause")
def pause(
    run_id: RunArgument, by: By = "a person", reason: Reason = None,
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Claim no more phases of the run; what is executing ends as it would."""
    from autopack.schemas import ActorBody

    _change(run_id, "pause", body_of(ActorBody, by=by, reason=reason), api_url, database_url, as_json)


@app.command("resume")
def resume(
    run_id: RunArgument, by: By = "a person", reason: Reason = None,
    token_cap: Annotated[int | None, typer.Option(min=1, help="Replaces the run's cap.")] = None,
    cost_cap_usd: Annotated[float | None, typer.Option(min=0.000001, help="Replaces the run's cap.")] = None,
    max_duration_minutes: Annotated[int | None, typer.Option(min=1, help="Replaces the run's cap.")] = None,
    max_phases: Annotated[int | None, typer.Option(min=1, help="Replaces the run's cap.")] = None,
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Go on with a paused run, with higher caps if need be."""
    from autopack.schemas import ResumeBody

    body = body_of(
        ResumeBody, by=by, reason=reason, token_cap=token_cap, cost_cap_usd=cost_cap_usd,
        max_duration_minutes=max_duration_minutes, max_phases=max_phases,
    )  # fmt: skip
    _change(run_id, "resume", body, api_url, database_url, as_json)


@app.command("cancel")
def cancel(
    run_id: RunArgument, by: By = "a person", reason: Reason = None,
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Cancel the run: what is queued is cancelled now, what is executing within two seconds."""
    from autopack.schemas import ActorBody

    _change(run_id, "cancel", body_of(ActorBody, by=by, reason=reason), api_url, database_url, as_json)


@app.command("set")
def set_settings(
    run_id: RunArgument,
    token_cap: Annotated[str | None, typer.Option(metavar="N|none", help="Tokens that the run may use.")] = None,
    cost_cap_usd: Annotated[str | None, typer.Option(metavar="X|none", help="What its calls may cost.")] = None,
    max_duration_minutes: Annotated[
        str | None, typer.Option(metavar="N|none", help="Minutes from its first claim on.")
    ] = None,
    max_phases: Annotated[str | None, typer.Option(metavar="N|none", help="Phases that may be started.")] = None,
    concurrency: Annotated[
        str | None, typer.Option(metavar="N|none", help="Phases at once in each drain, instead of the drain's flag; at most 256.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="PROVIDER:NAME|none", help="The builder: openai:NAME or anthropic:NAME.")
    ] = None,
    by: By = "a person", reason: Reason = None,
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Change a run while it is drained, here or elsewhere: caps, concurrency, model. `none` takes one away.

    What is not named stays. It holds from the next claim and the next model call on.
    """
    from autopack.domain.control import remarks
    from autopack.schemas.control import RunChangesBody

    texts = {
        "token_cap": (token_cap, int), "cost_cap_usd": (cost_cap_usd, float), "max_phases": (max_phases, int),
        "max_duration_minutes": (max_duration_minutes, int), "concurrency": (concurrency, int),
    }  # fmt: skip
    wanted: dict[str, Any] = {
        name: number_or_none(f"--{name.replace('_', '-')}", text, kind)
        for name, (text, kind) in texts.items()
        if text is not None
    }
    if model is not None:
        wanted["builder_model"] = _model_or_none(model)
    _name_one(wanted)
    body = body_of(RunChangesBody, by=by, reason=reason, **wanted)

    async def do(client: "AutopackClient") -> "Run":
        return await client.change_run_settings(run_id, by=body.by, reason=body.reason, **body.changes)

    run = with_client(api_url, database_url, do)
    for remark in remarks(run, wanted.keys()):
        say(f"note: {remark}")
    if as_json:
        result_json(run)
        return
    for name in wanted:
        value = getattr(run, name)
        result(f"{run.run_id}  {name}: {NONE if value is None else value}")
    result(f"{run.run_id}  {run_line(run)}")


def _name_one(wanted: dict[str, Any]) -> None:
    from autopack.errors import UsageError

    if not wanted:
        raise UsageError(
            "name what to set: --token-cap, --cost-cap-usd, --max-duration-minutes, --max-phases, --concurrency or --model"
        )


def _model_or_none(text: str) -> str | None:
    import re

    from autopack.domain.models import NAME_PATTERN
    from autopack.errors import UsageError

    if text == NONE:
        return None
    if not re.fullmatch(NAME_PATTERN, text):
        raise UsageError(f"--model {text!r} names no model; write openai:NAME or anthropic:NAME, or `{NONE}`")
    return text
