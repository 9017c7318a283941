"""What each format may look like, and what is refused: every row with its own class and words."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autopack.domain.edits import (
    Block,
    EditPlan,
    EmptyPlan,
    FileEdit,
    Format,
    MalformedEdit,
    MixedFormats,
    ProseOnly,
    WrongPaths,
    parse,
)
from autopack.domain.storable import storable_text

SEARCH = "<<<<<<< SEARCH\nold\n=======\nnew\n>>>>>>> REPLACE\n"
CHANGE = Block(search="old\n", replace="new\n")
A = FileEdit(path="src/a.py", blocks=(CHANGE,))

SEARCH_REPLACE = {
    "the name before the fence": f"src/a.py\n```python\n{SEARCH}```",
    "the name inside the fence": f"```python\nsrc/a.py\n{SEARCH}```",
    "the name in both places": f"src/a.py\n```python\nsrc/a.py\n{SEARCH}```",
    "the name as a comment inside": f"```python\n# src/a.py\n{SEARCH}```",
    "a blank line between": f"src/a.py\n\n```\n{SEARCH}```",
    "a heading": f"### `src/a.py`\n````python\n{SEARCH}````",
    "a fence of tildes": f"src/a.py\n~~~~~\n{SEARCH}~~~~~",
    "no fence": f"src/a.py\n{SEARCH}",
    "a fence that is not closed": f"src/a.py\n```\n{SEARCH}",
    "short markers": "src/a.py\n```\n<<<<< SEARCH\nold\n=====\nnew\n>>>>> REPLACE\n```",
    "long markers": "src/a.py\n```\n<<<<<<<<< SEARCH\nold\n=========\nnew\n>>>>>>>>> REPLACE\n```",
    "markers of several lengths": "src/a.py\n```\n<<<<<<< SEARCH\nold\n=====\nnew\n>>>>>>>>> REPLACE\n```",
    "prose around": f"I change one line.\n\nsrc/a.py\n```\n{SEARCH}```\n\nDone.",
    "an example beside": f"It prints\n```\nhello\n```\nsrc/a.py\n```\n{SEARCH}```",
    "CRLF around": f"src/a.py\r\n```\r\n{SEARCH}```\r\n",
}  # fmt: skip


@pytest.mark.parametrize("text", SEARCH_REPLACE.values(), ids=SEARCH_REPLACE)
def test_a_search_replace_block_is_read_in_every_form(text: str):
    assert parse(text) == EditPlan(files=(A,), format=Format.SEARCH_REPLACE)


def test_several_blocks_several_files_and_a_new_one():
    text = (
        f"src/a.py\n```python\n{SEARCH}\n{SEARCH.replace('old', 'more')}```\n"
        f"```python\n{SEARCH.replace('old', 'third')}```\n"
        "Now the other file.\n\nMakefile\n```\n<<<<<<< SEARCH\n=======\nall:\n\tmake\n>>>>>>> REPLACE\n```\n"
        f"src/a.py\n```\n{SEARCH.replace('new', '')}```\n"
    )
    edit, made = parse(text).files
    assert edit.path == "src/a.py"
    assert [block.search for block in edit.blocks] == ["old\n", "more\n", "third\n", "old\n"]
    assert edit.blocks[3].replace == "\n"
    assert made == FileEdit(path="Makefile", blocks=(Block(search="", replace="all:\n\tmake\n"),))


def test_fences_and_markers_of_another_length_are_text():
    body = "Title\n=====\n\n```python\nx = 1\n```\n"
    text = f"README.md\n```\n<<<<<<< SEARCH\n{body}=======\n{body}more\n>>>>>>> REPLACE\n```\n"
    (block,) = parse(text).files[0].blocks
    assert block == Block(search=body, replace=f"{body}more\n")


HUNK = "@@ -3,2 +3,2 @@ def f():\n kept\n-old\n+new\n"
DIFF_BLOCK = Block(search="kept\nold\n", replace="kept\nnew\n", line=3)
DIFF_A = FileEdit(path="src/a.py", blocks=(DIFF_BLOCK,), is_new=False)
GIT = "diff --git a/src/a.py b/src/a.py\nindex 1234567..89abcde 100644\n"
ENDS = "--- a/src/a.py\n+++ b/src/a.py\n"

DIFFS = {
    "as git writes it": GIT + ENDS + HUNK,
    "in a fence": f"Here:\n\n```diff\n{GIT}{ENDS}{HUNK}```\nDone.",
    "without git's line": ENDS + HUNK,
    "without prefixes": ENDS.replace("a/", "").replace("b/", "") + HUNK,
    "with dates": "--- a/src/a.py\t2026-01-01 10:00:00\n+++ b/src/a.py\t2026-01-02\n" + HUNK,
    "with quoted names": '--- "a/src/\\141.py"\n+++ "b/src/a.py"\n' + HUNK,
    "counts too large": ENDS + HUNK.replace("-3,2 +3,2", "-3,20 +3,20"),
    "counts too small": ENDS + HUNK.replace("-3,2 +3,2", "-3 +3"),
    "counts of nothing": ENDS + HUNK.replace("-3,2 +3,2", "-3,0 +3,0"),
    "followed by a blank line": ENDS + HUNK + "\n",
    "in a mail": f"```diff\nFrom: a person\nSubject: x\n\n---\n a.py | 2 +-\n\n{GIT}{ENDS}{HUNK}-- \n2.39.5\n```",
    "CRLF everywhere": (GIT + ENDS + HUNK).replace("\n", "\r\n"),
    "only hunks below a name": f"src/a.py\n```diff\n{HUNK}```",
    "a name above all the same": f"src/a.py\n```diff\n{ENDS}{HUNK}```",
}


@pytest.mark.parametrize("text", DIFFS.values(), ids=DIFFS)
def test_a_unified_diff_is_read_in_every_form(text: str):
    assert parse(text) == EditPlan(files=(DIFF_A,), format=Format.UNIFIED_DIFF)


def one(text: str) -> FileEdit:
    (edit,) = parse(text).files
    return edit


def test_a_hunk_without_numbers_has_no_line():
    assert one(ENDS + "@@ ... @@\n kept\n-old\n+new\n").blocks == (
        Block(search="kept\nold\n", replace="kept\nnew\n"),
    )


def test_blank_context_lines_may_have_lost_their_blank():
    for counts in ("-1,3 +1,3", "-1,9 +1"):
        (block,) = one(f"{ENDS}@@ {counts} @@\n kept\n\n-old\n+new\n\n").blocks
        assert (block.search, block.replace) == ("kept\n\nold\n", "kept\n\nnew\n")


def test_removed_and_added_lines_that_look_like_headers_are_lines():
    (block,) = one(ENDS + "@@ -1,2 +1,2 @@\n--- a/x\n-@@ y\n+++ b/x\n+diff --git a/z b/z\n").blocks
    assert (block.search, block.replace) == ("-- a/x\n@@ y\n", "++ b/x\ndiff --git a/z b/z\n")


NO_NEWLINE = "\\ No newline at end of file\n"


def test_the_end_of_a_file_is_known_on_each_side():
    (block,) = one(f"{ENDS}@@ -1 +1 @@\n-old\n{NO_NEWLINE}+new\n").blocks
    assert (block.search, block.replace) == ("old", "new\n")
    (block,) = one(f"{ENDS}@@ -1 +1 @@\n-old\n+new\n{NO_NEWLINE}").blocks
    assert (block.search, block.replace) == ("old\n", "new")
    (block,) = one(f"{ENDS}@@ -1,2 +1 @@\n-old\n kept\n{NO_NEWLINE}").blocks
    assert (block.search, block.replace) == ("old\nkept", "kept")


WHOLE_FILES_IN_DIFFS = {
    "a new file": (
        "diff --git a/n b/n\nnew file mode 100755\nindex 0..1\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+x\n",
        FileEdit(path="n", content="x\n", is_new=True, mode="100755"),
    ),
    "a new file by its names alone": (
        "--- /dev/null\n+++ b/n\n@@ -0,0 +1,2 @@\n+x\n+y\n" + NO_NEWLINE,
        FileEdit(path="n", content="x\ny", is_new=True),
    ),
    "a new empty file": (
        "diff --git a/with blank b/with blank\nnew file mode 100644\n",
        FileEdit(path="with blank", content="", is_new=True, mode="100644"),
    ),
    "a deleted file": (
        "diff --git a/n b/n\ndeleted file mode 100644\n--- a/n\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n",
        FileEdit(path="n", blocks=(Block(search="x\n", replace="", line=1),), deleted=True, is_new=False),
    ),
    "a deleted empty file": (
        "diff --git a/n b/n\ndeleted file mode 100644\n",
        FileEdit(path="n", deleted=True, is_new=False),
    ),
    "a mode": (
        "diff --git a/n b/n\nold mode 100644\nnew mode 100755\n",
        FileEdit(path="n", mode="100755", is_new=False),
    ),
    "a rename": (
        "diff --git a/old name b/new name\nsimilarity index 100%\nrename from old name\nrename to new name\n",
        FileEdit(path="old name", moved_to="new name", is_new=False),
    ),
    "a rename with changes": (
        f"diff --git a/src/a.py b/b.py\nrename from src/a.py\nrename to b.py\n--- a/src/a.py\n+++ b/b.py\n{HUNK}",
        FileEdit(path="src/a.py", moved_to="b.py", blocks=(DIFF_BLOCK,), is_new=False),
    ),
    "a name in octal": (
        'diff --git "a/\\303\\274.py" "b/\\303\\274.py"\nnew file mode 100644\n',
        FileEdit(path="ü.py", content="", is_new=True, mode="100644"),
    ),
    "one name quoted, one not": (
        'diff --git a/plain "b/tab\\there"\nrename from plain\nrename to "tab\\there"\n',
        FileEdit(path="plain", moved_to="tab\there", is_new=False),
    ),
    "git's directory in octal": (
        'diff --git "a/\\056git/config" "b/\\056git/config"\nnew file mode 100644\n--- /dev/null\n'
        '+++ "b/\\056git/config"\n@@ -0,0 +1 @@\n+x\n',
        FileEdit(path=".git/config", content="x\n", is_new=True, mode="100644"),
    ),
    "a symbolic link": (
        "diff --git a/n b/n\nnew file mode 120000\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+/etc\n"
        + NO_NEWLINE,
        FileEdit(path="n", content="/etc", is_new=True, mode="120000"),
    ),
}


@pytest.mark.parametrize(("text", "edit"), WHOLE_FILES_IN_DIFFS.values(), ids=WHOLE_FILES_IN_DIFFS)
def test_what_a_diff_says_of_a_file(text: str, edit: FileEdit):
    assert one(text) == edit
    assert one(f"```diff\n{text}```\n") == edit


def test_two_parts_for_one_file_are_put_together():
    assert len(one(ENDS + HUNK + ENDS + HUNK.replace("-3,2", "-9,2")).blocks) == 2


def patch(*lines: str) -> str:
    return "\n".join(["*** Begin Patch", *lines, "*** End Patch"])


PATCHED = """\
*** Begin Patch
*** Add File: new.py
+x = 1
+
+y = 2
*** Update File: src/a.py
*** Move to: src/b.py
@@ class A
@@     def f(self):
 kept

-old
+new
@@
-last
+end
*** End of File

*** Delete File: gone.py
*** End Patch
"""
PATCH_FILES = (
    FileEdit(path="new.py", content="x = 1\n\ny = 2\n", is_new=True),
    FileEdit(
        path="src/a.py", moved_to="src/b.py", is_new=False,
        blocks=(
            Block(search="kept\n\nold\n", replace="kept\n\nnew\n", anchors=("class A", "def f(self):")),
            Block(search="last\n", replace="end\n", at_end=True),
        ),
    ),
    FileEdit(path="gone.py", deleted=True, is_new=False),
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [PATCHED, f"```\n{PATCHED}```", f"Here it is:\n\n```patch\n{PATCHED}```\nDone.", PATCHED.replace("\n*** End of", "\n*** End of")],
    ids=["bare", "fenced", "with prose", "again"],
)  # fmt: skip
def test_a_patch_is_read(text: str):
    assert parse(text) == EditPlan(files=PATCH_FILES, format=Format.PATCH)


def test_the_end_marker_may_be_a_line_of_context():
    (block,) = one(patch("*** Update File: a", "@@", " *** End Patch", "-x", "+y")).blocks
    assert block == Block(search="*** End Patch\nx\n", replace="*** End Patch\ny\n")


def test_an_error_does_not_quote_an_answer_at_length():
    with pytest.raises(MalformedEdit) as refused:
        parse(patch("*** Update File: a", "@@", "x" * 100_000))
    assert 100 < len(str(refused.value)) <= 2000


@pytest.mark.parametrize(
    "text",
    [
        "x" + " " * 200_000 + "y\n```\nz\n```\n",
        patch("*** Add File: x" + " " * 200_000 + "y", "z"),
        "--- a/x" + " " * 200_000 + "\n+++ b/" + '"' * 200_000 + "\n@@ -1 +1 @@\n",
        "*** Begin Patch\n" * 20_000,
        "a.py\n" + "<<<<<<< SEARCH\n=======\n>>>>>>> REPLACE\n" * 2_000 + "<<<<<<< SEARCH",
    ],
    ids=["a long line", "a long name", "a long quoted name", "many beginnings", "many blocks"],
)
def test_an_answer_made_to_waste_time_wastes_little(text: str):
    began = time.process_time()
    with pytest.raises(MalformedEdit):
        parse(text)
    assert time.process_time() - began < 3


def test_a_patch_may_number_its_hunks_as_a_diff_does():
    patch = "*** Begin Patch\n*** Update File: a\n@@ -3,1 +3,1 @@ def f():\n-x\n+y\n*** End Patch"
    assert one(patch).blocks == (Block(search="x\n", replace="y\n", line=3),)


JSON = '{"files": [{"path": "a.py", "content": "x"}]}'
WHOLE = "b.py\n```\nx\n```\n"
REFUSED = {
    "prose": ("I cannot do this.", ProseOnly, "holds no files"),
    "prose with an example": ("Use it so:\n```\nrun\n```\n", ProseOnly, "holds no files"),
    "nothing": ("\ufeff \n", EmptyPlan, "is empty"),
    "JSON and blocks": (f"```json\n{JSON}\n```\n{WHOLE}", MixedFormats, "a JSON plan with whole-file blocks"),
    "whole files and SEARCH/REPLACE": (f"{WHOLE}a.py\n```\n{SEARCH}```", MixedFormats, "whole-file blocks with SEARCH"),
    "whole files and a diff": (f"{WHOLE}```diff\n{ENDS}{HUNK}```", MixedFormats, "with a unified diff"),
    "SEARCH/REPLACE and a diff": (f"a.py\n```\n{SEARCH}```\n```diff\n{ENDS}{HUNK}```", MixedFormats, "mixes"),
    "a diff and a patch": (f"{ENDS}{HUNK}\n{PATCHED}", MixedFormats, "mixes"),
    "JSON, then a diff": (f"{JSON}\n\n```diff\n{ENDS}{HUNK}```", MixedFormats, "mixes a JSON plan"),
    "no name before a block": (f"```\n{SEARCH}```", WrongPaths, "block 1 names no file"),
    "prose before a block": (f"a.py\n```\n{SEARCH}```\nIn the other file:\n```\n{SEARCH}```", WrongPaths, "block 2 names no file"),
    "two names for one block": (f"a.py\n```\nb.py\n{SEARCH}```", WrongPaths, "of a.py and of b.py"),
    "edits below other lines": (f"```\none\ntwo\nthree\n{SEARCH}```", WrongPaths, "does not begin with them"),
    "hunks of no file": (f"```diff\n{HUNK}```", WrongPaths, "names no file"),
    "no divider": ("a.py\n<<<<<<< SEARCH\nold\n>>>>>>> REPLACE", MalformedEdit, "block 1 has no line `=======`"),
    "two dividers": ("a.py\n<<<<<<< SEARCH\na\n=======\nb\n=======\n>>>>>>> REPLACE", MalformedEdit, "several lines"),
    "no end": ("a.py\n<<<<<<< SEARCH\nold\n=======\nnew\n", MalformedEdit, "has no line `>>>>>>> REPLACE`"),
    "a block in a block": (f"a.py\n<<<<<<< SEARCH\nold\n{SEARCH}", MalformedEdit, "has no line `>>>>>>> REPLACE`"),
    "an end alone": (f"a.py\n{SEARCH}>>>>>>> REPLACE\n", MalformedEdit, "has no `<<<<<<< SEARCH` before"),
    "other names than git's line": (f"diff --git a/x.py b/x.py\n{ENDS}{HUNK}", WrongPaths, "names different files"),
    "two other names": ("--- a/x.py\n+++ b/y.py\n" + HUNK, WrongPaths, "names different files"),
    "names that quoting hides": ('diff --git a/src/a.py b/src/a.py\n--- a/src/a.py\n+++ "b/\\056git/config"\n' + HUNK, WrongPaths, "different"),
    "a rename that names others": ("diff --git a/x b/y\nrename from x\nrename to z\n", WrongPaths, "different"),
    "a rename with other ends": (f"diff --git a/x b/y\nrename from x\nrename to y\n{ENDS}{HUNK}", WrongPaths, "different"),
    "a git line of two files": ("diff --git a/x b/y\nnew file mode 100644\n", WrongPaths, "different"),
    "a name quoted wrongly": ('--- "a/\\x41"\n+++ "b/\\x41"\n' + HUNK, WrongPaths, "not quoted"),
    "a copy": ("diff --git a/x b/y\nsimilarity index 100%\ncopy from x\ncopy to y\n", MalformedEdit, "copies are not"),
    "a binary patch": (f"{GIT}GIT binary patch\nliteral 5\nMcmXX\n", MalformedEdit, "binary patches"),
    "binary files": (f"{GIT}Binary files a/src/a.py and b/src/a.py differ\n", MalformedEdit, "binary files"),
    "binary files without git's line": (f"{ENDS}{HUNK}Binary files a and b differ\n", MalformedEdit, "binary files"),
    "new and deleted": ("--- /dev/null\n+++ /dev/null\n@@ -0,0 +1 @@\n+x\n", MalformedEdit, "new and deleted"),
    "a new file with context": (f"--- /dev/null\n+++ b/n\n{HUNK}", MalformedEdit, "is new, and has lines"),
    "a deletion that keeps lines": (f"--- a/n\n+++ /dev/null\n{HUNK}", MalformedEdit, "is deleted, and has lines"),
    "a rename of a new file": ("diff --git a/x b/y\nnew file mode 100644\nrename from x\nrename to y\n", MalformedEdit, "rename"),
    "half a rename": ("diff --git a/x b/y\nrename from x\n", MalformedEdit, "rename"),
    "a mode that is none": ("diff --git a/x b/x\nnew mode rwx\n", MalformedEdit, "'rwx' is not a file mode"),
    "no hunks": (ENDS, MalformedEdit, "nothing changes"),
    "a hunk without lines": (ENDS + "@@ -1 +1 @@\n", MalformedEdit, "has no lines"),
    "a line without its sign": (f"```diff\n{ENDS}{HUNK}return 1\n-x\n+y\n```", MalformedEdit, "belongs to no hunk: 'return 1'"),
    "a lost line in a bare diff": (f"{ENDS}{HUNK}return 1\n-x\n+y\n", MalformedEdit, "belongs to no hunk"),
    "lines after the end of the file": (f"{ENDS}@@ -1 +1,2 @@\n x\n{NO_NEWLINE}+y\n", MalformedEdit, "lines follow"),
    "a hunk before its file": (f"diff --git a/x b/x\n{HUNK}", MalformedEdit, "before the `---`"),
    "an open patch": ("*** Begin Patch\n*** Delete File: x\n", MalformedEdit, "not followed by"),
    "a patch with talk in it": (patch("Now:", "*** Delete File: x"), MalformedEdit, "outside of every file"),
    "talk beside a patch in its fence": (f"```\n{PATCHED}and\n```", MalformedEdit, "outside of"),
    "a new file without signs": (patch("*** Add File: x", "y = 1"), MalformedEdit, "does not: 'y = 1'"),
    "a new file with a bare blank line": (patch("*** Add File: x", "+a", "", "+b"), MalformedEdit, "blank ones too"),
    "a patch of no file": (patch("*** Delete File: "), WrongPaths, "names no file"),
    "a move to nowhere": (patch("*** Update File: x", "*** Move to:  "), WrongPaths, "names no file"),
    "a deletion with lines": (patch("*** Delete File: x", "-a"), MalformedEdit, "follow the deletion"),
    "an update of nothing": (patch("*** Update File: x"), MalformedEdit, "changes nothing"),
    "an update without signs": (patch("*** Update File: x", "@@", "y = 1"), MalformedEdit, "begins with neither"),
    "an anchor without lines": (patch("*** Update File: x", "@@ def f"), MalformedEdit, "has no lines"),
    "an end of file alone": (patch("*** Update File: x", "*** End of File"), MalformedEdit, "has no lines"),
    "a patch that was not begun": ("*** Update File: x\n@@\n-a\n+b\n", MalformedEdit, "is not between"),
    "a file after the patch": (f"{PATCHED}*** Delete File: x\n", MalformedEdit, "is not between"),
    "an empty patch": (patch(), EmptyPlan, "is empty"),
    "moved onto another edit": (patch("*** Update File: a", "*** Move to: b", "*** Delete File: b"), MalformedEdit, "b is given twice"),
    "deleted and changed": (f"{ENDS}{HUNK}--- a/src/a.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n", MalformedEdit, "given twice"),
    "text that is no Unicode": (SEARCH.replace("old", "\ud800").join(["a.py\n", ""]), MalformedEdit, "not valid Unicode"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "words"), REFUSED.values(), ids=REFUSED)
def test_an_answer_that_cannot_be_read_is_refused_for_its_own_reason(text: str, kind: type, words: str):
    with pytest.raises(MalformedEdit) as refused:
        parse(text)
    assert type(refused.value).code == kind.code
    assert words in str(refused.value)


def test_a_whole_file_may_show_every_format():
    content = f"# Formats\n\nThe first:\n\n{SEARCH}\n{ENDS}{HUNK}\n{PATCHED}"
    plan = parse(f"docs/formats.md\n````\n{content}````\n")
    assert plan == EditPlan(files=(FileEdit(path="docs/formats.md", content=content),))


def test_a_file_that_is_a_diff_is_written_whole():
    plan = parse(f"fix.patch\n```diff\n{ENDS}{HUNK}```\n")
    assert plan.files == (FileEdit(path="fix.patch", content=ENDS + HUNK),)


PIECES = st.sampled_from(
    ["```", "```diff", "a.py", "<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE", "--- a/a.py", "+++ b/a.py", "@@ -1 +1 @@",
     "@@", " x", "-x", "+x", "", "\\ No newline at end of file", "diff --git a/a.py b/a.py", "new file mode 100644", "rename from a",
     "rename to b", "*** Begin Patch", "*** Update File: a.py", "*** Add File: b", "*** Move to: c", "*** End of File",
     "*** End Patch", "/dev/null", '--- "a/\\', "prose", "x\ud800", '{"files": [']
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES, max_size=14).map("\n".join))
@example("diff --git ")
@example('diff --git "a/x" ')
@example("```\n```\n<<<<<<< SEARCH")
@example("--- \n+++ \n@@ -1 +1 @@\n-x\n+y")
def test_nothing_but_a_malformed_edit_is_raised_whatever_the_answer(text: str):
    try:
        plan = parse(text)
    except MalformedEdit as error:
        assert str(error) == storable_text(str(error))  # noqa: PT017 - most answers are malformed, some are not
        return
    assert plan.files
    assert len(set(plan.paths)) == len(plan.paths)


SAID = "*** Begin Patch\n*** Delete File: a.py\n*** End Patch\n"
DELETION = EditPlan(files=(FileEdit(path="a.py", deleted=True, is_new=False),), format=Format.PATCH)
COMMANDS = {
    "in a shell's fence": f"```bash\napply_patch <<'EOF'\n{SAID}EOF\n```\n",
    "after a prompt": f'```console\n$ apply_patch << "END"\n{SAID}END\n```\n',
    "bare": f"apply_patch <<EOF\n{SAID}EOF\n",
}


@pytest.mark.parametrize("text", COMMANDS.values(), ids=COMMANDS)
def test_a_patch_that_is_handed_to_a_command(text: str):
    assert parse(text) == DELETION


@pytest.mark.parametrize("line", ["OTHER", "rm -rf src"])
def test_a_patch_that_is_handed_to_a_command_and_more(line: str):
    with pytest.raises(MalformedEdit, match="outside of"):
        parse(f"```bash\napply_patch <<'EOF'\n{SAID}EOF\n{line}\n```\n")


BLOCK = "<<<<<<< {0}\nx\n=======\ny\n>>>>>>> {1}\n"
CHANGE = EditPlan(
    files=(FileEdit(path="a.py", blocks=(Block(search="x\n", replace="y\n"),)),), format=Format.SEARCH_REPLACE
)


@pytest.mark.parametrize(
    "head",
    ["a.py\n```python\n", "```python:a.py\n", "A change:\n\n```python a.py\n", "**`a.py`** (updated)\n```\n"],
)
@pytest.mark.parametrize("words", [("SEARCH", "REPLACE"), ("ORIGINAL", "UPDATED")])
def test_a_search_replace_block_under_every_form_of_its_path(head: str, words: tuple[str, str]):
    assert parse(f"{head}{BLOCK.format(*words)}```\n") == CHANGE


@pytest.mark.parametrize("title", ["Next", "`pytest -q`", "Then this:"])
def test_a_word_above_a_search_replace_block_is_no_file(title: str):
    block = BLOCK.format("SEARCH", "REPLACE")
    with pytest.raises(WrongPaths, match="block 2 names no file"):
        parse(f"a.py\n```\n{block}```\n{title}\n```\n{block}```\n")
    assert parse(f"Makefile\n```\n{block}```\n").paths == ("Makefile",)


def test_hunks_without_a_header_belong_to_the_path_beside_the_fence():
    made = parse("```diff:a.py\n@@ -1 +1 @@\n-x\n+y\n```\n")
    assert made.files == (
        FileEdit(path="a.py", blocks=(Block(search="x\n", replace="y\n", line=1),), is_new=False),
    )
