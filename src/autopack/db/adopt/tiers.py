"""The tiers of each run, in order; and one for phases whose own is absent, or belongs to another run."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autopack.db.adopt.source import Row
from autopack.db.adopt.values import Value, integer, key_of, text

_LONGEST_NAME = 500
_ABSENT = "its tier is absent: one was made"
_FOREIGN = "its tier is of another run: one like it was made"


@dataclass(frozen=True, kw_only=True, eq=False)
class EarlierTier:
    """`row` is None of one that was made."""

    said_id: str | None
    name: str
    index: int | None
    number: int
    row: Row | None = None

    @property
    def place(self) -> tuple[bool, int, bool, int]:
        """By its index; own ones before made ones; what says nothing comes last."""
        return (self.index is None, self.index or 0, self.row is None, self.number)


class Tiers:
    def __init__(self) -> None:
        self._of_run: dict[str, list[EarlierTier]] = defaultdict(list)
        self._by_number: dict[str, tuple[str, EarlierTier]] = {}
        self._made: dict[tuple[str, str], EarlierTier] = {}

    def add(self, run_key: str, row: Row) -> None:
        said = text(row.get("tier_id"))
        tier = EarlierTier(
            said_id=said, name=text(row.get("name"), _LONGEST_NAME) or said or "tier", index=integer(row.get("tier_index")),
            number=row.number, row=row,
        )  # fmt: skip
        self._of_run[run_key].append(tier)
        self._by_number.setdefault(key_of(row.get("id")) or "", (run_key, tier))

    def in_order(self, run_key: str) -> list[EarlierTier]:
        return sorted(self._of_run.get(run_key, ()), key=lambda tier: tier.place)

    def of(self, run_key: str, phase: Row) -> tuple[EarlierTier, tuple[str, ...]]:
        """The tier of the phase, made where the run has no such one; and what is to be said about that."""
        said = key_of(phase.get("tier_id"))
        owner, tier = self._by_number.get(said or "", (None, None))
        if tier is not None and owner == run_key:
            return tier, ()
        own = next(
            (each for each in self._of_run.get(run_key, ()) if each.row and each.said_id == said), None
        )
        if own is not None:
            return own, ()
        return self._made_for(run_key, said, tier), (_ABSENT if tier is None else _FOREIGN,)

    def _made_for(self, run_key: str, said: str | None, like: EarlierTier | None) -> EarlierTier:
        key = (run_key, said or "")
        if key not in self._made:
            said_id = like.said_id if like else f"tier-{text(said, 40)}" if said else None
            self._made[key] = EarlierTier(
                said_id=said_id, name=like.name if like else said_id or "tier", index=like.index if like else None,
                number=len(self._made),
            )  # fmt: skip
            self._of_run[run_key].append(self._made[key])
        return self._made[key]

    @property
    def made(self) -> int:
        return len(self._made)


def tier_back(values: Mapping[str, Any]) -> dict[str, Value]:
    return {name: values[name] for name in ("run_id", "tier_id", "tier_index", "name")}
