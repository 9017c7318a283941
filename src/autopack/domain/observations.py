"""From stored estimation events to what can be learned from: pure, and the same for budgets and for calibration."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from autopack.domain.conformal import Sample, log_ratio
from autopack.domain.estimate import (
    NO_REASONING,
    OPERATIONS,
    Coefficients,
    Features,
    Group,
    base_tokens,
    group_of,
)
from autopack.domain.messages import ProviderMode

ESCALATED, PARTIAL = "escalated", "partial"
RAISED = "raised"
"""Asked anew with the raised budget that had brought a whole answer, which could not be used."""


class Event(NamedTuple):
    """A row of `token_estimation_v2_events`; None is what nobody knows. A tuple: a calibration makes 250,000 of them."""

    event_id: int
    run_id: str
    phase_id: str
    features: Any
    estimator_version: str
    selected_budget: int
    actual_output_tokens: int | None
    success: bool | None
    truncated: bool
    model: str
    provider_mode: str
    model_family: str | None = None
    budget_source: str | None = None
    target_rate: float | None = None
    is_complete: bool | None = None
    source_database_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One first ask and what its answer needed in the end. Of a `censored` one only: at least `actual` tokens."""

    event_id: int
    run_id: str
    phase_id: str
    features: Features
    group: Group
    actual: int
    censored: bool
    missed: bool
    """The answer did not fit the budget that was asked for first."""
    budget: int
    thrown_away: int
    """Tokens of answers that were cut, and so of no use."""
    estimator_version: str
    budget_source: str | None
    target_rate: float | None

    def sample(self, coefficients: Coefficients) -> Sample:
        base = base_tokens(self.features, coefficients)
        return Sample(group=self.group, log_ratio=log_ratio(self.actual, base), censored=self.censored)


def observations(events: Iterable[Event]) -> tuple[list[Observation], Counter[str]]:
    """The usable ones in the order of their first asks, and how many events were left out for which reason.

    An escalated answer tells the true length of the truncated one that it followed: the two make one observation.
    """
    found: dict[int, Observation] = {}
    left_out: Counter[str] = Counter()
    cut: dict[tuple[str | None, str, str], Observation] = {}
    for event in events:
        place = (event.source_database_id, event.run_id, event.phase_id)
        follows, features = event.budget_source == ESCALATED, read_features(event.features)
        if reason := _spoiled(event) or (_unfinished(event, features) if not follows else None):
            left_out[reason] += 1
            continue
        # What is left out parts nothing: budgets never see it, and calibration must find the same pairs.
        before = cut.pop(place, None)
        if not follows:
            assert features is not None
            seen = found[event.event_id] = _observed(event, features)
            if event.truncated:
                cut[place] = seen
        elif before is not None:
            found[before.event_id] = _escalated(before, event)
        else:
            left_out["first ask not usable"] += 1
    return list(found.values()), left_out


def _spoiled(event: Event) -> str | None:
    """Why no answer can be learned from, in the words of the report."""
    if event.provider_mode != ProviderMode.LIVE:
        return "replayed"
    if event.is_complete is not True:
        return "incomplete"
    return "actual unknown" if event.actual_output_tokens is None else None


def _unfinished(event: Event, features: Features | None) -> str | None:
    """Why a first ask cannot be: a cut answer counts whatever came of it, a whole one when it became the work."""
    if event.budget_source == PARTIAL:
        return "part of an answer"
    if features is None:
        return "features unknown"
    if event.truncated or event.success:
        return None
    return "undecided" if event.success is None else "unsuccessful"


def _observed(event: Event, features: Features) -> Observation:
    actual = event.actual_output_tokens
    assert actual is not None
    return Observation(
        event_id=event.event_id, run_id=event.run_id, phase_id=event.phase_id, features=features,
        group=group_of(features, event.model_family or event.model), actual=actual, censored=event.truncated,
        missed=event.truncated, budget=event.selected_budget, thrown_away=actual if event.truncated else 0,
        estimator_version=event.estimator_version, budget_source=event.budget_source, target_rate=event.target_rate,
    )  # fmt: skip


def _escalated(first: Observation, event: Event) -> Observation:
    """What the larger budget brought to light; the miss stays the first ask's."""
    actual = event.actual_output_tokens
    assert actual is not None
    thrown_away = first.thrown_away + (actual if event.truncated else 0)
    return replace(
        first, actual=max(actual, first.actual if event.truncated else 0), censored=event.truncated, thrown_away=thrown_away
    )  # fmt: skip


def read_features(value: Any) -> Features | None:
    """As they were stored, or read already; None for what no version could be computed from."""
    if isinstance(value, Features):
        return value
    if not isinstance(value, dict):
        return None
    category, complexity = _word(value.get("task_category")), _word(value.get("complexity"))
    level, files = _word(value.get("reasoning_level", NO_REASONING)), value.get("files")
    if category is None or complexity is None or level is None:
        return None
    if not isinstance(files, list | tuple) or not all(_is_file(file) for file in files):
        return None
    return Features(
        task_category=category, complexity=complexity, reasoning_level=level,
        files=tuple((operation, kind) for operation, kind in files),
    )  # fmt: skip


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _is_file(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and value[0] in OPERATIONS
        and isinstance(value[1], str)
    )
