"""The names of files that a restore makes beside a database, and what one that was killed left there."""

from datetime import datetime
from pathlib import Path

_KEPT, _UNFINISHED = ".before-restore-", ".restoring-"


def kept_name(target: Path, now: datetime) -> Path:
    return target.with_name(f"{target.name}{_KEPT}{now:%Y%m%dT%H%M%S%f}.db")


def unfinished_name(target: Path, now: datetime) -> Path:
    return target.with_name(f"{target.name}{_UNFINISHED}{now:%Y%m%dT%H%M%S%f}")


def take_back_second_name(target: Path) -> Path | None:
    """A restore that was killed at the very end left the database, whole, under two names: one of them is removed."""
    name = _escaped(target.name)
    for other in sorted(
        [*target.parent.glob(f"{name}{_KEPT}*.db"), *target.parent.glob(f"{name}{_UNFINISHED}*")]
    ):
        if other.is_file() and other.samefile(target):
            other.unlink()
            return other
    return None


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def unfinished(target: Path) -> list[Path]:
    """What copies that were killed on their way left beside the database."""
    name = _escaped(target.name)
    return sorted(
        [*target.parent.glob(f"{name}{_UNFINISHED}*"), *target.parent.glob(f"{name}.backup-*.partial")]
    )
