"""What the base's own files say of how its checks run: build files and the scripts they start, plugins of pytest."""

import posixpath
from collections.abc import Iterable, Mapping, Sequence

from autopack.domain.testing.programs import (
    MAKEFILES,
    build_files,
    plugins,
    programs,
    uses_a_build_file,
)
from autopack.workspace.git import GitWorkspace
from autopack.workspace.trees import TreeEntry

_LONGEST = 1 << 20
_DEEPEST = 4
"""Makefiles that include others that include others."""
_CONFIGURE = (
    "pytest.ini",
    ".pytest.ini",
    "pytest.toml",
    ".pytest.toml",
    "tox.ini",
    "setup.cfg",
    "pyproject.toml",
)


async def deciding_paths(git: GitWorkspace, base: str, commands: Sequence[str]) -> frozenset[str]:
    """Paths, some of which may not exist, that are taken from the base wherever they change."""
    entries = await git.list_tree(base)
    found = await _of_build_files(git, entries, commands)
    configure = [each for each in entries if posixpath.basename(each) in (*_CONFIGURE, "conftest.py")]
    texts = await _texts(git, entries, configure)
    return found | plugins([*commands, *texts.values()])


async def _of_build_files(
    git: GitWorkspace, entries: Mapping[str, TreeEntry], commands: Sequence[str]
) -> frozenset[str]:
    if not any(map(uses_a_build_file, commands)):
        return frozenset()
    seen: set[str] = set()
    started: set[str] = set()
    wanted = {*MAKEFILES, "package.json"}
    for _ in range(_DEEPEST):
        texts = await _texts(git, entries, wanted - seen)
        recipes, included = build_files(texts)
        started |= {path for recipe in recipes for path in programs(recipe)}
        seen |= {*wanted}
        wanted = {posixpath.normpath(path) for path in included}
        if not wanted - seen:
            break
    return frozenset(started | (seen - {*MAKEFILES, "package.json"}) | wanted)


async def _texts(git: GitWorkspace, entries: Mapping[str, TreeEntry], paths: Iterable[str]) -> dict[str, str]:
    wanted = {path: entries[path].oid for path in paths if path in entries and entries[path].kind == "blob"}
    blobs = await git.read_blobs(wanted.values())
    return {
        path: blobs[oid].decode("utf-8", "replace")
        for path, oid in wanted.items()
        if len(blobs.get(oid, b"")) <= _LONGEST and oid in blobs
    }
