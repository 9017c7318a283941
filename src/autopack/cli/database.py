"""Commands about the database: migrate, identity, doctor."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopack.cli.common import ApiUrl, DatabaseUrl, Json, Workspace, check_address, result, result_json, say

if TYPE_CHECKING:
    from autopack.db.identity import Identity
    from autopack.db.location import Location
    from autopack.db.migrate import Migrated
    from autopack.domain.doctor import Finding

_MARKS = {"ok": "ok  ", "note": "note", "bad": "BAD "}


def migrate(
    database_url: DatabaseUrl = None,
    adopt: Annotated[
        Path | None,
        typer.Option("--adopt", help="Carry this database of the earlier Autopack into a copy beside it."),
    ] = None,
    into: Annotated[
        Path | None, typer.Option("--into", help="Name the copy (default: NAME.adopted.db).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring the database to this version's schema; make it if it is missing. A backup is made first.

    A database of the earlier Autopack is never changed: its rows are carried into a copy beside it.
    """
    from autopack.cli.adopt import adopt_file
    from autopack.clock import utc_now
    from autopack.db.adopt.source import looks_earlier
    from autopack.db.location import locate
    from autopack.db.migrate import migrate as run_migrations
    from autopack.settings import choose_database

    if adopt is not None or into is not None:
        _adopt(adopt, into, database_url, as_json=as_json)
        return
    choice = choose_database(database_url)
    location = locate(choice.url, choice.directory)
    say(f"database: {location.masked} ({choice.rule})")
    for other in choice.overruled:
        say(f"  note: {other}")
    if location.path is not None and looks_earlier(location.path):
        adopt_file(location.path, None, as_json=as_json)
        return
    beside = _telemetry_beside(location, database_url)
    done = run_migrations(location, now=utc_now)
    if not as_json:
        _tell(done)
    telemetry = run_migrations(beside, now=utc_now) if beside is not None else None
    if as_json:
        result_json(_record(done) | ({"telemetry": _record(telemetry)} if telemetry is not None else {}))
    elif telemetry is not None:
        _tell(telemetry, "telemetry: ")


def _adopt(original: Path | None, into: Path | None, database_url: str | None, *, as_json: bool) -> None:
    from autopack.cli.adopt import adopt_file
    from autopack.errors import UsageError

    if original is None:
        raise UsageError("--into names the copy that --adopt FILE makes: name that FILE as well")
    if database_url is not None:
        raise UsageError("--adopt and --database-url exclude each other: --adopt makes a database of its own")
    adopt_file(original, into, as_json=as_json)


def _telemetry_beside(queue: "Location", database_url: str | None) -> "Location | None":
    """The telemetry database, which is migrated as well, unless the caller named that very one."""
    from autopack.db.apart import refuse_not_apart
    from autopack.db.location import locate
    from autopack.settings import choose_telemetry_database

    choice = choose_telemetry_database()
    if choice is None:
        return None
    location = locate(choice.url, choice.directory)
    if database_url is not None and location.url == queue.url:
        return None
    refuse_not_apart(queue, location)
    say(f"telemetry database: {location.masked} ({choice.rule})")
    return location


def _record(done: "Migrated") -> dict[str, Any]:
    return {"url": done.location.masked, "before": done.before, "after": done.after, "backup": done.backup}


def _tell(done: "Migrated", which: str = "") -> None:
    if done.backup is not None:
        result(f"{which}backup: {done.backup}")
    if done.changed:
        result(f"{which}migrated from {done.before or 'nothing'} to {done.after}")
    else:
        result(f"{which}at {done.after} already: nothing to do")


def identity(database_url: DatabaseUrl = None, api_url: ApiUrl = None, as_json: Json = False) -> None:
    """Say which database this is and what it holds; with --api-url, prove that the server has the same one."""
    import anyio

    from autopack.bootstrap.local import prove_same_database
    from autopack.client import remote
    from autopack.clock import Clock
    from autopack.settings import choose_database, load_settings

    settings = load_settings()
    choice = choose_database(database_url)
    check_address("--api-url", api_url)
    check_address("AUTOPACK_API_URL", settings.api_url)
    facts = _facts(choice)
    server = api_url or settings.api_url
    if server is not None:
        key = settings.api_key.get_secret_value() if settings.api_key else None

        async def compare() -> None:
            async with remote(server.rstrip("/"), api_key=key) as client:
                await prove_same_database(client, choice, server, Clock())

        anyio.run(compare)
        facts["server"] = {"url": server, "same_database": True}
    if as_json:
        result_json(facts)
        return
    for name, value in facts.items():
        result(f"{name}: {_shown(value)}")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items()) or "none"
    return str(value)


def _facts(choice: Any) -> dict[str, Any]:
    from sqlalchemy import func, select

    from autopack.bootstrap.local import open_chosen
    from autopack.db.identity import read_identity
    from autopack.db.tables import LlmUsageEventRow, PhaseRow, RunRow, TokenEstimationEventRow

    with open_chosen(choice) as database, database.transaction() as session:
        found: Identity = read_identity(session, database.location)
        tables: list[Any] = [RunRow, PhaseRow]
        counts = {
            table.__tablename__: {
                str(state): number
                for state, number in session.execute(
                    select(table.state, func.count()).group_by(table.state)
                ).all()
            }
            for table in tables
        }
        telemetry = {
            table.__tablename__: session.scalar(select(func.count()).select_from(table)) or 0
            for table in (LlmUsageEventRow, TokenEstimationEventRow)
        }
    told = {name: value for name, value in asdict(found).items() if value is not None and name != "nonce"}
    return {
        **told,
        "chosen_by": choice.rule,
        "overruled": list(choice.overruled),
        **counts,
        "telemetry": telemetry,
    }


def doctor(
    database_url: DatabaseUrl = None,
    api_url: ApiUrl = None,
    workspace: Workspace = Path(),
    fix: Annotated[
        bool,
        typer.Option(
            "--fix", help="Put right what is safe: attempts of dead workers, leases that ran out, leftovers."
        ),
    ] = False,
    as_json: Json = False,
) -> int:
    """Check what a drain needs and say what is not as it should be, and what to do. Changes nothing without --fix.

    With --api-url (or AUTOPACK_API_URL) the server is asked, and no database is opened here. Exit code 3 where something is
    in the way ("BAD"); a "note" is worth a look.
    """
    import anyio

    from autopack.cli.checkup import examine
    from autopack.domain.doctor import is_well

    async def ask() -> "tuple[list[str], list[Finding]]":
        return await examine(api_url=api_url, database_url=database_url, workspace=workspace, fix=fix)

    fixed, findings = anyio.run(ask)
    well = is_well(findings)
    if as_json:
        result_json({"well": well, "fixed": fixed, "findings": [asdict(finding) for finding in findings]})
        return 0 if well else 3
    for line in fixed:
        result(f"fixed {line}")
    for finding in findings:
        result(f"{_MARKS[finding.level]} {finding.name}: {finding.detail}")
        if finding.fix is not None:
            result(f"     -> {finding.fix}")
    return 0 if well else 3
