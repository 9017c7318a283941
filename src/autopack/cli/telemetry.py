"""What the telemetry tables hold, taken elsewhere: to files, to a collector, to another database."""

import sys
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from autopack.cli.common import ApiUrl, DatabaseUrl, Json, result, result_json, say, with_telemetry_client

if TYPE_CHECKING:
    from autopack.cli.collector import Target
    from autopack.cli.otlp import Sent
    from autopack.client import AutopackClient
    from autopack.domain.telemetry import Selection, TelemetryTable

app = typer.Typer(help="Telemetry: exported, sent to a collector, merged.", no_args_is_help=True)


class Table(StrEnum):
    ESTIMATIONS = "estimations"
    USAGE = "usage"
    ESCALATIONS = "escalations"


class FileFormat(StrEnum):
    NDJSON = "ndjson"
    CSV = "csv"


Moment = "2026-11-01, 2026-11-01T10:00:00Z (UTC where it names no zone), or 24h for a day ago."


@app.command("export")
def export(
    table: Annotated[Table, typer.Option(help="Which rows.")] = Table.ESTIMATIONS,
    format: Annotated[
        FileFormat, typer.Option(help="One JSON object a line, or RFC 4180.")
    ] = FileFormat.NDJSON,
    run_id: Annotated[str | None, typer.Option("--run-id", help="Only of this run.")] = None,
    phase_id: Annotated[str | None, typer.Option("--phase-id", help="Only of this phase.")] = None,
    since: Annotated[str | None, typer.Option(help=f"Made at or after: {Moment}")] = None,
    until: Annotated[str | None, typer.Option(help="Made before; written likewise.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file (default, and -: stdout).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
    api_url: ApiUrl = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Write the rows of a telemetry table, every column, in the order of their ids."""
    from autopack.cli.files import whole_file
    from autopack.domain.looks.words import count
    from autopack.domain.telemetry import TABLES

    chosen, selection = TABLES[table], _selection(run_id, phase_id, since, until)
    named = output is not None and str(output) != "-"
    opened: AbstractContextManager[IO[bytes]] = (
        whole_file(output, overwrite=overwrite) if output and named else nullcontext(sys.stdout.buffer)
    )
    with opened as file:
        rows = with_telemetry_client(
            api_url, database_url, lambda client: _write(client, chosen, selection, format, file)
        )
    say(f"{count(rows, 'row')} of {table} as {format}" + (f" in {output}" if named else ""))


def _selection(run_id: str | None, phase_id: str | None, since: str | None, until: str | None) -> "Selection":
    from autopack.clock import Clock
    from autopack.domain.moments import moment
    from autopack.domain.telemetry import Selection

    now = Clock().now()
    return Selection(
        run_id=run_id, phase_id=phase_id, since=moment("--since", since, now), until=moment("--until", until, now)
    )  # fmt: skip


async def _write(
    client: "AutopackClient", table: "TelemetryTable[Any]", selection: "Selection", format: FileFormat, file: IO[bytes]
) -> int:  # fmt: skip
    """How many rows. In UTF-8, whatever the console writes: this is data."""
    from autopack.domain.exports import csv, csv_header, ndjson

    is_csv = format is FileFormat.CSV
    if is_csv:
        _write_all(file, csv_header(table))
    rows = 0
    async for page in client.telemetry_pages(table, selection):
        _write_all(file, csv(page) if is_csv else ndjson(table, page))
        rows += len(page)
    return rows


def _write_all(file: IO[bytes], text: str) -> None:
    """With PYTHONUNBUFFERED, stdout takes only as much at once as its reader leaves room for."""
    left = memoryview(text.encode())
    while left:
        left = left[file.write(left) :]
    file.flush()


@app.command("otlp")
def otlp(
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="The collector: http://HOST:4318, or the whole address that takes traces "
            "(default: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, else OTEL_EXPORTER_OTLP_ENDPOINT)."
        ),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE, sent with each request; keys better go into OTEL_EXPORTER_OTLP_HEADERS."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Whose progress this is (default: the collector's address).")
    ] = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Send everything again, under the same ids.")
    ] = False,
    batch: Annotated[int, typer.Option(min=1, max=1000, help="Spans in a request.")] = 200,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the requests, one a line; send nothing.")
    ] = False,
    api_url: ApiUrl = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> int:
    """Send the model calls that have ended to an OpenTelemetry collector, each as a span."""
    import os

    from autopack.cli.collector import find_target
    from autopack.cli.otlp import Export, open_collector, send, show
    from autopack.clock import Clock
    from autopack.errors import UsageError

    target = find_target(endpoint, header or [], os.environ)
    if target is None and not dry_run:
        raise UsageError("where to? Give --endpoint, or set OTEL_EXPORTER_OTLP_ENDPOINT")
    export = Export(name=_cursor_name(name, target), batch=batch, from_start=from_start)

    async def do(client: "AutopackClient") -> "Sent":
        if dry_run or target is None:
            return await show(client, export)
        async with open_collector(target, Clock()) as collector:
            return await send(client, collector, export)

    sent = with_telemetry_client(api_url, database_url, do)
    if target is None or dry_run:
        say(f"{sent.spans} spans would be sent, up to row {sent.position}")
        return 0
    _report(sent, target, as_json)
    return 1 if sent.rejected else 0


def _cursor_name(name: str | None, target: "Target | None") -> str:
    from autopack.errors import UsageError

    found = name if name is not None else f"otlp {target.shown}" if target else "otlp"
    if not 1 <= len(found) <= 200:
        raise UsageError("the name of an export has 1 to 200 characters; give a --name")
    return found


def _report(sent: "Sent", target: "Target", as_json: bool) -> None:
    kept = sent.spans - sent.rejected
    if as_json:
        told = {"spans": kept, "rejected": sent.rejected, "position": sent.position}
        result_json({"collector": target.shown, **told})
        return
    result(
        f"{kept} spans sent to {target.shown}, {sent.rejected} thrown away by it; done up to row {sent.position}"
    )
