"""How much of a run is still to come: the estimator says how phases compare, finished ones how much that was. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

from autopack.domain.looks.words import count, span

_MANY = 3  # finished phases of this run, from which on no other run is asked


@dataclass(frozen=True, kw_only=True)
class Past:
    """Phases that are done. `weight` is what the estimator expects of them, in the unit of all weights."""

    phases: int = 0
    weight: float = 0.0
    tokens: int = 0
    timed_phases: int = 0
    time: timedelta = timedelta()
    """That workers spent on `timed_phases`, tries that failed included."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What calls cost whose cost and tokens are known. `replayed`: recorded answers alone, which cost nothing."""

    tokens: int = 0
    nanos: int = 0
    replayed: bool = False


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """`phases_open` are those that no person has to decide about first. None is unknown."""

    run_id: str
    phases_open: int
    tokens_expected: int
    cost_expected_usd: float | None
    seconds_left: float | None
    concurrency: int
    basis: str
    """What the figures were made from, in words."""


def rounds(tier_of: Mapping[str, int], waits_for: Collection[tuple[str, str]], lanes: int) -> int:
    """How many times a phase is waited for, when that many work at once: tiers come one after the other, and in each
    neither the lanes nor the longest chain of dependencies can be shortened. At least: who waits for whom may add more.

    `tier_of` is of the open phases, `waits_for` has pairs (phase, what it depends on).
    """
    sizes: dict[int, int] = {}
    for tier in tier_of.values():
        sizes[tier] = sizes.get(tier, 0) + 1
    chains = _chains(tier_of, waits_for)
    return sum(max(-(-size // lanes), chains.get(tier, 1)) for tier, size in sizes.items())


def _chains(tier_of: Mapping[str, int], waits_for: Collection[tuple[str, str]]) -> dict[int, int]:
    """By tier the longest chain: each phase is looked at when all that it waits for have been."""
    after: dict[str, list[str]] = {}
    unmet: dict[str, int] = {}
    for phase_id, wanted in waits_for:
        if wanted in tier_of and tier_of.get(phase_id) == tier_of[wanted]:
            after.setdefault(wanted, []).append(phase_id)
            unmet[phase_id] = unmet.get(phase_id, 0) + 1
    length = {phase_id: 1 for phase_id in after if phase_id not in unmet}
    longest: dict[int, int] = {}
    ready = list(length)
    while ready:
        phase_id = ready.pop()
        tier = tier_of[phase_id]
        longest[tier] = max(longest.get(tier, 1), length[phase_id])
        for follower in after.get(phase_id, ()):
            length[follower] = max(length.get(follower, 1), length[phase_id] + 1)
            unmet[follower] -= 1
            if not unmet[follower]:
                ready.append(follower)
    return longest


def look_ahead(
    run_id: str, *, tier_of: Mapping[str, int], waits_for: Collection[tuple[str, str]], weight: float, mine: Past, others: Past, my_price: Price, other_price: Price,
    concurrency: int,
) -> Outlook:  # fmt: skip
    """`tier_of` and `weight` are of the open phases, `waits_for` says which depends on which; `mine` is of this run's finished ones, `others` of the last of all runs."""
    phases_open = len(tier_of)
    if not phases_open:
        return Outlook(
            run_id=run_id, phases_open=0, tokens_expected=0, cost_expected_usd=0.0, seconds_left=0.0,
            concurrency=concurrency, basis="no phase is open that could be worked on without a person",
        )  # fmt: skip
    past, whose = _first_that_tells(mine, others)
    tokens = weight if past is None else weight * past.tokens / past.weight
    lanes = max(1, min(concurrency, phases_open))
    seconds, time_basis = _time(mine, others, rounds(tier_of, waits_for, lanes), lanes)
    cost, cost_basis = _cost(tokens, my_price, other_price)
    if past is None:
        told = (
            "tokens: the estimator alone, which counts the builder's output; prompts and reviews come on top"
        )
    else:
        told = f"tokens: what {whose} took, scaled by the estimator"
    return Outlook(
        run_id=run_id, phases_open=phases_open, tokens_expected=round(tokens), cost_expected_usd=cost,
        seconds_left=seconds, concurrency=lanes, basis="; ".join([told, cost_basis, time_basis]),
    )  # fmt: skip


def _first_that_tells(mine: Past, others: Past) -> tuple[Past | None, str]:
    """The run's own phases where there are some, else those of all runs."""
    for past, whose in (
        (mine if mine.phases >= _MANY else Past(), f"{count(mine.phases, 'finished phase')} of this run"),
        (others, f"the last {count(others.phases, 'finished phase')} of all runs"),
    ):
        if past.weight and past.tokens:
            return past, whose
    return None, ""


def _time(mine: Past, others: Past, in_a_row: int, lanes: int) -> tuple[float | None, str]:
    past, whose = (mine, "of this run") if mine.timed_phases else (others, "of all runs")
    if not past.timed_phases:
        return None, "time: unknown, no phase has finished yet"
    each = past.time.total_seconds() / past.timed_phases
    pace = f"{each:.1f} s" if each < 10 else span(timedelta(seconds=each))
    told = (
        f"time: {pace} a phase, from {count(past.timed_phases, 'finished phase')} {whose}, {lanes} at once"
        f" where tiers and dependencies allow it: {in_a_row} in a row at the least"
    )
    return round(each * in_a_row, 1), told


def _cost(tokens: float, mine: Price, others: Price) -> tuple[float | None, str]:
    if mine.replayed and not mine.tokens:
        return 0.0, "cost: recorded answers cost nothing"
    for price, whose in ((mine, "of this run"), (others, "of all runs")):
        if price.tokens:
            return round(tokens * price.nanos / price.tokens) / 1e9, f"cost: as the calls {whose} so far"
    return None, "cost: unknown, no call of known cost yet"
