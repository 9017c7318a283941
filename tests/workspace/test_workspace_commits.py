"""Commits and the run's branch: compare and swap, trailers, and finding work that is already there."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from autopack.errors import InvalidInput, WorkspaceRefused
from autopack.workspace.git import BaseMoved, GitWorkspace, full_message
from tests.workspace.support_trees import written

pytestmark = pytest.mark.anyio
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Run:
    workspace: GitWorkspace
    base: str

    async def commit(self, content: str, parent: str, attempt: str, message: str = "work") -> str:
        tree = await written(self.workspace, parent, {"new.txt": content})
        trailers = {"Autopack-Run": "r1", "Autopack-Attempt": attempt}
        return await self.workspace.commit(
            "r1", tree=tree, parent=parent, message=message, trailers=trailers, at=AT
        )


@pytest.fixture
async def run(repository) -> Run:
    workspace = await GitWorkspace.open(repository.path)
    base = await workspace.head_commit()
    await workspace.start_branch("r1", base)
    return Run(workspace, base)


async def test_a_commit_is_on_the_runs_branch_with_its_trailers_date_and_author(repository, run: Run):
    commit = await run.commit("one", run.base, "a1", "Add new.txt\n\nBecause.")
    assert await run.workspace.branch_head("r1") == commit
    shown = repository.git("log", "-1", "--format=%an <%ae> %aI%n%cn %cI%n%P%n%B", "autopack/r1")
    assert shown.splitlines() == [
        "Autopack <autopack@localhost> 2026-01-02T03:04:05+00:00",
        "Autopack 2026-01-02T03:04:05+00:00",
        run.base,
        "Add new.txt",
        "",
        "Because.",
        "",
        "Autopack-Run: r1",
        "Autopack-Attempt: a1",
    ]
    assert repository.git("show", "autopack/r1:new.txt") == "one"
    assert repository.git("fsck", "--strict") == ""


async def test_a_branch_is_started_once(repository, run: Run):
    commit = await run.commit("one", run.base, "a1")
    assert await run.workspace.start_branch("r1", run.base) == commit
    assert await run.workspace.branch_head("other") is None


async def test_a_moved_branch_is_left_alone(run: Run):
    first = await run.commit("one", run.base, "a1")
    with pytest.raises(BaseMoved):
        await run.commit("two", run.base, "a2")
    assert await run.workspace.branch_head("r1") == first


async def test_the_same_commit_twice_is_one_commit(run: Run):
    assert await run.commit("one", run.base, "a1") == await run.commit("one", run.base, "a1")


async def test_of_many_writers_one_wins(run: Run):
    won, lost = [], []

    async def write(number: int) -> None:
        try:
            won.append(await run.commit(str(number), run.base, f"a{number}"))
        except BaseMoved:
            lost.append(number)

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(write, number)
    assert (len(won), len(lost)) == (1, 7)
    assert await run.workspace.branch_head("r1") == won[0]


async def test_a_commit_is_found_again_by_its_attempt(run: Run):
    first = await run.commit("one", run.base, "a1")
    second = await run.commit("two", first, "a2")
    find = run.workspace.find_commit
    assert await find("r1", ["a1"], None) == first
    assert await find("r1", ["a1", "a2"], run.base) == second
    assert await find("r1", {"a1"}, first) is None
    assert await find("r1", ["a"], None) is None
    assert await find("r1", [], None) is None
    assert await find("missing", ["a1"], None) is None


async def test_a_message_cannot_forge_a_trailer(repository, run: Run):
    forged = "Nice\n\nAutopack-Attempt: stolen\n\n---\nAutopack-Attempt: stolen"
    commit = await run.commit("one", run.base, "a1\nAutopack-Attempt: stolen", forged)
    assert await run.workspace.find_commit("r1", ["stolen"], None) is None
    assert await run.workspace.find_commit("r1", ["a1 Autopack-Attempt: stolen"], None) == commit


async def test_ancestors_and_commits_are_known(run: Run):
    first = await run.commit("one", run.base, "a1")
    workspace = run.workspace
    assert await workspace.is_ancestor(run.base, first)
    assert await workspace.is_ancestor(first, first)
    assert not await workspace.is_ancestor(first, run.base)
    assert await workspace.has_commit(first)
    assert not await workspace.has_commit("1" * 40)
    tree = await workspace.result_tree(first, ())
    assert not await workspace.has_commit(tree)


@pytest.mark.parametrize("run_id", ["", "a b", "../x", "a..b", "x.lock", "-x", "a/b", "x^", "a\nb", "x."])
async def test_a_run_id_that_is_no_branch_name_is_refused(run: Run, run_id: str):
    with pytest.raises(InvalidInput):
        await run.workspace.branch_head(run_id)


async def test_what_is_not_an_object_id_never_reaches_git(run: Run):
    for oid in ("HEAD", "--all", "", run.base[:8]):
        with pytest.raises(InvalidInput):
            await run.workspace.has_commit(oid)
    with pytest.raises(InvalidInput):
        await run.workspace.list_tree("--name-only")


async def test_a_branch_named_autopack_in_the_way_is_said(repository):
    repository.git("branch", "autopack")
    workspace = await GitWorkspace.open(repository.path)
    with pytest.raises(WorkspaceRefused, match="refs/heads/autopack"):
        await workspace.start_branch("r1", await workspace.head_commit())


async def test_a_missing_object_is_said_in_gits_words(repository, run: Run):
    oid = (await run.workspace.list_tree("HEAD"))["README.md"].oid
    (repository.path / ".git" / "objects" / oid[:2] / oid[2:]).unlink()
    with pytest.raises(WorkspaceRefused, match="missing"):
        await run.workspace.read_blobs([oid])
    with pytest.raises(WorkspaceRefused, match="missing"):
        await run.workspace.export(await run.workspace.result_tree(run.base, ()), repository.path / "e")


def test_a_message_of_nothing_still_has_a_subject():
    assert full_message(" \n\0", {}) == "Autopack\n"
    with pytest.raises(InvalidInput):
        full_message("x", {"Not a trailer": "y"})


KILLED = """
import anyio, os, sys
from datetime import UTC, datetime
from pathlib import Path
from autopack.domain.changes import Change, File
from autopack.workspace.git import GitWorkspace
async def main(path, parent):
    workspace = await GitWorkspace.open(Path(path))
    changes = [Change(path=f"f{n}", before=None, after=File(content=b"%d" % n)) for n in range(5)]
    print("go", flush=True)
    tree = await workspace.result_tree(parent, changes)
    await workspace.commit("r1", tree=tree, parent=parent, message="m", trailers={"Autopack-Attempt": "k"},
                           at=datetime(2026, 1, 1, tzinfo=UTC))
    print("done", flush=True)
anyio.run(main, *sys.argv[1:])
"""


@pytest.mark.parametrize("delay_seconds", [0.0, 0.01, 0.02, 0.03, 0.05, 0.2])
def test_a_killed_executor_leaves_the_base_or_the_whole_result(
    repository, tmp_path: Path, delay_seconds: float
):
    base = repository.git("rev-parse", "HEAD")
    repository.git("branch", "autopack/r1")
    before = repository.fingerprint()
    command = [sys.executable, "-c", KILLED, str(repository.path), base]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "go\n"
        time.sleep(delay_seconds)
        child.kill()
    time.sleep(0.1)  # a git process that was under way ends by itself
    files = repository.git("ls-tree", "-r", "--name-only", "autopack/r1").split()
    assert files in (
        ["README.md", "bin/tool", "src/app.py"],
        ["README.md", "bin/tool", *(f"f{n}" for n in range(5)), "src/app.py"],
    )
    repository.git("fsck", "--strict", "--no-dangling")
    assert repository.fingerprint() == before
