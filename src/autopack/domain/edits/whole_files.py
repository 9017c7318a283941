"""Whole files: a JSON object, bare or fenced, or fenced blocks that each have a path before them. Pure."""

import json
from collections.abc import Sequence

from autopack.domain.edits.plan import EditPlan, EmptyPlan, FileEdit, Format, MalformedEdit, made_plan
from autopack.domain.edits.scan import Fenced

_FILE_KEYS = {"path", "content"}


def from_text(body: str) -> tuple[EditPlan, str]:
    """The plan in a JSON object that begins the text, and what comes after it."""
    value, end = _decode(body)
    return _from_object(value), body[end:]


def from_blocks(blocks: Sequence[Fenced]) -> EditPlan:
    edits = [FileEdit(path=block.path, content=block.content) for block in blocks if block.path is not None]
    return made_plan(edits, Format.WHOLE_FILES)


def is_json_plan(content: str) -> bool:
    """Whether a fenced block that names no path is a plan; another object is an example, say."""
    if not content.lstrip().startswith("{") or '"files"' not in content:
        return False
    value, _ = _decode(content.strip())
    return isinstance(value, dict) and "files" in value


def _decode(body: str) -> tuple[object, int]:
    try:
        # strict=False: many models write raw line breaks inside JSON strings, and mean them.
        value, end = json.JSONDecoder(strict=False, object_pairs_hook=_distinct).raw_decode(body)
    except (ValueError, RecursionError) as error:
        raise MalformedEdit(f"the answer is not a whole JSON object: {error}") from error
    if body[end:].strip().startswith("{"):
        raise MalformedEdit("the answer holds several JSON objects; give one")
    return value, end


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Of a key that is there twice, JSON readers take one and lose the other without a word."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in made if names.count(name) > 1)
        raise MalformedEdit(f"a JSON object gives `{twice}` twice; give all files in one `files` list")
    return made


def _from_object(value: object) -> EditPlan:
    if not isinstance(value, dict) or "files" not in value:
        raise EmptyPlan("the JSON object has no `files`")
    files = value["files"]
    if not isinstance(files, list):
        raise MalformedEdit("`files` must be a list of objects with `path` and `content`")
    summary = value.get("summary", "")
    edits = [_file_edit(number, entry) for number, entry in enumerate(files, 1)]
    return made_plan(edits, Format.WHOLE_FILES, summary if isinstance(summary, str) else "")


def _file_edit(number: int, entry: object) -> FileEdit:
    if not isinstance(entry, dict) or not entry.keys() >= _FILE_KEYS:
        raise MalformedEdit(f"file {number} needs both `path` and `content`")
    if unknown := sorted(map(str, entry.keys() - _FILE_KEYS)):
        raise MalformedEdit(f"file {number} has fields that mean nothing here: {', '.join(unknown)}")
    path, content = entry["path"], entry["content"]
    if not isinstance(path, str) or not isinstance(content, str):
        raise MalformedEdit(f"file {number}: `path` and `content` must be text")
    return FileEdit(path=path, content=content)
