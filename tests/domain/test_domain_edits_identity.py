"""For each format: what is written down and read again is the same plan."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopack.domain.edits import Block, EditPlan, FileEdit, Format, MalformedEdit, from_json, parse, to_json
from tests.domain.support_edits import (
    PATCH,
    SEARCH_REPLACE,
    UNIFIED_DIFF,
    as_patch,
    as_search_replace,
    as_unified_diff,
)

some_examples = settings(deadline=None, max_examples=50)
PROSE = "I changed what was asked.\n\n{}\nThat is all.\n"


@some_examples
@given(SEARCH_REPLACE, st.booleans())
def test_search_replace_blocks(plan: EditPlan, name_inside: bool):
    text = as_search_replace(plan, name_inside=name_inside)
    assert parse(text) == plan
    assert parse(PROSE.format(text)) == plan


@some_examples
@given(UNIFIED_DIFF)
def test_unified_diffs(plan: EditPlan):
    text = as_unified_diff(plan)
    assert parse(text) == plan
    assert parse(PROSE.format(f"```diff\n{text}```\n")) == plan


@some_examples
@given(UNIFIED_DIFF)
def test_unified_diffs_whose_headers_count_wrong(plan: EditPlan):
    assert parse(as_unified_diff(plan, wrong_counts=True)) == plan


@some_examples
@given(PATCH)
def test_begin_patch(plan: EditPlan):
    text = as_patch(plan)
    assert parse(text) == plan
    assert parse(PROSE.format(f"```\n{text}```\n")) == plan


@some_examples
@given(SEARCH_REPLACE | UNIFIED_DIFF | PATCH)
def test_stored_plans(plan: EditPlan):
    stored = json.loads(json.dumps(to_json(plan)))
    assert from_json(stored) == plan


def test_a_plan_stored_before_there_were_formats_is_read():
    stored = {"summary": "s", "files": [{"path": "a.py", "content": "x\n"}]}
    assert from_json(stored) == EditPlan(files=(FileEdit(path="a.py", content="x\n"),), summary="s")
    assert to_json(from_json(stored))["files"] == stored["files"]


@pytest.mark.parametrize(
    "stored",
    [{}, {"files": 5}, {"files": [5]}, {"files": [{"path": "a", "odd": 1}]}, {"files": [], "format": "odd"}],
    ids=str,
)
def test_what_is_no_stored_plan_is_malformed(stored: dict):
    with pytest.raises(MalformedEdit):
        from_json(stored)


def test_both_ends_of_a_move_are_paths_of_the_plan():
    edits = (FileEdit(path="a", moved_to="b"), FileEdit(path="c", blocks=(Block(search="x", replace=""),)))
    assert EditPlan(files=edits, format=Format.PATCH).paths == ("a", "b", "c")
