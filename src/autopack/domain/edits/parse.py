"""Recognises how a builder wrote its edits, and reads them. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from autopack.domain.edits import begin_patch, search_replace, titles, unified_diff, whole_files
from autopack.domain.edits.plan import EditPlan, EmptyPlan, MalformedEdit, MixedFormats, ProseOnly, WrongPaths
from autopack.domain.edits.scan import Diff, Fenced, Patch, Piece, SearchReplace, holds_markers, scan

_NOTHING = (
    "the answer holds no files: neither a JSON object with `files` nor whole-file blocks, SEARCH/REPLACE blocks, "
    "a unified diff or a patch"
)


def parse(text: str) -> EditPlan:
    """The edit plan in a builder's answer, in whichever format.

    Raises MalformedEdit: its subclasses say that there is no edit, that no file is named, that formats are mixed, or
    that a name is missing or contradicts another. Never call it on an answer that was cut off.
    """
    body = text.removeprefix("\ufeff")
    if not body.strip():
        raise EmptyPlan("the answer is empty")
    if body.lstrip().startswith("{"):
        plan, rest = whole_files.from_text(body.strip())
        _refuse_more(rest, plan.paths)
        return plan
    return _from_pieces(body, scan(body))


def _from_pieces(body: str, pieces: list[Piece]) -> EditPlan:
    fenced = [piece for piece in pieces if isinstance(piece, Fenced)]
    objects = [piece for piece in fenced if piece.path is None and whole_files.is_json_plan(piece.content)]
    named = [piece for piece in fenced if piece.path is not None]
    blocks = [piece for piece in pieces if isinstance(piece, SearchReplace)]
    diffs = [piece for piece in pieces if isinstance(piece, Diff)]
    patches = [piece for piece in pieces if isinstance(piece, Patch)]
    _require_one_format(
        {"a JSON plan": objects, "whole-file blocks": named, "SEARCH/REPLACE blocks": blocks, "a unified diff": diffs,
         "a `*** Begin Patch` patch": patches}
    )  # fmt: skip
    examples = [piece for piece in fenced if piece.path is None and piece not in objects]
    _require_no_edits(examples)
    plan = _first_of(objects, blocks, diffs, patches, named) or _from_prose(body)
    _require_no_files(examples, plan.paths if plan else ())
    if plan is None:
        raise ProseOnly(_NOTHING)
    return plan


def _first_of(
    objects: list[Fenced], blocks: list[SearchReplace], diffs: list[Diff], patches: list[Patch], named: list[Fenced]
) -> EditPlan | None:  # fmt: skip
    """The plan in the one format that is there."""
    if objects:
        return _from_objects(objects)
    if blocks:
        return search_replace.from_pieces(blocks)
    if diffs:
        return unified_diff.from_pieces(diffs)
    if patches:
        return begin_patch.from_pieces(patches)
    return whole_files.from_blocks(named) if named else None


def _from_objects(objects: list[Fenced]) -> EditPlan:
    if len(objects) > 1:
        raise MalformedEdit("the answer holds several JSON plans; give one")
    return whole_files.from_text(objects[0].content.strip())[0]


def _from_prose(body: str) -> EditPlan | None:
    """A plan may follow words on its line; there is nothing else that could be meant."""
    start = body.find('{"')
    if start >= 0 and '"files"' in body[start:]:
        return whole_files.from_text(body[start:].strip())[0]
    return None


def _require_one_format(found: Mapping[str, Sequence[Piece]]) -> None:
    used = [name for name, pieces in found.items() if pieces]
    if len(used) > 1:
        raise MixedFormats(f"the answer mixes {' with '.join(used)}; use one of them for all files")


def _require_no_edits(examples: Iterable[Fenced]) -> None:
    """A fenced block without a path is an example, unless it looks as if it were to be applied."""
    if any(holds_markers(piece.content) for piece in examples):
        raise WrongPaths("a fenced block holds edits, but names no file, or does not begin with them")


def _require_no_files(examples: Iterable[Fenced], paths: tuple[str, ...]) -> None:
    """No part of an answer is applied while another one, which was meant to be a file, is left out."""
    for piece in examples:
        path = titles.seems_to_be(above=piece.above, info=piece.info, content=piece.content, known=paths)
        if path is not None:
            raise WrongPaths(
                f"a fenced block seems to be the file {path}, but the line right above it is not its path alone; "
                "write each file that you mean so, and leave out all other fenced blocks"
            )


def _refuse_more(rest: str, paths: tuple[str, ...]) -> None:
    """After a JSON plan there may be talk, and nothing that edits."""
    pieces = scan(rest)
    examples = [piece for piece in pieces if isinstance(piece, Fenced) and piece.path is None]
    if len(examples) < len(pieces):
        raise MixedFormats(
            "the answer mixes a JSON plan with edits in another format; use one of them for all files"
        )
    _require_no_files(examples, paths)
