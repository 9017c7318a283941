"""Names as git writes them in a diff: plain, or quoted as in C. They are unquoted before anybody judges them. Pure."""

import re

from autopack.domain.edits.plan import WrongPaths

NOTHING = "/dev/null"
_LETTERS = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, '"': 34, "\\": 92}
_ESCAPE = re.compile(r'\\([0-7]{3}|[abtnvfr"\\])')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


def name(text: str) -> str:
    """The name in a `---` or `+++` line. A tab ends it (a date may follow), and git puts one after each with a blank."""
    text = text.rstrip("\r")
    if text.startswith('"'):
        return exact_name(text.rstrip())
    before, tab, _ = text.partition("\t")
    return before if tab else before.rstrip(" ")


def exact_name(text: str) -> str:
    """A name that the rest of its line is."""
    text = text.rstrip("\r")
    if not text.startswith('"'):
        return text
    quoted = _QUOTED.match(text)
    if quoted is None or text[quoted.end() :].partition("\t")[0].strip():
        raise _wrong(text)
    return unquoted(quoted[1])


def unquoted(inside: str) -> str:
    """What is between the quotes, as text."""
    if _ESCAPE.sub("", inside).count("\\"):
        raise _wrong(inside)
    parts, at = bytearray(), 0
    for escape in _ESCAPE.finditer(inside):
        parts += inside[at : escape.start()].encode("utf-8", "surrogatepass")
        code = escape[1]
        parts.append(_LETTERS[code] if code in _LETTERS else int(code, 8) & 0xFF)
        at = escape.end()
    parts += inside[at:].encode("utf-8", "surrogatepass")
    # Bytes that are no UTF-8 are lone surrogates, as everywhere in a tree; policy refuses those.
    return parts.decode("utf-8", "surrogateescape")


def pairs(rest: str) -> list[tuple[str, str]]:
    """What the two names of a `diff --git` line may be: blanks in them are not quoted, so that there may be several."""
    rest = rest.rstrip("\r")
    first = _QUOTED.match(rest)
    if first is not None:
        return [(unquoted(first[1]), exact_name(rest[first.end() :].removeprefix(" ")))]
    if rest.endswith('"') and ' "' in rest:
        old, _, new = rest.partition(' "')
        return [(old, exact_name('"' + new))]
    blanks = [index for index, char in enumerate(rest) if char == " "]
    return [(rest[:index], rest[index + 1 :]) for index in blanks]


def without_prefixes(old: str, new: str) -> tuple[str, str]:
    """Without git's `a/` and `b/`, where both names have theirs (`/dev/null` has none)."""
    if all(each == NOTHING or each.startswith(prefix) for each, prefix in ((old, "a/"), (new, "b/"))):
        return old.removeprefix("a/"), new.removeprefix("b/")
    return old, new


def _wrong(text: str) -> WrongPaths:
    return WrongPaths(f"the diff has a name that is not quoted as git does it: {text[:200]!r}")
