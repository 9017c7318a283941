"""A backup of the database while others work on it, and its way back."""

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopack.cli.common import By, DatabaseUrl, Json, result, result_json, say

if TYPE_CHECKING:
    from autopack.db.location import Location
    from autopack.db.restore import Restored

_MIGRATE = "it is at revision {}; `autopack migrate` brings it to {} before anything else can use it"


def backup(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The file, or a directory for it (default: beside the database)."
        ),
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Copy the database while others work on it: whole, looked through, and readable by its owner only.

    Writers wait while it is read. An existing file is never overwritten. PostgreSQL has pg_dump for this: the command is
    printed instead, and the exit code is 3.
    """
    from autopack.clock import utc_now
    from autopack.db.backup import beside, copy_whole, dump_command, read_copy
    from autopack.db.identity import check_sqlite_file
    from autopack.errors import NotReady

    location = _named(database_url)
    if location.path is None:
        command = dump_command(location, output)
        raise NotReady(
            f"a PostgreSQL database is backed up by its own tool; nothing was done. Run:\n  {command}"
        )
    check_sqlite_file(location, read_only=True)
    target = beside(location.path, at=utc_now())
    if output is not None:
        target = output.absolute() / target.name if output.is_dir() else output.absolute()
    copy_whole(location.path, target)
    found = read_copy(target)
    if as_json:
        result_json({"database": location.masked, **vars(found)})
        return
    result(f"backup: {found.path}")
    result(f"  {found.bytes} bytes, {_count(sum(found.rows.values()), 'row')} in {len(found.rows)} tables")
    result(f"  database {found.database_id}, epoch {found.epoch}, revision {found.revision}")


def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="A file that `autopack backup` or `autopack migrate` made.")],
    to: Annotated[
        str | None,
        typer.Option("--to", "--database-url", help="sqlite:///FILE to make (default: the database in use)."),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Keep a database that is there as NAME.before-restore-TIME.db, and take its place."),
    ] = False,
    by: By = "a person",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Put a backup in the database's place. One that is there needs --replace, is kept, and must not be in use.

    What was done since the backup was made is not in it: its phases are drained, and paid for, again. Drains that were
    connected before notice, and do nothing more.
    """
    from autopack.clock import utc_now
    from autopack.db.backup import restore_commands
    from autopack.db.restore import restore as run_restore
    from autopack.errors import NotReady

    location = _named(to)
    if location.path is None:
        commands = "\n  ".join(restore_commands(location, source))
        raise NotReady(
            f"a PostgreSQL database is restored by its own tools; nothing was done. Stop all that uses it, and run:\n  {commands}"
        )
    actor = f"{by} ({socket.gethostname()} autopack restore)"
    done = run_restore(source.absolute(), location, replace=replace, actor=actor, now=utc_now())
    if as_json:
        result_json(_record(location, done))
    else:
        _tell(done)


def _named(url: str | None) -> "Location":
    from autopack.db.location import locate
    from autopack.settings import choose_database

    choice = choose_database(url)
    location = locate(choice.url, choice.directory)
    say(f"database: {location.masked} ({choice.rule})")
    for other in choice.overruled if url is None else ():
        say(f"  note: {other}")
    return location


def _record(location: "Location", done: "Restored") -> dict[str, Any]:
    return {
        "database": location.masked, **vars(done.database), "backup": done.backup, "epoch_before": done.epoch_before,
        "attempts_given_back": done.given_back, "kept": done.kept, "needs_migration": _is_behind(done),
    }  # fmt: skip


def _tell(done: "Restored") -> None:
    from autopack.db.tables import REVISION

    found = done.database
    result(f"restored: {found.path}")
    result(f"  from {done.backup}, {_count(sum(found.rows.values()), 'row')} in {len(found.rows)} tables")
    result(
        f"  database {found.database_id}, epoch {done.epoch_before} -> {found.epoch}, revision {found.revision}"
    )
    if done.given_back:
        result(
            f"  {_count(done.given_back, 'attempt')} under way at the backup: the next drain takes them up"
        )
    if done.kept is not None:
        result(f"  what was there before: {done.kept}")
    if _is_behind(done):
        say(_MIGRATE.format(found.revision, REVISION))


def _is_behind(done: "Restored") -> bool:
    from autopack.db.tables import REVISION

    return done.database.revision != REVISION


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
