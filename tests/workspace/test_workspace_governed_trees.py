"""The policy over trees that really are in git: what no plan could say, and what a tree holds all the same."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from autopack.domain import policy
from autopack.domain.phases import Scope
from autopack.domain.policy import Action, Policy
from autopack.workspace.git import GitWorkspace
from tests.workspace.conftest import PLAIN

pytestmark = pytest.mark.anyio

MAX_BYTES = 10_000_000
LINK, SUBMODULE = "120000", "160000"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of an index; `content` None takes the path out."""

    path: str
    content: str | None = "x = 1\n"
    mode: str = "100644"


REFUSED = {
    "a symlink to a file outside": ([Entry(path="new", content="/etc/passwd", mode=LINK)], "symlink mode"),
    "a file turned into a symlink": ([Entry(path="README.md", content="/etc/passwd", mode=LINK)], "symlink mode"),
    "a submodule": ([Entry(path="sub", mode=SUBMODULE)], "submodule mode"),
    "a file turned into a submodule": ([Entry(path="src/app.py", mode=SUBMODULE)], "submodule mode"),
    "a link that is there, written over": ([Entry(path="link")], "target is a symlink"),
    "a submodule that is there, taken out": ([Entry(path="vendor/lib", content=None)], "target is a submodule"),
    ".gitmodules": ([Entry(path=".gitmodules")], "protected file"),
    "a name with a newline": ([Entry(path="a\nb")], "control, bidi or invisible character in the path"),
    "a name that is not UTF-8": ([Entry(path="caf\udce9.py")], "control, bidi or invisible character in the path"),
    "a backslash": ([Entry(path="..\\x")], "backslash"),
    "a case clash": ([Entry(path="readme.md")], "case or normalisation clash with README.md"),
    "a rename by case": (
        [Entry(path="README.md", content=None), Entry(path="Readme.md", content="hello\n")],
        "rename whose ends differ only by case",
    ),
    "a 2 MiB file": ([Entry(path="big", content="a" * 2**21)], "file too large"),
    "60 files": ([Entry(path=f"f{n}") for n in range(60)], "too many files"),
    "a key": ([Entry(path="k", content="-----BEGIN PRIVATE " + "KEY-----\n")], "looks like a secret"),
    "hooks of a bare repository": (
        [Entry(path="r/HEAD"), Entry(path="r/config"), Entry(path="r/hooks/post-update", mode="100755")],
        "inside a nested repository or submodule",
    ),
}  # fmt: skip
ASKED = {
    "the executable bit": ([Entry(path="README.md", content="hello\n", mode="100755")], "executable bit"),
    "a deletion": ([Entry(path="src/app.py", content=None)], "delete a file"),
    "a workflow": ([Entry(path=".github/workflows/ci.yml")], "CI configuration"),
}
ALLOWED = {
    "a new file": [Entry(path="src/new.py")],
    "a change": [Entry(path="src/app.py", content="print('ho')\n")],
    "a move": [
        Entry(path="bin/tool", content=None),
        Entry(path="bin/other", content="#!/bin/sh\n", mode="100755"),
    ],
    "nothing": [],
}


def edited(repository: Path, base: str, entries: list[Entry]) -> str:
    """A tree by plumbing, from which nothing is left out that git can hold."""
    index = {**PLAIN, "GIT_INDEX_FILE": str(repository / ".git" / "test-index")}

    def git(*arguments: str, given: bytes = b"") -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=repository, env=index, input=given, capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    git("read-tree", base)
    lines = b""
    for entry in entries:
        if entry.content is None:
            oid, mode = "0" * 40, "0"
        elif entry.mode == SUBMODULE:
            oid, mode = base, entry.mode
        else:
            oid, mode = git("hash-object", "-w", "--stdin", given=entry.content.encode()), entry.mode
        lines += f"{mode} {oid}\t".encode() + os.fsencode(entry.path) + b"\0"
    if lines:
        git("-c", "core.protectNTFS=false", "update-index", "-z", "--replace", "--index-info", given=lines)
    return git("write-tree")


async def judged(repository, entries: list[Entry]) -> set[tuple[str, Action]]:
    first = repository.git("rev-parse", "HEAD")
    base = edited(
        repository.path, first, [Entry(path="link", content="/etc/passwd", mode=LINK), Entry(path="vendor/lib", mode=SUBMODULE)]
    )  # fmt: skip
    base = repository.git("commit-tree", base, "-p", first, "-m", "base")
    tree = edited(repository.path, base, entries)
    workspace = await GitWorkspace.open(repository.path)
    modes = {path: entry.mode for path, entry in (await workspace.list_tree(base)).items()}
    changes = await workspace.changes(base, tree, MAX_BYTES)
    assert len(changes) == len(entries)
    found = policy.check_changes(changes, Scope(), Policy(), modes, "implementation")
    return {(violation.rule, violation.action) for violation in found}


@pytest.mark.parametrize(("entries", "rule"), REFUSED.values(), ids=REFUSED)
async def test_what_a_tree_may_not_hold(repository, entries: list[Entry], rule: str):
    found = await judged(repository, entries)
    assert {each for each in found if each[1] is Action.REFUSE} == {(rule, Action.REFUSE)}


@pytest.mark.parametrize(("entries", "rule"), ASKED.values(), ids=ASKED)
async def test_what_in_a_tree_a_person_decides(repository, entries: list[Entry], rule: str):
    assert await judged(repository, entries) == {(rule, Action.ASK)}


@pytest.mark.parametrize("entries", ALLOWED.values(), ids=ALLOWED)
async def test_what_a_tree_may_hold(repository, entries: list[Entry]):
    assert await judged(repository, entries) == set()
