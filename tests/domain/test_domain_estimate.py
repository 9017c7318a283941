"""The base: a plain sum, what stands in for what it does not know, and the version as it is stored."""

import json
import math
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopack.domain.estimate import (
    SHIPPED,
    Coefficients,
    Features,
    base_tokens,
    escalated,
    features,
    file_class,
    group_of,
    input_token_bound,
    model_family,
    overhead_key,
)
from autopack.errors import InvalidInput

CATEGORIES = st.sampled_from(
    ["implementation", "tests", "docs", "refactoring", "configuration", "security", "odd"]
)
FILES = st.lists(
    st.tuples(st.sampled_from(["new", "mod", "del"]), st.sampled_from(["code", "test", "doc", "config", "frontend", "?"])),
    max_size=40,
)  # fmt: skip


def about(
    category: str = "implementation", complexity: str = "low", *files: tuple[str, str], level: str = "none"
) -> Features:
    return Features(task_category=category, complexity=complexity, reasoning_level=level, files=files)


@pytest.mark.parametrize(
    ("made_from", "tokens"),
    [
        (about(), 634),
        (about("implementation", "low", ("new", "code")), 634 + 2000),
        (about("tests", "medium", ("new", "test"), ("mod", "test")), 2500 + 1400 + 600),
        (about("docs", "high", ("mod", "doc"), ("del", "doc")), 3500 + 400 + 50),
        (about("configuration", "medium", ("mod", "config"), ("new", "frontend")), 1500 + 500 + 2800),
        (about("refactoring", "low", ("mod", "?")), 2500 + 50),
    ],
)
def test_the_base_is_an_overhead_and_a_weight_per_file_and_nothing_else(made_from: Features, tokens: int):
    assert base_tokens(made_from, SHIPPED) == tokens


@given(CATEGORIES, st.sampled_from(["low", "medium", "high", "odd"]), FILES)
def test_the_sum_can_be_added_up_by_hand_in_any_order(
    category: str, complexity: str, files: list[tuple[str, str]]
):
    one = about(category, complexity, *files)
    weights = [SHIPPED.weights.get("/".join(file), SHIPPED.other_weight) for file in files]
    assert base_tokens(one, SHIPPED) == SHIPPED.overhead[overhead_key(one, SHIPPED)] + sum(weights)
    assert base_tokens(about(category, complexity, *reversed(files)), SHIPPED) == base_tokens(one, SHIPPED)
    assert base_tokens(one, SHIPPED) > 0


@pytest.mark.parametrize(
    ("category", "complexity", "level", "key"),
    [
        ("docs", "high", "none", "docs/high/none"),
        ("docs", "high", "deep", "docs/high/none"),
        ("docs", "low", "deep", "docs/low/deep"),
        ("docs", "huge", "deep", "docs/medium/none"),
        ("security", "high", "none", "implementation/high/none"),
        ("testing", "low", "deep", "implementation/low/none"),
        ("", "", "", "implementation/medium/none"),
    ],
)
def test_what_is_unknown_gives_way_in_one_order(category: str, complexity: str, level: str, key: str):
    with_level = Coefficients(
        version="v", overhead={**SHIPPED.overhead, "docs/low/deep": 1.0}, weights={}, other_weight=0.0
    )
    assert overhead_key(about(category, complexity, level=level), with_level) == key


def test_a_version_outlives_being_stored():
    stored = json.loads(json.dumps(SHIPPED.to_json()))
    assert Coefficients.from_json(stored) == SHIPPED
    assert list(stored["overhead"]) == sorted(stored["overhead"])


def broken(**change: Any) -> dict[str, Any]:
    return {**deepcopy(SHIPPED.to_json()), **change}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "must hold version"),
        ({"version": "v"}, "must hold version"),
        (broken(more=1), "and no more"),
        (broken(version=""), "version must be a name"),
        (broken(overhead=[1]), "overhead must be a table"),
        (broken(overhead={"docs/low": 5.0}), "'docs/low' must be 3 words"),
        (broken(overhead={"docs/low/none": 5.0}), "must name implementation/medium/none"),
        (broken(overhead={**SHIPPED.overhead, "docs/low/none": 0}), "docs/low/none must be more than 0"),
        (broken(weights={"new/code": -1}), "weights new/code must be a number"),
        (broken(weights={"new/code": True}), "weights new/code must be a number"),
        (broken(weights={"new/code": math.nan}), "weights new/code must be a number"),
        (broken(weights={"new/code": "2000"}), "weights new/code must be a number"),
        (broken(other_weight=math.inf), "other_weight must be a number"),
    ],
)
def test_coefficients_that_cannot_be_meant_are_refused_by_name(value: Any, words: str):
    with pytest.raises(InvalidInput, match=words):
        Coefficients.from_json(value)


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("openai:gpt-5.2", "gpt"), ("gpt-5.2-2026-01-31", "gpt"), ("openai:gpt-5-mini", "gpt-mini"), ("gpt-4o", "gpt"),
        ("anthropic:claude-sonnet-4-5-20250929", "claude-sonnet"), ("claude sonnet 4.5", "claude-sonnet"),
        ("vendor/Qwen2.5-coder-32b", "qwen-coder"), ("o3-mini", "o3-mini"), ("claude-opus-latest", "claude-opus"),
        ("llama-3.1-70b-instruct", "llama-instruct"), ("", "unknown"), ("4711", "unknown"),
    ],
)  # fmt: skip
def test_a_family_is_the_models_name_without_what_changes_from_version_to_version(model: str, family: str):
    assert model_family(model) == family
    assert model_family(family) == family
    assert len(model_family(model * 100)) <= 80


def test_calls_are_alike_in_category_complexity_level_and_family():
    one = group_of(about("docs", "low"), "openai:gpt-5.2")
    assert one == group_of(about("docs", "low", ("new", "doc")), "openai:gpt-6")
    others = [
        group_of(about("tests", "low"), "openai:gpt-6"), group_of(about("docs", "high"), "openai:gpt-6"),
        group_of(about("docs", "low", level="deep"), "openai:gpt-6"), group_of(about("docs", "low"), "openai:o3"),
    ]  # fmt: skip
    assert len({one, *others}) == 5


def test_a_file_that_exists_is_modified_and_any_other_is_new():
    found = features(
        task_category="docs", complexity="low", deliverables=["a.md", "src/b.py"], existing={"src/b.py"}
    )
    assert found.files == (("new", "doc"), ("mod", "code"))


def test_a_phase_that_names_no_file_is_taken_to_change_one():
    found = features(task_category="docs", complexity="low", deliverables=[], existing=())
    assert found.files == (("mod", "code"),)


@given(st.integers(1, 200_000), st.integers(256, 100_000))
def test_a_budget_is_raised_up_to_the_models_limit_and_then_no_more(budget: int, limit: int):
    larger = escalated(budget, limit)
    if budget >= limit:
        assert larger is None
    else:
        assert larger == min(limit, 2 * budget)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("src/a.py", "code"), ("test_a.py", "test"), ("tests/data.json", "test"), ("a_test.py", "test"), ("x.test.ts", "test"),
        ("README.md", "doc"), ("notes.TXT", "doc"), ("pyproject.toml", "config"), ("a.yml", "config"), ("app.tsx", "frontend"),
        ("style.css", "frontend"), ("Makefile", "code"), ("contest.py", "code"),
    ],
)  # fmt: skip
def test_files_are_classed_by_name(path: str, kind: str):
    assert file_class(path) == kind


@given(st.lists(st.text(max_size=100), max_size=3))
def test_the_bound_of_input_tokens_is_above_any_tokenizers_count(texts: list[str]):
    assert input_token_bound(*texts) >= sum(len(text) for text in texts)
