"""What every database keeps and the API takes. Pure."""

import math
from enum import Enum
from typing import Any

MAX_INTEGER = 2**63 - 1
MAX_TOKENS = 10**12
"""Of one call. More is no true count, and sums of such stay within 63 bits."""
MAX_NESTING = 50
_CUT = "[nested too deep]"


def storable_text(text: str) -> str:
    """The text with U+FFFD for each NUL and each lone surrogate."""
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def storable(value: Any, room: int = MAX_NESTING - 10) -> Any:
    """A JSON value of a model or of a check, with what cannot be stored replaced: their words are data, and never an error."""
    if isinstance(value, str):
        return value if isinstance(value, Enum) else storable_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return hex(value)
    if isinstance(value, dict):
        return (
            {storable_text(str(key)): storable(each, room - 1) for key, each in value.items()}
            if room
            else _CUT
        )
    if isinstance(value, (list, tuple)):
        return [storable(each, room - 1) for each in value] if room else _CUT
    return value


def reject_unstorable(value: Any, depth: int = 0) -> None:
    """Raises ValueError for what no database can hold: NUL, lone surrogates, integers beyond 63 bits, deep nesting."""
    if depth > MAX_NESTING:
        raise ValueError(f"nested more than {MAX_NESTING} levels deep")
    if isinstance(value, str):
        _reject_unstorable_text(value)
    elif isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise ValueError("an integer is beyond 63 bits")
    elif isinstance(value, dict):
        reject_unstorable([*value.keys(), *value.values()], depth)
    elif isinstance(value, (list, tuple)):
        for each in value:
            reject_unstorable(each, depth + 1)


def _reject_unstorable_text(text: str) -> None:
    if "\0" in text:
        raise ValueError("text holds a NUL character")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("text holds a lone surrogate")
