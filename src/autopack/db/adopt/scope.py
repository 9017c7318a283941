"""The scope of a phase, however the earlier system wrote it down. Pure."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from autopack.db.adopt.values import Value, text
from autopack.domain.policy import unsafe_path
from autopack.domain.storable import MAX_NESTING

_MAX_PATHS, _MAX_DELIVERABLES = 1000, 200
_FILE_FIRST = re.compile(r"([\w./-]*[\w-]\.\w{1,8}|[\w./-]+/)\s")
_SPACES_IN_NAME = re.compile(r"[^\s/]+/.*\.\w{1,8}")
_PATH_KEYS = ("path", "file", "filename")


@dataclass(frozen=True, kw_only=True)
class Scoped:
    """What of it is of use here."""

    paths: tuple[str, ...] = ()
    read_only_context: tuple[str, ...] = ()
    deliverables: tuple[str, ...] = ()
    goal: str | None = None
    unusable: int = 0
    """How many names can be no path here."""
    is_unlimited_now: bool = False
    """Whether it said what may be written, and nothing of that can be a path: then nothing would be forbidden any more."""

    def to_json(self) -> dict[str, list[str]]:
        return {
            "paths": list(self.paths), "read_only_context": list(self.read_only_context),
            "deliverables": list(self.deliverables), "checks": [],
        }  # fmt: skip


def scoped(value: Value) -> Scoped:
    found = _parsed(value)
    if isinstance(found, dict):
        return _of_object(found)
    if found is None:
        return Scoped()
    if isinstance(found, list):
        return _of_object({"paths": found})
    return Scoped(goal=text(str(found)), unusable=1)


def _parsed(value: Value) -> Any:
    """JSON, which may be a text that holds JSON; what is none is taken as the text that it is."""
    found: Any = value.decode(errors="replace") if isinstance(value, bytes) else value
    for _ in range(2):
        if not isinstance(found, str):
            break
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):
            break
    return found


def _of_object(scope: dict[Any, Any]) -> Scoped:
    limits = [*strings(scope.get("paths")), *strings(scope.get("allowed_paths"))]
    wanted = [*strings(scope.get("deliverables"))]
    # What was protected is not written here either: what may only be read is nobody's to change.
    context = [*strings(scope.get("read_only_context")), *strings(scope.get("protected_paths"))]
    deliverables = _paths(wanted)
    # A directory cannot be delivered; it is where something may be written.
    paths = tuple(dict.fromkeys((*_paths(limits), *(path for path in deliverables if path.endswith("/")))))
    files = tuple(path for path in deliverables if not path.endswith("/"))
    goal = scope.get("goal") or scope.get("description")
    return Scoped(
        paths=paths[:_MAX_PATHS], read_only_context=_paths(context)[:_MAX_PATHS], deliverables=files[:_MAX_DELIVERABLES],
        goal=text(goal) if isinstance(goal, str) else None,
        unusable=sum(path_in(each) is None for each in (*limits, *wanted, *context)),
        is_unlimited_now=bool(limits) and not paths and not files,
    )  # fmt: skip


def _paths(given: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for path in map(path_in, given) if path))


def strings(value: Any, depth: int = 0) -> Iterator[str]:
    """Every text inside lists and objects; of an object that names a path, the path alone."""
    if isinstance(value, str):
        yield value
    elif depth > MAX_NESTING:
        return
    elif isinstance(value, dict):
        named = [value[key] for key in _PATH_KEYS if isinstance(value.get(key), str)]
        for each in named or value.values():
            yield from strings(each, depth + 1)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each, depth + 1)


def path_in(said: str) -> str | None:
    """The path that a text is, or begins with ("src/a.py with tests"); None where it is prose."""
    said = said.strip()
    if first := _FILE_FIRST.match(said):
        return _path(first.group(1))
    if re.search(r"\s", said) and not _SPACES_IN_NAME.fullmatch(said):
        return None
    return _path(said)


def _path(said: str) -> str | None:
    """A path by the rules of policy. Of a pattern, the directory that it is about."""
    path = said.replace("\\", "/").removeprefix("./")
    if wild := re.search(r"[*?\[]", path):
        path = path[: path.rfind("/", 0, wild.start()) + 1]
    return None if unsafe_path(path.removesuffix("/")) else path
