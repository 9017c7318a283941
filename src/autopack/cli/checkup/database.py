"""The database's URL, what lies behind it, and whether it is whole."""

import shutil
from pathlib import Path

from autopack.bootstrap.local import open_chosen
from autopack.clock import utc_now
from autopack.db.apart import refuse_not_apart
from autopack.db.health import (
    Integrity,
    integrity,
    is_damaged_one_of_ours,
    journal_in_force,
    may_change_schema,
    server_version,
)
from autopack.db.identity import MIGRATE, open_database, read_identity
from autopack.db.location import Location, locate
from autopack.db.unfinished import unfinished
from autopack.domain.doctor import SKEW, Finding, bad, judge_disk, note, ok
from autopack.errors import AutopackError
from autopack.settings import DatabaseChoice, choose_database, choose_telemetry_database

_BACKUPS_SHOWN = 5


def examine(database_url: str | None) -> list[Finding]:
    try:
        choice = choose_database(database_url)
        location = locate(choice.url, choice.directory)
    except AutopackError as error:
        return [bad("database url", str(error))]
    found = [ok("database url", f"{location.masked} ({choice.rule})")]
    found += [note("overruled", f"{other}; {choice.rule} wins") for other in choice.overruled]
    found += _opened(choice, location)
    if location.path is not None:
        found += _beside(location.path)
    return found


def _opened(choice: DatabaseChoice, location: Location) -> list[Finding]:
    """Opens it as every command does, and only then looks through it: what is not ours is not read whole."""
    try:
        with open_chosen(choice) as database, database.transaction() as session:
            about = read_identity(session, location)
            more = journal_in_force(session) if location.path else f"PostgreSQL {server_version(session)}"
            unfused = location.path is None and may_change_schema(session)
    except AutopackError as error:
        return [bad("database", str(error), _remedy(location, str(error)))]
    detail = f"{about.database_id} at revision {about.revision}, epoch {about.epoch}, {more}"
    if location.path is None:
        found = [ok("database", detail)]
        if unfused:
            words = (
                "this role may change the schema; a role without that right is the fuse (docs/operations.md)"
            )
            found.append(note("schema right", words))
        return found
    return _judged(integrity(location.path), location.path, detail)


def _remedy(location: Location, refusal: str) -> str | None:
    """The refusal itself says what to do; of a damaged file more can be said. What is another program's is left alone."""
    if MIGRATE in refusal:
        return "autopack migrate, where this is the right one"
    if location.path is not None and location.path.is_file() and is_damaged_one_of_ours(location.path):
        return f"autopack restore BACKUP --to sqlite:///{location.path} --replace, where this is the file you meant"
    return None


def _judged(found: Integrity, path: Path, detail: str) -> list[Finding]:
    if found.damage:
        fix = f"autopack restore BACKUP --to sqlite:///{path} --replace"
        return [bad("database", f"damaged: {found.damage}", fix)]
    findings = [ok("database", detail)]
    if found.dangling:
        rows = ", ".join(f"{number} of {table}" for table, number in found.dangling)
        findings.append(
            bad("foreign keys", f"rows point to others that are not there: {rows}", "autopack restore BACKUP")
        )
    return findings  # fmt: skip


def _beside(path: Path) -> list[Finding]:
    """The file's own facts, and what lies beside it."""
    directory = path.parent if path.parent.is_dir() else Path("/")
    found = [judge_disk("disk", shutil.disk_usage(directory).free, "beside the database")]
    if path.is_file():
        status = path.stat()
        if status.st_mtime - utc_now().timestamp() > SKEW.total_seconds():
            found.append(note("file time", f"{path} was changed in the future, by its time; see the clock"))
        if status.st_mode & 0o002:
            found.append(note("permissions", f"anybody may write to {path}", f"chmod o-w {path}"))
    backups = sorted(
        each.name for each in directory.glob(f"{path.name}.backup-*") if each.suffix != ".partial"
    )
    shown = ", ".join(backups[-_BACKUPS_SHOWN:])
    more = f" (and {len(backups) - _BACKUPS_SHOWN} older)" if len(backups) > _BACKUPS_SHOWN else ""
    found.append(ok("backups", shown + more if backups else "none (autopack backup makes one)"))
    found += [
        note("unfinished copy", f"{each} was left by a backup or a restore that was killed", f"rm {each}")
        for each in unfinished(path)
    ]
    return found


def telemetry(database_url: str | None) -> Finding:
    """Whether telemetry has a database of its own, and that one is ready and really another."""
    name = "telemetry database"
    try:
        choice = choose_telemetry_database()
        if choice is None:
            return ok(name, "none of its own (TELEMETRY_DATABASE_URL is not set)")
        queue, location = choose_database(database_url), locate(choice.url, choice.directory)
        refuse_not_apart(locate(queue.url, queue.directory), location)
        with open_database(location, read_only=True) as database, database.transaction() as session:
            about = read_identity(session, location)
    except AutopackError as error:
        return bad(name, str(error))
    return ok(name, f"{about.database_id} at revision {about.revision}, {location.masked} ({choice.rule})")
