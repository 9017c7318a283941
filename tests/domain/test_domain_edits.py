"""A builder's answer becomes whole files, or a MalformedEdit whose text goes back to the model. Nothing else."""

import contextlib
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autopack.domain.edits import EditPlan, EmptyPlan, FileEdit, MalformedEdit, parse


def answer(*files: tuple[str, str], summary: str = "s") -> str:
    return json.dumps(
        {"summary": summary, "files": [{"path": path, "content": content} for path, content in files]}
    )


def plan(*files: tuple[str, str], summary: str = "") -> EditPlan:
    return EditPlan(
        files=tuple(FileEdit(path=path, content=content) for path, content in files), summary=summary
    )


ONE = answer(("a.py", "x = 1\n"))
ONE_PLAN = plan(("a.py", "x = 1\n"), summary="s")

JSON_FORMS = {
    "bare": ONE,
    "with space around": f"\n\n  {ONE}\n\n",
    "with a byte order mark": "\ufeff" + ONE,
    "fenced": f"```json\n{ONE}\n```",
    "fenced without a language": f"```\n{ONE}\n```",
    "fenced with tildes": f"~~~json\n{ONE}\n~~~",
    "fenced, with prose around": f"Sure, here it is:\n\n```json\n{ONE}\n```\n\nTell me if you want more.",
    "fenced, with an example beside": 'A file looks like `{"a": 1}`.\n\n```json\n{"a": 1}\n```\n\n' + f"```json\n{ONE}\n```",
    "after prose": f"Here is the plan: {ONE}",
    "followed by prose": f"{ONE}\n\nDone.",
    "indented over lines": json.dumps(json.loads(ONE), indent=4),
    "CRLF between the keys": json.dumps(json.loads(ONE), indent=1).replace("\n", "\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("text", JSON_FORMS.values(), ids=JSON_FORMS)
def test_a_json_plan_is_read_in_every_form(text: str):
    assert parse(text) == ONE_PLAN


def test_raw_line_breaks_in_a_json_string_are_meant():
    assert parse('{"files": [{"path": "a.py", "content": "x = 1\ny = 2\t3\n"}]}') == plan(
        ("a.py", "x = 1\ny = 2\t3\n")
    )


def test_a_content_with_fences_in_it_survives_json():
    content = "# Title\n\n```python\nx = 1\n```\n\n````\n```\n````\n"
    assert parse(answer(("README.md", content))).files[0].content == content
    assert parse(f"```json\n{answer(('README.md', content))}\n```").files[0].content == content


def test_a_summary_that_is_no_text_is_left_out():
    assert parse('{"summary": 5, "files": [{"path": "a", "content": ""}]}').summary == ""


BLOCK_FORMS = {
    "a path": "a.py\n```python\nx = 1\n```",
    "a path in backquotes": "`a.py`\n```python\nx = 1\n```",
    "a path in bold": "**a.py**\n```python\nx = 1\n```",
    "a path in bold backquotes": "**`a.py`**\n```\nx = 1\n```",
    "a path with a colon": "a.py:\n```python\nx = 1\n```",
    "a heading": "### a.py\n```python\nx = 1\n```",
    "a heading in backquotes": "## `a.py`\n\n```python\nx = 1\n```",
    "a list item": "- a.py\n```python\nx = 1\n```",
    "File:": "File: a.py\n```python\nx = 1\n```",
    "path:": "path: a.py\n```python\nx = 1\n```",
    "filename in quotes": 'Filename: "a.py"\n```python\nx = 1\n```',
    "an empty line between": "a.py\n\n```python\nx = 1\n```",
    "tildes": "a.py\n~~~python\nx = 1\n~~~",
    "a longer fence": "a.py\n`````python\nx = 1\n`````",
    "prose around": "I wrote one file.\n\na.py\n```python\nx = 1\n```\n\nThat is all.",
    "an unnamed example before": "It is used so:\n```\nimport a\n```\n\na.py\n```python\nx = 1\n```",
}


@pytest.mark.parametrize("text", BLOCK_FORMS.values(), ids=BLOCK_FORMS)
def test_a_whole_file_block_is_read_under_every_form_of_its_path(text: str):
    assert parse(text) == plan(("a.py", "x = 1\n"))


def test_several_blocks_are_several_files():
    text = "src/a.py\n```python\nx = 1\n```\n\ndocs/b.md\n```\ntext\n```\n"
    assert parse(text) == plan(("src/a.py", "x = 1\n"), ("docs/b.md", "text\n"))


def test_a_longer_fence_holds_shorter_ones():
    content = "# Use\n\n```python\nx = 1\n```\n"
    assert parse(f"README.md\n````markdown\n{content}````\n") == plan(("README.md", content))


def test_carriage_returns_are_kept_in_a_block_and_in_json():
    assert parse("a.txt\r\n```\r\none\r\ntwo\r\n```\r\n").files[0].content == "one\r\ntwo\r\n"
    assert parse(answer(("a.txt", "one\r\ntwo\r\n"))).files[0].content == "one\r\ntwo\r\n"


def test_a_missing_final_newline_is_kept_in_json():
    assert parse(answer(("a.txt", "no end"))).files[0].content == "no end"


def test_an_empty_file_is_a_file():
    assert parse("src/__init__.py\n```\n```\n") == plan(("src/__init__.py", ""))
    assert parse(answer(("src/__init__.py", ""))).files[0].content == ""


EMPTY = {
    "nothing": "",
    "space": " \n\t\n",
    "no files": "{}",
    "an object about something else": '{"answer": 42}',
    "an empty list": '{"summary": "nothing to do", "files": []}',
    "an empty list, fenced": '```json\n{"files": []}\n```',
}


@pytest.mark.parametrize("text", EMPTY.values(), ids=EMPTY)
def test_an_answer_without_files_is_an_empty_plan(text: str):
    with pytest.raises(EmptyPlan):
        parse(text)


MALFORMED = {
    "prose": ("I could not do that.", "holds no files"),
    "cut JSON": (ONE[:-10], "not a whole JSON object"),
    "cut fenced JSON": (f"```json\n{ONE[:-10]}\n```", "not a whole JSON object"),
    "a fence that is not closed": ("a.py\n```python\nx = 1\n", "not closed"),
    "a nested fence of the same length": ("a.md\n```\n```python\nx\n```\n```\n", "not closed"),
    "both formats": (f"b.py\n```\ny\n```\n```json\n{ONE}\n```", "mixes"),
    "two plans, fenced": (f"```json\n{ONE}\n```\n```json\n{ONE}\n```", "several"),
    "two plans, bare": (ONE + ONE, "several"),
    "a path given twice": (answer(("a.py", "1"), ("a.py", "2")), "a.py is given twice"),
    "a path given twice in blocks": ("a.py\n```\n1\n```\na.py\n```\n2\n```", "a.py is given twice"),
    "unknown fields": (
        '{"files": [{"path": "a", "content": "", "mode": "100755"}]}',
        "fields that mean nothing here: mode",
    ),
    "a missing content": ('{"files": [{"path": "a"}]}', "file 1 needs both"),
    "a file that is text": ('{"files": ["a.py"]}', "file 1 needs both"),
    "a file that is null": ('{"files": [null]}', "file 1 needs both"),
    "files that is an object": ('{"files": {"a.py": "x"}}', "`files` must be a list"),
    "files that is text": ('{"files": "a.py"}', "`files` must be a list"),
    "a content that is a list": ('{"files": [{"path": "a", "content": ["x"]}]}', "must be text"),
    "a path that is a number": ('{"files": [{"path": 5, "content": ""}]}', "must be text"),
    "a lone surrogate": ('{"files": [{"path": "a", "content": "\\ud800"}]}', "not valid Unicode"),
    "deep nesting": ('{"files": ' + "[" * 100_000, "not a whole JSON object"),
    "a list at the top, with text": ('[{"path": "a", "content": ""}]', "holds no files"),
}


@pytest.mark.parametrize(("text", "words"), MALFORMED.values(), ids=MALFORMED)
def test_an_answer_that_cannot_be_read_says_what_is_wrong(text: str, words: str):
    with pytest.raises(MalformedEdit, match=words):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"files": [{"path": "a\\u0000", "content": ""}, {"path": "a\\u0000", "content": ""}]}',
        '{"files": [{"path": "\\ud800", "content": "\\ud800"}]}',
        '{"files": [{"path": "a", "content": "", "\\u0000\\ud800": 1}]}',
    ],
)
def test_what_is_said_to_the_model_can_be_stored(text: str):
    """The text becomes the attempt's reason: a NUL or a lone surrogate in it would fail the attempt's end."""
    with pytest.raises(MalformedEdit) as error:
        parse(text)
    said = str(error.value)
    assert "\0" not in said
    said.encode()


def test_a_summary_can_be_stored_whatever_the_model_wrote():
    """It goes into the commit message and the approval request."""
    made = parse('{"summary": "a\\u0000b\\ud800c", "files": [{"path": "a", "content": ""}]}')
    assert "\0" not in made.summary
    made.summary.encode()


@pytest.mark.parametrize("number", ["9" * 5000, "1e99999", "NaN", "-Infinity"])
def test_odd_numbers_in_an_answer_are_malformed_or_ignored(number: str):
    text = f'{{"extra": {number}, "files": [{{"path": "a", "content": ""}}]}}'
    with contextlib.suppress(MalformedEdit):
        assert parse(text).paths == ("a",)


PATHS = st.from_regex(r"[a-z][a-z0-9_]{0,8}(/[a-z][a-z0-9_]{0,8}){0,3}\.[a-z]{1,3}", fullmatch=True)
CONTENTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
FILES = st.lists(st.tuples(PATHS, CONTENTS), min_size=1, max_size=4, unique_by=lambda file: file[0])


@given(FILES, st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40))
def test_rendering_as_json_and_parsing_is_the_identity(files: list[tuple[str, str]], summary: str):
    wanted = plan(*files, summary=summary)
    text = answer(*files, summary=summary)
    assert parse(text) == wanted
    assert parse(f"Here:\n\n{long_fence(text)}json\n{text}\n{long_fence(text)}\n") == wanted


def long_fence(content: str) -> str:
    longest = run = 0
    for char in content:
        run = run + 1 if char == "`" else 0
        longest = max(longest, run)
    return "`" * max(3, longest + 1)


LINES = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=30)
    | st.sampled_from(["```", "```python", "````", "~~~", "a.py", '{"files": []}', "# a.md", ""]),
    max_size=8,
).map(lambda lines: "".join(f"{line}\n" for line in lines))
BLOCKS = st.lists(st.tuples(PATHS, LINES), min_size=1, max_size=4, unique_by=lambda file: file[0])


@given(BLOCKS)
def test_rendering_as_blocks_and_parsing_is_the_identity(files: list[tuple[str, str]]):
    text = "\n".join(
        f"{path}\n{long_fence(content)}\n{content}{long_fence(content)}\n" for path, content in files
    )
    assert parse(text) == plan(*files)


PIECES = st.sampled_from(
    ['{"files"', '{"files": [', '"path"', ": ", '"a.py"', "{", "}", "[", "]", "\n", "```", "```json\n", "a.py\n", "\\u0000", '"', ",", "null", "1e999", "\ud800"]
)  # fmt: skip


@given(st.text(max_size=300) | st.lists(PIECES | st.text(max_size=5), max_size=30).map("".join))
@example('x {"files": [')
@example('{"files": [{"path": "\ud800", "content": ""}]}')
@example('```\n{"files"\n```')
def test_nothing_but_a_malformed_edit_is_raised_whatever_the_answer(text: str):
    try:
        made = parse(text)
    except MalformedEdit:
        return
    assert made.files
    assert len(set(made.paths)) == len(made.paths)
    for edit in made.files:
        edit.content.encode()
