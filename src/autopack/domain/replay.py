"""What a version of the estimator would have budgeted for calls of the past, each from what came before it only. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autopack.domain.budget import CALL, SPLIT, Budget, Online
from autopack.domain.conformal import PRIOR
from autopack.domain.estimate import Coefficients, base_tokens
from autopack.domain.observations import Event, Observation
from autopack.domain.rates import Rate
from autopack.domain.telemetry import EstimationEvent

_SAME = tuple(name for name in Event._fields if name != "features")


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """One call: what would have been asked for, next to what was."""

    event_id: int
    run_id: str
    phase_id: str
    task_category: str
    complexity: str
    reasoning_level: str
    model_family: str
    base_output_tokens: float
    multiplier: float
    budget: int
    budget_source: str
    alpha: float
    decision: str
    would_be_cut: bool | None
    """None where it was cut below this budget, so that nobody knows; and where nothing would have been asked."""
    actual_output_tokens: int
    is_at_least: bool
    """Whether the answer was cut every time, so that `actual_output_tokens` is only how far it came."""
    was_budget: int
    was_source: str | None
    was_version: str
    was_cut: bool


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Budgets over a history. `waste` is the sum of budgets over the sum of what was used; None of no calls."""

    calls: int
    decided: int
    cut: int
    rate: float | None
    low: float
    high: float
    waste: float | None
    prior: int
    split: int


def event_of(row: EstimationEvent) -> Event:
    return Event(features=row.features_json, **{name: getattr(row, name) for name in _SAME})


def replay(
    observations: Iterable[Observation], coefficients: Coefficients, *, target: float, output_limit: int
) -> list[Replayed]:
    online, found = Online(target, output_limit), []
    for seen in observations:
        base = base_tokens(seen.features, coefficients)
        given = online.budget(base, seen.group)
        replayed = _replayed(seen, base, given)
        online.learn(seen.sample(coefficients), given, missed=replayed.would_be_cut)
        found.append(replayed)
    return found


def _replayed(seen: Observation, base: float, given: Budget) -> Replayed:
    unknown = given.decision == SPLIT or (seen.censored and seen.actual < given.tokens)
    group = seen.group
    return Replayed(
        event_id=seen.event_id, run_id=seen.run_id, phase_id=seen.phase_id, task_category=group.task_category,
        complexity=group.complexity, reasoning_level=group.reasoning_level, model_family=group.model_family,
        base_output_tokens=base, multiplier=given.multiplier.value, budget=given.tokens,
        budget_source=given.source, alpha=given.alpha, decision=given.decision,
        would_be_cut=None if unknown else seen.censored or seen.actual > given.tokens,
        actual_output_tokens=seen.actual, is_at_least=seen.censored, was_budget=seen.budget,
        was_source=seen.budget_source, was_version=seen.estimator_version, was_cut=seen.missed,
    )  # fmt: skip


def tally(replayed: Sequence[Replayed]) -> Tally:
    """Of the budgets that would have been. A call that would not have been made is no part of the waste."""
    asked = [each for each in replayed if each.decision == CALL]
    return _tally(
        len(replayed), [each.would_be_cut for each in replayed], sum(each.budget for each in asked), asked,
        prior=sum(each.budget_source == PRIOR for each in replayed),
    )  # fmt: skip


def tally_as_it_was(replayed: Sequence[Replayed]) -> Tally:
    """Of the budgets that were."""
    return _tally(
        len(replayed), [each.was_cut for each in replayed], sum(each.was_budget for each in replayed), replayed,
        prior=sum(each.was_source == PRIOR for each in replayed),
    )  # fmt: skip


def _tally(
    calls: int, cut: Sequence[bool | None], budgets: int, asked: Sequence[Replayed], *, prior: int
) -> Tally:
    decided = [each for each in cut if each is not None]
    rate = Rate(count=sum(decided), total=len(decided))
    used = sum(each.actual_output_tokens for each in asked)
    return Tally(
        calls=calls, decided=rate.total, cut=rate.count, rate=rate.value, low=rate.low, high=rate.high,
        waste=budgets / used if used else None, prior=prior, split=calls - len(asked),
    )  # fmt: skip
