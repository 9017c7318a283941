"""An answer cut into the pieces that may hold edits: fenced blocks, and edits in a format of their own. Pure.

What begins a format holds up to its own end, so that fences and markers inside of it are content; a fenced block is
what its first line says it is, so that a whole file may show an example of any format.
"""

import re
from dataclasses import dataclass

from autopack.domain.edits.plan import MalformedEdit, WrongPaths

BEGIN_PATCH, END_PATCH = "*** Begin Patch", "*** End Patch"
_FENCE = re.compile(r"^(?P<ticks>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)$")
_PATH_LINE = re.compile(
    r"^(?:#+[ \t]+|//+[ \t]+|[*-][ \t]+)?(?:(?:file|path|filename)[ \t]*:[ \t]*)?(?P<path>\S.*?)[ \t]*:?$",
    re.I,
)
_LONGEST_NAME = 2000  # characters of a line: matching takes the square of it, and no such path is allowed
_HEAD = re.compile(r"^(<{5,9}) SEARCH>?\s*$")
_HUNK = re.compile(r"^@@ -\d+(,\d+)? \+\d+(,\d+)? @@")
_DIVIDER = re.compile(r"^(={5,9})\s*$")
_PATCH_LINE = re.compile(r"^\*\*\* ((Add|Update|Delete) File:|Move to:|End Patch)")
_TAIL = re.compile(r"^(>{5,9}) REPLACE\s*$")


@dataclass(frozen=True, kw_only=True)
class Fenced:
    """An ordinary fenced block, and the path on the line before it."""

    path: str | None
    content: str


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
        self.before = ""
        """The last line that is neither blank nor part of a piece; empty after each piece."""
        self.path: str | None = None
        """The file of the last SEARCH/REPLACE block."""
        self.found: list[Piece] = []

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
            self._diff(self._end_of_bare_diff(), fenced=False)
        elif fence := _FENCE.match(line):
            self._fenced(fence)
        else:
            _refuse_stray(line)
            self.before = line.strip() or self.before
            self.at += 1

    def _add(self, piece: Piece) -> None:
        self.found.append(piece)
        self.before = ""

    # Fences

    def _fenced(self, fence: re.Match[str]) -> None:
        first = self._next_line(self.at + 1)
        if self._begins_search_replace(first, fence["ticks"]):
            self._fenced_search_replace(fence["ticks"])
            return
        end = self._closing_fence(self.at + 1, fence["ticks"])
        self.at += 1
        if first < end and self.lines[first].rstrip() == BEGIN_PATCH:
            self._fenced_patches(end)
        elif first < end and self._is_diff(fence["info"], first, end):
            self._diff(end, fenced=True)
        else:
            content = "".join(f"{line}\n" for line in self.lines[self.at : end])
            self._add(Fenced(path=path_on(self.before), content=content))
        self.at = end + 1

    def _is_diff(self, info: str, first: int, end: int) -> bool:
        named = path_on(self.before)
        if named is not None and named.endswith((".diff", ".patch")):
            return False
        if named is not None and self.lines[first].startswith("@@"):
            return True
        says_so = info.strip().lower() in ("diff", "patch", "udiff")
        return any(begins_diff(self.lines, index) for index in range(first, end if says_so else first + 1))

    def _fenced_patches(self, end: int) -> None:
        while self.at < end:
            if self.lines[self.at].rstrip() == BEGIN_PATCH:
                self._patch(end)
            elif self.lines[self.at].strip():
                raise MalformedEdit(
                    f"a line of the fenced block is outside of `{BEGIN_PATCH}` and `{END_PATCH}`"
                )
            else:
                self.at += 1

    def _next_line(self, start: int) -> int:
        """The next index of a line that is not blank."""
        return next((i for i in range(start, len(self.lines)) if self.lines[i].strip()), len(self.lines))

    def _closing_fence(self, start: int, ticks: str) -> int:
        for index in range(start, len(self.lines)):
            if _closes(self.lines[index], ticks):
                return index
        raise MalformedEdit("a fenced block is not closed")

    # SEARCH/REPLACE

    def _begins_search_replace(self, first: int, ticks: str) -> bool:
        """At once, or after a line that is to name the file."""
        if first >= len(self.lines) or _closes(self.lines[first], ticks):
            return False
        return self._is_head(first) or self._is_head(self._next_line(first + 1))

    def _is_head(self, index: int) -> bool:
        return index < len(self.lines) and _HEAD.match(self.lines[index]) is not None

    def _fenced_search_replace(self, ticks: str) -> None:
        """Blocks, and the names between them, up to the fence's end; that of a last block may be forgotten."""
        outer = path_on(self.before)
        self.at += 1
        inner = path_on(self.lines[self._next_line(self.at)])
        if outer is not None and inner is not None and outer != inner:
            raise WrongPaths(f"one block is said to be of {outer} and of {inner}")
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if _HEAD.match(line):
                self._search_replace()
                continue
            self.at += 1
            if _closes(line, ticks):
                return
            _refuse_stray(line)
            self.before = line.strip() or self.before

    def _search_replace(self) -> None:
        head = _HEAD.match(self.lines[self.at])
        assert head is not None
        number = 1 + sum(isinstance(piece, SearchReplace) for piece in self.found)
        path = path_on(self.before) or self._word_above() if self.before else self.path
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

    def _word_above(self) -> str | None:
        """Right above the marker, or above the fence that it begins, a single word is a name too (`Makefile`)."""
        above = self.at - 1
        if above > 0 and _FENCE.match(self.lines[above]):
            above -= 1
        word = self.lines[above].strip()
        return word if re.fullmatch(r"\w[\w-]*", word) else None

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

    def _diff(self, end: int, *, fenced: bool) -> None:
        lines = self.lines[self.at : end]
        self._add(Diff(lines=tuple(lines), path=path_on(self.before) if fenced else None, fenced=fenced))
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


def path_on(line: str) -> str | None:
    """The path that a line consists of, or None when the line is prose."""
    line = line.strip()
    match = _PATH_LINE.match(line) if len(line) <= _LONGEST_NAME else None
    if match is None:
        return None
    path = match["path"].strip().strip("*").strip()
    quoted = len(path) > 2 and path[0] == path[-1] and path[0] in "`\"'"
    if quoted:
        return path[1:-1]
    looks_like_a_path = " " not in path and ("/" in path or "." in path) and not path.endswith(("/", "."))
    return path if looks_like_a_path else None
