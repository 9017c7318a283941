"""One hunk of a unified diff. Pure."""

import re
from collections.abc import Iterator, Sequence

from autopack.domain.edits.plan import Block, MalformedEdit
from autopack.domain.edits.scan import begins_diff

_HEADER = re.compile(r"^@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")
_SIGNATURE = re.compile(r"^\d+\.\d+[\w.-]*$")


class MalformedDiff(MalformedEdit):
    def __init__(self, what: str) -> None:
        super().__init__(f"the diff cannot be read: {what}")


def read_hunk(lines: Sequence[str], at: int) -> tuple[Block, int]:
    """The hunk whose header is line `at`, and the index after its last line."""
    header = _HEADER.match(lines[at])
    end = _counted(lines, at + 1, _count(header[2]), _count(header[4])) if header else None
    if end is None:
        end = _as_far_as_it_looks_like_one(lines, at + 1)
    # An answer that ends its lines with CRLF does so in its headers too; git never does there.
    cut = "\r" if lines[at].endswith("\r") else ""
    body = [line.removesuffix(cut) for line in lines[at + 1 : end]]
    while body and not body[-1]:  # whether it is context or ends the hunk is not known, and not needed
        body.pop()
    sides = _Sides()
    for line in body:
        sides.take(line)
    if not body:
        raise MalformedDiff(f"the hunk {lines[at]!r} has no lines")
    search, replace = sides.joined()
    return Block(search=search, replace=replace, line=int(header[1]) if header else None), end


def is_signature(lines: Sequence[str], at: int) -> bool:
    """`-- ` and a version end what `git format-patch` writes."""
    return lines[at] in ("-- ", "--") and at + 1 < len(lines) and _SIGNATURE.match(lines[at + 1]) is not None


class _Sides:
    """The lines before and after; the end of a file is known on each side by itself."""

    def __init__(self) -> None:
        self.texts: tuple[list[str], list[str]] = ([], [])
        self.last: tuple[int, ...] = ()

    def take(self, line: str) -> None:
        sign = line[:1]
        if sign == "\\":
            for side in self.last:
                self.texts[side][-1] = self.texts[side][-1].removesuffix("\n")
            return
        self.last = {"-": (0,), "+": (1,)}.get(sign, (0, 1))
        for side in self.last:
            if self.texts[side] and not self.texts[side][-1].endswith("\n"):
                raise MalformedDiff("lines follow one that is said to be the end of the file")
            self.texts[side].append((line[1:] if sign in ("-", "+", " ") else line) + "\n")

    def joined(self) -> tuple[str, str]:
        return "".join(self.texts[0]), "".join(self.texts[1])


def _count(text: str | None) -> int:
    return 1 if text is None else int(text)


def _counted(lines: Sequence[str], at: int, old: int, new: int) -> int | None:
    """The end as the header counts it; None where the lines say otherwise."""
    while old > 0 or new > 0:
        if at >= len(lines):
            return None
        sign = _sign(lines[at])
        if sign is None:
            return None
        old -= sign in "- "
        new -= sign in "+ "
        at += 1
    if old < 0 or new < 0:
        return None
    if at < len(lines) and lines[at].startswith("\\"):
        at += 1
    return None if _goes_on(lines, at) else at


def _sign(line: str) -> str | None:
    """`-`, `+`, a blank for context, `\\` for the note; None where no line of a hunk begins so."""
    if not line.rstrip("\r"):
        return " "  # many programs take the blank off an empty line
    return line[0] if line[0] in "+- \\" else None


def _goes_on(lines: Sequence[str], at: int) -> bool:
    """Whether there are more lines of a hunk, beyond blank ones."""
    rest = next(_not_blank(lines, at), None)
    return rest is not None and not _ends_hunk(lines, rest)


def _not_blank(lines: Sequence[str], at: int) -> Iterator[int]:
    return (index for index in range(at, len(lines)) if lines[index].rstrip("\r"))


def _as_far_as_it_looks_like_one(lines: Sequence[str], at: int) -> int:
    return next((index for index in _not_blank(lines, at) if _ends_hunk(lines, index)), len(lines))


def _ends_hunk(lines: Sequence[str], at: int) -> bool:
    return _sign(lines[at]) is None or begins_diff(list(lines[at : at + 2]), 0) or is_signature(lines, at)
