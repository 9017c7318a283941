"""Blocks are found by one rule or refused, and what they do not touch stays byte for byte."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopack.domain.changes import Change, File, inverse
from autopack.domain.edits import (
    Block,
    EditPlan,
    FileEdit,
    Format,
    Refused,
    apply,
    describe_refused,
    merged,
    parse,
    without_refused,
)


def applied(content: str | bytes, *blocks: Block) -> bytes | Refused:
    """What becomes of a file, or the only refusal."""
    data = content if isinstance(content, bytes) else content.encode()
    made = apply(EditPlan(files=(FileEdit(path="f", blocks=blocks),)), {"f": File(content=data)})
    if made.refused:
        (refused,) = made.refused
        assert made.changes == ()
        return refused
    after = made.changes[0].after if made.changes else File(content=data)
    assert after is not None
    return after.content


def block(search: str, replace: str = "new\n", **more) -> Block:
    return Block(search=search, replace=replace, **more)


PY = "class A:\n    def f(self):\n        return 1\n\nclass B:\n    def f(self):\n        return 1\n"
FITS = {
    "exactly": ("a\nb\nc\n", block("b\n"), "a\nnew\nc\n"),
    "at the beginning": ("a\nb\n", block("a\n"), "new\nb\n"),
    "at the end": ("a\nb\n", block("b\n"), "a\nnew\n"),
    "the whole file": ("a\nb\n", block("a\nb\n"), "new\n"),
    "removed": ("a\nb\nc\n", block("b\n", ""), "a\nc\n"),
    "trailing blanks in the file": ("a \t\nb\n", block("a\n"), "new\nb\n"),
    "trailing blanks in the block": ("a\nb\n", block("a  \n"), "new\nb\n"),
    "trailing blanks of lines that stay are kept": ("a  \nb\nc \n", block("a\nb\nc\n", "a\nB\nc\n"), "a  \nB\nc \n"),
    "indented deeper": ("  if x:\n    y\n", block("if x:\n  y\n", "if x:\n  z\n\n  y\n"), "  if x:\n    z\n\n    y\n"),
    "indented less": ("if x:\n  y\n", block("    if x:\n      y\n", "    if x:\n      z\n"), "if x:\n  z\n"),
    "indented by tabs": ("\tif x:\n\t\ty\n", block("if x:\n\ty\n", "if z:\n\ty\n"), "\tif z:\n\t\ty\n"),
    "blank lines in between need no indentation": (
        "  a\n\n  b\n", block("a\n   \nb\n", "c\n"), "  c\n"),
    "exact before tolerant": ("  a\na\n", block("a\n"), "  a\nnew\n"),
    "CRLF stays": ("a\r\nb\r\nc\r\n", block("a\nb\n", "a\nx\ny\n"), "a\r\nx\r\ny\r\nc\r\n"),
    "LF stays": ("a\nb\n", block("b\r\n", "x\r\ny\r\n"), "a\nx\ny\n"),
    "mixed endings stay": ("a\r\nb\nc\r\n", block("b\n", "b\nx\n"), "a\r\nb\nx\nc\r\n"),
    "a new line ends like the one it replaces": ("a\nb\r\nc\n", block("a\nb\nc\n", "a\nB\nc\n"), "a\nB\r\nc\n"),
    "a diff may change an ending": ("a\r\nb\r\n", block("b\r\n", "b\n", line=2), "a\r\nb\n"),
    "a byte order mark stays": ("\ufeffa\nb\n", block("a\n"), "\ufeffnew\nb\n"),
    "a byte order mark that is shown stays": ("\ufeffa\nb\n", block("\ufeffa\n", "\ufeffc\n"), "\ufeffc\nb\n"),
    "a byte order mark is taken away where that is said": ("\ufeffa\nb\n", block("\ufeffa\n", "a\n"), "a\nb\n"),
    "a byte order mark is put in where that is said": ("a\nb\n", block("a\n", "\ufeffa\n"), "\ufeffa\nb\n"),
    "a missing final newline stays missing": ("a\nb", block("b\n", "c\n"), "a\nc"),
    "the last lines go": ("a\nb\nc", block("c\n", ""), "a\nb"),
    "the last lines go, and are shown with one that stays": ("a\nb\nc", block("b\nc\n", "b\n"), "a\nb"),
    "the last lines go, by a diff that knows the end": ("a\nb", block("b", ""), "a\n"),
    "the last lines go, and what is before them ends in CRLF": ("a\r\nb", block("b\n", ""), "a"),
    "all lines go": ("a\nb", block("a\nb\n", ""), ""),
    "lines below an unended one": ("a\nb", block("b\n", "b\nc\n"), "a\nb\nc"),
    "a diff puts a final newline in": ("a\nb", block("b", "b\n"), "a\nb\n"),
    "a diff takes the final newline away": ("a\nb\n", block("b\n", "b"), "a\nb"),
    "an unended line is the last one": ("b\na\nb", block("b", "c"), "b\na\nc"),
    "appended": ("a\n", block(""), "a\nnew\n"),
    "appended to an unended line": ("a", block(""), "a\nnew"),
    "appended in the file's style": ("a\r\n", block(""), "a\r\nnew\r\n"),
    "appended to nothing": ("", block(""), "new\n"),
    "a diff into an empty file": ("", block("", line=0), "new\n"),
    "other line ends are text": ("a\x0bb\u2028c\x85\nd\n", block("a\x0bb\u2028c\x85\n"), "new\nd\n"),
    "of several, the diff's line": ("a\nb\na\nb\n", block("a\n", line=3), "a\nb\nnew\nb\n"),
    "a wrong line does not matter for one": ("a\nb\n", block("b\n", line=99), "a\nnew\n"),
    "of several, that below the anchor": (PY, block("        return 1\n", "        return 2\n", anchors=("class A:", "def f(self):")),
        PY.replace("1", "2", 1)),
    "below the second anchor": (PY, block("        return 1\n", "        return 2\n", anchors=("class B",)),
        PY.replace("1", "X", 1).replace("1", "2").replace("X", "1")),
    "the anchor itself": (PY, block("class B:\n", "class C:\n", anchors=("class B:",)), PY.replace("B", "C")),
    "after an anchor that holds nothing": ("import x\na\n", block("a\n", anchors=("import x",)), "import x\nnew\n"),
    "at the end of the file": ("a\nb\na\n", block("a\n", at_end=True), "a\nb\nnew\n"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "one", "after"), FITS.values(), ids=FITS)
def test_a_block_that_fits_one_place_is_put_there(content: str, one: Block, after: str):
    assert applied(content, one) == after.encode()


MISSES = {
    "not there": ("a\nb\n", block("c\n"), "not in the file"),
    "similar is not the same": ("value = 1\n", block("value = 2\n"), "not in the file"),
    "blanks inside a line count": ("a  b\n", block("a b\n"), "not in the file"),
    "case counts": ("A\n", block("a\n"), "not in the file"),
    "an uneven shift": ("  a\n    b\n", block("a\nb\n"), "not in the file"),
    "tabs are not blanks": ("\ta\n", block("  a\n"), "not in the file"),
    "blank lines alone are not shifted": ("  \n", block("\t\n"), "not in the file"),
    "twice": ("a\nb\na\n", block("a\n"), "several times, at lines 1 and 3"),
    "three times": ("a\na\na\n", block("a\n"), "several times, at lines 1, 2 and 3"),
    "twice, and another line stated": ("a\nb\na\n", block("a\n", line=2), "several times"),
    "twice, but for blanks": ("a \nb\n a\n", block("a\n", line=1), "several times, at lines 1 and 3"),
    "twice below the anchor": ("x:\n a\n a\n", block(" a\n", anchors=("x:",)), "several times"),
    "an anchor that is not there": (PY, block("class B:\n", anchors=("class X",)), "no line is `@@ class X`"),
    "above its anchor": ("a\nx:\n b\n", block("a\n", anchors=("x:",)), "not below `@@ x:`"),
    "not at the end": ("a\nb\n", block("a\n", at_end=True), "at line 1, not at the end"),
    "an unended line in the middle": ("a\nb\n", block("a", "c"), "at line 1, not at the end"),
    "a replacement that is not indented": ("a\n", block("  a\n", "  b\nc\n"), "not indented as deep"),
    "a byte order mark that is not there": ("a\n", block("\ufeffa\n"), "no byte order mark"),
    "a byte order mark alone": ("a\n", block("\ufeff"), "not in the file"),
    "a hunk that only adds, by its line": ("a\nb\n", block("", line=1), "no line of the file around"),
    "a hunk that only adds, by its anchor": ("a\nb\n", block("", anchors=("a",)), "no line of the file around"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "one", "words"), MISSES.values(), ids=MISSES)
def test_a_block_that_fits_no_place_or_several_is_refused(content: str, one: Block, words: str):
    refused = applied(content, one)
    assert isinstance(refused, Refused)
    assert words in refused.reason
    assert (refused.path, refused.block) == ("f", 1)


NEAREST = {
    "the part that shares most lines": ("x\n\ndef f():\n    a = 1\n    return a\n\ny\n", "def f():\n    a = 2\n    return a\n",
        "\ndef f():\n    a = 1\n    return a\n"),
    "the line that is most like it": ("one\ntotal = count * 3\nthree\n", "total = counts * 3\n", "one\ntotal = count * 3\nthree"),
    "nothing that is like it": ("one\ntwo\n", "completely different text\n", ""),
}  # fmt: skip


@pytest.mark.parametrize(("content", "search", "nearest"), NEAREST.values(), ids=NEAREST)
def test_the_nearest_real_lines_are_told(content: str, search: str, nearest: str):
    refused = applied(content, block(search))
    assert isinstance(refused, Refused)
    assert refused.nearest == nearest
    told = describe_refused([refused])
    assert told.startswith("f, block 1: the lines to be replaced are not in the file.")
    assert (f"Did you mean\n```\n{nearest}\n```" in told) is bool(nearest)


def test_looking_for_what_is_nearest_is_bounded():
    content = "".join("ab" * 140 + f"{n}\n" for n in range(20_000))
    refused = applied(content, block("ba" * 140 + "\n" + "x" * 10_000 + "\n"))
    assert isinstance(refused, Refused)
    assert len(refused.nearest) <= 3000


HEAVY = {
    "lines that all are the same": ("x\n" * 20_000, "x\n" * 1000 + "y\n"),
    "the same but for blanks": ("x\n x\n" * 10_000, "x\n" * 1000),
    "nothing like it": ("".join(f"{n}\n" for n in range(20_000)), "no\n" * 1000),
}


@pytest.mark.parametrize(("content", "search"), HEAVY.values(), ids=HEAVY)
def test_blocks_made_to_waste_time_waste_little(content: str, search: str):
    began = time.process_time()
    plan = EditPlan(files=(FileEdit(path="f", blocks=tuple(block(search, f"{n}\n") for n in range(20))),))
    assert len(apply(plan, {"f": File(content=content.encode())}).refused) == 20
    assert time.process_time() - began < 8


def test_what_is_told_is_bounded_though_every_refusal_is_named():
    refused = [Refused(path="f", block=number, reason="no", nearest="x" * 3000) for number in range(1, 51)]
    told = describe_refused(refused)
    assert len(told) < 25_000
    assert "f, block 50: no." in told


def test_what_is_told_can_be_stored():
    plan = EditPlan(
        files=(FileEdit(path="a\0b", deleted=True), FileEdit(path="f", blocks=(block("one\n \n"),)))
    )
    refused = apply(plan, {"f": File(content=b"one\n\xff\n")}).refused
    told = describe_refused(refused)
    assert "\0" not in told
    assert "one\n\ufffd" in told.encode().decode()


def test_long_blocks_keep_the_endings_of_lines_that_stay():
    lines = [f"line {n}{chr(10) if n % 3 else chr(13) + chr(10)}" for n in range(1000)]
    search = "".join(f"line {n}\n" for n in range(100, 900))
    replace = search.replace("line 150\n", "new\n").replace("line 850\n", "")
    after = [*lines[:150], "new\r\n", *lines[151:850], *lines[851:]]
    assert applied("".join(lines), block(search, replace)) == "".join(after).encode()


def test_blocks_are_found_in_the_file_as_it_was():
    assert applied("a\nb\nc\n", block("c\n", "a\n"), block("a\n", "z\n")) == b"z\nb\na\n"
    assert applied("a\nb\nc\n", block("a\nb\n", "a\nx\nb\n"), block("b\nc\n", "b\nC\n")) == b"a\nx\nb\nC\n"
    assert applied("a\n", block("", "x\n"), block("a\n", "b\n"), block("", "y\n")) == b"b\nx\ny\n"


MEETING = {
    "the same lines": (block("a\n", "x\n"), block("a\n", "y\n"), "meets block 1"),
    "a line the other one matched": (block("a\nb\n", "a\nB\n"), block("b\nc\n", "b\nC\n"), "meets block 1"),
    "both add in one place": (block("a\n", "a\nx\n"), block("b\n", "y\nb\n"), "meets block 1"),
    "one adds inside what the other matched": (
        block("a\n", "a\nx\n"),
        block("a\nb\n", "a\nB\n"),
        "meets block 1",
    ),
    "what the other one wrote": (
        block("a\n", "new 1\n"),
        block("new 1\n", "new 2\n"),
        "an earlier block writes",
    ),
    "what is together only afterwards": (block("b\n", ""), block("a\nc\n", "x\n"), "an earlier block writes"),
}


@pytest.mark.parametrize(("first", "second", "words"), MEETING.values(), ids=MEETING)
def test_blocks_that_meet_are_refused(first: Block, second: Block, words: str):
    refused = applied("a\nb\nc\n", first, second)
    assert isinstance(refused, Refused)
    assert refused.block == 2
    assert words in refused.reason


WHOLE = {
    "as it is given": (b"a\nb\n", "c\n", b"c\n"),
    "CRLF stays": (b"a\r\nb\r\n", "a\nc\n", b"a\r\nc\r\n"),
    "mixed endings stay where lines stay": (b"a\r\nb\nc\r\n", "a\nb\nx\nc\n", b"a\r\nb\nx\r\nc\r\n"),
    "a carriage return is meant": (b"a\r\nb\r\n", "a\r\nb\n", b"a\r\nb\n"),
    "LF becomes CRLF where that is said": (b"a\nb\n", "a\r\nb\r\n", b"a\r\nb\r\n"),
    "a byte order mark stays": (b"\xef\xbb\xbfa\n", "b\n", b"\xef\xbb\xbfb\n"),
    "a byte order mark is not doubled": (b"\xef\xbb\xbfa\n", "\ufeffb\n", b"\xef\xbb\xbfb\n"),
    "a missing final newline stays missing": (b"a\nb", "a\nc\n", b"a\nc"),
    "the same but for the final newline": (b"a\nb", "a\nb\n", b"a\nb"),
    "a final newline is taken away where that is said": (b"a\r\nb\r\n", "a\nc", b"a\r\nc"),
    "emptied": (b"a\r\nb", "", b""),
    "filled": (b"", "a\n", b"a\n"),
    "ASCII for bytes that are no UTF-8": (b"\xff\n", "a\n", b"a\n"),
}


@pytest.mark.parametrize(("before", "content", "after"), WHOLE.values(), ids=WHOLE)
def test_a_file_given_whole_keeps_the_style_of_the_old_one(before: bytes, content: str, after: bytes):
    plan = EditPlan(files=(FileEdit(path="f", content=content),))
    made = apply(plan, {"f": File(content=before, mode="100755")})
    if before == after:
        assert made.changes == ()
    else:
        changed = Change(
            path="f", before=File(content=before, mode="100755"), after=File(content=after, mode="100755")
        )
        assert made.changes == (changed,)
    assert made.refused == ()


def test_bytes_that_are_no_utf8_stay_and_nothing_beyond_ascii_is_put_beside_them():
    latin = "caf\xe9\none\ntwo\n".encode("latin-1")
    assert applied(latin, block("one\n")) == latin.replace(b"one", b"new")
    assert applied(latin, block("")) == latin + b"new\n"
    for refused in (applied(latin, block("one\n", "\xfc\n")), applied(latin, block("", "\xfc\n"))):
        assert isinstance(refused, Refused)
        assert "not UTF-8" in refused.reason
    whole = apply(EditPlan(files=(FileEdit(path="f", content="\xfc"),)), {"f": File(content=latin)})
    assert "not UTF-8" in whole.refused[0].reason


SOME = File(content=b"x\n")
FILE_LEVEL = {
    "an edit of a missing file": (FileEdit(path="src/misisng.py", blocks=(block("x\n"),)), "does not exist"),
    "a deletion of a missing file": (FileEdit(path="no", deleted=True), "does not exist"),
    "a move of a missing file": (FileEdit(path="no", moved_to="there"), "does not exist"),
    "a mode for a missing file": (FileEdit(path="no", mode="100755"), "does not exist"),
    "an addition to a file that a diff says is there": (
        FileEdit(path="no", blocks=(block(""),), is_new=False), "does not exist"),
    "a new file that exists": (FileEdit(path="f", content="", is_new=True), "exists already"),
    "a move onto a file": (FileEdit(path="f", moved_to="g"), "moved to g, which exists already"),
    "an edit of a link": (FileEdit(path="link", content="x"), "a symbolic link"),
    "an edit of a submodule": (FileEdit(path="sub", moved_to="new"), "a submodule"),
    "an edit of a binary file": (FileEdit(path="bin", blocks=(block("x\n"),)), "binary"),
    "a rewrite of a binary file": (FileEdit(path="bin", content="x\n"), "binary"),
    "a deletion that does not know the file": (
        FileEdit(path="two", deleted=True, blocks=(block("x\n", ""),)), "not name all"),
}  # fmt: skip
FILES = {
    "f": SOME, "g": SOME, "two": File(content=b"x\ny\n"), "bin": File(content=b"x\n\0"),
    "link": File(content=b"f", mode="120000"), "sub": File(content=b"", mode="160000"),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "words"), FILE_LEVEL.values(), ids=FILE_LEVEL)
def test_an_edit_that_cannot_be_is_refused_as_a_whole(edit: FileEdit, words: str):
    (refused,) = apply(EditPlan(files=(edit,)), FILES).refused
    assert words in refused.reason
    assert refused.block == 0
    assert refused.wrong_path is ("does not exist" in words)


def test_edits_that_name_one_file_between_them_are_refused():
    """A parser's plan never does; one that is merged of two answers may."""
    kept = EditPlan(files=(FileEdit(path="f", moved_to="n"),))
    both = merged(kept, EditPlan(files=(FileEdit(path="n", content="x\n"),)))
    refused = apply(both, FILES).refused
    assert [each.path for each in refused] == ["f", "n"]
    assert all("several edits of the plan name n" in each.reason for each in refused)


def test_the_names_that_may_have_been_meant_are_told():
    names = ["src/app.py", "src/missing.py", "docs/missing.md", "other/app.py"]
    for path, nearest in (
        ("src/misisng.py", "src/missing.py"), ("lib/app.py", "other/app.py\nsrc/app.py"), ("nothing", ""),
    ):  # fmt: skip
        plan = EditPlan(files=(FileEdit(path=path, deleted=True),))
        (refused,) = apply(plan, {}, names).refused
        assert refused.nearest == nearest


DONE = {
    "a new file": (FileEdit(path="n", content="x"), [Change(path="n", before=None, after=File(content=b"x"))]),
    "a new file with a mode": (
        FileEdit(path="n", content="x", mode="120000", is_new=True),
        [Change(path="n", before=None, after=File(content=b"x", mode="120000"))]),
    "a new file by blocks": (
        FileEdit(path="n", blocks=(block("", "a\n"), block("", "b\n"))),
        [Change(path="n", before=None, after=File(content=b"a\nb\n"))]),
    "a deletion": (FileEdit(path="f", deleted=True), [Change(path="f", before=SOME, after=None)]),
    "a deletion that knows the file": (
        FileEdit(path="f", deleted=True, blocks=(block("x\n", ""),)), [Change(path="f", before=SOME, after=None)]),
    "a deletion of a link": (
        FileEdit(path="link", deleted=True), [Change(path="link", before=FILES["link"], after=None)]),
    "a deletion of a binary file": (
        FileEdit(path="bin", deleted=True), [Change(path="bin", before=FILES["bin"], after=None)]),
    "a mode": (FileEdit(path="f", mode="100755"), [Change(path="f", before=SOME, after=File(content=b"x\n", mode="100755"))]),
    "a move of a binary file": (
        FileEdit(path="bin", moved_to="n"),
        [Change(path="bin", before=FILES["bin"], after=None),
         Change(path="n", before=None, after=FILES["bin"], moved_from="bin")]),
    "a move with an edit and a mode": (
        FileEdit(path="f", moved_to="n", blocks=(block("x\n"),), mode="100755"),
        [Change(path="f", before=SOME, after=None),
         Change(path="n", before=None, after=File(content=b"new\n", mode="100755"), moved_from="f")]),
    "nothing": (FileEdit(path="f", blocks=(block("x\n", "x\n"),)), []),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "changes"), DONE.values(), ids=DONE)
def test_what_becomes_of_files(edit: FileEdit, changes: list[Change]):
    made = apply(EditPlan(files=(edit,)), FILES)
    assert made.refused == ()
    assert list(made.changes) == changes


def test_only_what_was_refused_is_asked_for_again():
    files = {"f": File(content=b"a\nb\nc\nd\n"), "g": SOME}
    plan = EditPlan(
        format=Format.SEARCH_REPLACE, summary="s",
        files=(
            FileEdit(path="f", blocks=(block("a\n", "A\n"), block("zzz\n"), block("d\n", "D\n"))),
            FileEdit(path="missing", blocks=(block("x\n"),)),
            FileEdit(path="g", blocks=(block("y\n"),)),
        ),
    )  # fmt: skip
    made = apply(plan, files)
    assert made.changes == ()
    assert [(each.path, each.block) for each in made.refused] == [("f", 2), ("missing", 0), ("g", 1)]
    kept = without_refused(plan, made.refused)
    assert kept.paths == ("f",)
    again = EditPlan(
        format=Format.SEARCH_REPLACE,
        files=(
            FileEdit(path="f", blocks=(block("b\n", "B\n"), block("a\n", "A\n"))),
            FileEdit(path="g", content="whole\n"),
        ),
    )
    both = merged(kept, again)
    assert both.summary == "s"
    after = {change.path: change.after.content for change in apply(both, files).changes if change.after}
    assert after == {"f": b"A\nB\nc\nD\n", "g": b"whole\n"}


def test_a_file_given_anew_replaces_what_was_kept_of_it():
    kept = EditPlan(files=(FileEdit(path="f", blocks=(block("a\n"),), moved_to="h"),))
    blocks = EditPlan(files=(FileEdit(path="f", blocks=(block("b\n"),)),))
    assert merged(kept, blocks).files == (
        FileEdit(path="f", blocks=(block("a\n"), block("b\n")), moved_to="h"),
    )
    whole = EditPlan(files=(FileEdit(path="f", content="x"),))
    assert merged(kept, whole).files == whole.files


def test_an_edit_that_loses_its_blocks_may_still_be_a_move_but_no_deletion():
    gone = [Refused(path=path, block=1, reason="") for path in ("moved", "deleted", "plain")]
    plan = EditPlan(
        files=(
            FileEdit(path="moved", moved_to="m", blocks=(block("x\n"),)),
            FileEdit(path="deleted", deleted=True, blocks=(block("x\n", ""),)),
            FileEdit(path="plain", blocks=(block("x\n"),)),
        )
    )
    assert without_refused(plan, gone).files == (FileEdit(path="moved", moved_to="m"),)


def test_a_diff_that_hides_a_protected_name_names_it_to_policy():
    plan = parse('diff --git "a/\\056git/config" "b/\\056git/config"\nnew file mode 100644\n')
    (change,) = apply(plan, {}).changes
    assert change.path == ".git/config"


# Properties

_LINE = st.sampled_from(["a", "b", " a", "  b", "a ", "", "\tb", "x = 1", "café", "\udcff"])
_END = st.sampled_from(["\n", "\r\n"])
_TEXT = st.tuples(
    st.sampled_from(["", "\ufeff"]), st.lists(st.tuples(_LINE, _END).map("".join), max_size=8), st.sampled_from(["", "z"])
).map(lambda parts: parts[0] + "".join(parts[1]) + parts[2])  # fmt: skip
_SMALL = st.lists(st.sampled_from(["a", "b", " a", "", "n", "ü"]), max_size=3).map(
    lambda lines: "".join(f"{line}\n" for line in lines)
)


@settings(deadline=None, max_examples=400)
@given(_TEXT, st.lists(st.builds(Block, search=_SMALL, replace=_SMALL), min_size=1, max_size=3))
def test_bytes_outside_of_the_matched_lines_never_change(text: str, blocks: list[Block]):
    before = text.encode("utf-8", "surrogateescape")
    edits = EditPlan(files=(FileEdit(path="f", blocks=tuple(blocks)),))
    made = apply(edits, {"f": File(content=before)})
    if made.refused or not made.changes:
        assert made.changes == ()
        return
    (change,) = made.changes
    assert change.after is not None
    old, new = _bare(before), _bare(change.after.content)
    untouched = [line for line in old[:-1] if line.strip() not in _searched(blocks)]
    assert _in_order(untouched, new)
    assert change.after.content.startswith(b"\xef\xbb\xbf") == before.startswith(b"\xef\xbb\xbf")


def _bare(content: bytes) -> list[bytes]:
    """The lines with their endings, without the mark; what ends the last line is a matter of its own."""
    return content.removeprefix(b"\xef\xbb\xbf").split(b"\n")


def _searched(blocks: list[Block]) -> set[bytes]:
    return {line.strip().encode() for each in blocks for line in each.search.split("\n")}


def _in_order(wanted: list[bytes], lines: list[bytes]) -> bool:
    left = iter(lines)
    return all(line in left for line in wanted)


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(st.sampled_from(["f", "g", "h"]), _TEXT.map(lambda t: t.encode("utf-8", "surrogateescape"))),
    st.lists(
        st.builds(FileEdit, path=st.sampled_from(["f", "g", "h", "i"]), content=_SMALL)
        | st.builds(FileEdit, path=st.sampled_from(["f", "g", "h"]), deleted=st.just(True))
        | st.builds(FileEdit, path=st.sampled_from(["f", "g"]), moved_to=st.sampled_from(["j", "k"]))
        | st.builds(FileEdit, path=st.sampled_from(["f", "g", "h"]), mode=st.just("100755"))
        | st.builds(
            FileEdit, path=st.sampled_from(["f", "g", "h"]),
            blocks=st.lists(st.builds(Block, search=_SMALL, replace=_SMALL), min_size=1, max_size=2).map(tuple),
        ),
        min_size=1, max_size=3, unique_by=(lambda edit: edit.path, lambda edit: edit.moved_to or edit.path),
    ),
)  # fmt: skip
def test_what_is_applied_and_taken_back_is_the_tree_that_was(
    contents: dict[str, bytes], edits: list[FileEdit]
):
    before = {path: File(content=content) for path, content in contents.items()}
    changes = apply(EditPlan(files=tuple(edits)), before).changes
    after = carried_out(before, changes)
    assert carried_out(after, inverse(changes)) == before
    assert all(after.get(change.path) == change.after for change in changes)


def carried_out(tree: dict[str, File], changes: tuple[Change, ...]) -> dict[str, File]:
    for change in changes:
        assert tree.get(change.path) == change.before
    kept = {path: file for path, file in tree.items() if path not in {change.path for change in changes}}
    return kept | {change.path: change.after for change in changes if change.after is not None}
