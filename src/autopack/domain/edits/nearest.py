"""What may have been meant: the real lines that are most like those that were searched for, for the model's next ask. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from difflib import SequenceMatcher, get_close_matches
from heapq import nlargest
from pathlib import PurePosixPath

from autopack.domain.storable import storable_text

_MOST_LINES = 40
_MOST_CHARS = 3000
_LOOKED_AT = 1500
_LONGEST = 300
"""Lines of a file that are compared at all, and characters of a line: finding what is like something is slow."""


def nearest_lines(wanted: Sequence[str], have: Sequence[str]) -> str:
    """The part of the file that shares most lines with `wanted`, else the line most like one of them; perhaps none."""
    wanted = [text.strip() for text in wanted][:_MOST_LINES]
    have = have[: _LOOKED_AT * 20]
    bare = [text.strip() for text in have]
    start, shared = _best_window(wanted, bare)
    if not shared:
        start = _most_alike(wanted, bare)
        if start < 0:
            return ""
    first, last = max(0, start - 1), min(len(have), start + len(wanted) + 1)
    return storable_text("\n".join(have[first:last])[:_MOST_CHARS])


def _best_window(wanted: Sequence[str], bare: Sequence[str]) -> tuple[int, int]:
    """(start, how many lines are shared) of the window that shares most; blank lines do not count."""
    left = Counter(text for text in wanted if text)
    best, size = (0, 0), max(1, len(wanted))
    inside, shared = Counter[str](), 0
    for index, text in enumerate(bare):
        if index >= size:
            gone = bare[index - size]
            shared -= inside[gone] <= left[gone] and gone in left
            inside[gone] -= 1
        inside[text] += 1
        shared += inside[text] <= left[text] and text in left
        if shared > best[1]:
            best = (max(0, index - size + 1), shared)
    return best


def _most_alike(wanted: Sequence[str], bare: Sequence[str]) -> int:
    """The index where the window would begin if the longest wanted line were the one most like it; -1 for none."""
    longest = max(wanted, key=len, default="")
    alike = _close(longest, list(dict.fromkeys(bare[:_LOOKED_AT])), cutoff=0.6)
    return max(0, bare.index(alike[0]) - wanted.index(longest)) if alike else -1


def _close(text: str, others: Sequence[str], *, cutoff: float) -> list[str]:
    """The most similar first. The quick measure chooses: the exact one takes the square of a line's length."""
    matcher = SequenceMatcher(None, "", text)
    measured = []
    for other in others:
        if len(other) <= _LONGEST:
            matcher.set_seq1(other)
            if matcher.real_quick_ratio() >= cutoff and (likeness := matcher.quick_ratio()) >= cutoff:
                measured.append((likeness, other))
    best = nlargest(10, measured)
    return (
        get_close_matches(text, [other for _, other in best], n=3, cutoff=cutoff)
        if len(text) <= _LONGEST
        else []
    )


def nearest_names(path: str, names: Collection[str]) -> list[str]:
    """Files that may have been meant: of the same name elsewhere, else of a name like it."""
    name = PurePosixPath(path).name
    twins = sorted(each for each in names if PurePosixPath(each).name == name and each != path)
    return twins[:3] or _close(path, sorted(names)[: _LOOKED_AT * 20], cutoff=0.7)


def numbers(found: Iterable[int]) -> str:
    """`3, 17 and 40`."""
    told = [str(number) for number in found]
    return " and ".join(filter(None, [", ".join(told[:-1]), told[-1]]))
