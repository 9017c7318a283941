"""Commands about the estimator: calibrate it on what calls needed, list its versions, go back to one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    with_telemetry_client,
)

if TYPE_CHECKING:
    from autopack.client import AutopackClient
    from autopack.domain.calibrate import Calibration
    from autopack.domain.estimators import EstimatorVersion

app = typer.Typer(help="Versions of the estimator: list, activate.", no_args_is_help=True)


def calibrate(
    target: Annotated[
        float | None, typer.Option(min=0.001, max=0.5, help="The rate at which an answer may be cut; default: AUTOPACK_TRUNCATION_TARGET, 0.05."),
    ] = None,
    min_samples: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="A coefficient that fewer events speak for stays as it is.")
    ] = 20,
    output_dir: Annotated[
        Path | None, typer.Option(help="Write the report there as Markdown and as JSON; made if it is missing.")
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Put what is proposed in force, if the back-test accepts it.")
    ] = False,
    by: By = "a person", reason: Reason = None,
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> int:  # fmt: skip
    """Propose coefficients from what calls really needed, and back-test them. Changes nothing without --apply.

    With --apply the exit code is 1 where nothing could be put in force.
    """
    from autopack.domain.calibrate import Decision
    from autopack.domain.calibration_report import as_json as report_of

    found = _found(target, min_samples, api_url, database_url)
    files = [] if output_dir is None else _write(found, output_dir)
    applied = None
    if apply and found.decision is Decision.ACCEPTED:
        applied = _apply(found, by, reason, api_url, database_url)
    if as_json:
        result_json({"report": report_of(found), "files": [str(file) for file in files], "applied": applied})
    else:
        _tell(found, files, applied)
    if apply and applied is None:
        say(f"nothing was applied: {' '.join(found.reasons)}")
    return int(apply and found.decision not in (Decision.ACCEPTED, Decision.NOTHING_NEW))


def _found(
    target: float | None, min_samples: int, api_url: str | None, database_url: str | None
) -> "Calibration":
    """From the events of the telemetry database, where there is one, and the version that is in force in the queue's."""
    from autopack.settings import load_settings

    aim = load_settings().truncation_target if target is None else target

    async def in_force(client: "AutopackClient") -> "EstimatorVersion":
        return next(version for version in await client.estimator_versions() if version.is_active)

    present = with_client(api_url, database_url, in_force)

    async def do(client: "AutopackClient") -> "Calibration":
        return await client.calibrate(target=aim, min_samples=min_samples, present=present)

    return with_telemetry_client(api_url, database_url, do)


def _apply(
    found: "Calibration", by: str, reason: str | None, api_url: str | None, database_url: str | None
) -> "EstimatorVersion":
    from autopack.domain.calibration_report import metrics
    from autopack.domain.estimators import NewVersion

    assert found.coefficients is not None
    new = NewVersion(
        parent=found.present_version, coefficients=found.coefficients, data_hash=found.data_hash,
        metrics=metrics(found),
    )  # fmt: skip

    async def do(client: "AutopackClient") -> "EstimatorVersion":
        return (await client.add_estimator_version(new, by=by, reason=reason))[0]

    return with_client(api_url, database_url, do)


def _write(found: "Calibration", directory: Path) -> list[Path]:
    """Two files, named after what they hold: the same calibration again writes the same ones."""
    from autopack.cli.files import whole_file
    from autopack.domain.calibration_report import file_name, json_text, markdown
    from autopack.errors import UsageError

    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output-dir {directory} cannot be made or used: {error.strerror}") from None
    files = []
    for suffix, text in ((".md", markdown(found)), (".json", json_text(found))):
        path = directory / f"{file_name(found)}{suffix}"
        with whole_file(path, overwrite=True, option="--output-dir") as file:
            file.write(text.encode())
        files.append(path)
    return files


def _tell(found: "Calibration", files: list[Path], applied: "EstimatorVersion | None") -> None:
    """The whole report, or where it lies."""
    from autopack.domain.calibration_report import markdown, summary

    result((summary(found) if files else markdown(found)).rstrip())
    for file in files:
        result(f"report: {file}")
    if applied is not None:
        result(f"{applied.version} is in force; `autopack estimator activate {applied.parent}` goes back")


@app.command("list")
def list_versions(api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False) -> None:
    """List the versions, and which one is in force."""

    async def do(client: "AutopackClient") -> "list[EstimatorVersion]":
        return await client.estimator_versions()

    found = with_client(api_url, database_url, do)
    if as_json:
        result_json(found)
        return
    for each in found:
        result(_line(each))


def _line(version: "EstimatorVersion") -> str:
    since = f"{version.created_at:%Y-%m-%d %H:%M} UTC" if version.created_at else "ships with Autopack"
    parent = f", from {version.parent}" if version.parent else ""
    data = f", data {version.data_hash[:16]}" if version.data_hash else ""
    return f"{'*' if version.is_active else ' '} {version.version}  {since}{parent}{data}"


@app.command("activate")
def activate(
    name: Annotated[str, typer.Argument(help="The version, as `autopack estimator list` shows it.")],
    by: By = "a person", reason: Reason = None,
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Put a version in force, or back in force, by its name. Budgets are made with it from the next call on."""

    async def do(client: "AutopackClient") -> "EstimatorVersion":
        return await client.activate_estimator(name, by=by, reason=reason)

    version = with_client(api_url, database_url, do)
    result_json(version) if as_json else result(f"{version.version} is in force")
