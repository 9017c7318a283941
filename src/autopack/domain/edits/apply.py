"""An edit plan meets the files of the base: changes, or blocks that are refused. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from autopack.domain.changes import EXECUTABLE, REGULAR, SUBMODULE, SYMLINK, Change, File
from autopack.domain.edits.matching import Miss
from autopack.domain.edits.nearest import nearest_names, numbers
from autopack.domain.edits.plan import Block, EditPlan, FileEdit
from autopack.domain.edits.rewriting import NOT_UTF8, Placed, appended, place, put_together, rewritten
from autopack.domain.edits.text import Text, read
from autopack.domain.storable import storable_text

_MOST_CHARS = 20_000
"""Of real lines that a model is told of."""
_SPECIAL = {SYMLINK: "a symbolic link", SUBMODULE: "a submodule"}


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A part of the plan that cannot be applied, and why, in words for the model's next ask."""

    path: str
    block: int
    """From 1; 0 is the file as a whole."""
    reason: str
    nearest: str = ""
    """The real lines, or the names of files, that may have been meant."""
    wrong_path: bool = False
    """The file is not there."""


@dataclass(frozen=True, kw_only=True)
class Applied:
    """All or nothing: where anything is refused, there are no changes."""

    changes: tuple[Change, ...]
    refused: tuple[Refused, ...] = ()


def apply(plan: EditPlan, files: Mapping[str, File], names: Collection[str] = ()) -> Applied:
    """What the plan makes of `files`: those of the base that it names (absent: does not exist).

    `names` are all paths of the base; they serve to say which file may have been meant.
    """
    changes: list[Change] = []
    refused: list[Refused] = []
    twice = {path for path, count in Counter(plan.paths).items() if count > 1}
    for edit in plan.files:
        before = files.get(edit.path)
        problem = _named_twice(edit, twice) or _problem(edit, before, files, names or files)
        if problem is not None:
            refused.append(problem)
            continue
        after, problems = _after(edit, before)
        refused += problems
        if not problems:
            changes += _changes(edit, before, after)
    return Applied(changes=() if refused else tuple(changes), refused=tuple(refused))


def _changes(edit: FileEdit, before: File | None, after: File | None) -> Iterator[Change]:
    if edit.moved_to is not None:
        yield Change(path=edit.path, before=before, after=None)
        yield Change(path=edit.moved_to, before=None, after=after, moved_from=edit.path)
    elif before != after:
        yield Change(path=edit.path, before=before, after=after)


def _named_twice(edit: FileEdit, twice: Collection[str]) -> Refused | None:
    """The parser puts blocks for one file together; what is left contradicts itself."""
    named = [path for path in (edit.path, edit.moved_to) if path in twice]
    return (
        Refused(path=edit.path, block=0, reason=f"several edits of the plan name {named[0]}")
        if named
        else None
    )


def _problem(
    edit: FileEdit, before: File | None, files: Mapping[str, File], names: Collection[str]
) -> Refused | None:
    """Why the edit as a whole cannot be, whatever its blocks say."""
    if before is None:
        return None if _makes_a_file(edit) else _missing(edit.path, names)
    if edit.is_new:
        return Refused(path=edit.path, block=0, reason="the file is to be new, but exists already")
    if before.mode in _SPECIAL and not edit.deleted:
        return Refused(path=edit.path, block=0, reason=f"it is {_SPECIAL[before.mode]}, not a file")
    if edit.moved_to is not None and edit.moved_to in files:
        return Refused(
            path=edit.path, block=0, reason=f"it cannot be moved to {edit.moved_to}, which exists already"
        )
    return None


def _makes_a_file(edit: FileEdit) -> bool:
    if edit.deleted or edit.moved_to is not None or edit.is_new is False:
        return False
    appends = bool(edit.blocks) and not any(block.search for block in edit.blocks)
    return edit.content is not None or appends


def _missing(path: str, names: Collection[str]) -> Refused:
    nearest = "\n".join(nearest_names(path, names))
    return Refused(path=path, block=0, reason="the file does not exist", nearest=nearest, wrong_path=True)


def _after(edit: FileEdit, before: File | None) -> tuple[File | None, list[Refused]]:
    mode = edit.mode or _usual_mode(before)
    if before is None:
        content = edit.content if edit.content is not None else "".join(b.replace for b in edit.blocks)
        return File(content=content.encode(), mode=mode), []
    if edit.content is None and not edit.blocks:
        return (None if edit.deleted else File(content=before.content, mode=mode)), []
    text = read(before.content)
    if text is None:
        return None, [Refused(path=edit.path, block=0, reason="the file is binary")]
    made, refused = _edited(edit, text)
    if refused or made is None:
        return None, refused
    if not edit.deleted:
        return File(content=made.to_bytes(), mode=mode), []
    if made.lines:
        return None, [
            Refused(path=edit.path, block=0, reason="the deletion does not name all of the file's lines")
        ]
    return None, []


def _usual_mode(before: File | None) -> str:
    return EXECUTABLE if before is not None and before.mode == EXECUTABLE else REGULAR


def _edited(edit: FileEdit, text: Text) -> tuple[Text | None, list[Refused]]:
    if edit.content is None:
        return _with_blocks(edit, text)
    made = rewritten(text, edit.content)
    return made, [] if made else [Refused(path=edit.path, block=0, reason=NOT_UTF8)]


def _with_blocks(edit: FileEdit, text: Text) -> tuple[Text | None, list[Refused]]:
    """The text with all blocks in it: those that search first, then what is appended."""
    placed: list[Placed] = []
    refused: list[Refused] = []
    for number, block in enumerate(edit.blocks, 1):
        found = _placed(number, block, text, placed)
        if isinstance(found, Miss):
            refused.append(Refused(path=edit.path, block=number, reason=found.reason, nearest=found.nearest))
        elif found is not None:
            placed.append(found)
    if refused:
        return None, refused
    made: Text | None = put_together(text, placed)
    for block in edit.blocks:
        if made is not None and not block.search:
            made = appended(made, block.replace)
    return made, [] if made else [Refused(path=edit.path, block=0, reason=NOT_UTF8)]


def _placed(number: int, block: Block, text: Text, earlier: list[Placed]) -> Placed | Miss | None:
    """None for a block that appends."""
    if not block.search:
        return _no_place(block, text)
    found = place(number, block, text)
    if isinstance(found, Miss):
        return _built_on(block, text, earlier) or found
    met = [each.number for each in earlier if each.meets(found)]
    if met:
        return Miss(reason=f"it meets block {numbers(met)} in the same lines; put them into one block")
    return found


def _no_place(block: Block, text: Text) -> Miss | None:
    """A hunk that only adds lines says where by its number or anchor alone, which is no proof of the place."""
    if text.lines and not block.at_end and (block.line is not None or block.anchors):
        return Miss(
            reason="it has no line of the file around what it adds; give some, so that its place is certain"
        )
    return None


def _built_on(block: Block, text: Text, earlier: list[Placed]) -> Miss | None:
    """Every block is looked for in the file as it was: what an earlier one wrote must be said in that one."""
    if earlier and isinstance(place(0, block, put_together(text, earlier)), Placed):
        return Miss(reason="it changes what an earlier block writes; put them into one block")
    return None


def without_refused(plan: EditPlan, refused: Iterable[Refused]) -> EditPlan:
    """The plan without what was refused; perhaps without any file. Its blocks are to be `merged` with the next answer's."""
    gone = {(each.path, each.block) for each in refused}
    kept = []
    for edit in plan.files:
        blocks = tuple(b for number, b in enumerate(edit.blocks, 1) if (edit.path, number) not in gone)
        left = replace(edit, blocks=blocks)
        if (edit.path, 0) not in gone and (blocks == edit.blocks or _says_something(left)):
            kept.append(left)
    return replace(plan, files=tuple(kept))


def _says_something(edit: FileEdit) -> bool:
    """Whether an edit that lost blocks is still one; a deletion that does not know the file is none."""
    return not edit.deleted and bool(edit.blocks or edit.moved_to or edit.mode)


def merged(kept: EditPlan, again: EditPlan) -> EditPlan:
    """The plan that was kept, with the next answer's blocks and files in it; a file given anew replaces what was kept."""
    files = {edit.path: edit for edit in kept.files}
    for edit in again.files:
        first = files.get(edit.path)
        files[edit.path] = edit if first is None else _merged_edit(first, edit)
    return replace(again, files=tuple(files.values()), summary=kept.summary or again.summary)


def _merged_edit(kept: FileEdit, again: FileEdit) -> FileEdit:
    if again.content is not None or again.deleted or kept.content is not None or kept.deleted:
        return again
    blocks = kept.blocks + tuple(block for block in again.blocks if block not in kept.blocks)
    return replace(
        again, blocks=blocks, moved_to=again.moved_to or kept.moved_to, mode=again.mode or kept.mode
    )


def describe_refused(refused: Iterable[Refused]) -> str:
    """What the model is told of the parts that it is to write again."""
    told, room = [], _MOST_CHARS
    for each in refused:
        room -= len(each.nearest)
        told.append(_described(each if room >= 0 else replace(each, nearest="")))
    return storable_text("\n\n".join(told))


def _described(each: Refused) -> str:
    where = f"{each.path}, block {each.block}" if each.block else each.path
    if not each.nearest:
        return f"{where}: {each.reason}."
    fence = "```"
    while fence in each.nearest:
        fence += "`"
    return f"{where}: {each.reason}. Did you mean\n{fence}\n{each.nearest}\n{fence}"
