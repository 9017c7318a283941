"""What may not be written into a file. Only what is new counts: a line that the base has already is no edit's. Pure."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator

from autopack.domain.policy import rules
from autopack.domain.policy.rules import Rule
from autopack.domain.redaction import PLACEHOLDER, credentials_in

# Embeddings, overrides and isolates: what a reader sees is not what a compiler reads.
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_INVISIBLE = re.compile(
    "[\u00ad\u115f\u1160\u180e\u200b\u2060-\u2064\u206a-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e01ef]"
    "|[\ufe00-\ufe0f]{2}"
)
_MARK = re.compile("[\u061c\u200e\u200f]")
_JOINER = re.compile("[\u200c\u200d]")
_LAST_LATIN = "\u024f"


def problems(before: bytes | None, after: bytes, max_bytes: int) -> Iterator[Rule]:
    """The rules that the new content breaks; `before` None: the file is new."""
    if before == after:
        return
    if len(after) > max(max_bytes, len(before or b"")):
        yield rules.TOO_LARGE
    if b"\0" in after:
        yield rules.BINARY
        return
    text, earlier = _text(after), _text(before or b"")
    if text is None and earlier is not None:
        yield rules.NOT_UTF8
    yield from _added_problems(earlier or _lossy(before or b""), text if text is not None else _lossy(after))


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _lossy(data: bytes) -> str:
    return data.decode("ascii", "ignore")


def _added_problems(before: str, after: str) -> Iterator[Rule]:
    added = _added_lines(before, after.removeprefix("\ufeff"))
    judged = {rule for line in added for rule in (*_marks(line), *_joiners(line))}
    if any(map(_BIDI.search, added)) or rules.BIDI in judged:
        yield rules.BIDI
    if any(map(_INVISIBLE.search, added)) or rules.INVISIBLE in judged:
        yield rules.INVISIBLE
    if rules.MARK in judged:
        yield rules.MARK
    if any(match not in before for line in added for match in credentials_in(line)):
        yield rules.SECRET
    if _conflicts(after) > _conflicts(before):
        yield rules.CONFLICT
    if any(map(PLACEHOLDER.search, added)):
        yield rules.PLACEHOLDER


def _marks(line: str) -> Iterator[Rule]:
    """A direction mark belongs beside text that runs from right to left; in any other it only hides something."""
    if _MARK.search(line):
        turns = any(char.isalpha() and unicodedata.bidirectional(char) in ("R", "AL") for char in line)
        yield rules.MARK if turns else rules.BIDI


def _joiners(line: str) -> Iterator[Rule]:
    """A joiner belongs between emoji, or letters of scripts that join; beside an ASCII letter it only hides something."""
    for match in _JOINER.finditer(line):
        at = match.start()
        beside = line[max(0, at - 1) : at], line[at + 1 : at + 2]
        if not all(beside) or any(map(str.isascii, beside)):
            joins = any(map(_is_of_a_joining_script, beside))
            hides = any(char.isascii() and char.isalnum() for char in beside)
            yield rules.MARK if joins and not hides else rules.INVISIBLE


def _is_of_a_joining_script(char: str) -> bool:
    return char > _LAST_LATIN and unicodedata.category(char)[0] in "LM"


def _conflicts(text: str) -> int:
    """How many conflicts a merge left: all three markers, in their order. One alone is a heading, or a page about git."""
    found, next_marker = 0, 0
    for line in text.split("\n"):
        marker, rest = line[:7], line[7:8]
        if marker == "<<<<<<<" and rest in _ENDS:
            next_marker = 1
        elif marker == "=" * 7 and next_marker == 1 and rest in _ENDS:
            next_marker = 2
        elif marker == ">>>>>>>" and next_marker == 2 and rest in _ENDS:
            found, next_marker = found + 1, 0
    return found


_ENDS = ("", " ", "\r")


def _added_lines(before: str, after: str) -> list[str]:
    known = set(before.removeprefix("\ufeff").split("\n"))
    return [line for line in after.split("\n") if line not in known]


def lines_of(content: bytes) -> Counter[bytes]:
    return Counter(content.splitlines())


def lines_deleted(before: bytes, after: bytes) -> int:
    """Lines of `before` that `after` does not hold, wherever they lie: what was only moved about is not counted."""
    return (lines_of(before) - lines_of(after)).total()


def share_kept(before: Counter[bytes], after: Counter[bytes]) -> float:
    """How much of a file's lines another one holds, from 0 to 1."""
    return (before & after).total() / max(1, before.total())


def loses_half(before: bytes, after: bytes) -> bool:
    """Whether the file shrinks to less than half of its lines. One that is rewritten at its length does not."""
    return len(after.splitlines()) * 2 < len(before.splitlines())
