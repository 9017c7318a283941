"""What a builder proposes, as values: files whole, or blocks that are to be found in them. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from autopack.domain.storable import storable_text
from autopack.errors import AutopackError

_MOST_CHARS = 2000  # of an error's text: it may quote the answer


class MalformedEdit(AutopackError):
    """The answer holds no edit plan that can be read; the text is for the model's next ask, and can be stored."""

    code, status = "malformed_edit", 422

    def __init__(self, told: str) -> None:
        super().__init__(storable_text(told[:_MOST_CHARS]))


class EmptyPlan(MalformedEdit):
    """The answer is well formed and names no file."""

    code = "empty_plan"


class ProseOnly(MalformedEdit):
    """The answer talks, and edits nothing."""

    code = "prose_only"


class MixedFormats(MalformedEdit):
    """The answer uses several formats at once; which of them is meant is not guessed."""

    code = "mixed_formats"


class WrongPaths(MalformedEdit):
    """An edit names no file, or the places that name its file contradict each other."""

    code = "wrong_paths"


class Format(StrEnum):
    """The ways to write edits; the prompt asks for one, the parser knows all."""

    WHOLE_FILES = "whole_files"
    SEARCH_REPLACE = "search_replace"
    UNIFIED_DIFF = "unified_diff"
    PATCH = "patch"


@dataclass(frozen=True, kw_only=True)
class Block:
    """Lines to be found, and what takes their place. A last line without "\\n" is a file's unended last one."""

    search: str
    """Empty: `replace` is a new file's content, or is appended."""
    replace: str
    line: int | None = None
    """Where a diff's header says that the lines begin, from 1; 0 for none."""
    anchors: tuple[str, ...] = ()
    """The `@@` lines of a `*** Begin Patch` hunk: what the lines stand below, outermost first."""
    at_end: bool = False
    """The lines are the file's last."""


@dataclass(frozen=True, kw_only=True)
class FileEdit:
    """One file: as it is to be afterwards (`content`), or what becomes of it."""

    path: str
    content: str | None = None
    blocks: tuple[Block, ...] = ()
    deleted: bool = False
    """With `blocks`, those must be all that the file holds."""
    moved_to: str | None = None
    mode: str | None = None
    """The git mode a diff asks for: six digits as the model wrote them, which policy judges."""
    is_new: bool | None = None
    """True: the file must not exist yet. None: that was not said."""


@dataclass(frozen=True, kw_only=True)
class EditPlan:
    files: tuple[FileEdit, ...]
    summary: str = ""
    format: Format = Format.WHOLE_FILES

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that is named, both ends of a move."""
        return tuple(path for edit in self.files for path in (edit.path, edit.moved_to) if path is not None)


def to_json(plan: EditPlan) -> dict[str, Any]:
    """What is stored with attempts and approvals; what has its usual value is left out."""
    return {
        "summary": plan.summary,
        "format": plan.format.value,
        "files": [_stored(edit) | _stored_blocks(edit) for edit in plan.files],
    }


def from_json(stored: Mapping[str, Any]) -> EditPlan:
    """The plan that was stored, also before there were formats. Raises MalformedEdit."""
    try:
        files = tuple(_file(entry) for entry in stored["files"])
        return EditPlan(
            files=files,
            summary=stored.get("summary", ""),
            format=Format(stored.get("format", Format.WHOLE_FILES)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedEdit(f"the stored plan cannot be read: {error}") from error


def _stored(value: FileEdit | Block) -> dict[str, Any]:
    named = {field.name: (getattr(value, field.name), field.default) for field in fields(value)}
    return {
        name: list(now) if isinstance(now, tuple) else now
        for name, (now, usual) in named.items()
        if name != "blocks" and now != usual
    }


def _stored_blocks(edit: FileEdit) -> dict[str, Any]:
    return {"blocks": [_stored(block) for block in edit.blocks]} if edit.blocks else {}


def _file(entry: Mapping[str, Any]) -> FileEdit:
    blocks = tuple(
        Block(**{**block, "anchors": tuple(block.get("anchors", ()))}) for block in entry.get("blocks", ())
    )
    return FileEdit(**{**entry, "blocks": blocks})


def made_plan(edits: Iterable[FileEdit], kind: Format, summary: str = "") -> EditPlan:
    """The plan, once no path is meant twice and all is Unicode text: blocks for one file are put together."""
    merged: dict[str, FileEdit] = {}
    for edit in map(_plain, edits):
        _require_unicode(edit)
        first = merged.get(edit.path)
        if first is None:
            merged[edit.path] = edit
        elif _only_blocks(first) and _only_blocks(edit):
            merged[edit.path] = replace(first, blocks=first.blocks + edit.blocks)
        else:
            raise MalformedEdit(f"{edit.path} is given twice")
    if not merged:
        raise EmptyPlan("`files` is empty")
    plan = EditPlan(files=tuple(merged.values()), summary=storable_text(summary), format=kind)
    _require_distinct(plan.paths)
    return plan


def plain_path(path: str) -> str:
    """Without the `./` that many programs put before a relative path."""
    rest = re.sub(r"^(?:\./)+", "", path)
    return rest or path


def _plain(edit: FileEdit) -> FileEdit:
    moved_to = None if edit.moved_to is None else plain_path(edit.moved_to)
    return replace(edit, path=plain_path(edit.path), moved_to=moved_to)


def _require_distinct(paths: tuple[str, ...]) -> None:
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise MalformedEdit(f"{path} is given twice")
        seen.add(path)


def _only_blocks(edit: FileEdit) -> bool:
    return bool(edit.blocks) and edit == FileEdit(path=edit.path, blocks=edit.blocks, is_new=edit.is_new)


def _require_unicode(edit: FileEdit) -> None:
    texts = [edit.content or "", *(text for block in edit.blocks for text in (block.search, block.replace))]
    try:
        for text in texts:
            text.encode()
    except UnicodeEncodeError as error:
        raise MalformedEdit(f"the content of {edit.path} is not valid Unicode text") from error
