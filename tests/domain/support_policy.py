"""A base tree, and edits of it as a plan and as the changes of a tree: the rules must say the same of both."""

from collections.abc import Sequence

from autopack.domain import policy
from autopack.domain.changes import Change, File
from autopack.domain.edits import EditPlan, FileEdit
from autopack.domain.phases import Scope
from autopack.domain.policy import Action, Policy, Violation

ANYWHERE = Scope()
LONG = "".join(f"line {n}\n" for n in range(300)).encode()
FILES = {
    "README.md": File(content=b"hello\n"),
    "src/app.py": File(content=b"x = 1\n"),
    "src/caf\u00e9.py": File(content=b""),
    "src/long.py": File(content=LONG),
    "src/latin.py": File(content=b"# caf\xe9\n"),
    "link.py": File(content=b"/etc/passwd", mode="120000"),
    "inside.py": File(content=b"src/app.py", mode="120000"),
    "linked": File(content=b"src", mode="120000"),
    "dangling": File(content=b"../nowhere", mode="120000"),
    "pipe": File(content=b"", mode="010644"),
    "vendor/lib": File(content=b"", mode="160000"),
    "bin/tool": File(content=b"#!/bin/sh\n", mode="100755"),
    "acceptance/test_it.py": File(content=b"def test_it():\n    assert 1 + 1 == 2\n"),
    "bare/HEAD": File(content=b"ref: refs/heads/main\n"),
    "bare/config": File(content=b"[core]\n"),
    "bare/objects/aa": File(content=b""),
}
BASE = {path: file.mode for path, file in FILES.items()}
FROZEN = Policy(frozen=("acceptance/",))


def writes(path: str, content: str = "y = 2\n", mode: str | None = None) -> FileEdit:
    return FileEdit(path=path, content=content, mode=mode)


def deletes(path: str) -> FileEdit:
    return FileEdit(path=path, deleted=True)


def moves(path: str, target: str) -> FileEdit:
    return FileEdit(path=path, moved_to=target)


def on_plan(edits: Sequence[FileEdit], scope: Scope = ANYWHERE, settings: Policy = FROZEN) -> list[Violation]:
    return policy.check_plan(EditPlan(files=tuple(edits)), scope, settings, BASE)


def on_tree(
    edits: Sequence[FileEdit],
    scope: Scope = ANYWHERE,
    settings: Policy = FROZEN,
    category: str = "implementation",
) -> list[Violation]:
    changes = [change for edit in edits for change in changes_of(edit)]
    return policy.check_changes(changes, scope, settings, BASE, category)


def changes_of(edit: FileEdit) -> list[Change]:
    """What the edit makes of the base, for trees that no ordinary file system could hold as well."""
    before = FILES.get(edit.path)
    if edit.deleted:
        return [Change(path=edit.path, before=before, after=None)]
    if edit.moved_to is not None:
        after = before or File(content=b"")
        target = FILES.get(edit.moved_to)
        return [
            Change(path=edit.path, before=before, after=None),
            Change(path=edit.moved_to, before=target, after=after, moved_from=edit.path),
        ]
    mode = edit.mode or (before.mode if before and before.mode == "100755" else "100644")
    content = (edit.content or "").encode("utf-8", "surrogatepass")
    return [Change(path=edit.path, before=before, after=File(content=content, mode=mode))]


def essence(violations: Sequence[Violation]) -> set[tuple[str, Action]]:
    return {(violation.rule, violation.action) for violation in violations}
