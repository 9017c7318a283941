import os
import shutil
from pathlib import Path

import anyio
import pytest

from autopack.errors import WorkspaceRefused
from autopack.workspace import discovery
from autopack.workspace.git import GitWorkspace

pytestmark = pytest.mark.anyio


async def refusal(path: Path) -> str:
    with pytest.raises(WorkspaceRefused) as refused:
        await GitWorkspace.open(path)
    return str(refused.value)


async def test_a_checkout_a_subdirectory_and_a_detached_head_open(repository):
    head = repository.git("rev-parse", "HEAD")
    for place in (repository.path, repository.path / "src"):
        workspace = await GitWorkspace.open(place)
        assert workspace.root == repository.path
        assert workspace.git_dir == repository.path / ".git"
    repository.git("checkout", "-q", "--detach")
    assert await (await GitWorkspace.open(repository.path)).head_commit() == head


async def test_a_linked_worktree_opens_on_its_own_head(repository, repository_at, tmp_path: Path):
    repository.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    side = repository_at(tmp_path / "side")
    head = side.commit_all("on the side")
    workspace = await GitWorkspace.open(side.path)
    assert (workspace.root, workspace.git_dir) == (side.path, repository.path / ".git")
    assert await workspace.head_commit() == head
    assert await workspace.start_branch("r", head) == head
    assert repository.git("rev-parse", "autopack/r") == head


async def test_a_bare_repository_opens(repository, tmp_path: Path):
    bare = tmp_path / "bare.git"
    repository.git("clone", "-q", "--bare", ".", str(bare))
    workspace = await GitWorkspace.open(bare)
    assert workspace.root == workspace.git_dir == bare
    assert "README.md" in await workspace.list_tree("HEAD")


async def test_a_missing_path_a_file_and_a_plain_directory_are_refused(tmp_path: Path):
    assert "does not exist" in await refusal(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    assert "is not a directory" in await refusal(tmp_path / "file")
    plain = tmp_path / "plain"
    plain.mkdir()
    assert "git init" in await refusal(plain)


async def test_a_repository_without_a_commit_is_refused(repository_at, tmp_path: Path):
    repository_at(tmp_path).git("init", "-q")
    assert "git commit" in await refusal(tmp_path)


async def test_the_inside_of_a_git_directory_is_refused(repository):
    assert "name the checkout" in await refusal(repository.path / ".git" / "refs")


async def test_git_missing_or_too_old_is_refused(repository, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(discovery, "OLDEST_GIT", (99, 0))
    assert "too old" in await refusal(repository.path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "install git" in await refusal(repository.path)


async def test_a_broken_repository_is_refused_in_gits_words(repository):
    (repository.path / ".git" / "config").write_text("[core\n")
    assert "bad config" in await refusal(repository.path)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
async def test_another_users_repository_is_refused_unless_the_person_trusts_it(
    repository, tmp_path: Path, monkeypatch
):
    for file in [repository.path, *repository.path.rglob("*")]:
        os.chown(file, 65534, 65534)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "belongs to another user" in await refusal(repository.path)
    (tmp_path / ".gitconfig").write_text(f"[safe]\n\tdirectory = {repository.path}\n")
    assert (await GitWorkspace.open(repository.path / "src")).root == repository.path


def replace_git(repository, monkeypatch, first: str) -> None:
    """A git that does something else first."""
    stand_in = repository.path.parent / "bin" / "git"
    stand_in.parent.mkdir()
    stand_in.write_text(f'#!/bin/sh\n{first}\nexec {shutil.which("git")} "$@"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")


async def test_a_git_that_hangs_or_is_killed_is_said(repository, monkeypatch):
    replace_git(
        repository, monkeypatch, 'case "$*" in *ls-tree*) kill -9 $$;; *rev-list*) exec sleep 60;; esac'
    )
    workspace = await GitWorkspace.open(repository.path)
    with pytest.raises(WorkspaceRefused, match="git ls-tree was killed by signal 9"):
        await workspace.list_tree("HEAD")
    await workspace.start_branch("r1", await workspace.head_commit())
    with anyio.move_on_after(0.5) as scope:
        await workspace.find_commit("r1", ["a1"], None)
    assert scope.cancelled_caught
    with pytest.raises(WorkspaceRefused, match="took longer than"):
        async with workspace.git.running("rev-list", "HEAD", time_limit_seconds=0.2) as running:
            await running.ended()


async def test_unwritable_objects_are_refused(repository, monkeypatch):
    """Before any model is paid. Root can write everywhere, so that a stand-in for git refuses."""
    objects = repository.path / ".git" / "objects"
    if os.getuid() == 0:
        replace_git(
            repository,
            monkeypatch,
            'case "$*" in *hash-object*) echo "error: read-only" >&2; exit 128;; esac',
        )
    else:
        for directory in (objects, *objects.iterdir()):
            directory.chmod(0o500)
    try:
        assert "No object can be written" in await refusal(repository.path)
    finally:
        for directory in (objects, *objects.iterdir()):
            directory.chmod(0o700)


async def test_opening_leaves_no_object_behind(repository):
    before = sorted((repository.path / ".git" / "objects").rglob("*/*"))
    await GitWorkspace.open(repository.path)
    assert sorted((repository.path / ".git" / "objects").rglob("*/*")) == before


async def test_git_settings_of_the_caller_do_not_leak_in(repository, tmp_path: Path, monkeypatch):
    other = tmp_path / "other"
    repository.git("init", "-q", str(other))
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent/index")
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", "/nonexistent")
    workspace = await GitWorkspace.open(repository.path)
    assert workspace.git_dir == repository.path / ".git"
