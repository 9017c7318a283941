"""From other people's lists to a plan: ids, scopes and dependencies for tasks that were found somewhere. Pure.

The text is data from outside. What the plan says of files, dependencies and checks comes from notes in brackets that
were written for it, and from nothing else; what cannot be used is left out, and told.
"""

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autopack.domain.policy import unsafe_path
from autopack.domain.storable import storable_text
from autopack.errors import InvalidInput

MAX_GOAL_CHARS = 20_000
MAX_NAME_CHARS = 200
MAX_TASKS = 5_000
_ID_CHARS = 48
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NOTE = re.compile(
    r"\((files|makes|reads|checks|after|id|category|complexity):((?:`[^`\n]*`|[^()`\n])*)\)", re.IGNORECASE
)
_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}")
_HIDDEN = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_KEPT = "\n\t\u200c\u200d"  # joiners are part of words in many scripts, and of emoji
_SCOPES = {"files": "paths", "makes": "deliverables", "reads": "read_only_context"}
_COMPLEXITIES = ("low", "medium", "high")
ALL_NOTES = frozenset({*_SCOPES, "checks", "after", "id", "category", "complexity"})


@dataclass(frozen=True, kw_only=True)
class Task:
    """`wants` are the notes in brackets, by their word. `where` says where the task was found, for a person."""

    name: str
    goal: str
    tier: str
    where: str
    phase_id: str = ""
    wants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A plan's value, and what a person should know of how it came about."""

    value: dict[str, Any]
    notes: tuple[str, ...]
    left_out: int
    """Tasks that are done already."""


def clean(text: str) -> str:
    """As a person sees it and a database keeps it: NFC, no control characters, no hidden comments."""
    text = unicodedata.normalize("NFC", storable_text(text)).replace("\r\n", "\n")
    seen = _HIDDEN.sub(lambda comment: "\n" * comment[0].count("\n"), text)
    return "".join(char for char in seen if char in _KEPT or unicodedata.category(char) not in ("Cc", "Cf"))


def hidden_comments(text: str) -> int:
    return len(_HIDDEN.findall(text))


def read_notes(
    text: str, known: Collection[str], where: str
) -> tuple[str, dict[str, tuple[str, ...]], list[str]]:
    """The text without its notes in brackets; what these want; and what of them is not taken from here."""
    wants: dict[str, tuple[str, ...]] = {}
    told: list[str] = []

    def take(found: re.Match[str]) -> str:
        word = found[1].lower()
        if word not in known:
            told.append(f"{where}: ({word}: ...) is not taken from here; it stays in the text")
            return found[0]
        wants[word] = (*wants.get(word, ()), *_entries(found[2]))
        return ""

    without = "\n".join(re.sub(r"[ \t]+", " ", line).strip() for line in _NOTE.sub(take, text).split("\n"))
    return without if wants else text, wants, told


def _entries(text: str) -> list[str]:
    """Code spans as they are; between them, words with commas between."""
    spans = re.findall(r"`([^`]*)`", text)
    words = re.sub(r"`[^`]*`", ",", text).split(",")
    return [entry.strip() for entry in (*spans, *words) if entry.strip()]


def plan_of(
    tasks: Sequence[Task], *, run_id: str, goal: str, notes: Iterable[str] = (), left_out: int = 0
) -> Imported:
    """Raises InvalidInput where there is nothing to do, or what is wanted contradicts itself."""
    if not tasks:
        raise InvalidInput(
            f"{'the only task is' if left_out == 1 else f'all {left_out} tasks are'} done: there is nothing to import"
            if left_out
            else "no tasks were found"
        )
    if len(tasks) > MAX_TASKS:
        raise InvalidInput(f"{len(tasks)} tasks are more than {MAX_TASKS}; import them as several runs")
    told = list(notes)
    named = _with_ids(tasks, told)
    tiers: dict[str, list[Task]] = {}
    for task in named:
        tiers.setdefault(task.tier, []).append(task)
    ids = _unique([(slug(tier, "tier"), tier) for tier in tiers])
    position = {task.phase_id: number for number, tier in enumerate(tiers.values()) for task in tier}
    value = {
        "autopack": 1, "run_id": run_id, **({"goal": goal[:MAX_GOAL_CHARS]} if goal else {}),
        "tiers": [
            {"tier_id": tier_id, "name": tier[:MAX_NAME_CHARS], "phases": [_phase(task, position, told) for task in inside]}
            for (tier, inside), tier_id in zip(tiers.items(), ids, strict=True)
        ],
    }  # fmt: skip
    return Imported(value=value, notes=tuple(told), left_out=left_out)


def slug(text: str, otherwise: str) -> str:
    """A safe id out of the words; of words that have no plain letters, one that is always the same."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = "-".join(re.findall(r"[a-z0-9]+", plain))
    if len(words) > _ID_CHARS:
        words = words[: _ID_CHARS + 1].rpartition("-")[0] or words[:_ID_CHARS]
    return words or f"{otherwise}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _with_ids(tasks: Sequence[Task], told: list[str]) -> list[Task]:
    wanted = [
        (task.phase_id or _wanted_id(task, told) or slug(task.name, "task"), task.where) for task in tasks
    ]
    return [replace(task, phase_id=phase_id) for task, phase_id in zip(tasks, _unique(wanted), strict=True)]


def _wanted_id(task: Task, told: list[str]) -> str | None:
    asked = task.wants.get("id", ())
    if not asked:
        return None
    if is_id(asked[0]):
        return asked[0]
    told.append(f"{task.where}: (id: {asked[0]}) cannot be an id; one was made from the words")
    return None


def is_id(text: str) -> bool:
    return bool(_ID.fullmatch(text)) and ".." not in text and not text.endswith((".", ".lock"))


def _unique(wanted: Sequence[tuple[str, str]]) -> list[str]:
    """Of several alike the first keeps its id, and the others are numbered."""
    taken = {each for each, _ in wanted}
    seen: set[str] = set()
    found = []
    for each, _ in wanted:
        number, unique = 1, each
        while unique in seen or (number > 1 and unique in taken):
            number += 1
            unique = f"{each}-{number}"
        seen.add(unique)
        found.append(unique)
    return found


def _phase(task: Task, position: Mapping[str, int], told: list[str]) -> dict[str, Any]:
    goal = task.goal
    if len(goal) > MAX_GOAL_CHARS:
        told.append(f"{task.where}: its text was cut at {MAX_GOAL_CHARS} characters")
        goal = goal[:MAX_GOAL_CHARS]
    scope: dict[str, list[str]] = {}
    for word, name in _SCOPES.items():
        if paths := _paths(task, word, told):
            scope[name] = paths
    if checks := task.wants.get("checks"):
        scope["checks"] = list(dict.fromkeys(checks))
    after = _after(task, position, told)
    return {
        "phase_id": task.phase_id,
        "name": task.name[:MAX_NAME_CHARS],
        "goal": goal,
        **_chosen(task, told),
        **({"scope": scope} if scope else {}),
        **({"depends_on": after} if after else {}),
    }


def _paths(task: Task, word: str, told: list[str]) -> list[str]:
    found = []
    for path in dict.fromkeys(task.wants.get(word, ())):
        problem = unsafe_path(path.removesuffix("/"))
        if "*" in path or "?" in path:
            problem = "paths are no patterns"
        elif word == "makes" and path.endswith("/"):
            problem = "a directory; name a file"
        if problem is None:
            found.append(path)
        else:
            told.append(f"{task.where}: ({word}: {path}) was left out: {problem}")
    return found


def _after(task: Task, position: Mapping[str, int], told: list[str]) -> list[str]:
    found = []
    for wanted in dict.fromkeys(task.wants.get("after", ())):
        if wanted not in position or position[wanted] > position[task.phase_id] or wanted == task.phase_id:
            why = (
                "there is no open task with that id"
                if wanted not in position
                else "it does not come before this one"
            )
            told.append(f"{task.where}: (after: {wanted}) was left out: {why}")
        else:
            found.append(wanted)
    return found


def _chosen(task: Task, told: list[str]) -> dict[str, str]:
    """Category and complexity, where they are words that a plan knows."""
    found = {}
    for word, name in (("category", "task_category"), ("complexity", "complexity")):
        for wanted in task.wants.get(word, ())[:1]:
            good = wanted in _COMPLEXITIES if word == "complexity" else bool(_WORD.fullmatch(wanted))
            if good:
                found[name] = wanted
            else:
                told.append(f"{task.where}: ({word}: {wanted}) was left out: no {word} is called that")
    return found
