"""Plans written down as a model would, in each format; and strategies for plans that the format can express."""

import json

from hypothesis import strategies as st

from autopack.domain.edits import Block, EditPlan, FileEdit, Format

PATHS = st.from_regex(r"[a-z][a-z0-9_]{0,6}(/[a-z][a-z0-9_]{0,6}){0,2}\.[a-z]{1,3}", fullmatch=True)
ODD_PATHS = PATHS | st.sampled_from(
    [
        'a "quoted" name.py',
        "täst/日本.md",
        "tab\there.txt",
        "back\\slash.py",
        "with blank.txt",
        ".git/config",
        "../up.py",
    ]
)
LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0\ufeff"), max_size=12)
TRICKY = st.sampled_from(
    ["", " ", "```", "````python", "=======", "=====", "<<<<<<< SEARCH", ">>>>>>> REPLACE", "*** End Patch", "*** Begin Patch",
     "--- a/x", "+++ b/x", "@@ -1 +1 @@", "diff --git a/x b/x", "-- ", "2.39.5", "*** End of File", "\\ No newline", "a.py"]
)  # fmt: skip
LINES = st.lists(LINE | TRICKY, max_size=5).map(lambda lines: "".join(f"{line}\n" for line in lines))


def some(blocks: st.SearchStrategy[Block]) -> st.SearchStrategy[tuple[Block, ...]]:
    return st.lists(blocks, min_size=1, max_size=3).map(tuple)


def plans(edits: st.SearchStrategy[FileEdit], kind: Format) -> st.SearchStrategy[EditPlan]:
    def one_of_each(files: list[FileEdit]) -> EditPlan:
        kept: dict[str, FileEdit] = {}
        named: set[str] = set()
        for edit in files:
            names = {edit.path, edit.moved_to or edit.path}
            if not names & named:
                kept[edit.path] = edit
                named |= names
        return EditPlan(files=tuple(kept.values()), format=kind)

    return st.lists(edits, min_size=1, max_size=3).map(one_of_each)


# SEARCH/REPLACE

SEARCH_REPLACE = plans(
    st.builds(FileEdit, path=PATHS, blocks=some(st.builds(Block, search=LINES, replace=LINES))),
    Format.SEARCH_REPLACE,
)


def as_search_replace(plan: EditPlan, *, name_inside: bool = False) -> str:
    return "\nSome words.\n\n".join(
        _block(edit.path, block, name_inside) for edit in plan.files for block in edit.blocks
    )


def _block(path: str, block: Block, name_inside: bool) -> str:
    text = block.search + block.replace
    lines = text.split("\n")
    length = next(
        n for n in (7, 5, 6, 8, 9)
        if not {"<" * n + " SEARCH", "=" * n, ">" * n + " REPLACE"} & {line.rstrip() for line in lines}
    )  # fmt: skip
    marked = f"{'<' * length} SEARCH\n{block.search}{'=' * length}\n{block.replace}{'>' * length} REPLACE\n"
    fence = "`" * 3
    while any(line.startswith(fence) for line in lines):
        fence += "`"
    if name_inside:
        return f"{fence}python\n{path}\n{marked}{fence}\n"
    return f"{path}\n{fence}python\n{marked}{fence}\n"


# Unified diffs


def _hunk_blocks(pairs: list[tuple[str, str, int]], unended: bool) -> tuple[Block, ...]:
    """Hunks that search for something and change it; the last one may speak of the end of the file."""
    made = [Block(search=search, replace=replace, line=line) for search, replace, line in pairs if search]
    if made and unended and made[-1].replace:
        last = made[-1]
        made[-1] = Block(
            search=last.search, replace=last.replace[:-1] if last.replace != "\n" else "x", line=last.line
        )
    return tuple(made)


_HUNKS = st.builds(
    _hunk_blocks, st.lists(st.tuples(LINES, LINES, st.integers(1, 99)), min_size=1, max_size=3), st.booleans()
)
_UPDATED = st.builds(
    FileEdit, path=ODD_PATHS, blocks=_HUNKS.filter(bool), is_new=st.just(False),
    moved_to=st.none() | ODD_PATHS, mode=st.sampled_from([None, "100755", "100644", "120000"]),
)  # fmt: skip
_NEW = st.builds(
    FileEdit, path=ODD_PATHS, content=LINES | LINE.filter(bool), is_new=st.just(True), mode=st.sampled_from(["100644", "100755", "120000"])
)  # fmt: skip
_DELETED = st.builds(
    FileEdit, path=ODD_PATHS, deleted=st.just(True), is_new=st.just(False),
    blocks=LINES.map(lambda text: (Block(search=text, replace="", line=1),) if text else ()),
)  # fmt: skip
UNIFIED_DIFF = plans(
    (_UPDATED | _NEW | _DELETED).filter(lambda edit: edit.path != edit.moved_to), Format.UNIFIED_DIFF
)


def as_unified_diff(plan: EditPlan, *, wrong_counts: bool = False) -> str:
    return "".join(_file_diff(edit, wrong_counts) for edit in plan.files)


def _file_diff(edit: FileEdit, wrong_counts: bool) -> str:
    new = edit.moved_to or edit.path
    head = [f"diff --git {quoted('a/' + edit.path)} {quoted('b/' + new)}"]
    if edit.is_new:
        head += [f"new file mode {edit.mode}"]
    elif edit.deleted:
        head += ["deleted file mode 100644"]
    elif edit.mode:
        head += ["old mode 100644", f"new mode {edit.mode}"]
    if edit.moved_to:
        head += ["similarity index 90%", f"rename from {quoted(edit.path)}", f"rename to {quoted(new)}"]
    head += ["index 0000000..1111111"]
    blocks = edit.blocks
    if edit.is_new and edit.content:
        blocks = (Block(search="", replace=edit.content, line=0),)
    if blocks:
        ends = (
            "/dev/null" if edit.is_new else quoted(f"a/{edit.path}"),
            "/dev/null" if edit.deleted else quoted(f"b/{new}"),
        )
        head += [f"--- {_tabbed(ends[0])}", f"+++ {_tabbed(ends[1])}"]
    return "\n".join(head) + "\n" + "".join(_hunk(block, wrong_counts) for block in blocks)


def _hunk(block: Block, wrong_counts: bool) -> str:
    old, new = block.search.split("\n"), block.replace.split("\n")
    count = (len(old) - (not old[-1]), len(new) - (not new[-1]))
    if wrong_counts:
        count = (count[0] + 7, 0)
    return f"@@ -{block.line},{count[0]} +{block.line},{count[1]} @@\n{_side('-', block.search)}{_side('+', block.replace)}"


def _side(sign: str, text: str) -> str:
    if not text:
        return ""
    lines = "".join(f"{sign}{line}\n" for line in text.removesuffix("\n").split("\n"))
    return lines if text.endswith("\n") else lines + "\\ No newline at end of file\n"


def quoted(name: str) -> str:
    if all(" " <= char < "\x7f" and char not in '"\\' for char in name):
        return name
    special = {9: "\\t", 10: "\\n", 34: '\\"', 92: "\\\\"}
    return '"' + "".join(
        special.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in name.encode()
    ) + '"'  # fmt: skip


def _tabbed(name: str) -> str:
    return name + "\t" if " " in name and not name.startswith('"') else name


# *** Begin Patch

_ANCHORS = st.lists(st.sampled_from(["class A", "def f(self):", "x = [1]"]), max_size=2).map(tuple)
_PATCH_BLOCK = st.builds(Block, search=LINES, replace=LINES, anchors=_ANCHORS, at_end=st.booleans()).filter(
    lambda block: block.search or block.replace
)
PATCH = plans(
    (
        st.builds(FileEdit, path=PATHS, content=LINES, is_new=st.just(True))
        | st.builds(FileEdit, path=PATHS, deleted=st.just(True), is_new=st.just(False))
        | st.builds(
            FileEdit, path=PATHS, moved_to=st.none() | PATHS, is_new=st.just(False), blocks=some(_PATCH_BLOCK)
        )
    ).filter(lambda edit: edit.path != edit.moved_to),
    Format.PATCH,
)


def as_patch(plan: EditPlan) -> str:
    return "*** Begin Patch\n" + "".join(_file_patch(edit) for edit in plan.files) + "*** End Patch\n"


def _file_patch(edit: FileEdit) -> str:
    if edit.deleted:
        return f"*** Delete File: {edit.path}\n"
    if edit.content is not None:
        return f"*** Add File: {edit.path}\n{_side('+', edit.content)}"
    move = f"*** Move to: {edit.moved_to}\n" if edit.moved_to else ""
    return f"*** Update File: {edit.path}\n{move}" + "".join(_patch_hunk(block) for block in edit.blocks)


def _patch_hunk(block: Block) -> str:
    anchors = "".join(f"@@ {anchor}\n" for anchor in block.anchors) or "@@\n"
    end = "*** End of File\n" if block.at_end else ""
    return f"{anchors}{_side('-', block.search)}{_side('+', block.replace)}{end}"


# Whole files


def as_json(plan: EditPlan) -> str:
    files = [{"path": edit.path, "content": edit.content} for edit in plan.files]
    return json.dumps({"summary": plan.summary, "files": files})
