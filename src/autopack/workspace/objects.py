"""Git objects, read and written: trees as entries, contents as bytes. No ref, checkout or index of a person's."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from autopack.errors import InvalidInput, WorkspaceRefused
from autopack.workspace.paths import to_bytes, to_text
from autopack.workspace.plumbing import Git, GitFailed
from autopack.workspace.scratch import INDEX_PREFIX, mark_owner
from autopack.workspace.trees import TreeEntry, parse_listing

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_ABSENT = "000000"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a path of a tree is: a git mode and an object."""

    mode: str
    oid: str


@dataclass(frozen=True, slots=True)
class Difference:
    """A path that differs between two trees; None where it does not exist. `status` is A, D, M or T."""

    path: str
    status: str
    before: Entry | None
    after: Entry | None


def object_id(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text):
        raise InvalidInput(f"{text!r} is not a full object id")
    return text


async def list_tree(git: Git, treeish: str) -> dict[str, TreeEntry]:
    """Every file, link and submodule by its path; bytes that are not UTF-8 appear as surrogates."""
    if not treeish or treeish.startswith("-") or _CONTROLS.search(treeish):
        raise InvalidInput(f"{treeish!r} does not name a tree")
    return parse_listing(await git.ask("ls-tree", "-r", "-z", "-l", "--full-tree", treeish))


async def read_blobs(git: Git, oids: Iterable[str]) -> dict[str, bytes]:
    """The contents of all of them, through one process; use it for what fits in memory."""
    asked = list(dict.fromkeys(object_id(oid) for oid in oids))
    if not asked:
        return {}
    answer = await git.ask("cat-file", "--batch", stdin="".join(f"{o}\n" for o in asked).encode())
    blobs, at = {}, 0
    for oid in asked:
        end = answer.index(b"\n", at)
        facts = answer[at:end].split()
        if len(facts) != 3 or facts[1] != b"blob":
            raise _missing(oid)
        at = end + 1 + int(facts[2])
        blobs[oid] = answer[end + 1 : at]
        at += 1
    return blobs


async def total_size(git: Git, oids: Iterable[str]) -> int:
    """Bytes of all of them together, before any of them is read."""
    asked = sorted({object_id(oid) for oid in oids})
    if not asked:
        return 0
    answer = await git.ask(
        "cat-file", "--batch-check=%(objectsize)", stdin="".join(f"{o}\n" for o in asked).encode()
    )
    sizes = answer.decode("ascii").splitlines()
    for oid, size in zip(asked, sizes, strict=True):
        if not size.isdigit():
            raise _missing(oid)
    return sum(map(int, sizes))


async def differences(git: Git, base: str, tree: str) -> list[Difference]:
    """Every path that differs, in git's order; a move is a deletion and a new file."""
    arguments = ("diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--no-renames")
    listed = await git.ask(*arguments, object_id(base), object_id(tree))
    fields = listed.split(b"\0")[:-1]
    return [
        _difference(facts.decode("ascii"), to_text(path))
        for facts, path in zip(fields[0::2], fields[1::2], strict=True)
    ]


def _difference(facts: str, path: str) -> Difference:
    old_mode, new_mode, old_oid, new_oid, status = facts.removeprefix(":").split()
    return Difference(path, status, _entry(old_mode, old_oid), _entry(new_mode, new_oid))


def _entry(mode: str, oid: str) -> Entry | None:
    return None if mode == _ABSENT else Entry(mode, oid)


async def write_tree(
    git: Git, base: str, contents: Sequence[bytes], entries: Mapping[str, tuple[str, int | str] | None]
) -> str:
    """The tree of `base` with these paths in it, or (None) without them.

    Each is a mode and an object id, or the number of one of `contents`, which are written first. Nothing refers to
    the objects until somebody commits the tree: whoever is killed in here leaves nothing but garbage for git to collect.
    """
    with private_directory() as private:
        oids = await _write_blobs(git, contents, private)
        index = {"GIT_INDEX_FILE": str(private / "index")}
        await git.ask("read-tree", object_id(base), environment=index)
        lines = b"".join(_index_lines(entries, oids, len(base)))
        await git.ask("update-index", "-z", "--index-info", stdin=lines, environment=index)
        return (await git.ask("write-tree", environment=index)).decode("ascii").strip()


async def _write_blobs(git: Git, contents: Sequence[bytes], private: Path) -> list[str]:
    if not contents:
        return []
    # git reads these copies of ours, never a file of the workspace.
    for number, content in enumerate(contents):
        (private / str(number)).write_bytes(content)
    names = "".join(f"{private / str(number)}\n" for number in range(len(contents)))
    oids = await git.ask("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=names.encode())
    return oids.decode("ascii").split()


def _index_lines(
    entries: Mapping[str, tuple[str, int | str] | None], oids: Sequence[str], length: int
) -> Iterator[bytes]:
    """Removals first: a file may take the place of a directory."""
    for path, entry in entries.items():
        if entry is None:
            yield f"0 {'0' * length}\t".encode() + to_bytes(path) + b"\0"
    for path, entry in entries.items():
        if entry is not None:
            mode, what = entry
            yield (
                f"{mode} {oids[what] if isinstance(what, int) else what}\t".encode() + to_bytes(path) + b"\0"
            )


@contextmanager
def private_directory() -> Iterator[Path]:
    try:
        with TemporaryDirectory(prefix=INDEX_PREFIX) as name:
            mark_owner(Path(name))
            yield Path(name)
    except OSError as error:
        raise WorkspaceRefused(f"No temporary files can be written: {error}") from error


def _missing(oid: str) -> GitFailed:
    return GitFailed(f"object {oid} is missing or not a file: check the repository with git fsck")
