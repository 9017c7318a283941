"""What every database keeps and the API takes. Pure."""

import math
from enum import Enum
from typing import Any

MAX_INTEGER = 2**63 - 1
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
