"""What a person changes about a run while it is drained, and what that comes to. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from autopack.domain.phases import CAP_CAUSES, PhaseState, Run, RunState

MAX_CONCURRENCY = 256
CAPS = ("token_cap", "cost_cap_usd", "max_duration_minutes", "max_phases")
CHANGEABLE = (*CAPS, "concurrency", "builder_model")
"""Columns of a run, and names in a request: None takes away what is there."""


class PhaseAction(StrEnum):
    REQUEUE = "requeue"
    SKIP = "skip"


@dataclass(frozen=True, kw_only=True)
class PhaseActed:
    """What came of a word about one of several phases. `state` is None where there is no such phase."""

    phase_id: str
    done: bool
    state: PhaseState | None
    detail: str | None = None
    """Why it was not done."""


def remarks(run: Run, changed: Collection[str]) -> list[str]:
    """What a person who has just changed these might not expect. `run` is as it is now."""
    told = []
    if run.state is RunState.PAUSED and run.state_cause in CAP_CAUSES and not set(CAPS).isdisjoint(changed):
        told.append(f"the run stays paused ({run.state_reason}) until `autopack run resume {run.run_id}`")
    used = {"token_cap": run.tokens_used, "cost_cap_usd": run.cost_usd}
    for name, spent in used.items():
        cap = getattr(run, name)
        if name in changed and cap is not None and cap <= spent:
            told.append(
                f"{name} {cap} is not above what is used already ({spent}): the run pauses at its next model call; "
                "a call that is under way is not cut off"
            )
    if changed and not set(CAPS).issuperset(changed):
        told.append("what is executing ends as it began; the next claim goes by what you set")
    return told
