"""An answer cut into the pieces that may hold edits: fenced blocks, and edits in a format of their own. Pure.

What begins a format holds up to its own end, so that fences and markers inside of it are content; a fenced block is
what its first line says it is, so that a whole file may show an example of any format.
"""

import re
from dataclasses import dataclass, replace

from autopack.domain.edits.plan import MalformedEdit, WrongPaths
from autopack.domain.edits.titles import language, often_holds_fences, path_in_info, path_on

BEGIN_PATCH, END_PATCH = "*** Begin Patch", "*** End Patch"
_FENCE = re.compile(r"^(?P<ticks>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)$")
_INDENTED = re.compile(r"^(?P<indent>[ \t]+)(?P<ticks>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)$")
_HEAD = re.compile(r"^(<{5,9}) (?:SEARCH|ORIGINAL)>?\s*$")
_HUNK = re.compile(r"^@@ -\d+(,\d+)? \+\d+(,\d+)? @@")
_DIVIDER = re.compile(r"^(={5,9})\s*$")
_PATCH_LINE = re.compile(r"^\*\*\* ((Add|Update|Delete) File:|Move to:|End Patch)")
_TAIL = re.compile(r"^(>{5,9}) (?:REPLACE|UPDATED)\s*$")
_OTHER_HEAD = re.compile(r"^<{5,9}(?: |$)")
_HEREDOC = re.compile(r"^\s*(?:\$ )?apply_patch\s*<<-?\s*(?P<quote>['\"]?)(?P<end>\w+)(?P=quote)\s*$")


@dataclass(frozen=True, kw_only=True)
class Fenced:
    """An ordinary fenced block, and the path on the line before it, or after the fence."""

    path: str | None
    content: str
    info: str = ""
    above: tuple[str, ...] = ()
    """The lines between the last piece and this one that are not blank."""


@dataclass(frozen=True, kw_only=True)
class SearchReplace:
    path: str
    search: str
    replace: str


@dataclass(frozen=True, kw_only=True)
class Diff:
    """Lines without their "\\n". `path` is named before the fence, for hunks that name none."""

    lines: tuple[str, ...]
    path: str | None
    fenced: bool


@dataclass(frozen=True, kw_only=True)
class Patch:
    """The lines between the two markers, without their "\\n"."""

    lines: tuple[str, ...]


Piece = Fenced | SearchReplace | Diff | Patch


def scan(text: str) -> list[Piece]:
    """The pieces in their order; what is open at the end, or has no name where it needs one, is malformed."""
    return _Scanner(text).pieces()


def holds_markers(content: str) -> bool:
    """Whether some line begins edits in a format of their own."""
    lines = content.split("\n")
    return any(_HEAD.match(line) or _HUNK.match(line) or line.rstrip() == BEGIN_PATCH for line in lines)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.lines = text.removesuffix("\n").split("\n")
        self.at = 0
        self.above: list[str] = []
        """The lines since the last piece that are not blank."""
        self.path: str | None = None
        """The file of the last SEARCH/REPLACE block."""
        self.found: list[Piece] = []

    @property
    def before(self) -> str:
        """The line that may be the next piece's title; empty right after a piece."""
        return self.above[-1] if self.above else ""

    def pieces(self) -> list[Piece]:
        while self.at < len(self.lines):
            self._step()
        return self.found

    def _step(self) -> None:
        line = self.lines[self.at].rstrip("\r")
        if _HEAD.match(line):
            self._search_replace()
        elif line.rstrip() == BEGIN_PATCH:
            self._patch(len(self.lines))
        elif begins_diff(self.lines, self.at):
            self._diff(self._end_of_bare_diff(), None, fenced=False)
        elif fence := _FENCE.match(line):
            self._fenced(fence)
        elif fence := _INDENTED.match(line):
            self._indented(fence)
        else:
            self._talk(line)

    def _talk(self, line: str) -> None:
        _refuse_stray(line)
        if line.strip():
            self.above.append(line.strip())
        self.at += 1

    def _add(self, piece: Piece) -> None:
        self.found.append(piece)
        self.above = []

    # Fences

    def _fenced(self, fence: re.Match[str]) -> None:
        ticks, info = fence["ticks"], fence["info"].strip()
        path = self._named(info)
        first = self._next_line(self.at + 1)
        if self._begins_search_replace(first, ticks):
            self._fenced_search_replace(ticks, path)
            return
        end = self._closing_fence(self.at + 1, ticks)
        self.at += 1
        if first < end and self._begins_patch(first, end):
            self._fenced_patches(end)
        elif first < end and self._is_diff(info, path, first, end):
            self._diff(end, path)
        else:
            self._require_closed_where_meant(path, ticks, end)
            self._add(self._block(path, info, end))
        self.at = end + 1

    def _named(self, info: str) -> str | None:
        """The path above the fence, or after it."""
        above, beside = path_on(self.before), path_in_info(info)
        if above is not None and beside is not None and above != beside:
            raise WrongPaths(f"one block is said to be of {above} and of {beside}")
        return above or beside

    def _block(self, path: str | None, info: str, end: int) -> Fenced:
        lines = self.lines[self.at : end]
        begins = next((line for line in lines if line.strip()), "")
        if path is not None and _OTHER_HEAD.match(begins):
            raise MalformedEdit(
                f"the block of {path} begins with `{begins.strip()[:40]}`; write `<<<<<<< SEARCH`"
            )
        content = "".join(f"{line}\n" for line in lines)
        return Fenced(path=path, content=content, info=info, above=tuple(self.above))

    def _require_closed_where_meant(self, path: str | None, ticks: str, end: int) -> None:
        """A fence inside of a file is as good as the file's own: where it may be one, the file is not cut there."""
        opens = [fence for line in self.lines[self.at : end] if (fence := _FENCE.match(line.rstrip("\r")))]
        if any(fence["ticks"].startswith(ticks) for fence in opens) or (
            path and self._goes_on(path, ticks, end)
        ):
            raise MalformedEdit(
                f"{path or 'a fenced block'} may hold a fence itself, so that its end is not certain; put a longer "
                "fence around it, and leave out fenced blocks that are no files"
            )

    def _goes_on(self, path: str, ticks: str, end: int) -> bool:
        """Whether the next fence may be the other half of the one that closed the block: by two of three signs."""
        after = range(end + 1, len(self.lines))
        opening = next((i for i in after if self.lines[i].startswith(ticks)), None)
        if opening is None or not _closes(self.lines[opening], ticks):
            return False
        title = next((line for line in reversed(self.lines[end + 1 : opening]) if line.strip()), "")
        return often_holds_fences(path) + bool(self.lines[end + 1].strip()) + (path_on(title) is None) > 1

    def _indented(self, fence: re.Match[str]) -> None:
        """In a list, say: an example, or something to be applied, which is noticed by its title or content."""
        end = self._closing_fence(self.at + 1, fence["ticks"], indented=True)
        self.at += 1
        block = self._block(None, fence["info"].strip(), end)
        content = "".join(
            line.removeprefix(fence["indent"]) for line in block.content.splitlines(keepends=True)
        )
        self._add(replace(block, content=content))
        self.at = end + 1

    def _begins_patch(self, first: int, end: int) -> bool:
        if _HEREDOC.match(self.lines[first]):
            first = self._next_line(first + 1)
        return first < end and self.lines[first].rstrip() == BEGIN_PATCH

    def _is_diff(self, info: str, named: str | None, first: int, end: int) -> bool:
        if named is not None and named.endswith((".diff", ".patch")):
            return False
        if named is not None and self.lines[first].startswith("@@"):
            return True
        says_so = language(info) in ("diff", "patch", "udiff")
        return any(begins_diff(self.lines, index) for index in range(first, end if says_so else first + 1))

    def _fenced_patches(self, end: int) -> None:
        """A patch may be handed to a command, as in a shell."""
        ends = ""
        while self.at < end:
            line = self.lines[self.at]
            if line.rstrip() == BEGIN_PATCH:
                self._patch(end)
            elif command := _HEREDOC.match(line):
                ends = command["end"]
                self.at += 1
            elif line.strip() not in ("", ends):
                raise MalformedEdit(
                    f"a line of the fenced block is outside of `{BEGIN_PATCH}` and `{END_PATCH}`"
                )
            else:
                self.at += 1

    def _next_line(self, start: int) -> int:
        """The next index of a line that is not blank."""
        return next((i for i in range(start, len(self.lines)) if self.lines[i].strip()), len(self.lines))

    def _closing_fence(self, start: int, ticks: str, *, indented: bool = False) -> int:
        for index in range(start, len(self.lines)):
            if _closes(self.lines[index].lstrip() if indented else self.lines[index], ticks):
                return index
        raise MalformedEdit(
            "a fenced block is not closed; where a file holds fences itself, put a longer fence around it"
        )

    # SEARCH/REPLACE

    def _begins_search_replace(self, first: int, ticks: str) -> bool:
        """At once, or after a line that is to name the file."""
        if first >= len(self.lines) or _closes(self.lines[first], ticks):
            return False
        return self._is_head(first) or self._is_head(self._next_line(first + 1))

    def _is_head(self, index: int) -> bool:
        return index < len(self.lines) and _HEAD.match(self.lines[index]) is not None

    def _fenced_search_replace(self, ticks: str, outer: str | None) -> None:
        """Blocks, and the names between them, up to the fence's end; that of a last block may be forgotten."""
        self.at += 1
        inner = path_on(self.lines[self._next_line(self.at)])
        if outer is not None and inner is not None and outer != inner:
            raise WrongPaths(f"one block is said to be of {outer} and of {inner}")
        if outer is not None:
            self.path, self.above = outer, []
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if _HEAD.match(line):
                self._search_replace()
                continue
            if _closes(line, ticks):
                self.at += 1
                return
            self._talk(line)

    def _search_replace(self) -> None:
        head = _HEAD.match(self.lines[self.at])
        assert head is not None
        number = 1 + sum(isinstance(piece, SearchReplace) for piece in self.found)
        path = path_on(self.before) if self.before else self.path
        if path is None:
            raise WrongPaths(f"SEARCH/REPLACE block {number} names no file on the line before it")
        end = self._marker(_TAIL, self.at + 1, self._next_head(len(head[1])), len(head[1]), number)
        middle = self._marker(_DIVIDER, self.at + 1, end, len(head[1]), number)
        self._add(
            SearchReplace(
                path=path, search=self._joined(self.at + 1, middle), replace=self._joined(middle + 1, end)
            )
        )
        self.path, self.at = path, end + 1

    def _next_head(self, length: int) -> int:
        for index in range(self.at + 1, len(self.lines)):
            head = _HEAD.match(self.lines[index])
            if head and len(head[1]) == length:
                return index
        return len(self.lines)

    def _marker(self, pattern: re.Pattern[str], start: int, end: int, length: int, number: int) -> int:
        """The line that ends a part: a marker as long as the block's first one, else the only one there is."""
        found = [(i, match) for i in range(start, end) if (match := pattern.match(self.lines[i]))]
        equal = [(i, match) for i, match in found if len(match[1]) == length] or found
        if pattern is _TAIL:
            equal = equal[:1]
        if len(equal) == 1:
            return equal[0][0]
        what = "`=======`" if pattern is _DIVIDER else "`>>>>>>> REPLACE`"
        how = "has several lines" if equal else "has no line"
        raise MalformedEdit(
            f"SEARCH/REPLACE block {number} {how} {what}; where the text itself holds such lines, use markers of "
            "another length, from 5 to 9 characters, the same in all three"
        )

    def _joined(self, start: int, end: int) -> str:
        return "".join(f"{line}\n" for line in self.lines[start:end])

    # *** Begin Patch, and diffs

    def _patch(self, limit: int) -> None:
        start = self.at + 1
        for index in range(start, limit):
            if self.lines[index].rstrip() == END_PATCH:
                self._add(Patch(lines=tuple(self.lines[start:index])))
                self.at = index + 1
                return
        raise MalformedEdit(f"`{BEGIN_PATCH}` is not followed by `{END_PATCH}`")

    def _diff(self, end: int, path: str | None, *, fenced: bool = True) -> None:
        self._add(Diff(lines=tuple(self.lines[self.at : end]), path=path, fenced=fenced))
        self.at = end

    def _end_of_bare_diff(self) -> int:
        for index in range(self.at + 1, len(self.lines)):
            line = self.lines[index].rstrip("\r")
            if _FENCE.match(line) or _HEAD.match(line) or line.rstrip() == BEGIN_PATCH:
                return index
        return len(self.lines)


def begins_diff(lines: list[str], at: int) -> bool:
    """Whether a file's part of a unified diff begins in this line."""
    if lines[at].startswith("diff --git "):
        return True
    return lines[at].startswith("--- ") and at + 1 < len(lines) and lines[at + 1].startswith("+++ ")


def _closes(line: str, ticks: str) -> bool:
    line = line.rstrip()
    return len(line) >= len(ticks) and set(line) == {ticks[0]}


def _refuse_stray(line: str) -> None:
    if _TAIL.match(line):
        raise MalformedEdit("a line `>>>>>>> REPLACE` has no `<<<<<<< SEARCH` before it")
    if _PATCH_LINE.match(line):
        raise MalformedEdit(f"a line `{line.strip()}` is not between `{BEGIN_PATCH}` and `{END_PATCH}`")
