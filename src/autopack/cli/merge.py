"""The telemetry database: what other databases hold is merged into it, and a run's rows after each drain."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autopack.cli.common import Json, result, result_json, say, telemetry_choice
from autopack.domain.looks.words import count

if TYPE_CHECKING:
    from autopack.bootstrap import Connection
    from autopack.db.location import Location
    from autopack.db.merge import Merged
    from autopack.settings import Settings


def merge(
    source: Annotated[
        str, typer.Argument(help="The database to read: a SQLite file, or a URL. It is not changed.")
    ],
    into: Annotated[
        str | None,
        typer.Option("--into", help="The database to write to (default: TELEMETRY_DATABASE_URL)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Carry the telemetry of another database into the telemetry database. Twice adds nothing."""
    place, target = _place(source), _target(into)
    say(f"from: {place.masked}")
    say(f"into: {target.masked}")
    merged = _merge(place, target)
    if as_json:
        result_json({"source": place.masked, "target": target.masked, **asdict(merged)})
        return
    for table in merged.tables:
        result(
            f"{table.table}: {table.read} read, {table.added} added, {table.updated} updated, {table.already_there} already there"
        )
    if merged.open_calls:
        result(f"left for a later merge: {count(merged.open_calls, 'call')} not finished")


def _place(named: str) -> "Location":
    from autopack.db.location import locate, located_file
    from autopack.errors import UsageError

    if "://" in named:
        return locate(named, Path.cwd())
    if not named.strip() or "\0" in named:
        raise UsageError("name a database to merge: a SQLite file, or a URL")
    return located_file(Path(named).expanduser())


def _target(into: str | None) -> "Location":
    from autopack.db.location import locate
    from autopack.errors import UsageError

    if into is not None:
        return _place(into)
    choice = telemetry_choice()
    if choice is None:
        raise UsageError(
            "there is nothing to merge into: set TELEMETRY_DATABASE_URL, or name a database with --into URL"
        )
    return locate(choice.url, choice.directory)


def _merge(source: "Location", target: "Location", run_id: str | None = None) -> "Merged":
    from autopack.db.identity import open_database
    from autopack.db.merge import merge as run_merge

    with open_database(source, read_only=True) as origin, open_database(target) as database:
        return run_merge(origin, database, run_id=run_id)


def share_run(connection: "Connection", settings: "Settings", run_id: str) -> None:
    """Merges what a drain in this process left behind, where telemetry has a database of its own.

    A failure is told and hurts nothing: the rows are in the queue's database, and a later merge carries them.
    """
    from autopack.db.location import locate
    from autopack.errors import AutopackError

    queue = connection.choice
    if connection.api_url is not None or queue is None or not settings.telemetry_db_enabled:
        return
    place = locate(queue.url, queue.directory)
    try:
        added = _shared(place, run_id)
    except AutopackError as error:
        say(
            f"telemetry was not merged ({str(error).partition(chr(10))[0]}) and is kept in the queue's database; when "
            f"that is put right, `autopack telemetry merge {place.masked}` carries it over"
        )
        return
    if added is not None:
        say(f"telemetry: {added} new rows merged into the telemetry database")


def _shared(queue: "Location", run_id: str) -> int | None:
    """How many rows are new in the telemetry database; None where there is none."""
    from autopack.db.location import locate
    from autopack.settings import choose_telemetry_database

    choice = choose_telemetry_database()
    if choice is None:
        return None
    target = locate(choice.url, choice.directory)
    return sum(table.added for table in _merge(queue, target, run_id).tables)
