"""Commands about runs."""

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopack.cli.common import ApiUrl, By, DatabaseUrl, Json, body_of, result, result_json, with_client
from autopack.cli.tables import phase_table, run_line

if TYPE_CHECKING:
    from autopack.client import AutopackClient
    from autopack.domain.phases import Run
    from autopack.schemas import PlanBody

app = typer.Typer(help="Runs: create, list, show, pause, resume, cancel.", no_args_is_help=True)
RunArgument = Annotated[str, typer.Argument(help="The run.")]
MAX_PLAN_BYTES = 1024 * 1024
TELEMETRY_RUN = "telemetry-collection-v4"


@app.command("create")
def create(
    plan: Annotated[Path, typer.Argument(help="The plan: YAML or JSON.")],
    api_url: ApiUrl = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Create a run from a plan. The same plan twice is no error; another one under the same run_id is."""
    _create(read_plan(plan), api_url, database_url, as_json)


def read_plan(path: Path) -> "PlanBody":
    """Raises UsageError naming what is wrong, and where in the file."""
    from autopack.errors import UsageError

    try:
        with path.open("rb") as file:
            content = file.read(MAX_PLAN_BYTES + 1)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"there is no plan {path}") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a directory; name the plan's file") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_PLAN_BYTES:
        raise UsageError(f"{path} is larger than {MAX_PLAN_BYTES} bytes; split it into several runs")
    return parse_plan(text, str(path))


def parse_plan(text: str, name: str) -> "PlanBody":
    import yaml
    from pydantic import ValidationError

    from autopack.cli.yaml_plan import load_strict
    from autopack.errors import UsageError
    from autopack.schemas import PlanBody, validation_detail

    try:
        value = load_strict(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"{name} is not YAML or JSON: {error}") from None
    if not isinstance(value, dict):
        raise UsageError(
            f"{name} holds no plan: at the top there must be `autopack: 1`, `run_id` and `tiers`"
        )
    try:
        return PlanBody.model_validate(value)
    except ValidationError as error:
        raise UsageError(f"{name}: {validation_detail(error.errors(include_input=False))}") from None


def _create(plan: "PlanBody", api_url: str | None, database_url: str | None, as_json: bool) -> None:
    async def do(client: "AutopackClient") -> tuple["Run", bool]:
        return await client.create_run(plan)

    run, made = with_client(api_url, database_url, do)
    if as_json:
        result_json({"created": made, "run": run})
        return
    count = sum(run.phase_counts.values())
    result(f"run {run.run_id} {'created' if made else 'is already there'}: {count} phases ({run_line(run)})")


def seed_telemetry(
    run_id: Annotated[str, typer.Option("--run-id", help="The run to create.")] = TELEMETRY_RUN,
    api_url: ApiUrl = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Seed the telemetry collection run: one tier, ten phases under examples/telemetry_utils/."""
    _create(telemetry_plan(run_id), api_url, database_url, as_json)


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
def list_runs(api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False) -> None:
    """List the runs."""

    async def do(client: "AutopackClient") -> list["Run"]:
        found = await client.runs()
        while found and (more := await client.runs(after=found[-1].run_id)):
            found += more
        return [await client.run(run.run_id) for run in found]

    found = with_client(api_url, database_url, do)
    if as_json:
        result_json(found)
        return
    for run in found:
        result(f"{run.run_id}  {run_line(run)}")
    if not found:
        result("no runs")


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
    run_id: RunArgument, by: By = "a person", reason: str | None = None,
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Claim no more phases of the run; what is executing ends as it would."""
    from autopack.schemas import ActorBody

    _change(run_id, "pause", body_of(ActorBody, by=by, reason=reason), api_url, database_url, as_json)


@app.command("resume")
def resume(
    run_id: RunArgument, by: By = "a person",
    token_cap: Annotated[int | None, typer.Option(min=1, help="Replaces the run's cap.")] = None,
    cost_cap_usd: Annotated[float | None, typer.Option(min=0.000001, help="Replaces the run's cap.")] = None,
    max_duration_minutes: Annotated[int | None, typer.Option(min=1, help="Replaces the run's cap.")] = None,
    max_phases: Annotated[int | None, typer.Option(min=1, help="Replaces the run's cap.")] = None,
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Go on with a paused run, with higher caps if need be."""
    from autopack.schemas import ResumeBody

    body = body_of(ResumeBody, by=by, token_cap=token_cap, cost_cap_usd=cost_cap_usd, max_duration_minutes=max_duration_minutes, max_phases=max_phases
    )  # fmt: skip
    _change(run_id, "resume", body, api_url, database_url, as_json)


@app.command("cancel")
def cancel(
    run_id: RunArgument, by: By = "a person", reason: str | None = None,
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Cancel the run: what is queued is cancelled now, what is executing at its next renewal."""
    from autopack.schemas import ActorBody

    _change(run_id, "cancel", body_of(ActorBody, by=by, reason=reason), api_url, database_url, as_json)
