"""The diff that is kept of an attempt: for a person to read, and never longer than its column. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from autopack.domain.phases import MAX_KEPT_DIFF_CHARS

_CUT = "[cut: "
_LONGEST_SECRET = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class PhaseDiff:
    """What one attempt of a phase changed. `diff` is None where none was kept, and empty where nothing was changed."""

    run_id: str
    phase_id: str
    attempt: int | None
    """The number of the attempt; None where the phase has none yet."""
    base_commit: str | None = None
    result_commit: str | None = None
    diff: str | None = None
    cut: bool = False
    """Whether it was too long to be kept whole: its last line says so, and it cannot be applied."""


def bounded_diff(diff: str, longest: int = MAX_KEPT_DIFF_CHARS, *, total: int | None = None) -> str:
    """At most so many characters, cut where a line ends; the last line then says how many there were.

    `total` is that number where `diff` has been cut before.
    """
    if len(diff) <= longest and total is None:
        return diff
    remark = f"{_CUT}the diff has {len(diff) if total is None else total} characters in all]\n"
    return _lines(diff, longest - len(remark)) + remark


def readable_diff(diff: str, redact: Callable[[str], str], longest: int = MAX_KEPT_DIFF_CHARS) -> str:
    """The same without secrets. What will be cut off is not searched for them: that takes a second for each few megabytes.

    A secret that would be parted by the cut lies in what is searched and then left out.
    """
    if len(diff) <= longest + _LONGEST_SECRET:
        return bounded_diff(redact(diff), longest)
    searched = redact(diff[: longest + _LONGEST_SECRET])
    return bounded_diff(searched[: len(searched) - _LONGEST_SECRET], longest, total=len(diff))


def _lines(text: str, longest: int) -> str:
    """As many lines as fit; of a line that is nearly everything, its beginning."""
    if len(text) <= longest and text.endswith("\n"):
        return text
    end = text.rfind("\n", 0, longest) + 1
    return text[:end] if end > longest // 2 else f"{text[: longest - 1]}\n"


def is_cut(diff: str) -> bool:
    """No line of a diff begins like the one that says so."""
    return diff.rstrip("\n").rpartition("\n")[2].startswith(_CUT)
