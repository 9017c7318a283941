import pytest

from autopack.domain.messages import Role
from autopack.domain.models import load_model_table
from autopack.errors import InvalidInput

TABLE = """
[models.category.docs]
builder = "openai:small"
[models.attempt.2]
builder = "anthropic:large"
auditor = "openai:judge"
"""


@pytest.mark.parametrize(
    ("role", "category", "attempt", "name"),
    [
        (Role.BUILDER, "docs", 1, "openai:small"),
        (Role.BUILDER, "tests", 1, None),
        (Role.AUDITOR, "docs", 1, None),
        (Role.BUILDER, "docs", 2, "anthropic:large"),
        (Role.BUILDER, "tests", 5, "anthropic:large"),
        (Role.AUDITOR, "tests", 2, "openai:judge"),
    ],
)
def test_the_attempts_model_goes_before_the_categorys(
    role: Role, category: str, attempt: int, name: str | None
) -> None:
    assert load_model_table(TABLE).name_for(role, task_category=category, attempt=attempt) == name


def test_no_file_overrides_nothing() -> None:
    assert load_model_table(None).names() == set()
    assert load_model_table(TABLE).names() == {"openai:small", "anthropic:large", "openai:judge"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models = 1", "must be a table"),
        ("[models]\nbuilder = 'openai:x'", "builder is not known"),
        ("[models.category.docs]\njudge = 'openai:x'", "builder or auditor"),
        ("[models.category.docs]\nbuilder = 'x'", "openai:NAME"),
        ("[models.attempt.first]\nbuilder = 'openai:x'", "a number from 1"),
        ("[models.attempt.0]\nbuilder = 'openai:x'", "a number from 1"),
        ("[models", "not TOML"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        load_model_table(text)
