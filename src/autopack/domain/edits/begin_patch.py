"""The `*** Begin Patch` format: files that are added, updated (and moved) or deleted. Pure.

A hunk's lines begin with a blank, `-` or `+`; a blank line without its first blank is taken for one of context. The
`@@` lines before them say below which lines they stand. The format cannot say that a file has no final newline.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from autopack.domain.edits.plan import Block, EditPlan, FileEdit, Format, MalformedEdit, WrongPaths, made_plan
from autopack.domain.edits.scan import Patch

_FILE = re.compile(r"^\*\*\* (Add|Update|Delete) File:(.*)$")
_MOVE = re.compile(r"^\*\*\* Move to:(.*)$")
_END_OF_FILE = "*** End of File"
_NUMBERED = re.compile(r"^@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@ ?(.*)$")


def from_pieces(pieces: Iterable[Patch]) -> EditPlan:
    edits = [edit for piece in pieces for edit in _edits(piece.lines)]
    return made_plan(edits, Format.PATCH)


def _edits(lines: Sequence[str]) -> list[FileEdit]:
    edits, at = [], 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        head = _FILE.match(lines[at])
        if head is None:
            raise _malformed(f"a line outside of every file: {lines[at]!r}")
        end = next((i for i in range(at + 1, len(lines)) if _FILE.match(lines[i])), len(lines))
        edits.append(_READERS[head[1]](_name(head[2]), lines[at + 1 : end]))
        at = end
    return edits


def _added(path: str, lines: Sequence[str]) -> FileEdit:
    lines = _without_trailing_blanks(lines)
    if stranger := next((line for line in lines if not line.startswith("+")), None):
        raise _malformed(
            f"every line of the new file {path} begins with `+`, and this one does not: {stranger!r}"
        )
    if any(not line for line in lines):
        raise _malformed(f"every line of the new file {path} begins with `+`, blank ones too")
    return FileEdit(path=path, content="".join(f"{line[1:]}\n" for line in lines), is_new=True)


def _deleted(path: str, lines: Sequence[str]) -> FileEdit:
    if any(line.strip() for line in lines):
        raise _malformed(f"lines follow the deletion of {path}")
    return FileEdit(path=path, deleted=True, is_new=False)


def _updated(path: str, lines: Sequence[str]) -> FileEdit:
    move = _MOVE.match(lines[0]) if lines else None
    blocks = _blocks(path, lines[1:] if move else lines)
    if not blocks and move is None:
        raise _malformed(f"the update of {path} changes nothing")
    return FileEdit(path=path, blocks=tuple(blocks), moved_to=_name(move[1]) if move else None, is_new=False)


_READERS = {"Add": _added, "Delete": _deleted, "Update": _updated}


@dataclass
class _Hunk:
    anchors: list[str] = field(default_factory=list)
    line: int | None = None
    search: list[str] = field(default_factory=list)
    replace: list[str] = field(default_factory=list)
    pending: int = 0
    """Wholly blank lines that are context only if more lines follow."""

    @property
    def is_empty(self) -> bool:
        return not self.search and not self.replace

    def take(self, line: str) -> None:
        for _ in range(self.pending):
            self.search.append("")
            self.replace.append("")
        self.pending = 0
        if line[0] in " -":
            self.search.append(line[1:])
        if line[0] in " +":
            self.replace.append(line[1:])

    def block(self, *, at_end: bool = False) -> Block:
        search, replace = ("".join(f"{text}\n" for text in side) for side in (self.search, self.replace))
        return Block(
            search=search, replace=replace, line=self.line, anchors=tuple(self.anchors), at_end=at_end
        )


def _blocks(path: str, lines: Sequence[str]) -> list[Block]:
    reader = _Blocks(path)
    for line in lines:
        reader.take(line.removesuffix("\r") if line.startswith(("@@", "***")) else line)
    return reader.finished()


class _Blocks:
    def __init__(self, path: str) -> None:
        self.path = path
        self.found: list[Block] = []
        self.hunk = _Hunk()

    def take(self, line: str) -> None:
        if line.startswith("@@"):
            if not self.hunk.is_empty:
                self._end_hunk()
            _read_anchor(self.hunk, line)
        elif line.rstrip() == _END_OF_FILE:
            self._end_hunk(at_end=True)
        elif not line.rstrip("\r"):
            self.hunk.pending += not self.hunk.is_empty
        elif line[0] in " +-":
            self.hunk.take(line)
        else:
            told = f"a line of {self.path} begins with neither a blank, `-`, `+` nor `@@`: {line!r}"
            raise _malformed(told)

    def finished(self) -> list[Block]:
        if not self.hunk.is_empty or self.hunk.anchors:
            self._end_hunk()
        return self.found

    def _end_hunk(self, *, at_end: bool = False) -> None:
        if self.hunk.is_empty:
            raise _malformed(f"a hunk of {self.path} has no lines")
        self.found.append(self.hunk.block(at_end=at_end))
        self.hunk = _Hunk()


def _read_anchor(hunk: _Hunk, line: str) -> None:
    numbered = _NUMBERED.match(line)
    if numbered:
        hunk.line = int(numbered[1])
        return
    anchor = line[2:].strip()
    if anchor.strip("@ ."):
        hunk.anchors.append(anchor.removesuffix(" @@"))


def _without_trailing_blanks(lines: Sequence[str]) -> Sequence[str]:
    end = len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    return lines[:end]


def _name(text: str) -> str:
    if not text.strip():
        raise WrongPaths("the patch has an edit that names no file")
    return text.strip()


def _malformed(what: str) -> MalformedEdit:
    return MalformedEdit(f"the patch cannot be read: {what}")
