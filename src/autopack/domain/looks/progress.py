"""How many of how many: only what is complete is done; whatever else a phase came to is told beside it. Pure."""

from collections.abc import Mapping

from autopack.domain.looks.words import spoken
from autopack.domain.phases import PhaseState

_BESIDE = (
    PhaseState.EXECUTING, PhaseState.GATE, PhaseState.FAILED, PhaseState.SKIPPED, PhaseState.CANCELLED,
)  # fmt: skip


def complete(counts: Mapping[str, int]) -> int:
    return counts.get(PhaseState.COMPLETE, 0)


def total(counts: Mapping[str, int]) -> int:
    return sum(counts.values())


def how_far(counts: Mapping[str, int]) -> str:
    """0/3 complete, 1 failed, 1 skipped. What is not named is queued."""
    beside = [f"{counts[state]} {spoken(state)}" for state in _BESIDE if counts.get(state)]
    return ", ".join([f"{complete(counts)}/{total(counts)} complete", *beside])
