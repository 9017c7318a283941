"""What `doctor` looks at: each finding with what to do about it."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from autopack.bootstrap import open_chosen
from autopack.db.apart import refuse_not_apart
from autopack.db.identity import open_database, read_identity
from autopack.db.location import locate
from autopack.errors import AutopackError
from autopack.settings import DatabaseChoice, choose_database, choose_telemetry_database, load_settings
from autopack.workspace.git import GitWorkspace
from autopack.workspace.sandbox import describe, open_sandbox

_LITTLE_DISK_BYTES = 200 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Finding:
    name: str
    ok: bool
    detail: str


async def examine(database_url: str | None) -> list[Finding]:
    findings = _database(database_url)
    findings.append(_telemetry(database_url))
    findings.append(await _workspace())
    findings.append(await _sandbox())
    findings.append(_model())
    return findings


async def _sandbox() -> Finding:
    found = await open_sandbox()
    why = f" (not more, because {found.reason})" if found.reason else ""
    return Finding(name="sandbox", ok=True, detail=describe(found.level) + why)


def _database(database_url: str | None) -> list[Finding]:
    try:
        choice = choose_database(database_url)
        location = locate(choice.url, choice.directory)
    except AutopackError as error:
        return [Finding(name="database url", ok=False, detail=str(error))]
    found = [Finding(name="database url", ok=True, detail=f"{location.masked} ({choice.rule})")]
    # A DATABASE_URL that was overruled is worth a look, and no fault.
    found += [
        Finding(name="overruled", ok=True, detail=f"{other}; {choice.rule} wins")
        for other in choice.overruled
    ]
    found.append(_schema(choice))
    if location.path is not None:
        free = shutil.disk_usage(location.path.parent if location.path.parent.exists() else Path("/")).free
        found.append(
            Finding(
                name="disk",
                ok=free > _LITTLE_DISK_BYTES,
                detail=f"{free // 2**20} MiB free beside the database",
            )
        )
        backups = sorted(path.name for path in location.path.parent.glob(f"{location.path.name}.backup-*"))
        found.append(Finding(name="backups", ok=True, detail=", ".join(backups) or "none"))
    return found


def _schema(choice: DatabaseChoice) -> Finding:
    try:
        with open_chosen(choice) as database, database.transaction() as session:
            about = read_identity(session, database.location)
            problem = (
                _integrity(session.connection().exec_driver_sql("PRAGMA quick_check").scalar())
                if about.path
                else None
            )
    except AutopackError as error:
        return Finding(name="database", ok=False, detail=str(error))
    mode = f", journal {about.journal_mode} (SQLite {about.sqlite_version})" if about.path else ""
    detail = problem or f"{about.database_id} at revision {about.revision}{mode}"
    return Finding(name="database", ok=problem is None, detail=detail)


def _telemetry(database_url: str | None) -> Finding:
    """Whether telemetry has a database of its own, and that one is ready and really another."""
    name = "telemetry database"
    try:
        choice = choose_telemetry_database()
        if choice is None:
            return Finding(name=name, ok=True, detail="none of its own (TELEMETRY_DATABASE_URL is not set)")
        queue, location = choose_database(database_url), locate(choice.url, choice.directory)
        refuse_not_apart(locate(queue.url, queue.directory), location)
        with open_database(location, read_only=True) as database, database.transaction() as session:
            about = read_identity(session, location)
    except AutopackError as error:
        return Finding(name=name, ok=False, detail=str(error))
    detail = f"{about.database_id} at revision {about.revision}, {location.masked} ({choice.rule})"
    return Finding(name=name, ok=True, detail=detail)


def _integrity(answer: object) -> str | None:
    return None if answer == "ok" else f"damaged: {answer}. Restore a backup."


async def _workspace() -> Finding:
    try:
        git = await GitWorkspace.open(Path.cwd())
    except AutopackError as error:
        return Finding(name="workspace", ok=False, detail=str(error))
    return Finding(name="workspace", ok=True, detail=f"{git.root} at {(await git.head_commit())[:12]}")


def _model() -> Finding:
    try:
        settings = load_settings()
    except AutopackError as error:
        return Finding(name="model", ok=False, detail=str(error))
    keys = [name for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY") if os.environ.get(name)]
    model = settings.model or "none is configured: recorded answers are replayed (set AUTOPACK_MODEL)"
    return Finding(name="model", ok=True, detail=f"{model}; keys present: {', '.join(keys) or 'none'}")
