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


LADDER = """
[models]
ladder = ["openai:a", "openai:b", "anthropic:c"]
[models.category.docs]
builder = "openai:docs"
[models.attempt.4]
builder = "openai:last"
[models.format]
default = "search_replace"
"anthropic:c" = "unified_diff"
"""


@pytest.mark.parametrize(
    ("role", "category", "attempt", "escalations", "name"),
    [
        (Role.BUILDER, "tests", 1, 0, "openai:a"),
        (Role.BUILDER, "tests", 2, 1, "openai:b"),
        (Role.BUILDER, "tests", 3, 2, "anthropic:c"),
        (Role.BUILDER, "tests", 3, 9, "anthropic:c"),
        (Role.BUILDER, "tests", 3, 0, "openai:a"),
        (Role.BUILDER, "docs", 1, 0, "openai:docs"),
        (Role.BUILDER, "docs", 2, 1, "openai:b"),
        (Role.BUILDER, "docs", 4, 1, "openai:last"),
        (Role.AUDITOR, "tests", 2, 2, None),
    ],
)
def test_a_builder_goes_up_the_ladder_with_each_failure_that_asks_for_it(
    role: Role, category: str, attempt: int, escalations: int, name: str | None
) -> None:
    table = load_model_table(LADDER)
    assert table.name_for(role, task_category=category, attempt=attempt, escalations=escalations) == name


def test_each_model_is_asked_for_the_format_that_it_is_named_with() -> None:
    table = load_model_table(LADDER)
    assert table.names() >= {"openai:a", "openai:b", "anthropic:c", "openai:docs", "openai:last"}
    assert (table.format_for("anthropic:c"), table.format_for("openai:a")) == (
        "unified_diff", "search_replace",
    )  # fmt: skip
    assert load_model_table(None).format_for("openai:a") == "whole_files"


def test_each_model_is_asked_for_as_much_as_it_can_give() -> None:
    table = load_model_table("[models.output_limit]\ndefault = 32000\n'openai:small' = 4096")
    assert (table.output_limit_for("openai:small"), table.output_limit_for("openai:a")) == (4096, 32_000)
    assert load_model_table(None).output_limit_for("openai:a") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models = 1", "must be a table"),
        ("[models]\nbuilder = 'openai:x'", "builder is not known"),
        ("[models.category.docs]\njudge = 'openai:x'", "builder or auditor"),
        ("[models.category.docs]\nbuilder = 'x'", "openai:NAME"),
        ("[models.attempt.first]\nbuilder = 'openai:x'", "a number from 1"),
        ("[models.attempt.0]\nbuilder = 'openai:x'", "a number from 1"),
        ("[models]\nladder = 'openai:x'", "must be a list"),
        ("[models]\nladder = ['x']", "must be a list of openai:NAME"),
        ("[models]\nladder = [1]", "must be a list of openai:NAME"),
        ("[models]\nformat = 'patch'", "must be a table"),
        ("[models.format]\n'gpt' = 'patch'", "'gpt' is no model"),
        ("[models.format]\ndefault = 'prose'", "is no format; there are whole_files, search_replace"),
        ("[models.format]\ndefault = ['patch']", "is no format"),
        ("[models]\noutput_limit = 32000", "output_limit. must be a table of output limits"),
        ("[models.output_limit]\n'gpt' = 32000", "'gpt' is no model"),
        ("[models.output_limit]\ndefault = 255", "is no number of tokens; write 256 to 10000000"),
        ("[models.output_limit]\ndefault = true", "is no number of tokens"),
        ("[models.output_limit]\ndefault = '32k'", "is no number of tokens"),
        ("[models", "not TOML"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        load_model_table(text)
