"""Trees as values: what git lists, and where an edit plan's files may be placed in it. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from autopack.domain.edits import EditPlan
from autopack.errors import InvalidInput
from autopack.workspace.paths import to_text, unsafe_reason

REGULAR, EXECUTABLE, SYMLINK = "100644", "100755", "120000"


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


@dataclass(frozen=True, slots=True)
class Placement:
    path: str
    mode: str
    content: bytes


def placements(base: Mapping[str, TreeEntry], plan: EditPlan) -> list[Placement]:
    """Every file of the plan with the mode it gets: that of the file it replaces, else an ordinary one."""
    directories = {parent for path in base for parent in _parents(path)}
    taken: set[str] = set()
    placed = []
    for edit in plan.files:
        mode = _mode_at(edit.path, base, directories)
        if edit.path in taken or any(parent in taken for parent in _parents(edit.path)):
            raise EditNotApplicable(f"{edit.path}: the plan names it twice, or as a file and as a directory")
        taken.add(edit.path)
        directories.update(_parents(edit.path))
        placed.append(Placement(edit.path, mode, _encoded(edit.path, edit.content)))
    return placed


def _mode_at(path: str, base: Mapping[str, TreeEntry], directories: set[str]) -> str:
    if reason := unsafe_reason(path):
        raise EditNotApplicable(f"{path!r} cannot be written: {reason}")
    if path in directories:
        raise EditNotApplicable(f"{path} is a directory")
    for parent in _parents(path):
        if parent in base:
            raise EditNotApplicable(f"{path} cannot be written: {parent} is {_what(base[parent])}")
    entry = base.get(path)
    if entry is None:
        return REGULAR
    if entry.mode not in (REGULAR, EXECUTABLE, "100664"):
        raise EditNotApplicable(f"{path} cannot be written: it is {_what(entry)}")
    return EXECUTABLE if entry.mode == EXECUTABLE else REGULAR


def _what(entry: TreeEntry) -> str:
    if entry.kind == "commit":
        return "a submodule"
    return "a symbolic link" if entry.mode == SYMLINK else "a file"


def _parents(path: str) -> Iterator[str]:
    return (str(parent) for parent in PurePosixPath(path).parents if parent.name)


def _encoded(path: str, content: str) -> bytes:
    try:
        path.encode("utf-8")
        return content.encode("utf-8")
    except UnicodeEncodeError as error:
        raise EditNotApplicable(f"{path!r} or its content is not text: {error.reason}") from error
