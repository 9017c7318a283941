"""Finding the repository that a person named, and refusing early, in words, what cannot be built on."""

import re
import secrets
from dataclasses import replace
from pathlib import Path

import anyio
from anyio import to_thread

from autopack.errors import WorkspaceRefused
from autopack.workspace.plumbing import Git, find_program, search_path

OLDEST_GIT = (2, 31)


async def discover(path: Path) -> tuple[Git, Path, Path]:
    """The repository around `path`: its plumbing, its top level, its common git directory."""
    path = await to_thread.run_sync(_existing_directory, path)
    git = Git(program=find_program(), cwd=path)
    await _refuse_old(git)
    git, git_dir, common, bare = await _find(git, path)
    root = common if bare else await _top_level(git, path)
    git = replace(git, cwd=git_dir, git_dir=git_dir)
    await _refuse_without_commit(git, path)
    await _prove_writable(git, common)
    return git, root, common


def _existing_directory(path: Path) -> Path:
    path = path.absolute()
    if not path.exists():
        raise WorkspaceRefused(f"The workspace {path} does not exist: name a directory in a git repository.")
    if not path.is_dir():
        raise WorkspaceRefused(f"The workspace {path} is not a directory: name the directory of a checkout.")
    return path.resolve()


async def _refuse_old(git: Git) -> None:
    words = (await git.ask("version")).decode("utf-8", "replace").strip()
    found = re.search(r"(\d+)\.(\d+)", words)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_GIT:
        raise WorkspaceRefused(f"{words or 'git'} is too old: install git 2.31 or newer.")


async def _find(git: Git, path: Path) -> tuple[Git, Path, Path, bool]:
    asked = ("rev-parse", "--path-format=absolute", "--is-bare-repository", "--git-dir", "--git-common-dir")
    output = await git.run(*asked)
    if output.exit_code and b"dubious ownership" in output.stderr:
        git = replace(git, settings={"safe.directory": await _trusted(git, path, _words(output.stderr))})
        output = await git.run(*asked)
    if output.exit_code:
        raise WorkspaceRefused(
            f"{path} is not in a git repository that git can open: run `git init` and commit there, "
            f"or name another directory. git says: {_words(output.stderr)}"
        )
    bare, git_dir, common = output.stdout.decode("utf-8", "surrogateescape").split("\n")[:3]
    return git, Path(git_dir), Path(common), bare == "true"


async def _trusted(git: Git, path: Path, words: str) -> str:
    """The person's own `safe.directory` counts, although the rest of their configuration does not."""
    own = {"GIT_CONFIG_GLOBAL": _own_configuration(), "PATH": search_path()}
    asked = replace(git, cwd=Path("/"))
    listed = await asked.run("config", "--global", "-z", "--get-all", "safe.directory", environment=own)
    for value in listed.stdout.decode("utf-8", "surrogateescape").split("\0"):
        if value == "*" or (value and path.is_relative_to(value)):
            return value
    raise WorkspaceRefused(
        f"The repository at {path} belongs to another user. Run Autopack as its owner, change the owner, or, "
        f"if you trust it: git config --global --add safe.directory <its top level>. git says: {words}"
    )


def _own_configuration() -> str:
    return str(Path("~/.gitconfig").expanduser())


async def _top_level(git: Git, path: Path) -> Path:
    output = await git.run("rev-parse", "--show-toplevel")
    if output.exit_code:
        raise WorkspaceRefused(
            f"{path} is inside a repository's git directory: name the checkout that belongs to it."
        )
    return Path(output.stdout.decode("utf-8", "surrogateescape").removesuffix("\n"))


async def _refuse_without_commit(git: Git, path: Path) -> None:
    output = await git.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if output.exit_code:
        raise WorkspaceRefused(
            f"The repository at {path} has no commit to build on: run `git commit` there first "
            f"(or check out a branch that has one)."
        )


async def _prove_writable(git: Git, common: Path) -> None:
    """Writes a blob nobody has, since git does not write one that exists, and takes it away again."""
    output = await git.run("hash-object", "-w", "--stdin", stdin=secrets.token_bytes(16))
    if output.exit_code:
        raise WorkspaceRefused(
            f"No object can be written to the repository at {common}: make its objects directory writable for "
            f"this user and see that the disk is not full. git says: {_words(output.stderr)}"
        )
    oid = output.stdout.decode("ascii").strip()
    await anyio.Path(common, "objects", oid[:2], oid[2:]).unlink(missing_ok=True)


def _words(stderr: bytes) -> str:
    return "\n".join(stderr.decode("utf-8", "replace").strip().splitlines()[:6])
