"""Whatever a repository has configured, none of it runs, and nothing of the person's changes."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from autopack.errors import WorkspaceRefused
from autopack.workspace.git import GitWorkspace
from autopack.workspace.undo import Conflicts
from tests.workspace.support_trees import written

pytestmark = pytest.mark.anyio

HOOKS = [
    "applypatch-msg",
    "pre-applypatch",
    "post-applypatch",
    "pre-commit",
    "prepare-commit-msg",
    "commit-msg",
    "post-commit",
    "pre-merge-commit",
    "post-checkout",
    "post-merge",
    "post-rewrite",
    "post-index-change",
    "reference-transaction",
    "pre-auto-gc",
    "fsmonitor-watchman",
]


def plant(repository, canaries: Path) -> None:
    """Everything that git can be configured to run, each leaving a file when it does."""
    canaries.mkdir()

    def touch(name: str) -> str:
        program = canaries.parent / f"run-{name}"
        program.write_text(f"#!/bin/sh\ntouch {canaries}/{name}\ncat\n")
        program.chmod(0o755)
        return str(program)

    hooks = repository.path / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for hook in HOOKS:
        (hooks / hook).write_text(f"#!/bin/sh\ntouch {canaries}/hook-{hook}\n")
        (hooks / hook).chmod(0o755)
    for key, value in {
        "core.fsmonitor": touch("fsmonitor"),
        "core.hooksPath": str(hooks),
        "core.pager": touch("pager"),
        "core.editor": touch("editor"),
        "core.sshCommand": touch("ssh"),
        "core.attributesFile": str(repository.path / ".gitattributes"),
        "core.splitIndex": "true",
        "diff.external": touch("diff"),
        "diff.bad.command": touch("diff-command"),
        "diff.bad.textconv": touch("textconv"),
        "filter.bad.clean": touch("clean"),
        "filter.bad.smudge": touch("smudge"),
        "filter.bad.process": touch("process"),
        "filter.bad.required": "true",
        "merge.bad.driver": touch("merge"),
        "gpg.program": touch("gpg"),
        "commit.gpgSign": "true",
        "log.showSignature": "true",
        "trailer.x.command": touch("trailer"),
        "alias.ls-tree": f"!{touch('alias')}",
        "credential.helper": touch("credential"),
        "remote.origin.url": f"ext::{touch('remote')}",
        "remote.origin.promisor": "true",
        "remote.origin.partialCloneFilter": "blob:none",
        "protocol.ext.allow": "always",
        "extensions.partialClone": "origin",
    }.items():
        repository.git("config", key, value)


async def every_operation(workspace: GitWorkspace, directory: Path) -> None:
    base = await workspace.head_commit()
    await workspace.start_branch("r1", base)
    paths = ("src/app.py", "x.bad", ".gitattributes")
    tree = await written(workspace, base, {path: f"{path}\n" for path in paths})
    assert len(await workspace.changes(base, tree, 10_000)) == len(await workspace.stored_changes(base, tree))
    await workspace.changed_paths(base, tree)
    await workspace.diff(base, tree, 10_000)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    trailers = {"Autopack-Attempt": "a1"}
    commit = await workspace.commit("r1", tree=tree, parent=base, message="m", trailers=trailers, at=at)
    assert await workspace.find_commit("r1", ["a1"], base) == commit
    assert await workspace.is_ancestor(base, commit)
    assert await workspace.has_commit(commit)
    assert await workspace.branch_head("r1") == commit
    later = await written(workspace, commit, {"src/app.py": "above\n\n\nsrc/app.py\n"})
    await workspace.commit("r1", tree=later, parent=commit, message="m", trailers={}, at=at)
    assert isinstance(await workspace.undo("r1", commit, message="m", trailers={}, at=at), str | Conflicts)
    await workspace.export(tree, directory)
    entries = await workspace.list_tree(tree)
    await workspace.read_blobs(entry.oid for entry in entries.values())


async def test_nothing_planted_in_the_repository_runs(repository, tmp_path: Path):
    repository.write(".gitattributes", "* filter=bad diff=bad merge=bad\n")
    repository.write("x.bad", "filtered\n")
    repository.commit_all()
    canaries = tmp_path / "canaries"
    plant(repository, canaries)
    await every_operation(await GitWorkspace.open(repository.path / "src"), tmp_path / "out")
    assert list(canaries.iterdir()) == []


async def test_a_missing_object_is_not_fetched(repository, tmp_path: Path):
    workspace = await GitWorkspace.open(repository.path)
    oid = (await workspace.list_tree("HEAD"))["README.md"].oid
    canaries = tmp_path / "canaries"
    plant(repository, canaries)
    (repository.path / ".git" / "objects" / oid[:2] / oid[2:]).unlink()
    with pytest.raises(WorkspaceRefused):
        await workspace.read_blobs([oid])
    assert list(canaries.iterdir()) == []


async def test_replaced_objects_and_grafts_deceive_nobody(repository):
    workspace = await GitWorkspace.open(repository.path)
    first = await workspace.head_commit()
    before = await workspace.list_tree(first)
    repository.write("README.md", "other\n")
    second = repository.commit_all()
    repository.git("replace", first, second)
    assert await workspace.list_tree(first) == before


async def test_a_dirty_checkout_and_index_stay_as_they_are(repository, tmp_path: Path):
    repository.write("staged.txt", "staged\n")
    repository.git("add", "staged.txt")
    repository.write("README.md", "unsaved work\n")
    repository.write("untracked.txt", "mine\n")
    repository.write(".git/info/exclude", "nothing\n")
    before = repository.fingerprint()
    await every_operation(await GitWorkspace.open(repository.path), tmp_path / "out")
    assert repository.fingerprint() == before
    assert repository.git("symbolic-ref", "HEAD") == "refs/heads/main"
