"""THREATS.md section 2, row by row: nothing planted runs for us, and the same command typed by a person runs it."""

import subprocess
from pathlib import Path

import pytest

from autopack.workspace.git import GitWorkspace
from tests.workspace.conftest import PLAIN
from tests.workspace.test_workspace_hostile_repository import every_operation

pytestmark = pytest.mark.anyio

CONFIG = ("core.fsmonitor", "diff.external", "filter.bad.clean")
ROWS = {
    "hooks of commit": ("pre-commit", ["commit", "-q", "--allow-empty", "-m", "x"]),
    "hooks of checkout": ("post-checkout", ["checkout", "-q", "-b", "other"]),
    "hooks of worktree": ("post-checkout", ["worktree", "add", "-q", "--detach", "../elsewhere"]),
    "hooks of update-ref": ("reference-transaction", ["update-ref", "refs/heads/new", "HEAD"]),
    "core.fsmonitor by status": ("core.fsmonitor", ["status", "--short"]),
    "diff.external by diff": ("diff.external", ["diff"]),
    "filter clean by add": ("filter.bad.clean", ["add", "x.bad"]),
    "filter clean by status": ("filter.bad.clean", ["status", "--short"]),
    "filter clean by diff": ("filter.bad.clean", ["diff", "--no-ext-diff", "--no-textconv"]),
}


@pytest.mark.parametrize(("what", "command"), ROWS.values(), ids=ROWS)
async def test_what_git_would_run_does_not_run_for_us(
    repository, tmp_path: Path, what: str, command: list[str]
):
    repository.write(".gitattributes", "* filter=bad\n")
    repository.write("x.bad", "filtered\n")
    repository.commit_all()
    canary = tmp_path / "canary"
    hook = repository.path / ".git" / "hooks" / what
    program = tmp_path / "program" if what in CONFIG else hook
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\ntouch {canary}\n[ {what} = filter.bad.clean ] && cat\nexit 0\n")
    program.chmod(0o755)
    if what in CONFIG:
        repository.git("config", what, str(program))
    repository.write("x.bad", "changed\n")

    await every_operation(await GitWorkspace.open(repository.path), tmp_path / "out")
    assert not canary.exists()

    typed_by_a_person(repository.path, command)
    assert canary.exists(), "nothing to be afraid of: the test shows nothing"


def typed_by_a_person(directory: Path, command: list[str]) -> None:
    subprocess.run(["git", *command], cwd=directory, env=PLAIN, capture_output=True, check=False, timeout=30)
