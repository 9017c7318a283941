"""`autopack init`: a repository made ready, with what was found in it written down for a person to mend."""

import errno
import os
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopack.cli.common import Json, result, result_json, say

if TYPE_CHECKING:
    from autopack.workspace.git import GitWorkspace

_SETTINGS = "autopack.toml"
_KEPT = (".venv", "venv", "node_modules")
_UNTRACKED = ("autopack.db", "autopack.db-*", "autopack.db.backup-*")
_EXAMPLE = "python3 -m pytest -q"


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="A directory of the repository.")
    ] = Path(),
    as_json: Json = False,
) -> None:
    """Write a commented autopack.toml for this repository, with the checks that were found."""
    import anyio

    found = anyio.run(_init, directory)
    if as_json:
        result_json(found)
        return
    result(f"written: {found['file']}")
    result(f"checks: {', '.join(found['checks']) or 'none were found; name them in the file'}")
    if found["keep"]:
        result(f"kept for checks: {', '.join(found['keep'])}")
    if found["gitignore"]:
        say("Add these to .gitignore, so that no queue is ever committed:")
        for line in found["gitignore"]:
            say(f"  {line}")
    say("Next:")
    for number, step in enumerate(found["next"], 1):
        say(f"  {number}. {step}")


async def _init(directory: Path) -> dict[str, Any]:
    from autopack.errors import WorkspaceRefused
    from autopack.workspace.git import GitWorkspace

    git = await GitWorkspace.open(directory)
    if git.root == git.git_dir:
        raise WorkspaceRefused(
            f"{git.root} is a bare repository: there is no checkout to write {_SETTINGS} into. Run this in a clone."
        )
    target = git.root / _SETTINGS
    await _refuse_existing(git, target)
    head = await git.head_commit()
    entries = await git.list_tree(head)
    keep = [
        name
        for name in _KEPT
        if (git.root / name).is_dir() and not any(path.startswith(f"{name}/") for path in entries)
    ]
    checks = await _detected(git, head, keep)
    _write_new(target, _text(checks, keep))
    ignored = await _ignored(git, head)
    return {
        "file": str(target), "workspace": str(git.root), "head_commit": head, "checks": list(checks), "keep": keep,
        "gitignore": [line for line in _UNTRACKED if not ignored],
        "next": [
            f"look through {_SETTINGS}, and commit it: git add {_SETTINGS} && git commit",
            "autopack migrate, which makes the database",
            "write a plan, or make one from a list: autopack plan import TODO.md --from markdown -o plan.yaml",
            "autopack preflight plan.yaml, then autopack run create plan.yaml and autopack drain --run-id RUN",
        ],
    }  # fmt: skip


async def _refuse_existing(git: "GitWorkspace", target: Path) -> None:
    """What is there is a person's work: it is looked at, and never replaced."""
    from anyio import to_thread

    from autopack.errors import NotReady

    tracked = _SETTINGS in await git.list_tree(await git.head_commit())
    if not await to_thread.run_sync(os.path.lexists, target):
        if tracked:
            raise NotReady(f"{target} is committed, but not in the checkout: git checkout -- {_SETTINGS}")
        return
    fault = await to_thread.run_sync(_fault_of, target)
    state = f"it cannot be followed: {fault}" if fault else "it is valid"
    commit = "" if tracked else "; it is not committed yet, and counts only then"
    raise NotReady(f"{target} is there already ({state}{commit}). It was left as it is.")


def _fault_of(file: Path) -> str | None:
    """Why Autopack could not go by it."""
    from autopack.domain.models import load_model_table
    from autopack.domain.policy import load_policy
    from autopack.errors import InvalidInput
    from autopack.workspace.checks import load_check_settings

    try:
        text = file.read_text(encoding="utf-8")
        for load in (load_policy, load_check_settings, load_model_table):
            load(text)
    except (OSError, UnicodeDecodeError, InvalidInput) as error:
        return str(error)
    return None


async def _detected(git: "GitWorkspace", head: str, keep: list[str]) -> tuple[str, ...]:
    """As a drain would find them, with the folders that it would keep."""
    from autopack.workspace.checks import CheckSettings, open_checks
    from autopack.workspace.sandbox import open_sandbox

    async with open_checks(git, await open_sandbox()) as checks:
        return await checks.detect(head, CheckSettings(keep=tuple(keep)), head)


async def _ignored(git: "GitWorkspace", head: str) -> bool:
    from autopack.executor.ground import read_ground

    return bool((await read_ground(git, head)).ignored([_UNTRACKED[0]]))


def _text(checks: tuple[str, ...], keep: list[str]) -> str:
    from autopack.domain.toml_text import to_toml

    template = (files("autopack") / "data" / "init.toml").read_text(encoding="utf-8")
    commands = to_toml({"commands": list(checks) or [_EXAMPLE]}).strip()
    kept = to_toml({"keep": keep or [".venv", "node_modules"]}).strip()
    return template.replace("%commands%", commands if checks else f"# {commands}").replace(
        "%keep%", kept if keep else f"# {kept}"
    )


def _write_new(target: Path, text: str) -> None:
    """Never over a file that came to be meanwhile, and not by half."""
    from autopack.errors import NotReady

    try:
        with target.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise NotReady(f"{target} came to be meanwhile. It was left as it is.") from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            target.unlink()
        raise NotReady(f"{target} cannot be written: {error.strerror}") from error
