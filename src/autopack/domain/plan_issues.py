"""What `gh issue list --json number,title,body,labels,state` prints as a plan: each open issue is a phase. Pure.

Whoever may open an issue writes its text, so it may say what is wanted and which files are meant, and never what is
executed: of the notes in brackets (checks: ...) and (id: ...) are not taken.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from autopack.domain.plan_import import ALL_NOTES, Imported, Task, clean, hidden_comments, plan_of, read_notes
from autopack.errors import InvalidInput

_KNOWN = ALL_NOTES - {"checks", "id"}
_CATEGORIES = {
    "documentation": "docs", "docs": "docs", "test": "tests", "tests": "tests", "testing": "tests", "refactor": "refactoring",
    "refactoring": "refactoring", "configuration": "configuration", "security": "security",
}  # fmt: skip
_ASK = "ask for it with `gh issue list --json number,title,body,labels,state`"


def from_issues(value: Any, *, run_id: str | None = None, otherwise: str = "issues") -> Imported:
    """Raises InvalidInput where this is no list of issues, or none of them is open."""
    if not isinstance(value, list):
        raise InvalidInput(f"this is no list of issues: {_ASK}")
    notes: list[str] = []
    tasks: dict[str, Task] = {}
    closed = 0
    for position, issue in enumerate(value):
        if isinstance(issue, dict) and str(issue.get("state", "open")).lower() == "closed":
            closed += 1
        elif (task := _task(issue, position, notes)) is not None:
            if task.phase_id in tasks:
                notes.append(f"{task.where} is there twice; the first one counts")
            tasks.setdefault(task.phase_id, task)
    if tasks and not any(isinstance(issue, dict) and "body" in issue for issue in value):
        notes.append(f"the issues have no body: {_ASK}")
    known = [replace(task, wants=_by_number(task)) for task in tasks.values()]
    return plan_of(
        known, run_id=run_id or otherwise, goal="", notes=notes, left_out=closed,
    )  # fmt: skip


def _task(issue: Any, position: int, notes: list[str]) -> Task | None:
    number = issue.get("number") if isinstance(issue, dict) else None
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        notes.append(f"entry {position + 1} has no number of an issue, and was left out")
        return None
    where = f"issue #{number}"
    title, body = (issue.get(name) for name in ("title", "body"))
    name = " ".join(clean(title).split()) if isinstance(title, str) else ""
    if not name:
        notes.append(f"{where} has no title, and was left out")
        return None
    body = body if isinstance(body, str) else ""
    if hidden := hidden_comments(body):
        notes.append(f"{where}: {hidden} hidden comments were left out")
    text, wants, told = read_notes(clean(body).strip(), _KNOWN, where)
    notes += told
    goal = f"{name}\n\n{text.strip()}".strip()
    return Task(
        name=name, goal=goal, tier="Issues", where=where, phase_id=f"issue-{number}", wants={**_labelled(issue), **wants}
    )  # fmt: skip


def _labelled(issue: Any) -> dict[str, tuple[str, ...]]:
    """What labels say that have a plain meaning for a plan."""
    found: dict[str, tuple[str, ...]] = {}
    for label in _labels(issue.get("labels")):
        if category := _CATEGORIES.get(label):
            found.setdefault("category", (category,))
        word, _, level = label.partition(":")
        if word.strip() == "complexity" and level.strip() in ("low", "medium", "high"):
            found.setdefault("complexity", (level.strip(),))
    return found


def _labels(value: Any) -> Sequence[str]:
    names = (
        [each.get("name") if isinstance(each, dict) else each for each in value]
        if isinstance(value, list)
        else []
    )
    return [name.strip().lower() for name in names if isinstance(name, str)]


def _by_number(task: Task) -> dict[str, tuple[str, ...]]:
    """`(after: #12)` means issue 12."""
    after = tuple(
        f"issue-{each.removeprefix('#')}" if each.startswith("#") else each
        for each in task.wants.get("after", ())
    )
    return {**task.wants, **({"after": after} if after else {})}
