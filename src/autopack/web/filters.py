"""What the address of a list asks for. Empty is nothing; what cannot be meant is refused in words, never left out silently."""

import re
from collections.abc import Mapping, Sequence

from autopack.errors import UsageError
from autopack.schemas import ID_PATTERN

_TEXT_CHARS = 200


def chosen(query: Mapping[str, str], name: str, allowed: Sequence[str]) -> str | None:
    """One of `allowed`."""
    given = query.get(name, "").strip()
    if given and given not in allowed:
        raise UsageError(f"{name} {_shown(given)} is none of {', '.join(allowed)}")
    return given or None


def id_of(query: Mapping[str, str], name: str) -> str | None:
    """The id of a run."""
    given = query.get(name, "").strip()
    if given and re.fullmatch(ID_PATTERN, given) is None:
        raise UsageError(f"{name} {_shown(given)} is no id of a run")
    return given or None


def place_of(query: Mapping[str, str], name: str) -> int | None:
    """A place in a run's plan."""
    given = query.get(name, "").strip()
    if given and re.fullmatch("[0-9]{1,9}", given) is None:
        raise UsageError(f"{name} {_shown(given)} is no place in a plan: a number, 0 or more")
    return int(given) if given else None


def text_of(query: Mapping[str, str], name: str) -> str:
    """What to look for; more than anything is named by is not looked for."""
    return query.get(name, "").strip()[:_TEXT_CHARS]


def _shown(given: str) -> str:
    return repr(given[:_TEXT_CHARS])
