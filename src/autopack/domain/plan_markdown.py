"""A Markdown task list as a plan: headings become tiers, open boxes become phases. Pure.

A task with tasks below it is no phase of its own: its words go before theirs. Notes in brackets say what words
cannot: (files: `src/`), (makes: `src/a.py`), (reads: `docs/`), (checks: `pytest -q`), (after: an-id), (id: my-id),
(category: tests), (complexity: low).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from autopack.domain.plan_import import (
    ALL_NOTES,
    Imported,
    Task,
    clean,
    hidden_comments,
    plan_of,
    read_notes,
    slug,
)

_TASK = re.compile(r"([ \t]*)(?:[-*+]|\d{1,9}[.)])[ \t]+\[([ xX])\](?:[ \t]+(.*))?")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*")
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")
_NO_HEADING = "Tasks"


@dataclass
class _Item:
    """A box of the list as it is read, with the lines that belong to it."""

    line: int
    indent: int
    done: bool
    tier: str
    above: "_Item | None"
    lines: list[str] = field(default_factory=list)
    below: int = 0
    """Open tasks below it."""


def from_markdown(text: str, *, run_id: str | None = None, otherwise: str = "imported") -> Imported:
    """Raises InvalidInput where no box is open. `otherwise` names the run where neither it nor a title does."""
    hidden = hidden_comments(text)
    reader = _Reader()
    for number, line in enumerate(clean(text).split("\n"), 1):
        reader.read(number, line.expandtabs(4))
    notes = [f"{hidden} hidden comments were left out"] if hidden else []
    open_items = [item for item in reader.items if not item.done]
    for item in open_items:
        if item.above is not None:
            item.above.below += 1
    tasks = [_task(item, notes) for item in open_items if not item.below]
    done = len(reader.items) - len(open_items)
    return plan_of(
        [task for task in tasks if task is not None], run_id=run_id or slug(reader.title or otherwise, "run"),
        goal=reader.title, notes=notes, left_out=done,
    )  # fmt: skip


@dataclass
class _Reader:
    items: list[_Item] = field(default_factory=list)
    title: str = ""
    _tier: str = _NO_HEADING
    _fence: str = ""
    _open: _Item | None = None

    def read(self, number: int, line: str) -> None:
        if self._in_code(line):
            self._keep(line)
        elif heading := _HEADING.fullmatch(line):
            self._head(len(heading[1]), (heading[2] or "").strip())
        elif task := _TASK.fullmatch(line):
            self._begin(number, len(task[1]), task[2] != " ", task[3] or "")
        else:
            self._keep(line)

    def _in_code(self, line: str) -> bool:
        """Boxes and headings in a block of code are code."""
        fence = _FENCE.match(line)
        if self._fence:
            if fence and fence[1].startswith(self._fence) and not line.strip(" `~"):
                self._fence = ""
            return True
        if fence:
            self._fence = fence[1]
        return bool(fence)

    def _head(self, level: int, text: str) -> None:
        self._open = None
        if level == 1 and not self.title and not self.items:
            self.title = text
        else:
            self._tier = text or _NO_HEADING

    def _begin(self, number: int, indent: int, done: bool, text: str) -> None:
        above = self._open
        while above is not None and above.indent >= indent:
            above = above.above
        self._open = _Item(line=number, indent=indent, done=done, tier=self._tier, above=above, lines=[text])
        self.items.append(self._open)

    def _keep(self, line: str) -> None:
        """What is indented below a task goes with it; a paragraph that is not ends the list."""
        if self._open is None:
            return
        if line.strip() and len(line) - len(line.lstrip()) <= self._open.indent:
            self._open = None
        else:
            self._open.lines.append(line)


def _task(item: _Item, notes: list[str]) -> Task | None:
    where = f"line {item.line}"
    text, wants, told = read_notes(_text(item), ALL_NOTES, where)
    notes += told
    name, _, _ = text.strip().partition("\n")
    if not name.strip():
        notes.append(f"{where}: a task without words was left out")
        return None
    around = [read_notes(_text(above), ALL_NOTES, where)[0].strip() for above in _above(item)]
    goal = "\n\n".join([*(f"Part of: {words}" for words in reversed(around) if words), text.strip()])
    return Task(name=name.strip(), goal=goal, tier=item.tier, where=where, wants=wants)


def _above(item: _Item) -> Iterator[_Item]:
    while item.above is not None:
        item = item.above
        yield item


def _text(item: _Item) -> str:
    """Its own lines, without the indentation of the list."""
    first, *rest = item.lines
    room = min((len(line) - len(line.lstrip()) for line in rest if line.strip()), default=0)
    return "\n".join([first.rstrip(), *(line[room:].rstrip() for line in rest)]).strip()
