"""An edit as the rules see it: the same whether it comes from a plan or from two trees. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from autopack.domain.changes import SUBMODULE, SYMLINK, Change
from autopack.domain.edits import EditPlan, FileEdit
from autopack.domain.policy import contents
from autopack.domain.policy.lookalikes import skeleton
from autopack.domain.policy.paths import fold, prefixes


class Deed(StrEnum):
    WRITE = "write"
    DELETE = "delete"
    LEAVE = "leave"
    """The old end of a move."""
    ARRIVE = "arrive"


@dataclass(frozen=True, kw_only=True)
class Touch:
    """What becomes of one path, as far as it is known: a plan leaves open what only the tree can say."""

    path: str
    deed: Deed
    mode: str | None = None
    """The mode asked for; None: it keeps the one it has, or an ordinary one."""
    mode_before: str | None = None
    before: bytes | None = None
    after: bytes | None = None
    """None where the content is not known, or there is none."""
    other_end: str | None = None
    whole: bool = False
    """A whole file was written without saying what it replaces: only right if the model saw what it replaces."""

    @property
    def is_there_after(self) -> bool:
        return self.deed in (Deed.WRITE, Deed.ARRIVE)


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The base tree: modes by path."""

    modes: Mapping[str, str]

    @cached_property
    def directories(self) -> frozenset[str]:
        return frozenset(name for path in self.modes for name in prefixes(path)[:-1])

    @cached_property
    def folded(self) -> Mapping[str, str]:
        return {fold(name): name for name in (*self.directories, *self.modes)}

    @cached_property
    def skeletons(self) -> Mapping[str, str]:
        """Only of names that are not ASCII: all others are in `folded`."""
        return {skeleton(name): name for name in (*self.directories, *self.modes) if not name.isascii()}

    def holds(self, name: str) -> bool:
        return name in self.modes or name in self.directories


def of_plan(plan: EditPlan, base: Mapping[str, str]) -> list[Touch]:
    return [touch for edit in plan.files for touch in _of_edit(edit, base)]


def _of_edit(edit: FileEdit, base: Mapping[str, str]) -> Iterator[Touch]:
    mode_before = base.get(edit.path)
    if edit.deleted:
        yield Touch(path=edit.path, deed=Deed.DELETE, mode_before=mode_before)
        return
    if edit.moved_to is None:
        yield Touch(
            path=edit.path, deed=Deed.WRITE, mode=edit.mode, mode_before=mode_before, after=_content(edit, base),
            whole=edit.content is not None,
        )  # fmt: skip
        return
    yield Touch(path=edit.path, deed=Deed.LEAVE, mode_before=mode_before, other_end=edit.moved_to)
    yield Touch(
        path=edit.moved_to, deed=Deed.ARRIVE, mode=edit.mode, mode_before=mode_before, other_end=edit.path
    )


def _content(edit: FileEdit, base: Mapping[str, str]) -> bytes | None:
    """Of a new file only: what an edit adds to a file that exists is seen in the tree that results."""
    if edit.path in base:
        return None
    text = edit.content if edit.content is not None else "\n".join(block.replace for block in edit.blocks)
    return text.encode("utf-8", "surrogatepass")


def of_changes(changes: Sequence[Change]) -> list[Touch]:
    moved = moves(changes)
    sources = {source.path: target for target, source in moved.items()}
    return [_of_change(change, moved, sources) for change in changes]


def moves(changes: Sequence[Change]) -> dict[str, Change]:
    """The deleted file whose content lives on, by the path where it does.

    Found from the contents alone, so that judging the stored trees again finds the same moves.
    """
    gone = {each.path: each for each in changes if each.after is None}
    lines = {path: contents.lines_of(each.before.content) for path, each in gone.items() if each.before}
    found: dict[str, Change] = {}
    for change in sorted(changes, key=lambda each: each.path):
        source = _source(change, gone, lines)
        if source is not None:
            found[change.path] = gone.pop(source)
    return found


def _source(change: Change, gone: Mapping[str, Change], lines: Mapping[str, Counter[bytes]]) -> str | None:
    if change.before is not None:
        # Onto a file that is there: only a plan says so, and it is refused.
        return change.moved_from if change.moved_from in gone else None
    if change.after is None or change.after.mode in (SYMLINK, SUBMODULE):
        return None
    now = contents.lines_of(change.after.content)
    kept = {path: contents.share_kept(lines[path], now) for path in gone if lines.get(path)}
    nearest = max(kept, key=kept.__getitem__, default=None)
    return nearest if nearest is not None and kept[nearest] > 0.5 else None


def _of_change(change: Change, moved: Mapping[str, Change], sources: Mapping[str, str]) -> Touch:
    source = moved.get(change.path)
    before, after = source.before if source else change.before, change.after
    mode_before = None if before is None else before.mode
    content = None if before is None else before.content
    if after is None:
        target = sources.get(change.path)
        deed = Deed.LEAVE if target else Deed.DELETE
        return Touch(path=change.path, deed=deed, other_end=target, before=content, mode_before=mode_before)
    return Touch(
        path=change.path, deed=Deed.ARRIVE if source else Deed.WRITE, mode=after.mode, mode_before=mode_before,
        before=content, after=after.content, other_end=source.path if source else None,
    )  # fmt: skip
