"""What may not be written into a file. Only what is new counts: a line that the base has already is no edit's. Pure."""

import re
from collections import Counter
from collections.abc import Iterator

from autopack.domain.policy import rules
from autopack.domain.policy.rules import Rule
from autopack.domain.redaction import CREDENTIALS, PLACEHOLDER

# Explicit marks, embeddings, overrides and isolates: what a reader sees is not what a compiler reads.
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_INVISIBLE = re.compile(
    "[\u00ad\u115f\u1160\u180e\u200b\u2060-\u2064\u206a-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e01ef]"
    "|[\ufe00-\ufe0f]{2}"
    # A joiner belongs between emoji, or letters of scripts that join; beside ASCII it only hides something.
    "|(?:^|[\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?:[\x00-\x7f]|$)"
)
_CONFLICT = re.compile(r"(<{7}|>{7}|\|{7}) ")


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
    if any(map(_BIDI.search, added)):
        yield rules.BIDI
    if any(map(_INVISIBLE.search, added)):
        yield rules.INVISIBLE
    if any(match not in before for line in added for match in _credentials(line)):
        yield rules.SECRET
    if any(map(_CONFLICT.match, added)):
        yield rules.CONFLICT
    if any(map(PLACEHOLDER.search, added)):
        yield rules.PLACEHOLDER


def _credentials(line: str) -> Iterator[str]:
    return (match.group() for pattern in CREDENTIALS.values() for match in pattern.finditer(line))


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
