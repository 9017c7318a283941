"""What is written of an earlier database, and the account of it: every row is carried, or set aside with a reason."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert

from autopack.db.adopt.source import Row
from autopack.db.adopt.values import Value, as_json, same
from autopack.db.columns import Base
from autopack.db.tables import LegacyRow

SET_ASIDE = "set aside: "
_INSERT_AT_ONCE = 500
_CHARS_AT_ONCE = 8_000_000
_MOST_REASONS = 100


@dataclass(kw_only=True)
class Tally:
    """The account of one table. `reasons` are those of rows set aside, `changes` those of values put into other words."""

    table: str
    read: int = 0
    carried: int = 0
    set_aside: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)

    def note(self, changes: Sequence[str]) -> None:
        for change in changes:
            self.changes[change if change in self.changes or len(self.changes) < _MOST_REASONS else "other changes"] += 1  # fmt: skip


class Writer:
    """Inserts in the order of calls for each table: some hundred rows at once, fewer where they are large."""

    def __init__(self, connection: Connection, label: str, now: datetime) -> None:
        self.connection, self.label, self.now = connection, label, now
        self.tallies: dict[str, Tally] = {}
        self._waiting: dict[type[Base], list[dict[str, Any]]] = {}
        self._waiting_chars = 0

    def tally(self, table: str) -> Tally:
        return self.tallies.setdefault(table, Tally(table=table))

    def insert(self, kind: type[Base], values: dict[str, Any]) -> None:
        waiting = self._waiting.setdefault(kind, [])
        waiting.append(values)
        self._waiting_chars += _chars(values)
        if self._waiting_chars >= _CHARS_AT_ONCE:
            self.flush()
        elif len(waiting) >= _INSERT_AT_ONCE:
            self._write(kind)

    def flush(self) -> None:
        for kind in self._waiting:
            self._write(kind)
        self._waiting_chars = 0

    def _write(self, kind: type[Base]) -> None:
        if waiting := self._waiting[kind]:
            self.connection.execute(insert(kind), waiting)
            waiting.clear()

    def carry(
        self, table: str, row: Row, *, into: type[Base], values: dict[str, Any],
        gives_back: Callable[[Mapping[str, Any]], dict[str, Value]], changes: Sequence[str], key: str,
    ) -> None:  # fmt: skip
        """Inserts `values`, and keeps of the row what cannot be had again from them."""
        self.insert(into, values)
        tally = self.tally(table)
        tally.read += 1
        tally.carried += 1
        tally.note(changes)
        back = gives_back(values)
        rest = {name: value for name, value in row.values.items() if not same(value, back.get(name))}
        if rest:
            self.keep(
                table, key, "; ".join(["carried", *(changes or ("columns without a place here",))]), rest
            )

    def set_aside(self, table: str, row: Row, reason: str) -> None:
        tally = self.tally(table)
        tally.read += 1
        tally.set_aside += 1
        tally.reasons[reason] += 1
        self.keep(table, f"row {row.number}", SET_ASIDE + reason, row.values)

    def keep(self, table: str, key: str, reason: str, values: Mapping[str, Value]) -> None:
        kept = {
            "source": self.label, "table_name": table, "row_key": key, "reason": reason, "row": as_json(values),
            "created_at": self.now,
        }  # fmt: skip
        self.insert(LegacyRow, kept)


def _chars(value: Any) -> int:
    """About how much of it there is."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_chars, value.values()))
    return sum(map(_chars, value)) if isinstance(value, list) else 0
