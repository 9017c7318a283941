"""The main job on a throw-away workspace and database, with recorded answers: no key, no network."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autopack.cli.common import Json, result, say
from autopack.cli.records import ended, launched
from autopack.cli.tables import phase_table, run_line

if TYPE_CHECKING:
    from autopack.cli.drain import Finished

_MARK = ".autopack-demo"
_GOVERNED = "governance_demo.yaml"
_REFUSED = 1
_README = "# A throw-away workspace\n\nMade by `autopack demo`. Each phase of the run becomes a commit on its branch.\n"


def demo(
    directory: Annotated[Path, typer.Option("--directory", help="Made anew each time.")] = Path(
        ".autopack/demo"
    ),
    as_json: Json = False,
) -> int:
    """Drain ten phases with recorded answers, then two that end in a refusal and an approval."""
    import anyio

    from autopack.bootstrap import Connection, open_client
    from autopack.cli.drain import Finished, as_record, run_drain
    from autopack.cli.runs import TELEMETRY_RUN, packaged_plan, telemetry_plan
    from autopack.clock import utc_now
    from autopack.db.location import locate
    from autopack.db.migrate import migrate
    from autopack.executor.worker import Request
    from autopack.settings import DatabaseChoice, load_settings

    directory = directory.absolute()
    workspace, database = _fresh(directory)
    choice = DatabaseChoice(url=f"sqlite:///{database}", rule="the demo's own", directory=directory)
    location = locate(choice.url, directory)
    migrate(location, now=utc_now)
    say(f"database: {location.masked} ({choice.rule})")
    # The demo is the same everywhere: whatever model or server the environment names is not asked.
    settings = load_settings().model_copy(
        update={"model": None, "auditor_model": None, "replay": None, "record": None, "api_url": None}
    )  # fmt: skip
    resume = (
        f"autopack drain --run-id {TELEMETRY_RUN} --database-url sqlite:///{database} --workspace {workspace}"
    )
    connection = Connection(api_url=None, choice=choice)
    launched("demo", as_json, connection, workspace=workspace)
    say(f"kill this whenever you like; it goes on with:\n  {resume}")

    async def main() -> list[tuple[Finished, str]]:
        async with open_client(connection, settings) as client:
            told = []
            for plan in (telemetry_plan(TELEMETRY_RUN), packaged_plan(_GOVERNED)):
                await client.create_run(plan)
                finished = await run_drain(client, settings, workspace, Request(run_id=plan.run_id))
                told.append((finished, phase_table(await client.phases(plan.run_id))))
                if finished.exit_code:
                    break
            return told

    told = anyio.run(main)
    code = _exit_code([finished for finished, _ in told])
    if as_json:
        runs = [as_record(each) for each, _ in told]
        ended("demo", {"database": location.masked, "workspace": workspace, "runs": runs}, code)
        return code
    for done, table in told:
        result(f"\n{table}\n")
        result(f"{done.run.run_id}  {run_line(done.run)}")
    result("recorded answers were replayed: no model was called, nothing was paid")
    result(f"commits:   git -C {workspace} log --oneline autopack/{TELEMETRY_RUN}")
    result(
        f"a phase:   autopack phase show {TELEMETRY_RUN} telemetry-p3-list-util --database-url sqlite:///{database}"
    )
    for governed, _ in told[1:]:
        result(
            f"to decide: autopack approvals list --run-id {governed.run.run_id} --database-url sqlite:///{database}"
        )
    result(f"database:  {database}")
    return code


def _exit_code(told: Sequence["Finished"]) -> int:
    """Of the second run one phase is refused and one waits for a person, which is what it is there to show."""
    last = told[-1].exit_code
    return 0 if len(told) > 1 and last == _REFUSED else last


def _fresh(directory: Path) -> tuple[Path, Path]:
    """An empty workspace with one commit, and the path of a database beside it. Removes only a demo of before."""
    from autopack.errors import UsageError

    if directory.exists():
        if not (directory / _MARK).is_file() and any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty and not a demo's; name another --directory")
        shutil.rmtree(directory)
    workspace = directory / "workspace"
    workspace.mkdir(parents=True)
    (directory / _MARK).write_text(
        "This directory is made anew by every `autopack demo`.\n", encoding="utf-8"
    )
    (workspace / "README.md").write_text(_README, encoding="utf-8")
    _git(workspace, "init", "--quiet", "--initial-branch=main")
    _git(workspace, "add", "README.md")
    _git(workspace, "-c", "commit.gpgsign=false", "commit", "--quiet", "--message", "A workspace to build in")
    return workspace, directory / "autopack.db"


def _git(workspace: Path, *arguments: str) -> None:
    from autopack.errors import NotReady

    who = {"GIT_AUTHOR_NAME": "Demo", "GIT_AUTHOR_EMAIL": "demo@localhost"}
    who |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in who.items()}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        subprocess.run(
            ["git", *arguments],
            cwd=workspace,
            env={**plain, **who},
            check=True,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        raise NotReady("git is not on PATH. Install it (Debian: apt-get install git).") from None
    except subprocess.CalledProcessError as error:
        raise NotReady(f"git {arguments[0]} failed: {error.stderr.strip()}") from None
