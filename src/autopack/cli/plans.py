"""A plan from a file or stdin: YAML, JSON or TOML, read strictly, with every problem named by its place."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from autopack.schemas import PlanBody
    from autopack.schemas.plans import PlanProblem

MAX_PLAN_BYTES = 1024 * 1024
STDIN = Path("-")
_SHOWN = 20


class PlanFormat(StrEnum):
    YAML = "yaml"
    JSON = "json"
    TOML = "toml"


PlanFile = Annotated[
    Path, typer.Argument(help="The plan's file: YAML, JSON or TOML by its suffix; - is stdin.")
]
Format = Annotated[
    PlanFormat | None,
    typer.Option("--format", help="Instead of what the suffix says (.json, .toml; YAML for all others)."),
]
LineOf = Callable[[Sequence[str | int]], int | None]


@dataclass(frozen=True, kw_only=True)
class Document:
    """What a file holds, before anything is known of it; `line_of` is None where lines are not known."""

    name: str
    format: PlanFormat
    value: Any
    line_of: LineOf

    @classmethod
    def read(cls, path: Path, given: PlanFormat | None = None) -> "Document":
        """Raises UsageError naming what is wrong, and where in the file."""
        return cls.parse(read_text(path, "plan"), shown(path), given or _by_suffix(path))

    @classmethod
    def parse(cls, text: str, name: str, form: PlanFormat) -> "Document":
        value, line_of = _PARSERS[form](text, name)
        return cls(name=name, format=form, value=value, line_of=line_of)


def read_plan(path: Path, given: PlanFormat | None = None) -> "PlanBody":
    """Raises UsageError with all that is wrong."""
    from autopack.errors import UsageError

    document = Document.read(path, given)
    found = examined(document)
    if not isinstance(found, list):
        return found
    told = "; ".join(told_problem(document, each) for each in found[:_SHOWN])
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise UsageError(f"{document.name}: {told}{more}")


def examined(document: Document) -> "PlanBody | list[PlanProblem]":
    """The plan, or all that is wrong with it. Raises UsageError for what is no plan at all."""
    from autopack.errors import UsageError
    from autopack.schemas.plans import examine

    if not isinstance(document.value, dict):
        read_as = f" (it was read as {document.format.value.upper()}; --format names another)"
        raise UsageError(
            f"{document.name} holds no plan: at the top there must be `autopack: 1`, `run_id` and `tiers`"
            f"{read_as if isinstance(document.value, str) else ''}"
        )
    return examine(document.value)


def told_problem(document: Document, problem: "PlanProblem") -> str:
    line = document.line_of(problem.place) if problem.place else None
    facts = [f"phase {problem.phase_id}" if problem.phase_id else "", f"line {line}" if line else ""]
    where = ", ".join(filter(None, facts))
    return f"{problem.where}{': ' if problem.where else ''}{problem.message}{f' ({where})' if where else ''}"


def shown(path: Path) -> str:
    return "stdin" if path == STDIN else str(path)


def read_text(path: Path, what: str, most: int = MAX_PLAN_BYTES) -> str:
    """The text of a file, or of stdin. Raises UsageError where there is none, or more than `most` bytes."""
    from autopack.errors import UsageError

    name = shown(path)
    try:
        content = _content(path, most)
    except FileNotFoundError:
        raise UsageError(f"there is no {what} {name}") from None
    except IsADirectoryError:
        raise UsageError(f"{name} is a directory; name the {what}'s file") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > most:
        raise UsageError(f"{name} is larger than {most} bytes; split it into several runs")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        why = "it is UTF-16; save it as UTF-8" if utf16 else str(error)
        raise UsageError(f"{name} is not UTF-8 text: {why}") from None


def _content(path: Path, most: int) -> bytes:
    if path != STDIN:
        with path.open("rb") as file:
            return file.read(most + 1)
    if sys.stdin is None:
        raise ValueError("there is no stdin")
    return sys.stdin.buffer.read(most + 1)


def _by_suffix(path: Path) -> PlanFormat:
    """YAML where nothing says otherwise: JSON is YAML, too."""
    suffix = path.suffix.lower().removeprefix(".")
    return PlanFormat(suffix) if suffix in (PlanFormat.JSON, PlanFormat.TOML) else PlanFormat.YAML


def _yaml(text: str, name: str) -> tuple[Any, LineOf]:
    import yaml

    from autopack.cli.yaml_plan import line_of, load_strict
    from autopack.errors import UsageError

    try:
        value, node = load_strict(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"{name} is not YAML or JSON: {error}") from None
    return value, lambda place: line_of(node, place)


def parse_json(text: str, name: str) -> Any:
    """Strict JSON: no key twice, no NaN. Raises UsageError with line and column."""
    import json

    from autopack.errors import UsageError

    try:
        return json.loads(text, object_pairs_hook=_no_twins, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not JSON: {error}") from None


def _no_twins(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} is given twice")
        found[key] = value
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _toml(text: str, name: str) -> tuple[Any, LineOf]:
    import tomllib

    from autopack.errors import UsageError

    try:
        return tomllib.loads(text), _unknown_line
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not TOML: {error}") from None


def _json(text: str, name: str) -> tuple[Any, LineOf]:
    return parse_json(text, name), _unknown_line


def _unknown_line(_place: Sequence[str | int]) -> None:
    return None


_PARSERS: Mapping[PlanFormat, Callable[[str, str], tuple[Any, LineOf]]] = {
    PlanFormat.YAML: _yaml, PlanFormat.JSON: _json, PlanFormat.TOML: _toml,
}  # fmt: skip
