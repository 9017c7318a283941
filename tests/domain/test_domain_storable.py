import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopack.domain.phases import FailureKind
from autopack.domain.storable import storable, storable_text
from autopack.schemas import reject_unstorable

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.text(st.sampled_from("a\0\ud800\udc00")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=15,
)


@given(JSON_VALUES)
def test_whatever_a_model_or_a_check_wrote_can_be_stored_afterwards(value: object):
    kept = storable(value)
    reject_unstorable(kept)
    json.dumps(kept, allow_nan=False).encode()


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_ordinary_text_is_kept_as_it_is(text: str):
    assert storable_text(text) == text


def test_what_cannot_be_stored_is_shown_as_a_replacement_character():
    assert storable_text("a\0b\ud83dc\ude00d") == "a\ufffdb\ufffdc\ufffdd"
    assert storable({"\0": ["\ud800"]}) == {"\ufffd": ["\ufffd"]}


def test_a_value_that_is_nested_without_end_is_cut():
    value: object = 1
    for _ in range(5000):
        value = [value]
    with pytest.raises(ValueError, match="nested more than"):
        reject_unstorable(value)
    reject_unstorable(storable(value))


def test_members_of_our_enums_stay_members():
    assert storable(FailureKind.BUDGET) is FailureKind.BUDGET
