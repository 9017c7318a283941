"""Unified diffs, as git writes them and as models do. Pure.

This is a reader of its own because the libraries for diffs believe the line counts in hunk headers, which models get
wrong: here they count only where the lines agree with them, else a hunk goes on for as long as its lines look like one.
Everything else is strict: names that contradict each other, copies, binary patches and lines that belong to nothing
are refused, not skipped.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from autopack.domain.edits import quoting
from autopack.domain.edits.hunks import MalformedDiff, is_signature, read_hunk
from autopack.domain.edits.plan import Block, EditPlan, FileEdit, Format, WrongPaths, made_plan
from autopack.domain.edits.quoting import NOTHING
from autopack.domain.edits.scan import Diff, begins_diff

_IGNORED = ("index ", "similarity index ", "dissimilarity index ")
_REFUSED = {
    "copy from ": "copies are not taken; give the new file whole",
    "copy to ": "copies are not taken; give the new file whole",
    "GIT binary patch": "binary patches are not taken",
    "Binary files ": "binary files are not taken",
}


def from_pieces(pieces: Iterable[Diff]) -> EditPlan:
    edits = [section.edit() for piece in pieces for section in _Reader(piece).sections()]
    return made_plan(edits, Format.UNIFIED_DIFF)


@dataclass
class _Section:
    """What a diff says of one file."""

    git: str | None = None
    """The rest of its `diff --git` line."""
    ends: tuple[str, str] | None = None
    """The names of its `---` and `+++` lines."""
    named: str | None = None
    """For hunks without any header: the name before the fence."""
    said: dict[str, str] = field(default_factory=dict)
    """The extended header lines by their first words."""
    blocks: list[Block] = field(default_factory=list)

    def edit(self) -> FileEdit:
        old, new = self._names()
        makes = "new file mode" in self.said or old == NOTHING
        deletes = "deleted file mode" in self.said or new == NOTHING
        if makes and deletes:
            raise MalformedDiff(f"{new} is new and deleted at once")
        if makes or deletes:
            return self._new_file(new) if makes else self._deletion(old)
        mode = self.said.get("new mode")
        if not self.blocks and mode is None and old == new:
            raise MalformedDiff(f"nothing changes in {new}")
        return FileEdit(
            path=old, blocks=tuple(self.blocks), moved_to=None if old == new else new, mode=mode, is_new=False
        )

    def _new_file(self, path: str) -> FileEdit:
        if any(block.search for block in self.blocks) or len(self.blocks) > 1:
            raise MalformedDiff(f"{path} is new, and has lines that are not added")
        content = self.blocks[0].replace if self.blocks else ""
        return FileEdit(path=path, content=content, is_new=True, mode=self.said.get("new file mode"))

    def _deletion(self, path: str) -> FileEdit:
        if any(block.replace for block in self.blocks):
            raise MalformedDiff(f"{path} is deleted, and has lines that stay")
        return FileEdit(path=path, blocks=tuple(self.blocks), deleted=True, is_new=False)

    def _names(self) -> tuple[str, str]:
        """(old, new), once all places that name the file agree."""
        if "rename from" in self.said or "rename to" in self.said:
            return self._renamed()
        if self.ends is None:
            return self._from_git_line()
        old, new = self._ends()
        if NOTHING not in (old, new) and old != new:
            raise self._contradiction()
        known = new if old == NOTHING else old
        if self.git is not None and (known, known) not in self._git_pairs():
            raise self._contradiction()
        return old, new

    def _ends(self) -> tuple[str, str]:
        assert self.ends is not None
        # A timestamp's tab and git's quotes are gone here; prefixes are those of both lines or of none.
        return quoting.without_prefixes(*self.ends)

    def _renamed(self) -> tuple[str, str]:
        names = (self.said.get("rename from", ""), self.said.get("rename to", ""))
        if "" in names or "new file mode" in self.said or "deleted file mode" in self.said:
            raise MalformedDiff("a rename names both files, and neither is new or deleted")
        if self.git is not None and names not in self._git_pairs():
            raise self._contradiction()
        if self.ends is not None and self._ends() != names:
            raise self._contradiction()
        return names

    def _from_git_line(self) -> tuple[str, str]:
        if self.named is not None:
            return self.named, self.named
        same = {pair for pair in self._git_pairs() if pair[0] == pair[1]}
        if len(same) != 1:
            raise self._contradiction()
        return next(iter(same))

    def _git_pairs(self) -> list[tuple[str, str]]:
        return [quoting.without_prefixes(*pair) for pair in quoting.pairs(self.git or "")]

    def _contradiction(self) -> WrongPaths:
        told = [f"`diff --git {self.git}`"] if self.git is not None else []
        told += [f"`--- {self.ends[0]}` and `+++ {self.ends[1]}`"] if self.ends else []
        return WrongPaths(f"the diff names different files: {', '.join(told)}")


class _Reader:
    def __init__(self, piece: Diff) -> None:
        self.lines: Sequence[str] = piece.lines
        self.fenced = piece.fenced
        self.at = 0
        self.found: list[_Section] = []
        self.pending = _Section(named=piece.path) if piece.path is not None else None
        """Hunks may follow a name before the fence; a header takes its place."""

    def sections(self) -> list[_Section]:
        while self.at < len(self.lines):
            self._step()
        if not self.found:
            raise MalformedDiff("it has no hunks")
        return self.found

    def _step(self) -> None:
        line = self.lines[self.at].rstrip("\r")
        if line.startswith("diff --git "):
            self._begin(_Section(git=line.removeprefix("diff --git ")))
        elif begins_diff(list(self.lines[self.at : self.at + 2]), 0):
            self._ends()
        elif line.startswith("@@"):
            self._hunk()
        elif not self._header(line) and not self._signature():
            self._other(line)
        self.at += 1

    def _begin(self, section: _Section) -> None:
        self.pending = None
        self.found.append(section)

    def _ends(self) -> None:
        ends = tuple(quoting.name(self.lines[self.at + more][4:]) for more in (0, 1))
        section = self.found[-1] if self.found else None
        if section is None or section.git is None or section.ends is not None or section.blocks:
            section = _Section()
            self._begin(section)
        section.ends = (ends[0], ends[1])
        self.at += 1

    def _hunk(self) -> None:
        if self.pending is not None:
            self._begin(self.pending)
        if not self.found or (self.found[-1].ends is None and self.found[-1].named is None):
            raise MalformedDiff("a hunk comes before the `---` and `+++` lines of its file")
        block, end = read_hunk(self.lines, self.at)
        self.found[-1].blocks.append(block)
        self.at = end - 1

    def _header(self, line: str) -> bool:
        """Whether this is an extended header line of git's; those that ask for what is not taken are refused."""
        section = self.found[-1] if self.found else None
        if section is None or section.git is None or section.blocks:
            return False
        for start, reason in _REFUSED.items():
            if line.startswith(start):
                raise MalformedDiff(reason)
        for words in ("old mode", "new mode", "new file mode", "deleted file mode"):
            if line.startswith(words + " "):
                section.said[words] = _mode(line.removeprefix(words + " ").strip())
                return True
        for words in ("rename from", "rename to"):
            if line.startswith(words + " "):
                section.said[words] = quoting.exact_name(line.removeprefix(words + " "))
                return True
        return line.startswith(_IGNORED)

    def _signature(self) -> bool:
        """`-- ` and a version end what `git format-patch` writes."""
        if not is_signature(self.lines, self.at):
            return False
        self.at += 1
        return True

    def _other(self, line: str) -> None:
        """What is before the first file is talk, as is what follows a bare diff; anything else is a lost line."""
        if not line.strip() or not self.found:
            return
        for start, reason in _REFUSED.items():
            if line.startswith(start):
                raise MalformedDiff(reason)
        if self.fenced or line.startswith(("+", "-", " ")):
            raise MalformedDiff(f"a line belongs to no hunk: {line!r}")


def _mode(text: str) -> str:
    if not re.fullmatch(r"[0-7]{6}", text):
        raise MalformedDiff(f"{text!r} is not a file mode")
    return text
