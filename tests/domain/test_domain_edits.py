"""A builder's answer becomes whole files, or a MalformedEdit whose text goes back to the model. Nothing else."""

import contextlib
import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autopack.domain.edits import EditPlan, EmptyPlan, FileEdit, MalformedEdit, WrongPaths, parse


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
    "a number": "1. `a.py`\n```python\nx = 1\n```",
    "a numbered heading": "### 2. a.py\n```python\nx = 1\n```",
    "a numbered label": "### File 1: a.py\n```python\nx = 1\n```",
    "a label in bold": "**File:** `a.py`\n```python\nx = 1\n```",
    "New file:": "New file: `a.py`\n```python\nx = 1\n```",
    "a remark": "**`a.py`** (new file)\n```python\nx = 1\n```",
    "a remark after a dash": "`a.py` - updated:\n```python\nx = 1\n```",
    "beside the language": "```python:a.py\nx = 1\n```",
    "after the language": "Here it is:\n\n```python a.py\nx = 1\n```",
    "as the language": "```a.py\nx = 1\n```",
    "as a title of the fence": '```python title="a.py"\nx = 1\n```',
    "above and in the fence": "a.py\n```python:./a.py\nx = 1\n```",
    "with a dot and a slash": "./a.py\n```python\nx = 1\n```",
    "an example of its use after": "a.py\n```python\nx = 1\n```\n\nUse `a.py` so:\n\n```python\nimport a\n```",
    "a command after": "a.py\n```python\nx = 1\n```\n\nRun the tests in tests/test_a.py:\n\n```bash\npytest tests/test_a.py\n```",
    "a list of files after": "a.py\n```python\nx = 1\n```\n\nDepends on:\n\n```\nb.py\nc/d.py\n```",
    "an example of another module after": "a.py\n```python\nx = 1\n```\n\nThe rest is in b.py. As with `os.path`:\n\n```python\nimport b\n```",
    "an unnamed example before": "It is used so:\n```\nimport a\n```\n\na.py\n```python\nx = 1\n```",
}


@pytest.mark.parametrize("text", BLOCK_FORMS.values(), ids=BLOCK_FORMS)
def test_a_whole_file_block_is_read_under_every_form_of_its_path(text: str):
    assert parse(text) == plan(("a.py", "x = 1\n"))


NAMES = {
    "Makefile": "Makefile\n", "src/run": "src/run\n", "odd": "`odd`\n", "bold": "**bold**\n", "labelled": "File: labelled\n",
    "with blanks.md": "File: with blanks.md\n", "docker/Dockerfile": "```docker docker/Dockerfile\n", ".env.example": ".env.example\n",
    "app/[id]/page.tsx": "### app/[id]/page.tsx\n", ".github/x.yml": "```yaml:.github/x.yml\n",
}  # fmt: skip


@pytest.mark.parametrize(("path", "title"), NAMES.items(), ids=NAMES)
def test_a_name_that_is_sure_to_be_one_is_taken(path: str, title: str):
    fence = "" if "```" in title else "```\n"
    assert parse(f"{title}{fence}x\n```\n") == plan((path, "x\n"))


@pytest.mark.parametrize(
    "line",
    [
        "Next",
        "`pytest -q`",
        "v1.2",
        "Usage",
        "python3.11",
        "https://a.example/x.html",
        "# Install",
        "a/b/",
        "Done.",
    ],
)
def test_a_word_above_an_example_is_no_file(line: str):
    text = f"a.py\n```python\nx = 1\n```\n\n{line}\n\n```bash\npytest\n```\n"
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


FIRST = "a.py\n```python\nx = 1\n```\n\n"
LOST = {
    "a sentence above": "Here is src/b.py:\n```python\ny = 1\n```",
    "a sentence above that begins with it": "`src/b.py` is new:\n```python\ny = 1\n```",
    "a remark that says it is a part": "a.py (continued)\n```python\ny = 1\n```",
    "a remark that says nothing": "`src/b.py` - the helper\n```python\ny = 1\n```",
    "a title further up": "src/b.py\nThis one helps:\n```python\ny = 1\n```",
    "a first line": "```python\nsrc/b.py\ny = 1\n```",
    "a comment in the first line": "```python\n# src/b.py\ny = 1\n```",
    "a comment that says more": "```ts\n// src/b.ts - helps\ny = 1\n```",
    "a comment in a page": "```html\n<!-- File: b.html -->\n<p>\n```",
    "lines of a file in the fence": "```12:20:src/b.py\ny = 1\n```",
    "a fence that is indented": "- src/b.py\n\n  ```python\n  y = 1\n  ```",
    "a script": "Then make scripts/b.sh:\n```bash\nls\n```",
    "a script of another name": "And bin/run.py:\n\n```bash\n#!/usr/bin/env bash\nls\n```",
    "a name with blanks": "docs/User Guide.md\n```markdown\nText.\n```",
}  # fmt: skip


@pytest.mark.parametrize("rest", LOST.values(), ids=LOST)
@pytest.mark.parametrize(
    "first", [FIRST, f"```json\n{ONE}\n```\n\n", f"{ONE}\n\n", ""], ids=["block", "fenced", "bare", "none"]
)
def test_no_part_is_applied_while_another_that_was_meant_as_a_file_is_left_out(first: str, rest: str):
    with pytest.raises(WrongPaths, match="seems to be the file"):
        parse(first + rest)


SLOW = {
    "blanks in a title": "a.b" + " " * 1990 + "x", "blanks after a label": "File: a" + " " * 1900 + "`",
    "signs": "- " * 990 + "x", "dashes": "a.b " + "- " * 990 + "x", "dots": "a." * 990, "slashes": "a/" * 990,
    "a comment": "/*" + " " * 1990 + "x", "brackets": "a.b " + "[)" * 990,
}  # fmt: skip


@pytest.mark.parametrize("line", SLOW.values(), ids=SLOW)
def test_a_title_made_to_waste_time_wastes_little(line: str):
    began = time.process_time()
    with contextlib.suppress(MalformedEdit):
        parse(f"{line}\n```{line[:-1].replace('`', '')}\n{line}\ny\n```\n" * 20)
    assert time.process_time() - began < 3


def test_edits_in_a_fence_that_is_indented_are_not_passed_over():
    block = "  <<<<<<< SEARCH\n  x\n  =======\n  y\n  >>>>>>> REPLACE\n"
    with pytest.raises(WrongPaths, match="holds edits"):
        parse(f"{FIRST}- Then:\n\n  ```\n{block}  ```\n")
    assert parse(f"1. Here:\n\n   ```json\n   {ONE}\n   ```\n") == ONE_PLAN


def test_a_title_and_a_fence_that_name_different_files_are_refused():
    with pytest.raises(WrongPaths, match=r"said to be of a\.py and of b\.py"):
        parse("a.py\n```python:b.py\nx\n```\n")


README = "README.md\n{0}markdown\n# Title\n\n{1}\npip install x\n```\n\nEnd\n{0}\n"
CUT = {
    "a bare fence in it": README.format("```", "```"),
    "a tagged fence in it": README.format("```", "```bash"),
    "a tagged fence in it, and a file": README.format("```", "```bash") + "\na.py\n```python\nx\n```\n",
    "a bare fence in it, and a file": README.format("```", "```") + "\na.py\n```\nx\n```\n",
    "a bare fence that ends like a title": "README.md\n```\n# T\n\n```\nb.toml\n```\n\nEnd\n```\n",
    "a bare fence in another file": "a.py\n```\nTEXT = (\n```\nx\n```\n)\n```\n",
    "an example that swallows a file": "Text:\n```markdown\n```bash\nls\n```\n```\n\na.py\n```\nx\n```\n",
    "tildes": "README.md\n~~~\n# T\n\n~~~\nx\n~~~\nEnd\n~~~\n",
    "a bare example after it": "README.md\n```\n# T\n```\n\nRun:\n\n```\nls\n```\n",
}  # fmt: skip


@pytest.mark.parametrize("text", CUT.values(), ids=CUT)
def test_a_block_that_may_hold_its_own_fence_is_refused_and_never_cut(text: str):
    with pytest.raises(MalformedEdit, match="longer fence"):
        parse(text)


def test_a_longer_fence_makes_the_end_certain():
    made = parse(README.format("````", "```") + "\nRun:\n\n```\nls\n```\n\na.py\n```\nx\n```\n")
    assert made == plan(("README.md", "# Title\n\n```\npip install x\n```\n\nEnd\n"), ("a.py", "x\n"))
    assert parse("b.md\n```\ntext\n```\n\na.py\n```\nx\n```\n").paths == ("b.md", "a.py")


def test_a_dot_and_a_slash_before_a_path_are_left_out():
    assert parse(answer(("./a.py", "1"), ("././b/c.py", "2"))).paths == ("a.py", "b/c.py")
    with pytest.raises(MalformedEdit, match=r"a\.py is given twice"):
        parse(answer(("./a.py", "1"), ("a.py", "2")))
    assert parse(answer(("./", ""), (".hidden", ""), ("../up", ""))).paths == ("./", ".hidden", "../up")
    diff = "--- ./a.py\n+++ ./a.py\n@@ -1 +1 @@\n-x\n+y\n"
    patch = "*** Begin Patch\n*** Update File: ./a.py\n*** Move to: ./b.py\n*** End Patch\n"
    block = "./a.py\n```\n<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE\n```\n"
    assert [parse(text).paths for text in (diff, patch, block)] == [("a.py",), ("a.py", "b.py"), ("a.py",)]


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
    "a nested fence of the same length": ("a.md\n```\n```python\nx\n```\n```\n", "longer fence"),
    "both formats": (f"b.py\n```\ny\n```\n```json\n{ONE}\n```", "mixes"),
    "two plans, fenced": (f"```json\n{ONE}\n```\n```json\n{ONE}\n```", "several"),
    "two plans, bare": (ONE + ONE, "several"),
    "a list of files given twice": (f'{ONE[:-1]}, "files": []}}', "gives `files` twice"),
    "a content given twice": (
        '{"files": [{"path": "a", "content": "1", "content": "2"}]}',
        "gives `content` twice",
    ),
    "a block that begins with another marker": (
        "a.py\n```\n<<<<<<< BEFORE\nx\n=======\ny\n>>>>>>> AFTER\n```",
        "begins with `<<<<<<< BEFORE`",
    ),
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
