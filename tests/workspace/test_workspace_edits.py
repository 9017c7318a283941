"""From an answer to a tree: whatever it names, nothing outside of the tree is written, and nothing half."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autopack.domain import policy
from autopack.domain.changes import Change, File
from autopack.domain.edits import Block, EditPlan, FileEdit, Format, MalformedEdit, apply, parse
from autopack.workspace.git import GitWorkspace
from autopack.workspace.paths import unsafe_reason
from autopack.workspace.trees import EditNotApplicable, TreeEntry, placements
from tests.domain.support_edits import as_json, as_patch, as_search_replace, as_unified_diff

pytestmark = pytest.mark.anyio
BASE = {
    "README.md": TreeEntry("100644", "blob", "ce013625030ba8dba906f756967f9e9ca394464a", 6),
    "src/app.py": TreeEntry("100644", "blob", "ce013625030ba8dba906f756967f9e9ca394464a", 6),
    "link": TreeEntry("120000", "blob", "ce013625030ba8dba906f756967f9e9ca394464a", 6),
    "sub": TreeEntry("160000", "commit", "1" * 40, None),
}
HELLO = File(content=b"hello\n")
PARTS = st.sampled_from(
    ["..", ".", "", ".git", ".GIT", "git~1", "~", "etc", "src", "app.py", "link", "sub", "README.md", "C:", "a\\b", "x\0y", "..%2f",
     "\u202egnp", "con", "hooks", "x\ny", " ", "é", "e\u0301", ".gitmodules", "a" * 300]
)  # fmt: skip
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
WRITERS = {
    Format.WHOLE_FILES: as_json,
    Format.SEARCH_REPLACE: as_search_replace,
    Format.UNIFIED_DIFF: as_unified_diff,
    Format.PATCH: as_patch,
}


def new_file(path: str, kind: Format) -> FileEdit:
    if kind is Format.SEARCH_REPLACE:
        return FileEdit(path=path, blocks=(Block(search="", replace="x\n"),))
    mode = "100644" if kind is Format.UNIFIED_DIFF else None
    return FileEdit(path=path, content="x\n", is_new=True, mode=mode)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PATHS, st.sampled_from(list(Format)))
def test_no_plan_writes_outside_of_the_tree(path: str, kind: Format):
    text = WRITERS[kind](EditPlan(files=(new_file(path, kind),), format=kind))
    try:
        plan = parse(text)
        files = {name: HELLO for name in plan.paths if name in BASE}
        made = apply(plan, files)
        placed = placements(BASE, made.changes)
    except (MalformedEdit, EditNotApplicable):
        return
    for name in placed:
        assert unsafe_reason(name) is None
        assert ".." not in name.split("/")
        assert not any(parent in BASE for parent in _parents(name))


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


HOSTILE = {
    "up": ("../up.py", "'..' component"),
    "up in the middle": ("src/../../up.py", "'..' component"),
    "absolute": ("/etc/passwd", "absolute or home path"),
    "home": ("~/.bashrc", "absolute or home path"),
    "git's directory": (".git/config", "protected directory .git"),
    "a hook": (".git/hooks/pre-commit", "protected directory .git"),
    "git's directory by case": (".GIT/config", "protected directory .git"),
    "git's directory by a short name": ("git~1/config", "protected directory git~1"),
    "a stream": ("a.py:evil", "colon (drive letter or NTFS stream)"),
    "backslashes": ("..\\x", "backslash"),
    "a line break": ("a\nb", "control, bidi or invisible character in the path"),
    "a turned name": ("a\u202egnp.py", "control, bidi or invisible character in the path"),
}


@pytest.mark.parametrize("kind", list(Format))
@pytest.mark.parametrize(("path", "rule"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_name_reaches_policy_as_what_it_is_in_every_format(path: str, rule: str, kind: Format):
    """Or it cannot be written in the format at all; nothing in between is tidied up."""
    text = WRITERS[kind](EditPlan(files=(new_file(path, kind),), format=kind))
    try:
        plan = parse(text)
    except MalformedEdit:
        assert "\n" in path
        return
    if kind in (Format.SEARCH_REPLACE, Format.PATCH) and "\n" in path:
        assert plan.paths == ("b",)  # their names end with their line
        return
    assert plan.paths == (path,)
    assert policy.unsafe_path(path) == rule or policy.is_protected(path)


async def test_a_refused_name_leaves_no_object_and_no_file(repository, tmp_path: Path):
    workspace = await GitWorkspace.open(repository.path)
    base = await workspace.head_commit()
    before, objects = repository.fingerprint(), repository.git("count-objects")
    for path in ("../escaped", "/" + str(tmp_path / "escaped"), ".git/hooks/pre-commit", "src/app.py/x"):
        changes = [Change(path=name, before=None, after=HELLO) for name in ("fine.txt", path)]
        with pytest.raises(EditNotApplicable):
            await workspace.result_tree(base, changes)
    assert repository.git("count-objects") == objects
    assert repository.fingerprint() == before
    assert "escaped" not in {name for _, _, names in os.walk(tmp_path) for name in names}


async def test_an_answer_in_each_format_makes_the_same_tree(repository):
    workspace = await GitWorkspace.open(repository.path)
    base = await workspace.head_commit()
    answers = [
        '{"files": [{"path": "README.md", "content": "bye\\n"}]}',
        "README.md\n```\nbye\n```\n",
        "README.md\n```\n<<<<<<< SEARCH\nhello\n=======\nbye\n>>>>>>> REPLACE\n```\n",
        "```diff\n--- a/README.md\n+++ b/README.md\n@@ -1 +1 @@\n-hello\n+bye\n```\n",
        "*** Begin Patch\n*** Update File: README.md\n@@\n-hello\n+bye\n*** End Patch\n",
    ]
    trees = set()
    for answer in answers:
        plan = parse(answer)
        made = apply(plan, await workspace.read_files(base, plan.paths))
        trees.add(await workspace.result_tree(base, made.changes))
    repository.write("README.md", "bye\n")
    repository.commit_all()
    assert trees == {repository.git("rev-parse", "HEAD^{tree}")}
