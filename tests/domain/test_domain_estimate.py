import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopack.domain import estimate
from autopack.domain.estimate import (
    FLOORS,
    MODEL_OUTPUT_LIMIT,
    escalated,
    features,
    file_class,
    input_token_bound,
)

CATEGORIES = st.sampled_from(
    ["implementation", "tests", "docs", "refactoring", "configuration", "security", "odd"]
)
COMPLEXITIES = st.sampled_from(["low", "medium", "high"])
PATHS = st.lists(
    st.sampled_from(["src/a.py", "tests/test_b.py", "README.md", "c.toml", "d.tsx", "e.unknown", "f"]), max_size=40
)  # fmt: skip


def made(
    category: str, complexity: str, deliverables: list[str], existing: tuple[str, ...] = ()
) -> estimate.Estimate:
    return estimate.estimate(
        features(task_category=category, complexity=complexity, deliverables=deliverables, existing=existing)
    )


@given(CATEGORIES, COMPLEXITIES, PATHS)
def test_a_budget_lies_between_the_floor_and_the_models_limit(
    category: str, complexity: str, paths: list[str]
):
    found = made(category, complexity, paths)
    assert FLOORS[complexity] <= found.budget <= MODEL_OUTPUT_LIMIT
    assert found.budget >= min(found.predicted_output_tokens, MODEL_OUTPUT_LIMIT)
    assert found.predicted_output_tokens > 0


@given(CATEGORIES, COMPLEXITIES, PATHS, st.sampled_from(["x.py", "x.md", "x"]))
def test_one_more_deliverable_never_makes_the_estimate_smaller(
    category: str, complexity: str, paths: list[str], more: str
):
    before, after = made(category, complexity, paths), made(category, complexity, [*paths, more])
    assert after.predicted_output_tokens > before.predicted_output_tokens
    assert after.budget >= before.budget


@given(CATEGORIES, PATHS)
def test_more_complexity_never_makes_the_estimate_smaller(category: str, paths: list[str]):
    budgets = [made(category, complexity, paths) for complexity in ("low", "medium", "high")]
    assert [b.predicted_output_tokens for b in budgets] == sorted(b.predicted_output_tokens for b in budgets)
    assert [b.budget for b in budgets] == sorted(b.budget for b in budgets)


def test_a_file_that_exists_costs_less_than_a_new_one():
    new = made("implementation", "medium", ["src/a.py"])
    modified = made("implementation", "medium", ["src/a.py"], existing=("src/a.py",))
    assert modified.predicted_output_tokens < new.predicted_output_tokens
    assert modified.features.files == (("mod", "code"),)


@given(st.integers(1, MODEL_OUTPUT_LIMIT * 2))
def test_a_budget_is_raised_up_to_the_models_limit_and_then_no_more(budget: int):
    larger = escalated(budget)
    if budget >= MODEL_OUTPUT_LIMIT:
        assert larger is None
    else:
        assert larger is not None
        assert budget < larger <= min(MODEL_OUTPUT_LIMIT, 2 * budget)


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


def test_an_estimate_is_stored_with_what_it_was_made_from():
    stored = made("docs", "low", ["README.md"]).to_json()
    assert stored["version"] == estimate.VERSION
    assert stored["features"]["files"] == (("new", "doc"),)
