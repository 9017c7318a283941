"""What becomes of a file: its state before and after. Edits make these, policy judges them, git writes them. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

REGULAR, EXECUTABLE, SYMLINK, SUBMODULE = "100644", "100755", "120000", "160000"


@dataclass(frozen=True, kw_only=True)
class File:
    """One entry of a tree: `content` is a link's target where the mode says link, and empty for a submodule."""

    content: bytes
    mode: str = REGULAR


@dataclass(frozen=True, kw_only=True)
class Change:
    """One path. `before` None: it is new; `after` None: it is deleted. A move is a deletion and a new file."""

    path: str
    before: File | None
    after: File | None
    moved_from: str | None = None
    """On the new file of a move: where it was. Known from a plan, never from a tree."""


def inverse(changes: Iterable[Change]) -> tuple[Change, ...]:
    """What takes the changes back: applied after them, the tree is what it was."""
    return tuple(Change(path=change.path, before=change.after, after=change.before) for change in changes)
