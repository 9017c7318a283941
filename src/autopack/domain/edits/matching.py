"""Where a block's lines stand in a file: the one rule of matching. Pure.

1. **Exact.** All lines of `search` follow each other in the file. Line endings are not compared (an answer cannot
   be trusted to show them), and neither is whether the last line has one, except that a `search` or `replace` whose
   last line is said to be unended, and a block `at_end`, fit the end of the file only. A byte order mark at the
   beginning of the file need not be repeated.
2. **Tolerant**, only where nothing fits exactly: blanks and tabs at the end of a line are ignored, and all lines that
   are not blank may be indented more, or less, by the same blanks and tabs; the replacement is then shifted by the
   same. `search` must hold a line that is not blank.
3. Exactly one place may fit. Of several, the anchors of the block decide, else, of several *exact* ones, the one that
   begins in the very line that a diff's header states. Otherwise the block is refused, as it is when nothing fits.
4. Every block is looked for in the file as it was before the plan, so no block can match what another one wrote, and
   the old line numbers of a diff hold as they are. (`rewriting` refuses blocks that meet.)

Never: lines that are only similar, another file, the first of several places.

An anchor stands for each line that equals it, blanks at both ends aside, or that begins with it at a word's end
(`class A` for `class A(B):`). What is below it are the lines down to the next one that is indented no deeper; a
place counts when it begins at the anchor or below it, and where none does, when it comes after it. Several anchors are
looked for inside each other. A block whose anchor is not in the file is refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from autopack.domain.edits.nearest import nearest_lines, numbers
from autopack.domain.edits.plan import Block
from autopack.domain.edits.text import Line, split, without_bom

_BLANKS = " \t"
_ENOUGH = 20
"""So many places are as good as more: the block is refused."""
_TOO_MANY = 500
"""Of places that fit but for their indentation: no block is put where the same lines are so often."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """`length` lines from `start`, an index; what is added to, or taken from, each line's indentation."""

    start: int
    length: int
    exact: bool = True
    added: str = ""
    taken: str = ""

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass(frozen=True, kw_only=True)
class Miss:
    reason: str
    nearest: str = ""


def locate(block: Block, lines: Sequence[Line]) -> Match | Miss:
    """The one place of a block that searches for something."""
    wanted = [line.text for line in split(without_bom(block.search))]
    have = [line.text for line in lines]
    places = list(_fitting(_exact(wanted, have), block, lines))
    if not places:
        places = list(_fitting(_tolerant(wanted, have), block, lines))
    if not places:
        return Miss(reason=_nowhere(wanted, have), nearest=nearest_lines(wanted, have))
    return _chosen(block, places, have)


def _chosen(block: Block, places: list[Match], have: Sequence[str]) -> Match | Miss:
    if block.anchors:
        scopes = _scopes(block.anchors, have)
        if isinstance(scopes, Miss):
            return scopes
        places = _below(scopes, places)
        if not places:
            return Miss(reason=f"the lines to be replaced are not below {_shown(block.anchors)}")
    if len(places) == 1:
        return places[0]
    stated = [place for place in places if place.exact and block.line == place.start + 1]
    if stated:
        return stated[0]
    found = numbers(place.start + 1 for place in places)
    return Miss(
        reason=f"the lines to be replaced are in the file several times, at lines {found}; "
        "add lines from around them until they are there once"
    )


def _nowhere(wanted: Sequence[str], have: Sequence[str]) -> str:
    elsewhere = next(_exact(wanted, have), None)
    if elsewhere is not None:
        return f"the lines to be replaced are at line {elsewhere.start + 1}, not at the end of the file"
    return "the lines to be replaced are not in the file"


def _fitting(places: Iterator[Match], block: Block, lines: Sequence[Line]) -> Iterator[Match]:
    """At most enough of them, and only at the end of the file where the block belongs there."""
    last = block.at_end or _unended(block.search) or _unended(block.replace)
    found = 0
    for place in places:
        if not last or place.end == len(lines):
            yield place
            found += 1
        if found == _ENOUGH:
            return


def _unended(text: str) -> bool:
    return bool(text) and not text.endswith("\n")


def _exact(wanted: Sequence[str], have: Sequence[str]) -> Iterator[Match]:
    return (Match(start=start, length=len(wanted)) for start in _windows(wanted, have))


def _tolerant(wanted: Sequence[str], have: Sequence[str]) -> Iterator[Match]:
    bodies, length = [text.strip(_BLANKS) for text in wanted], len(wanted)
    if not any(bodies):
        return
    windows = list(islice(_windows(bodies, [text.strip(_BLANKS) for text in have]), _TOO_MANY))
    if len(windows) == _TOO_MANY:
        return
    for start in windows:
        shift = _shift(wanted, have[start : start + length])
        if shift is not None:
            yield Match(start=start, length=length, exact=False, added=shift[0], taken=shift[1])


def _windows(wanted: Sequence[str], have: Sequence[str]) -> Iterator[int]:
    """Where all lines of `wanted` follow each other in `have`; in the time that reading both takes, whatever they are."""
    needle, text = ("\n".join(["", *lines, ""]) for lines in (wanted, have))
    index, at = 0, 0
    while (found := text.find(needle, at)) >= 0:
        index += text.count("\n", at, found)
        yield index
        index, at = index + 1, found + 1


def _shift(wanted: Sequence[str], have: Sequence[str]) -> tuple[str, str] | None:
    """(added, taken) so that each line of `wanted` is indented like that of `have`; None if they differ."""
    pairs = [
        (_indent(ours), _indent(theirs))
        for ours, theirs in zip(wanted, have, strict=True)
        if ours.strip(_BLANKS)
    ]
    ours, theirs = pairs[0]
    added = theirs.removesuffix(ours) if theirs.endswith(ours) else ""
    taken = ours.removesuffix(theirs) if ours.endswith(theirs) else ""
    if all(theirs == added + ours for ours, theirs in pairs):
        return added, ""
    if all(ours == taken + theirs for ours, theirs in pairs):
        return "", taken
    return None


def _indent(text: str) -> str:
    return text[: len(text) - len(text.lstrip(_BLANKS))]


def shifted(text: str, match: Match) -> str | None:
    """A line of the replacement, indented as the match says; None where it is not indented deep enough."""
    if not text.strip(_BLANKS):
        return text
    if not text.startswith(match.taken):
        return None
    return match.added + text.removeprefix(match.taken)


def _scopes(anchors: Sequence[str], have: Sequence[str]) -> list[range] | Miss:
    """What is below the last of the anchors, each looked for below the one before it."""
    scopes = [range(len(have))]
    for anchor in anchors:
        inner = [
            range(index, _end_of_scope(index, have))
            for index in sorted({index for scope in scopes for index in scope})
            if _is_anchor(have[index], anchor)
        ]
        if not inner:
            return Miss(reason=f"no line is {_shown([anchor])}", nearest=nearest_lines([anchor], have))
        scopes = inner
    return scopes


def _is_anchor(text: str, anchor: str) -> bool:
    text, anchor = text.strip(), anchor.strip()
    if not anchor or not text.startswith(anchor):
        return False
    after = text[len(anchor) : len(anchor) + 1]
    return (
        not after or not (after.isalnum() or after == "_") or not (anchor[-1].isalnum() or anchor[-1] == "_")
    )


def _end_of_scope(index: int, have: Sequence[str]) -> int:
    depth = len(_indent(have[index]))
    for after in range(index + 1, len(have)):
        if have[after].strip(_BLANKS) and len(_indent(have[after])) <= depth:
            return after
    return len(have)


def _below(scopes: Sequence[range], places: list[Match]) -> list[Match]:
    inside = [place for place in places if any(place.start in scope for scope in scopes)]
    return inside or [place for place in places if any(place.start >= scope.start for scope in scopes)]


def _shown(anchors: Sequence[str]) -> str:
    return " / ".join(f"`@@ {anchor}`" for anchor in anchors)
