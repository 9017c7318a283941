"""Commands about what model calls used: totals, and the caps on a day."""

from collections.abc import Sequence
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
    with_client,
    with_telemetry_client,
)
from autopack.cli.values import number_or_none
from autopack.domain.usage import Grouping

if TYPE_CHECKING:
    from autopack.client import AutopackClient
    from autopack.domain.caps import DailyAccount
    from autopack.domain.usage import UsageReport, UsageTotal

app = typer.Typer(help="The caps on a day (UTC) of all runs together.", no_args_is_help=True)
_HEAD = ("mode", "calls", "no answer", "under way", "input", "cached", "output", "reasoning", "total", "USD")


def usage(
    by: Annotated[Grouping, typer.Option("--by", help="What each line is of.")] = Grouping.RUN,
    run_id: Annotated[str | None, typer.Option("--run-id", help="Only of this run.")] = None,
    phase_id: Annotated[str | None, typer.Option("--phase-id", help="Only of this phase.")] = None,
    role: Annotated[str | None, typer.Option("--role", help="Only of this role: builder, auditor.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only of this model.")] = None,
    since: Annotated[str | None, typer.Option(help="From this day or moment (UTC), or 24h, 7d ago.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this day or moment (UTC).")] = None,
    telemetry: Annotated[
        bool, typer.Option("--telemetry", help="Of the telemetry database instead of the queue's.")
    ] = False,
    api_url: ApiUrl = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Tokens and money of model calls. What is unknown is said, never counted as 0."""
    from autopack.clock import Clock
    from autopack.domain.moments import moment
    from autopack.domain.usage import UsageSelection

    now = Clock().now()
    selection = UsageSelection(
        run_id=run_id, phase_id=phase_id, role=role, model=model,
        since=moment("--since", since, now), until=moment("--until", until, now),
    )  # fmt: skip

    async def do(client: "AutopackClient") -> "UsageReport":
        return await client.usage(by, selection)

    report = (with_telemetry_client if telemetry else with_client)(api_url, database_url, do)
    if as_json:
        result_json(report)
    else:
        result(usage_table(report) if report.rows else "no model calls")


def usage_table(report: "UsageReport") -> str:
    """One line for each total; what was replayed spent nothing, and has a total of its own."""
    keys = report.by.keys
    rows = [(*keys, *_HEAD)]
    rows += [(*(getattr(each, key) or "unknown" for key in keys), *_cells(each)) for each in report.rows]
    blank = ("",) * (len(keys) - 1)
    rows += [("total", *blank, *_cells(each)) for each in report.totals]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(_aligned(row, widths, len(keys) + 1)).rstrip() for row in rows]
    return "\n".join([*lines, *_notes(report.totals)])


def _aligned(row: Sequence[str], widths: Sequence[int], names: int) -> list[str]:
    """Names to the left, figures to the right."""
    return [
        cell.ljust(width) if column < names else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def _cells(total: "UsageTotal") -> tuple[str, ...]:
    from autopack.domain.money import spelled

    counts = (
        total.input_tokens, total.cache_read_input_tokens, total.output_tokens, total.reasoning_output_tokens,
        total.total_tokens,
    )  # fmt: skip
    cost = total.cost.known_usd
    return (
        total.provider_mode, str(total.calls), str(total.failed + total.abandoned), str(total.reserved),
        *(_figure(None if each.known is None else str(each.known), each.unknown_calls) for each in counts),
        _figure(None if cost is None else spelled(cost), total.cost.unknown_calls),
    )  # fmt: skip


def _figure(known: str | None, unknown_calls: int) -> str:
    if known is None:
        return "unknown"
    return f"{known} + {unknown_calls} unknown" if unknown_calls else known


def _notes(totals: Sequence["UsageTotal"]) -> list[str]:
    """ "+ 2 unknown" is about calls; and where the parts do not add up to the whole."""
    notes = [
        f"{each.tokens_without_split} of the {each.provider_mode} tokens are known as a total only, not as input and output"
        for each in totals
        if each.tokens_without_split
    ]
    if any(each.total_tokens.unknown_calls or each.cost.unknown_calls for each in totals):
        notes.append("unknown: of so many calls nobody knows the figure; they may have been paid")
    return notes


@app.command("show")
def show(api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False) -> None:
    """Show the caps on a day, and what today's live calls took."""

    async def do(client: "AutopackClient") -> "DailyAccount":
        return await client.daily_caps()

    _tell(with_client(api_url, database_url, do), as_json)


@app.command("set")
def set_caps(
    daily_tokens: Annotated[str | None, typer.Option(metavar="N|none", help="Tokens of live calls in a day.")] = None,
    daily_cost_usd: Annotated[str | None, typer.Option(metavar="X|none", help="Their cost in a day.")] = None,
    by: By = "a person",
    reason: Reason = None,
    api_url: ApiUrl = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Set the caps on a day; the one that is not named stays as it is, `none` takes it away."""
    from autopack.errors import UsageError

    if daily_tokens is None and daily_cost_usd is None:
        raise UsageError(
            "name what to set: --daily-tokens N, --daily-cost-usd X, or `none` instead of a number"
        )
    caps: dict[str, float | None] = {}
    if daily_tokens is not None:
        caps["token_cap"] = number_or_none("--daily-tokens", daily_tokens, int)
    if daily_cost_usd is not None:
        caps["cost_cap_usd"] = number_or_none("--daily-cost-usd", daily_cost_usd, float)

    async def do(client: "AutopackClient") -> "DailyAccount":
        return await client.set_daily_caps(by=by, reason=reason, **caps)

    _tell(with_client(api_url, database_url, do), as_json)


def _tell(daily: "DailyAccount", as_json: bool) -> None:
    if as_json:
        result_json(daily)
        return
    from autopack.domain.money import spelled

    account = daily.account
    cost_cap = None if account.cost_cap_usd is None else spelled(account.cost_cap_usd)
    result(f"{daily.day} (UTC), all runs; the day ends at {daily.ends_at:%Y-%m-%d %H:%M} UTC")
    result(_line("tokens", account.tokens_used, account.tokens_reserved, account.token_cap))
    result(_line("USD", spelled(account.cost_usd), spelled(account.cost_reserved_usd), cost_cap))
    if daily.updated_at is not None:
        result(f"set at {daily.updated_at:%Y-%m-%d %H:%M} UTC by {daily.updated_by}")


def _line(unit: str, used: object, reserved: object, cap: object | None) -> str:
    return f"{unit}: {used} used, {reserved} set aside, {'no cap' if cap is None else f'cap {cap}'}"
