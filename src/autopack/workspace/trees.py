"""Trees as values: what git lists, and whether changes may be made to it. Pure."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from autopack.domain.changes import EXECUTABLE, REGULAR, SYMLINK, Change, File
from autopack.errors import InvalidInput
from autopack.workspace.paths import to_text, unsafe_reason

__all__ = [
    "EXECUTABLE",
    "REGULAR",
    "SYMLINK",
    "EditNotApplicable",
    "TreeEntry",
    "parse_listing",
    "placements",
]


class EditNotApplicable(InvalidInput):
    """The plan cannot be applied to this base tree; nothing was changed."""

    code = "edit_not_applicable"


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One path of a tree. `kind` is blob or commit (a submodule); `size` in bytes, None for a submodule."""

    mode: str
    kind: str
    oid: str
    size: int | None


def parse_listing(listing: bytes) -> dict[str, TreeEntry]:
    """The output of `git ls-tree -r -z -l`; an object that is missing has no size, and is noticed when read."""
    entries = {}
    for record in listing.split(b"\0")[:-1]:
        facts, _, name = record.partition(b"\t")
        mode, kind, oid, size = facts.decode("ascii").split()
        entries[to_text(name)] = TreeEntry(mode, kind, oid, int(size) if size.isdigit() else None)
    return entries


def placements(base: Mapping[str, TreeEntry], changes: Iterable[Change]) -> dict[str, File | None]:
    """What is to be at each path afterwards; None for nothing. Raises EditNotApplicable unless all of it can be.

    The base must be what the changes were made for: where a file is not what `before` says, nothing is written.
    """
    placed: dict[str, File | None] = {}
    for change in changes:
        if change.path in placed:
            raise EditNotApplicable(f"{change.path}: the plan changes it twice")
        _require_base(change, base.get(change.path))
        if change.after is not None:
            _require_writable(change.path, change.after, base.get(change.path))
        placed[change.path] = change.after
    refuse_conflicts(base, placed)
    return placed


def refuse_conflicts(base: Mapping[str, TreeEntry], placed: Mapping[str, object | None]) -> None:
    """No written path may be a directory of the result, nor have a file of it above."""
    afterwards = base.keys() - placed.keys() | {path for path, what in placed.items() if what is not None}
    directories = {parent for path in afterwards for parent in _parents(path)}
    for path in (path for path, what in placed.items() if what is not None):
        if path in directories:
            raise EditNotApplicable(f"{path} is a directory")
        for parent in _parents(path):
            if parent in afterwards:
                what = f"is {_what(base[parent])}" if parent in base else "is made a file by the same plan"
                raise EditNotApplicable(f"{path} cannot be written: {parent} {what}")


def _require_base(change: Change, entry: TreeEntry | None) -> None:
    if change.before is None and entry is not None:
        raise EditNotApplicable(f"{change.path} is to be new, but is {_what(entry)} already")
    if change.before is not None and entry is None:
        raise EditNotApplicable(f"{change.path} is to be changed, but does not exist")
    if change.before is not None and entry is not None and not _is(change.before, entry):
        raise EditNotApplicable(f"{change.path} is no longer what it was when the plan was made")


def _is(file: File, entry: TreeEntry) -> bool:
    if file.mode != entry.mode:
        return False
    return entry.kind == "commit" or blob_id(file.content, entry.oid) == entry.oid


def blob_id(content: bytes, like: str) -> str:
    """The id that git gives to a file's content, in the same kind of repository as the id `like`."""
    header = b"blob %d\0" % len(content)
    if len(like) == 64:
        return hashlib.sha256(header + content).hexdigest()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


def _require_writable(path: str, after: File, entry: TreeEntry | None) -> None:
    if reason := unsafe_reason(path):
        raise EditNotApplicable(f"{path!r} cannot be written: {reason}")
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise EditNotApplicable(f"{path!r} is not text: {error.reason}") from error
    if entry is not None and entry.mode not in (REGULAR, EXECUTABLE, "100664"):
        raise EditNotApplicable(f"{path} cannot be written: it is {_what(entry)}")
    if after.mode not in (REGULAR, EXECUTABLE):
        raise EditNotApplicable(f"{path} cannot be written: {after.mode} is not the mode of an ordinary file")


def _what(entry: TreeEntry) -> str:
    if entry.kind == "commit":
        return "a submodule"
    return "a symbolic link" if entry.mode == SYMLINK else "a file"


def _parents(path: str) -> Iterator[str]:
    return (str(parent) for parent in PurePosixPath(path).parents if parent.name)
