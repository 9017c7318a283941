"""What any version of the estimator would have budgeted for the calls of the past."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopack.cli.common import (
    ApiUrl,
    DatabaseUrl,
    Json,
    result,
    result_json,
    with_client,
    with_telemetry_client,
)
from autopack.cli.tables import columns

if TYPE_CHECKING:
    from autopack.client import AutopackClient
    from autopack.domain.estimate import Coefficients
    from autopack.domain.observations import Event
    from autopack.domain.replay import Replayed, Tally


def replay_telemetry(
    version: Annotated[
        str | None, typer.Option("--version", help="The estimator's version; default: the one in force.")
    ] = None,
    target: Annotated[
        float | None, typer.Option(min=0.001, max=0.5, help="The rate at which an answer may be cut; default: AUTOPACK_TRUNCATION_TARGET, 0.05."),
    ] = None,
    run_id: Annotated[
        str | None, typer.Option("--run-id", help="Show this run only; all others are learned from all the same.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Show the last so many calls; the figures are of all.")] = 50,
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Show what a version would have budgeted for past calls, next to what was budgeted and used. Changes nothing.

    Budgets are held against AUTOPACK_OUTPUT_LIMIT for every model; [models.output_limit] of a workspace is not read.
    """
    from autopack.domain.observations import observations
    from autopack.domain.replay import replay, tally, tally_as_it_was
    from autopack.settings import load_settings

    settings = load_settings()
    aim = settings.truncation_target if target is None else target
    coefficients = _coefficients(version, api_url, database_url)
    usable, left_out = observations(with_telemetry_client(api_url, database_url, _events))
    found = replay(usable, coefficients, target=aim, output_limit=settings.output_limit)
    shown = [each for each in found if run_id in (None, each.run_id)]
    told: dict[str, Any] = {
        "version": coefficients.version, "target": aim, "run_id": run_id, "would_be": tally(shown),
        "was": tally_as_it_was(shown), "left_out": dict(sorted(left_out.items())), "calls": shown[max(0, len(shown) - limit) :],
    }  # fmt: skip
    if as_json:
        result_json(told)
        return
    _tell(told)


def _coefficients(version: str | None, api_url: str | None, database_url: str | None) -> "Coefficients":
    """Versions belong to the queue's database, wherever the events are."""
    from autopack.errors import NotFound

    async def do(client: "AutopackClient") -> "Coefficients":
        for known in await client.estimator_versions():
            if known.version == version or (version is None and known.is_active):
                return known.coefficients
        raise NotFound(
            f"there is no estimator version {version}; `autopack estimator list` shows those there are"
        )

    return with_client(api_url, database_url, do)


async def _events(client: "AutopackClient") -> "list[Event]":
    from autopack.domain.replay import event_of
    from autopack.domain.telemetry import ESTIMATIONS, Selection

    rows = [row async for page in client.telemetry_pages(ESTIMATIONS, Selection()) for row in page]
    # Rows that were merged have later numbers than those that were here, and may be older.
    return [event_of(row) for row in sorted(rows, key=lambda row: (row.timestamp, row.event_id))]


def _tell(told: dict[str, Any]) -> None:
    result(
        f"version {told['version']}, target {told['target']:.1%}"
        + (f", run {told['run_id']}" if told["run_id"] else "")
    )
    if told["calls"]:
        head = ("run", "phase", "base", "times", "would be", "from", "cut", "was", "cut", "used")
        result(columns([head, *(_cells(each) for each in told["calls"])]))
    for name, words in (("would_be", "would have been"), ("was", "as it was")):
        result(f"{words}: {_figures(told[name])}")
    left_out = ", ".join(f"{count} {reason}" for reason, count in told["left_out"].items())
    result(f"left out: {left_out or 'nothing'}")


def _cells(each: "Replayed") -> tuple[str, ...]:
    words = {True: "yes", False: "no", None: "split" if each.decision == "split" else "?"}
    return (
        each.run_id, each.phase_id, f"{each.base_output_tokens:.0f}", f"{each.multiplier:.2f}", str(each.budget),
        each.budget_source, words[each.would_be_cut], str(each.was_budget), words[each.was_cut],
        f"{'over ' if each.is_at_least else ''}{each.actual_output_tokens}",
    )  # fmt: skip


def _figures(found: "Tally") -> str:
    from autopack.domain.looks.words import count

    if found.rate is None or found.waste is None:
        return f"{count(found.calls, 'call')}, of none of which it is known whether the answer would have been cut"
    return (
        f"{found.cut} of {found.decided} answers cut, {found.rate:.1%} ({found.low:.1%} to {found.high:.1%} with 95 % "
        f"confidence), waste {found.waste:.2f}; of {count(found.calls, 'call')} {found.prior} by the prior, {found.split} to be split, "
        f"{found.calls - found.split - found.decided} unknown"
    )
