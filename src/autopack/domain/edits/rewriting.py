"""A file's text with its edits in it, kept in the file's own style. Pure.

What is kept, and when an answer is taken to mean otherwise:

- Lines that an edit leaves as they are keep their bytes: their ending, blanks at their end, and bytes that are no UTF-8.
- A new line gets the ending of the line it replaces or follows. Where a block's lines have exactly the endings of
  those in the file, its replacement is taken as it is written: a diff can change line endings.
- A byte order mark stays, unless a block shows it and its replacement does not.
- A file without a final newline stays so, also where its last lines go, unless `search` and `replace` differ in having
  one, or `search` shows that there is none: only a diff can say that.
- A file given whole follows the same rules: its line endings count only where it has a carriage return at all, and its
  final newline does not count when the file had none (a fenced block always has one, and a prompt does not show it).
- In a file that is not UTF-8 nothing but ASCII is written anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from autopack.domain.edits.matching import Match, Miss, locate, shifted
from autopack.domain.edits.plan import Block
from autopack.domain.edits.text import (
    BOM,
    Line,
    Text,
    same_lines,
    split,
    starts_with_bom,
    usual_end,
    without_bom,
)

NOT_UTF8 = "the file is not UTF-8, and the edit would put in characters beyond ASCII"


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A block's place, and the lines in it that really change: `new` instead of those from `start` to `end`."""

    number: int
    match: Match
    start: int
    end: int
    new: tuple[Line, ...]
    drops_bom: bool = False
    unends: bool = False
    """The file's last lines go, and the one before them is then to be the unended one."""

    def meets(self, other: "Placed") -> bool:
        """Whether one changes what the other one matched, or both write in the same place."""
        if not self.changes or not other.changes:
            return False
        if self.start == self.end == other.start == other.end:
            return True
        return _cuts(self, other.match) or _cuts(other, self.match)

    @property
    def changes(self) -> bool:
        return bool(self.new) or self.start < self.end


def _cuts(placed: Placed, match: Match) -> bool:
    if placed.start == placed.end:
        return match.start < placed.start < match.end
    return placed.start < match.end and match.start < placed.end


def place(number: int, block: Block, text: Text) -> Placed | Miss:
    """Where the block belongs and what it changes there, or why it cannot be applied."""
    found = locate(block, text.lines)
    if isinstance(found, Miss):
        return found
    if starts_with_bom(block.search) and (found.start or not text.bom):
        return Miss(reason="no byte order mark is where the block shows one")
    old = text.lines[found.start : found.end]
    new = _replacement(block, found, text)
    if new is None:
        return Miss(reason="the replacement is not indented as deep as the lines that it replaces")
    if not _writable(old, new, text):
        return Miss(reason=NOT_UTF8)
    start, end, changed = _trimmed(old, new)
    drops_bom = starts_with_bom(block.search) and not starts_with_bom(block.replace)
    unends = not new and old[-1].end == "" and block.search.endswith("\n")
    return Placed(
        number=number, match=found, start=found.start + start, end=found.start + end, new=changed, drops_bom=drops_bom,
        unends=unends,
    )  # fmt: skip


def put_together(text: Text, placed: Sequence[Placed]) -> Text:
    """The text with all of them in it; they do not meet."""
    lines: list[Line] = []
    at = 0
    for each in sorted(placed, key=lambda each: (each.start, each.end)):
        lines += [*text.lines[at : each.start], *each.new]
        at = each.end
    lines += text.lines[at:]
    if lines and any(each.unends for each in placed):
        lines[-1] = Line(lines[-1].text, "")
    return replace(text, lines=tuple(lines), bom=text.bom and not any(each.drops_bom for each in placed))


def appended(text: Text, addition: str) -> Text | None:
    """The addition below all lines, in the file's style; None where it cannot be encoded in it."""
    new = split(without_bom(addition) if text.bom else addition)
    if not text.lines or not new:
        return replace(text, lines=(*text.lines, *new))
    if not _writable((), new, text):
        return None
    end = usual_end(text.lines)
    unended = text.lines[-1].end == ""
    lines = [*text.lines[:-1], _ended(text.lines[-1], end), *(Line(line.text, end) for line in new)]
    if unended or new[-1].end == "":
        lines[-1] = Line(lines[-1].text, "")
    return replace(text, lines=tuple(lines))


def rewritten(text: Text, content: str) -> Text | None:
    """The whole new content in the old one's style; None where it cannot be encoded in it."""
    bom = text.bom or content.startswith(BOM)
    new = split(content.removeprefix(BOM))
    if not _writable(text.lines, new, text):
        return None
    if "\r" not in content and any(line.end == "\r\n" for line in text.lines):
        new = _in_style(text.lines, new, [line.text for line in new], usual_end(text.lines))
        if not content.endswith("\n") and new:
            new[-1] = Line(new[-1].text, "")
    if text.lines and text.lines[-1].end == "" and new:
        new[-1] = Line(new[-1].text, "")
    return replace(text, lines=tuple(new), bom=bom)


def _replacement(block: Block, match: Match, text: Text) -> list[Line] | None:
    old = text.lines[match.start : match.end]
    search, new = split(without_bom(block.search)), split(_replace_text(block))
    if match.exact and [line.end for line in search] == [line.end for line in old]:
        return new
    texts = [shifted(line.text, match) for line in new]
    if None in texts:
        return None
    pairs = same_lines([line.text for line in search], [line.text for line in new])
    usual = usual_end(text.lines)
    made = _styled(old, pairs, [each or "" for each in texts], usual)
    if match.end == len(text.lines):
        _set_final_end(made, block, old[-1].end, usual)
    return made


def _replace_text(block: Block) -> str:
    return without_bom(block.replace) if starts_with_bom(block.search) else block.replace


def _in_style(old: Sequence[Line], new: Sequence[Line], texts: Sequence[str], usual: str) -> list[Line]:
    pairs = same_lines([line.text for line in old], [line.text for line in new])
    return [_ended(line, usual) for line in _styled(old, pairs, texts, usual)]


def _styled(old: Sequence[Line], pairs: dict[int, int], texts: Sequence[str], usual: str) -> list[Line]:
    """Lines that stay are the file's own; others end like the line whose place they take."""
    made, at = [], 0
    for index, text in enumerate(texts):
        if index in pairs:
            at = pairs[index] + 1
            made.append(old[pairs[index]])
        else:
            near = old[min(at, len(old) - 1)].end if old else usual
            made.append(Line(text, near or usual))
    return made


def _set_final_end(made: list[Line], block: Block, was: str, usual: str) -> None:
    """`made` is to be the end of the file."""
    if not made:
        return
    made[:] = [_ended(line, usual) for line in made]
    says_so = block.search.endswith("\n") != block.replace.endswith("\n")
    if not (block.replace.endswith("\n") if says_so else was):
        made[-1] = Line(made[-1].text, "")


def _ended(line: Line, end: str) -> Line:
    return line if line.end else Line(line.text, end)


def _trimmed(old: Sequence[Line], new: Sequence[Line]) -> tuple[int, int, tuple[Line, ...]]:
    """Without the lines at both ends that stay: (start and end in `old`, what comes there)."""
    shorter = min(len(old), len(new))
    head = next((index for index in range(shorter) if old[index] != new[index]), shorter)
    room = shorter - head
    tail = next((index for index in range(room) if old[-1 - index] != new[-1 - index]), room)
    return head, len(old) - tail, tuple(new[head : len(new) - tail])


def _writable(old: Sequence[Line], new: Sequence[Line], text: Text) -> bool:
    kept = {line.text for line in old}
    return text.is_utf8 or all(line.text.isascii() or line.text in kept for line in new)
