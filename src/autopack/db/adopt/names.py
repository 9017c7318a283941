"""Ids for many rows at once, all different. Pure."""

import re
from collections.abc import Collection, Iterable, Sequence

_NO_ID_CHARS = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_ID, _LONGEST_MADE_ID = 128, 110


def ids(said: Sequence[str | None], fallback: str, taken: Iterable[str] = ()) -> list[str]:
    """What may stay as it is stays; of several that are equal, the first. The others get an id that is not in use."""
    found: dict[int, str] = {}
    kept: set[str] = set()
    for position, each in enumerate(said):
        if each is not None and is_id(each) and each not in kept:
            found[position] = each
            kept.add(each)
    used = kept.union(taken)
    for position, each in enumerate(said):
        if position not in found:
            found[position] = id_like(each, fallback, used)
            used.add(found[position])
    return [found[position] for position in range(len(said))]


def is_id(said: str | None) -> bool:
    """Whether the API takes it as an id."""
    return bool(said) and len(said or "") <= _LONGEST_ID and _readable(said) == said


def id_like(said: str | None, fallback: str, taken: Collection[str]) -> str:
    """An id that reads like what was said, and is free."""
    wanted = _readable((_readable(said) or fallback)[:_LONGEST_MADE_ID])
    found, number = wanted, 1
    while found in taken:
        number += 1
        found = f"{wanted}-{number}"
    return found


def _readable(said: str | None) -> str:
    found = re.sub(r"\.{2,}", ".", _NO_ID_CHARS.sub("-", said or "").lstrip("._-"))
    while found.endswith((".", ".lock")):
        found = found.removesuffix(".").removesuffix(".lock")
    return found
