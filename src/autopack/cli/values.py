"""Values of options that are a number, or `none` for no limit at all."""

from typing import TypeVar

N = TypeVar("N", int, float)
NONE = "none"


def number_or_none(option: str, text: str, kind: type[N]) -> N | None:
    """None for `none`. Raises UsageError for what is no number above 0."""
    import math

    from autopack.errors import UsageError

    if text == NONE:
        return None
    try:
        found = kind(text)
    except ValueError:
        found = kind(0)
    if not 0 < found < math.inf:
        one = "a whole one" if kind is int else "one"
        raise UsageError(f"{option} {text!r} is no number above 0; write {one}, or `{NONE}` for no limit")
    return found
