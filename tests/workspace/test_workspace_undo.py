"""A phase's commit is taken back while later ones stay, or those that build on it are told and nothing changes."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from anyio import to_thread

from autopack.errors import InvalidInput
from autopack.workspace.git import GitWorkspace
from autopack.workspace.undo import Conflicts, LaterCommit
from tests.workspace.support_trees import written

pytestmark = pytest.mark.anyio
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TEN = "".join(f"line {n}\n" for n in range(1, 11))


@dataclass
class Run:
    """A run's branch, on which phases are committed as a person would with ordinary git: by whole trees."""

    workspace: GitWorkspace
    repository: object
    commits: dict[str, str] = field(default_factory=dict)

    async def phase(self, phase_id: str, **files: str | bytes | None) -> str:
        """Commits these files; None deletes, and `x` before a name makes it executable."""
        head = await self.workspace.branch_head("r1")
        assert head is not None
        self.repository.git("checkout", "-q", "--detach", head)
        for name, content in files.items():
            if content is None:
                self.repository.git("rm", "-q", name)
            else:
                self.repository.write(
                    name.removeprefix("x:"), content, 0o755 if name.startswith("x:") else 0o644
                )
        tree = self.repository.commit_all() and self.repository.git("rev-parse", "HEAD^{tree}")
        trailers = {"Autopack-Run": "r1", "Autopack-Phase": phase_id}
        self.commits[phase_id] = await self.workspace.commit(
            "r1", tree=tree, parent=head, message=phase_id, trailers=trailers, at=AT
        )
        return self.commits[phase_id]

    async def undo(self, phase_id: str) -> str | Conflicts:
        return await self.workspace.undo(
            "r1", self.commits[phase_id], message=f"Undo {phase_id}", trailers={"Autopack-Run": "r1"}, at=AT
        )

    def show(self, name: str) -> str:
        return self.repository.git("show", f"autopack/r1:{name}")

    def names(self) -> list[str]:
        return self.repository.git("ls-tree", "-r", "--name-only", "autopack/r1").splitlines()


@pytest.fixture
async def run(repository) -> Run:
    workspace = await GitWorkspace.open(repository.path)
    await workspace.start_branch("r1", await workspace.head_commit())
    return Run(workspace, repository)


async def test_the_last_commit_is_taken_back_whole(repository, run: Run):
    before = repository.git("rev-parse", "autopack/r1^{tree}")
    await run.phase(
        "p1", **{"README.md": "bye\n", "new/file": "x", "src/app.py": None, "x:README.md": "bye\n"}
    )
    undone = await run.undo("p1")
    assert repository.git("rev-parse", "autopack/r1^{tree}") == before
    assert repository.git("rev-parse", "autopack/r1") == undone
    assert repository.git("show", "-s", "--format=%B", "autopack/r1").splitlines() == [
        "Undo p1", "", "Autopack-Run: r1", f"Autopack-Undoes: {run.commits['p1']}",
    ]  # fmt: skip


async def test_what_later_phases_did_elsewhere_stays(run: Run):
    await run.phase("p0", text=TEN)
    await run.phase("p1", text=TEN.replace("line 2\n", "line two\n"), other="x")
    await run.phase(
        "p2", text=TEN.replace("line 2\n", "line two\n").replace("line 9\n", "line nine\n"), more="y"
    )
    assert isinstance(await run.undo("p1"), str)
    assert run.show("text") == TEN.replace("line 9\n", "line nine\n").strip()
    assert "more" in run.names()
    assert "other" not in run.names()


async def test_a_later_phase_on_the_same_lines_is_told_and_nothing_changes(run: Run):
    await run.phase("p0", text=TEN, other="a\n")
    await run.phase("p1", text=TEN.replace("line 2\n", "line two\n"), other="b\n")
    changed = TEN.replace("line 2\n", "line two!\n")
    same_lines = await run.phase("p2", text=changed)
    head = await run.phase("p3", text=changed.replace("line 9\n", "line nine\n"))
    assert await run.undo("p1") == Conflicts(
        paths=("text",), later=(LaterCommit(commit=same_lines, phase_id="p2", path="text"),)
    )
    assert await run.workspace.branch_head("r1") == head


IN_THE_WAY = {
    "a file that was changed is deleted later": ({"text": TEN + "x\n"}, {"text": None}),
    "a file that was made is changed later": ({"made": "1\n"}, {"made": "2\n"}),
    "a file that was deleted is made again": ({"text": None}, {"text": "another\n"}),
    "a deleted file's name is a directory now": ({"text": None}, {"text/inner": "x"}),
    "a binary file is changed twice": ({"text": b"\0one"}, {"text": b"\0two"}),
}


@pytest.mark.parametrize(("done", "later"), IN_THE_WAY.values(), ids=IN_THE_WAY)
async def test_what_cannot_be_merged_by_lines_is_told(run: Run, done: dict, later: dict):
    await run.phase("p0", text=TEN)
    await run.phase("p1", **done)
    head = await run.phase("p2", **later)
    (path,) = done
    assert await run.undo("p1") == Conflicts(
        paths=(path,), later=(LaterCommit(commit=head, phase_id="p2", path=path),)
    )
    assert await run.workspace.branch_head("r1") == head


async def test_what_was_put_back_by_a_later_phase_is_no_conflict(run: Run):
    await run.phase("p1", **{"README.md": "bye\n", "new": "x\n"})
    await run.phase("p2", **{"README.md": "hello\n"})
    assert isinstance(await run.undo("p1"), str)
    assert run.show("README.md") == "hello"
    assert "new" not in run.names()


async def test_modes_are_taken_back_beside_later_contents(repository, run: Run):
    await run.phase("p1", **{"x:README.md": "hello\n"})
    await run.phase("p2", **{"x:README.md": "hello\nmore\n"})
    assert isinstance(await run.undo("p1"), str)
    assert repository.git("ls-tree", "autopack/r1", "README.md").startswith("100644")
    assert run.show("README.md") == "hello\nmore"


async def test_line_endings_and_odd_bytes_come_through(repository, run: Run):
    text = b"\xef\xbb\xbfone\r\ntwo\r\n\xff\r\nfour\r\nfive"
    await run.phase("p0", text=text)
    await run.phase("p1", text=text.replace(b"one", b"1"))
    await run.phase("p2", text=text.replace(b"one", b"1").replace(b"five", b"5"))
    assert isinstance(await run.undo("p1"), str)
    content = (await run.workspace.read_files("autopack/r1", ["text"]))["text"].content
    assert content == text.replace(b"five", b"5")


async def test_undoing_twice_is_undoing_once_and_an_undo_can_be_undone(run: Run):
    await run.phase("p1", **{"README.md": "bye\n"})
    first = await run.undo("p1")
    assert await run.undo("p1") == first
    assert await run.workspace.branch_head("r1") == first
    run.commits["undo"] = str(first)
    await run.undo("undo")
    assert run.show("README.md") == "bye"
    assert await run.undo("p1") != first
    assert run.show("README.md") == "hello"


async def test_the_commit_of_an_attempt_is_not_found_again_once_it_is_taken_back(run: Run):
    head = await run.workspace.branch_head("r1")
    tree = await written(run.workspace, head, {"new": "x\n"})
    trailers = {"Autopack-Phase": "p1", "Autopack-Attempt": "a1"}
    made = await run.workspace.commit("r1", tree=tree, parent=head, message="m", trailers=trailers, at=AT)
    run.commits["p1"] = made
    assert await run.workspace.find_commit("r1", ["a1"], None) == made
    run.commits["undo"] = str(await run.undo("p1"))
    assert await run.workspace.find_commit("r1", ["a1"], None) is None
    await run.undo("undo")
    assert await run.workspace.find_commit("r1", ["a1"], None) == made


async def test_only_a_commit_on_the_branch_can_be_taken_back(repository, run: Run):
    await run.phase("p1", new="x")
    repository.git("checkout", "-q", "main")
    run.commits |= {"stranger": repository.commit_all(), "missing": "1" * 40, "first": ""}
    run.commits["first"] = repository.git("rev-list", "--max-parents=0", "HEAD")
    for which, words in (
        ("stranger", "not on the branch"),
        ("missing", "not on the branch"),
        ("first", "0 parents"),
    ):
        with pytest.raises(InvalidInput, match=words):
            await run.undo(which)


KILLED = """
import anyio, sys
from datetime import UTC, datetime
from pathlib import Path
from autopack.workspace.git import GitWorkspace
async def main(path, commit):
    workspace = await GitWorkspace.open(Path(path))
    print("go", flush=True)
    await workspace.undo("r1", commit, message="m", trailers={}, at=datetime(2026, 1, 1, tzinfo=UTC))
anyio.run(main, *sys.argv[1:])
"""


def killed(repository: Path, commit: str, temporary: Path, delay_seconds: float) -> None:
    command = [sys.executable, "-c", KILLED, str(repository), commit]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "go\n"
        time.sleep(delay_seconds)
        child.kill()
    time.sleep(0.1)  # a git process that was under way ends by itself


@pytest.mark.parametrize("delay_seconds", [0.0, 0.03, 0.06])
async def test_killed_in_the_middle_the_branch_is_as_it_was_or_undone(
    repository, run: Run, tmp_path: Path, delay_seconds: float
):
    await run.phase("p0", text=TEN)
    commit = await run.phase("p1", text=TEN.replace("line 2\n", "line two\n"), other="x")
    head = await run.phase("p2", text=TEN.replace("line 2\n", "line two\n") + "end\n")
    await to_thread.run_sync(killed, repository.path, commit, tmp_path, delay_seconds)
    assert repository.git("rev-parse", "autopack/r1") in (head, await run.undo("p1"))
    assert run.show("text") == (TEN + "end").strip()
    assert repository.git("fsck", "--strict", "--no-dangling") == ""
