"""A file's bytes as lines that can be put together again byte for byte. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

BOM = "\ufeff"
_CODEC = ("utf-8", "surrogateescape")
_ROOM = 1_000_000
"""Beyond so many pairs of lines none are compared: that takes time, and an answer may be made to waste it."""


@dataclass(frozen=True, slots=True)
class Line:
    """`end` is "\\n", "\\r\\n", or "" for a last line that has none."""

    text: str
    end: str


@dataclass(frozen=True, kw_only=True)
class Text:
    """A file that is text; bytes that are not UTF-8 are lone surrogates in it."""

    lines: tuple[Line, ...]
    bom: bool = False
    is_utf8: bool = True

    def to_bytes(self) -> bytes:
        joined = "".join(line.text + line.end for line in self.lines)
        return ((BOM if self.bom else "") + joined).encode(*_CODEC)


def read(content: bytes) -> Text | None:
    """None for a binary file: one that holds a NUL."""
    if b"\0" in content:
        return None
    decoded = content.decode(*_CODEC)
    bom = starts_with_bom(decoded)
    is_utf8 = not any("\udc80" <= char <= "\udcff" for char in decoded)
    return Text(lines=tuple(split(decoded[bom:])), bom=bom, is_utf8=is_utf8)


def split(text: str) -> list[Line]:
    """Only "\\n" ends a line: what other characters look like line ends are part of it, as they are for git."""
    *ended, rest = text.split("\n")
    lines = [Line(each[:-1], "\r\n") if each.endswith("\r") else Line(each, "\n") for each in ended]
    return [*lines, Line(rest, "")] if rest else lines


def usual_end(lines: Iterable[Line]) -> str:
    """The line ending that most of the lines have."""
    ends = [line.end for line in lines]
    return "\r\n" if ends.count("\r\n") > ends.count("\n") else "\n"


def starts_with_bom(text: str) -> bool:
    """A mark that marks something: one that is all there is, is a text."""
    return text.startswith(BOM) and text != BOM


def without_bom(text: str) -> str:
    return text.removeprefix(BOM) if starts_with_bom(text) else text


def same_lines(old: Sequence[str], new: Sequence[str]) -> dict[int, int]:
    """Which line of `old` each line of `new` still is: {index in new: index in old}."""
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    pairs = {index: index for index in range(head)}
    pairs |= {len(new) - 1 - index: len(old) - 1 - index for index in range(tail)}
    inner_old, inner_new = old[head : len(old) - tail], new[head : len(new) - tail]
    if len(inner_old) * len(inner_new) <= _ROOM:
        for a, b, size in SequenceMatcher(None, inner_old, inner_new).get_matching_blocks():
            pairs |= {head + b + index: head + a + index for index in range(size)}
    return pairs


def _common(old: Sequence[str], new: Sequence[str]) -> int:
    """How many lines at the beginning are the same."""
    shorter = min(len(old), len(new))
    return next((index for index in range(shorter) if old[index] != new[index]), shorter)
