"""The scope of a phase, however the earlier system wrote it down. Pure."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from autopack.db.adopt.values import Value, text
from autopack.domain.policy import unsafe_path
from autopack.domain.storable import MAX_NESTING

_MAX_PATHS, _MAX_DELIVERABLES = 1000, 200
_FILE_FIRST = re.compile(r"([\w./-]*[\w-]\.\w{1,8}|[\w./-]+/):?\s")
_SPACES_IN_NAME = re.compile(r"[^\s/]+/.*\.\w{1,8}")
_NAMES_PATH = re.compile(r"\S*\.[A-Za-z]\w{0,7}|\S*/")
_FILES_OF_ONE_WORD = frozenset({
    "makefile", "gnumakefile", "dockerfile", "containerfile", "justfile", "rakefile", "gemfile", "pipfile", "procfile", "brewfile",
    "jenkinsfile", "vagrantfile", "license", "readme", "changelog", "codeowners",
})  # fmt: skip
_PATH_ALONE = re.compile(rf"{_NAMES_PATH.pattern}|\S*/\S*")
_BULLET = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
_PATH_KEYS = ("path", "file", "filename")
_LIMITS = ("paths", "allowed_paths", "files", *_PATH_KEYS)
# What was protected is not written here either: what may only be read is nobody's to change.
_CONTEXT = ("read_only_context", "protected_paths")
_WORK = frozenset({"goal", "description"})
"""These say what is to be done, not where."""


@dataclass(frozen=True, kw_only=True)
class Scoped:
    """What of it is of use here."""

    paths: tuple[str, ...] = ()
    read_only_context: tuple[str, ...] = ()
    deliverables: tuple[str, ...] = ()
    goal: str | None = None
    words: str | None = None
    """What a scope that is prose says of the work."""
    unusable: int = 0
    """How many names can be no path here."""
    limits_nothing: bool = False
    """Whether it says something, and nothing of that can be a limit here: then nothing would be forbidden any more."""

    def to_json(self) -> dict[str, list[str]]:
        return {
            "paths": list(self.paths), "read_only_context": list(self.read_only_context),
            "deliverables": list(self.deliverables), "checks": [],
        }  # fmt: skip


def scoped(value: Value) -> Scoped:
    found = _parsed(value)
    if isinstance(found, dict):
        return _of_object(found)
    if not found:
        return Scoped()
    if isinstance(found, list):
        return _of_object({"paths": found})
    return _of_text(str(found))


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


def _of_text(said: str) -> Scoped:
    """Paths, or words about the work: these are the goal's, and a line of them that is a path is a limit."""
    pieces = [piece for line in said.splitlines() if line.strip() for piece in _pieces(_BULLET.sub("", line))]
    paths = [_file_in(piece) for piece in pieces]
    is_prose = not all(paths)
    whole_lines = [path for piece, path in zip(pieces, paths, strict=True) if _PATH_ALONE.fullmatch(piece)]
    limits = _paths((_file_in(said), *whole_lines) if is_prose else paths)
    unusable = sum(path is None for path in whole_lines)
    return Scoped(
        paths=limits[:_MAX_PATHS], words=text(said) if is_prose else None, unusable=unusable,
        limits_nothing=unusable > 0 and not limits,
    )  # fmt: skip


def _of_object(scope: dict[Any, Any]) -> Scoped:
    limits, context = _said(scope, _LIMITS), _said(scope, _CONTEXT)
    wanted = [(said, _file_in(said)) for said in _said(scope, ("deliverables",))]
    deliverables = tuple(dict.fromkeys(path for _, path in wanted if path))
    # A directory cannot be delivered; it is where something may be written.
    paths = tuple(
        dict.fromkeys((*_paths(map(path_in, limits)), *(path for path in deliverables if path.endswith("/"))))
    )
    files = tuple(path for path in deliverables if not path.endswith("/"))
    read_only = _paths(map(path_in, context))
    goal = scope.get("goal") or scope.get("description")
    says_something = any(value for key, value in scope.items() if key not in _WORK)
    return Scoped(
        paths=paths[:_MAX_PATHS], read_only_context=read_only[:_MAX_PATHS], deliverables=files[:_MAX_DELIVERABLES],
        goal=text(goal) if isinstance(goal, str) else None,
        unusable=sum(path_in(each) is None for each in (*limits, *context)) + sum(path is None for _, path in wanted),
        limits_nothing=says_something and not paths and not files and (bool(limits) or not read_only),
    )  # fmt: skip


def _said(scope: dict[Any, Any], keys: tuple[str, ...]) -> list[str]:
    return [piece for key in keys for said in strings(scope.get(key)) for piece in _pieces(said)]


def _pieces(said: str) -> list[str]:
    """The paths of "src/a.py, src/b.py"; any other text as it is."""
    pieces = [piece.strip() for piece in re.split(r"[,;]\s", said)]
    return pieces if all(map(_NAMES_PATH.fullmatch, pieces)) else [said]


def _paths(given: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for path in given if path))


def strings(value: Any, depth: int = 0) -> Iterator[str]:
    """Every text inside lists and objects; of an object that names a path, the path alone; a key that is a path, as well."""
    if isinstance(value, str):
        yield value
    elif depth > MAX_NESTING:
        return
    elif isinstance(value, dict):
        named = [value[key] for key in _PATH_KEYS if isinstance(value.get(key), str)]
        for each in named or map(_path_or_value, value.items()):
            yield from strings(each, depth + 1)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each, depth + 1)


def _path_or_value(item: tuple[str, Any]) -> Any:
    """Of `"src/a.py": "the parser"` the path, of `"code": ["src/a.py"]` what stands under the word."""
    key, value = item
    return key if _NAMES_PATH.fullmatch(key) else value


def _file_in(said: str) -> str | None:
    """As `path_in`, where a single word could as well be prose."""
    path = path_in(said)
    if path is None or {".", "/"} & set(path) or path.casefold() in _FILES_OF_ONE_WORD:
        return path
    return None


def path_in(said: str) -> str | None:
    """The path that a text is, or begins with ("src/a.py with tests"); None where it is prose."""
    said = re.sub('[`"]', "", said).strip()
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
