"""The machine and the workspace: .env, disks, git, branches of runs, what killed processes left, the sandbox."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from dotenv.parser import parse_stream

from autopack.client import AutopackClient
from autopack.clock import utc_now
from autopack.domain.doctor import Finding, Line, bad, judge_disk, judge_dotenv, note, ok
from autopack.domain.lifecycle import DONE_STATES
from autopack.domain.phases import Run
from autopack.errors import AutopackError, WorkspaceRefused
from autopack.executor.ground import check_branch
from autopack.settings import Settings, project_root
from autopack.workspace.git import GitWorkspace
from autopack.workspace.plumbing import Git, find_program
from autopack.workspace.sandbox import SandboxLevel, SandboxMode, describe, open_sandbox
from autopack.workspace.scratch import leftovers

_SHOWN = 5
_LONGEST_LOCK_SECONDS = 60


def dotenv() -> list[Finding]:
    path = project_root(Path.cwd()) / ".env"
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8") as opened:
            read = list(parse_stream(opened))
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        return [bad("dotenv", f"{path} cannot be read ({error})", "mend it, or move it away")]
    lines = [Line(name=each.key, value=each.value) for each in read if each.key is not None]
    wrong = [str(each.original.line) for each in read if each.error]
    found = judge_dotenv(str(path), lines, os.environ, mode=mode)
    if wrong:
        found.append(note("dotenv", f"{path} has lines that are no NAME=value: {', '.join(wrong)}"))
    return found


async def examine(workspace: Path, settings: Settings) -> list[Finding]:
    return [await _git(), *await _workspace(workspace), *_temporary(), await _sandbox(settings)]


async def _git() -> Finding:
    try:
        program = find_program()
        version = (
            (await Git(program=program, cwd=Path("/")).ask("version")).decode("utf-8", "replace").strip()
        )
    except WorkspaceRefused as error:
        return bad("git", str(error))
    return ok("git", f"{version.removeprefix('git version ')} ({program})")


async def _workspace(workspace: Path) -> list[Finding]:
    try:
        git = await GitWorkspace.open(workspace)
        head = await git.head_commit()
    except AutopackError as error:
        return [bad("workspace", str(error))]
    found = [ok("workspace", f"{git.root} at {head[:12]}")]
    found.append(judge_disk("workspace disk", shutil.disk_usage(git.git_dir).free, "beside the repository"))
    return [*found, *_locks(git.git_dir), *_worktrees(git.git_dir)]


def _locks(git_dir: Path) -> Iterator[Finding]:
    """Those that git, killed in the middle of ours, left on what we write: no run moves on while one is there."""
    names = [git_dir / "packed-refs.lock", *sorted((git_dir / "refs/heads/autopack").rglob("*.lock"))]
    for lock in names:
        if lock.is_file():
            age = int(utc_now().timestamp() - lock.stat().st_mtime)
            found = note if age < _LONGEST_LOCK_SECONDS else bad
            yield found(
                "git lock", f"{lock} is there since {age} s", f"where no git is at work any more: rm {lock}"
            )


def _worktrees(git_dir: Path) -> Iterator[Finding]:
    gone = [
        each.parent.name
        for each in sorted(git_dir.glob("worktrees/*/gitdir"))
        if not Path(each.read_text(errors="replace").strip()).exists()
    ]
    if gone:
        yield note("worktrees", f"directories of {', '.join(gone[:_SHOWN])} are gone", "git worktree prune")


async def branches(client: AutopackClient, workspace: Path) -> list[Finding]:
    """Whether the branches of runs that are not done hold the work that the database knows of."""
    try:
        git = await GitWorkspace.open(workspace)
    except AutopackError:
        return []  # said elsewhere
    found, here, elsewhere = list[Finding](), 0, 0
    for run in [each async for each in _open_runs(client)]:
        if run.base_commit is None:
            continue
        if not await git.has_commit(run.base_commit):
            elsewhere += 1
            continue
        here += 1
        found += await _branch(git, run)
    others = f"; {elsewhere} of other workspaces" if elsewhere else ""
    return found or [ok("branches", f"{here} open runs of this workspace{others}")]


async def _branch(git: GitWorkspace, run: Run) -> list[Finding]:
    head = await git.branch_head(run.run_id)
    if head is None and run.head_commit is None:
        return []  # it is made by the first phase
    try:
        await check_branch(git, run.run_id, head, run.head_commit or str(run.base_commit))
    except WorkspaceRefused as error:
        return [bad("branches", str(error))]
    return []


async def _open_runs(client: AutopackClient) -> AsyncIterator[Run]:
    after = None
    while page := await client.runs(after=after):
        for run in page:
            if run.state not in DONE_STATES:
                yield run
        after = page[-1].run_id


def _temporary() -> list[Finding]:
    try:
        directory = tempfile.gettempdir()
    except OSError as error:
        return [bad("temporary directory", str(error), "set TMPDIR to a directory that can be written")]
    found = [judge_disk("temporary directory", shutil.disk_usage(directory).free, f"in {directory}")]
    if left := leftovers():
        shown = ", ".join(str(each) for each in left[:_SHOWN]) + (", ..." if len(left) > _SHOWN else "")
        found.append(
            note("leftovers", f"{len(left)} directories of killed processes: {shown}", "--fix removes them")
        )
    return found


async def _sandbox(settings: Settings) -> Finding:
    try:
        found = await open_sandbox(SandboxMode(settings.sandbox))
    except AutopackError as error:
        return bad("sandbox", str(error))
    detail = describe(found.level) + (f" (not more, because {found.reason})" if found.reason else "")
    return ok("sandbox", detail) if found.level is SandboxLevel.FULL else note("sandbox", detail)
