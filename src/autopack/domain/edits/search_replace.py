"""SEARCH/REPLACE blocks: lines of a file, and what takes their place. Pure.

A block names its file on the line before its fence, or inside the fence on the line before the marker; a block right
after another one, with nothing but fences and blank lines between them, is of the same file. An empty SEARCH makes a
new file, or appends.
"""

from collections.abc import Iterable

from autopack.domain.edits.plan import Block, EditPlan, FileEdit, Format, made_plan
from autopack.domain.edits.scan import SearchReplace


def from_pieces(pieces: Iterable[SearchReplace]) -> EditPlan:
    edits = [
        FileEdit(path=piece.path, blocks=(Block(search=piece.search, replace=piece.replace),))
        for piece in pieces
    ]
    return made_plan(edits, Format.SEARCH_REPLACE)
