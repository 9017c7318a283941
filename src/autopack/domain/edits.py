"""A builder's answer becomes an edit plan: whole files, from JSON or from blocks. Pure."""

import json
import re
from dataclasses import dataclass

from autopack.domain.storable import storable_text
from autopack.errors import AutopackError


class MalformedEdit(AutopackError):
    """The answer holds no edit plan that can be read; the text is for the model's next ask."""

    code, status = "malformed_edit", 422


class EmptyPlan(MalformedEdit):
    """The answer is well formed and names no file."""

    code = "empty_plan"


@dataclass(frozen=True, kw_only=True)
class FileEdit:
    """One file as it is to be afterwards, whole."""

    path: str
    content: str


@dataclass(frozen=True, kw_only=True)
class EditPlan:
    files: tuple[FileEdit, ...]
    summary: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(edit.path for edit in self.files)


_FENCE = re.compile(r"^(?P<ticks>`{3,}|~{3,})[ \t]*[^`\n]*$")
_PATH_LINE = re.compile(
    r"^(?:#+[ \t]+|[*-][ \t]+)?(?:(?:file|path|filename)[ \t]*:[ \t]*)?(?P<path>\S.*?)[ \t]*:?$", re.I
)
_FILE_KEYS = {"path", "content"}


def parse(text: str) -> EditPlan:
    """The edit plan in a builder's answer: a JSON object, bare or fenced, or whole-file blocks.

    Raises MalformedEdit when there is neither (or something that looks like one and is broken), EmptyPlan
    when there is one without files.
    """
    body = text.lstrip("\ufeff").strip()
    if not body:
        raise EmptyPlan("the answer is empty")
    if body.startswith("{"):
        return _from_object(_decode(body))
    blocks = _fenced_blocks(body)
    named = [(path, content) for path, content in blocks if path is not None]
    objects = [plan for path, content in blocks if path is None and (plan := _json_plan(content))]
    if named and objects:
        raise MalformedEdit("the answer mixes a JSON plan with whole-file blocks; use one of the two")
    if len(objects) > 1:
        raise MalformedEdit("the answer holds several JSON plans; give one")
    if objects:
        return _from_object(objects[0])
    if named:
        return _plan([FileEdit(path=path, content=content) for path, content in named], summary="")
    start = body.find('{"')
    if start >= 0 and '"files"' in body[start:]:
        return _from_object(_decode(body[start:]))
    raise MalformedEdit("the answer holds no files: neither a JSON object with `files` nor whole-file blocks")


def _decode(body: str) -> object:
    try:
        # strict=False: many models write raw line breaks inside JSON strings, and mean them.
        value, end = json.JSONDecoder(strict=False).raw_decode(body)
    except (ValueError, RecursionError) as error:
        raise MalformedEdit(f"the answer is not a whole JSON object: {error}") from error
    if body[end:].strip().startswith("{"):
        raise MalformedEdit("the answer holds several JSON objects; give one")
    return value


def _json_plan(content: str) -> dict[str, object] | None:
    """The plan in a fenced block that names no path, or None when it is no plan (an example, say)."""
    if not content.lstrip().startswith("{") or '"files"' not in content:
        return None
    value = _decode(content.strip())
    return value if isinstance(value, dict) and "files" in value else None


def _from_object(value: object) -> EditPlan:
    if not isinstance(value, dict) or "files" not in value:
        raise EmptyPlan("the JSON object has no `files`")
    files = value["files"]
    if not isinstance(files, list):
        raise MalformedEdit("`files` must be a list of objects with `path` and `content`")
    summary = value.get("summary", "")
    edits = [_file_edit(number, entry) for number, entry in enumerate(files, 1)]
    return _plan(edits, summary=summary if isinstance(summary, str) else "")


def _file_edit(number: int, entry: object) -> FileEdit:
    if not isinstance(entry, dict) or not entry.keys() >= _FILE_KEYS:
        raise MalformedEdit(f"file {number} needs both `path` and `content`")
    if unknown := sorted(map(str, entry.keys() - _FILE_KEYS)):
        raise MalformedEdit(
            storable_text(f"file {number} has fields that mean nothing here: {', '.join(unknown)}")
        )
    path, content = entry["path"], entry["content"]
    if not isinstance(path, str) or not isinstance(content, str):
        raise MalformedEdit(f"file {number}: `path` and `content` must be text")
    return FileEdit(path=path, content=content)


def _plan(edits: list[FileEdit], summary: str) -> EditPlan:
    if not edits:
        raise EmptyPlan("`files` is empty")
    seen: set[str] = set()
    for edit in edits:
        if edit.path in seen:
            raise MalformedEdit(storable_text(f"{edit.path} is given twice"))
        seen.add(edit.path)
        try:
            edit.content.encode()
        except UnicodeEncodeError as error:
            told = storable_text(f"the content of {edit.path} is not valid Unicode text")
            raise MalformedEdit(told) from error
    return EditPlan(files=tuple(edits), summary=storable_text(summary))


def _fenced_blocks(text: str) -> list[tuple[str | None, str]]:
    """(path on the line before or None, content) of each fenced block; an open fence is malformed."""
    blocks: list[tuple[str | None, str]] = []
    lines = text.splitlines(keepends=True)
    index, before = 0, ""
    while index < len(lines):
        fence = _FENCE.match(lines[index].rstrip("\r\n"))
        if fence is None:
            before = lines[index].strip() or before
            index += 1
            continue
        end = _closing_fence(lines, index + 1, fence["ticks"])
        if end is None:
            raise MalformedEdit("a fenced block is not closed")
        blocks.append((_path_on(before), "".join(lines[index + 1 : end])))
        index, before = end + 1, ""
    return blocks


def _closing_fence(lines: list[str], start: int, ticks: str) -> int | None:
    for index in range(start, len(lines)):
        line = lines[index].rstrip()
        if len(line) >= len(ticks) and set(line) == {ticks[0]}:
            return index
    return None


def _path_on(line: str) -> str | None:
    """The path that a line consists of, or None when the line is prose."""
    match = _PATH_LINE.match(line)
    if match is None:
        return None
    path = match["path"].strip().strip("*").strip()
    quoted = len(path) > 2 and path[0] == path[-1] and path[0] in "`\"'"
    if quoted:
        return path[1:-1]
    looks_like_a_path = " " not in path and ("/" in path or "." in path) and not path.endswith(("/", "."))
    return path if looks_like_a_path else None
