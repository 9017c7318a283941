"""Caps on a day of all runs together: checked with the run's, moved by what a call used, and released by who is gone."""

from typing import Any

import pytest

from autopack.db import attempts, calls, daily, runs
from autopack.db.tables import DailyUsageRow, LlmUsageEventRow
from autopack.domain.caps import day_of
from autopack.domain.messages import ProviderMode, Usage
from autopack.domain.phases import (
    AttemptOutcome,
    Claim,
    FailureKind,
    IdleReason,
    PhaseState,
    RunState,
    StateCause,
)
from autopack.errors import BudgetReached
from tests.db.support_queue import ON_BOTH, Queue, failed
from tests.support import phase, plan

TODAY, TOMORROW = "2026-01-01", "2026-01-02"


def cap(queue: Queue, tokens: int | None = None, usd: float | None = None) -> None:
    with queue.session() as session:
        daily.set_caps(session, token_cap=tokens, cost_cap_usd=usd, actor="Ann", now=queue.now)


def days(queue: Queue) -> dict[str, tuple[int, int, float, float]]:
    """Per day: tokens used and set aside, dollars used and set aside."""
    return {
        row["day"]: (row["tokens_used"], row["tokens_reserved"], row["cost_usd"], row["cost_reserved_usd"])
        for row in queue.rows(DailyUsageRow)
    }


def report(queue: Queue, claim: Claim, error: BudgetReached) -> bool:
    with queue.session() as session:
        return calls.pause_for_budget(session, claim.attempt_id, str(error), now=queue.now)


def pause(queue: Queue, claim: Claim) -> None:
    """As a worker does whose call does not fit."""
    with pytest.raises(BudgetReached) as reached:
        queue.reserve(claim)
    assert report(queue, claim, reached.value)
    queue.finish(claim, AttemptOutcome.DEFERRED, failure_kind=FailureKind.BUDGET, reason=str(reached.value))


@ON_BOTH
@pytest.mark.parametrize(
    ("caps", "said"),
    [
        ({"tokens": 1500}, r"token cap of the day 2026-01-01 \(UTC\): 1500 tokens, 0 used and 1000 set aside.*2000 or more"),
        ({"usd": 1.5}, r"cost cap of the day 2026-01-01 \(UTC\): 1.5 USD, 0 used and 1 set aside.*2 USD or more"),
    ],
    ids=["tokens", "usd"],
)  # fmt: skip
def test_what_all_runs_take_in_a_day_is_capped(queue: Queue, caps: dict[str, Any], said: str) -> None:
    cap(queue, **caps)
    queue.create(plan("r1"))
    queue.create(plan("r2"))
    one, other = queue.claim(), queue.claim(run_id="r2")
    call = queue.reserve(one)
    with pytest.raises(BudgetReached, match=said):
        queue.reserve(other)
    assert queue.rows(LlmUsageEventRow)[0]["run_id"] == "r1"
    with queue.session() as session:
        refused = runs.row(session, "r2")
        assert (refused.tokens_reserved, refused.cost_reserved_usd) == (0, 0.0), "rolled back with the rest"
    queue.settle(one, call.call_id)
    assert days(queue) == {TODAY: (42, 0, 0.25, 0.0)}
    queue.reserve(other)


def test_the_runs_own_cap_is_asked_first(queue: Queue) -> None:
    cap(queue, tokens=10)
    queue.create(plan(token_cap=10))
    with pytest.raises(BudgetReached, match="token cap of run r1"):
        queue.reserve(queue.claim())
    assert days(queue) == {}


def test_a_replayed_call_is_no_matter_of_the_day(queue: Queue) -> None:
    cap(queue, tokens=10, usd=0.01)
    queue.create(plan())
    claim = queue.claim()
    call = queue.reserve(claim, provider_mode=ProviderMode.REPLAY, reserve_cost_usd=0.0)
    queue.settle(claim, call.call_id, cost_usd=0.0)
    assert days(queue) == {}
    assert queue.run()["tokens_used"] == 42


@ON_BOTH
def test_a_call_belongs_to_the_day_on_which_it_was_reserved(queue: Queue) -> None:
    cap(queue, tokens=1000)
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    queue.tick(hours=23, minutes=59)
    late, lost = queue.claim(), queue.claim(lease_seconds=7200)
    call = queue.reserve(late)
    queue.tick(seconds=50)
    queue.renew(late)
    queue.tick(seconds=50)
    following = queue.reserve(lost)
    queue.settle(late, call.call_id)
    assert days(queue) == {TODAY: (42, 0, 0.25, 0.0), TOMORROW: (0, 1000, 0.0, 1.0)}
    queue.lost(lost)
    assert days(queue)[TOMORROW] == (0, 0, 0.0, 0.0)
    queue.settle(lost, following.call_id)
    assert days(queue)[TOMORROW] == (42, 0, 0.25, 0.0), "a late answer is counted where it was asked for"


def test_a_cut_answer_keeps_its_worst_case_of_the_day_and_a_refused_one_gives_it_back(queue: Queue) -> None:
    queue.create(plan())
    claim = queue.claim()
    for paid in (False, True):
        queue.settle(claim, queue.reserve(claim).call_id, **failed("gone", paid=paid))
    assert days(queue) == {TODAY: (0, 1000, 0.0, 1.0)}


@ON_BOTH
def test_a_cap_of_the_day_pauses_the_run_until_the_next_day_or_a_higher_cap(queue: Queue) -> None:
    cap(queue, tokens=999)
    queue.create(plan())
    pause(queue, queue.claim())
    run = queue.run()
    assert (run["state"], run["state_cause"]) == (RunState.PAUSED, StateCause.DAILY_CAP)
    idle = queue.idle()
    assert idle.reason is IdleReason.BUDGET
    assert "the day ends at 2026-01-02 00:00 UTC" in idle.detail
    assert "would have to be 1000 or more" in idle.detail
    assert "`autopack budget set`" in idle.detail
    resume(queue)
    pause(queue, queue.claim())  # nothing has changed
    cap(queue, tokens=1000)
    resume(queue)
    claim = queue.claim()
    queue.settle(claim, queue.reserve(claim).call_id)
    with pytest.raises(BudgetReached):
        queue.reserve(claim, request_key="o" * 64)
    queue.tick(days=1)
    queue.renew(claim)
    queue.reserve(claim, request_key="o" * 64)


def resume(queue: Queue) -> None:
    with queue.session() as session:
        runs.resume(session, "r1", caps={}, actor="Ann", now=queue.now)


@ON_BOTH
def test_a_run_waits_for_the_calls_of_others_before_the_day_is_called_full(queue: Queue) -> None:
    cap(queue, tokens=1000)
    queue.create(plan("r1"))
    queue.create(plan("r2"))
    other = queue.claim(run_id="r2")
    call = queue.reserve(other)
    mine = queue.claim()
    with pytest.raises(BudgetReached) as reached:
        queue.reserve(mine)
    assert not report(queue, mine, reached.value), "the call of r2 may leave room"
    queue.settle(other, call.call_id, usage=Usage(input_tokens=1, output_tokens=0))
    assert report(queue, mine, reached.value)


@ON_BOTH
def test_what_a_lost_worker_of_another_run_held_of_the_day_is_given_back_when_its_lease_has_ended(
    queue: Queue,
) -> None:
    cap(queue, tokens=1000)
    queue.create(plan("r1"))
    queue.create(plan("r2"))
    queue.reserve(queue.claim(run_id="r2"))
    mine = queue.claim(lease_seconds=3600.0)
    assert ended(queue) == 0, "its lease runs"
    queue.tick(seconds=61)
    assert ended(queue) == 1
    queue.reserve(mine)
    with queue.session() as session:
        assert runs.get(session, "r2").phase_counts == {PhaseState.QUEUED: 1}
        assert runs.row(session, "r2").tokens_reserved == 0


def ended(queue: Queue) -> int:
    with queue.session() as session:
        return attempts.end_those_that_hold(session, day_of(queue.now), now=queue.now)


def test_caps_are_replaced_as_a_whole_and_say_by_whom(queue: Queue) -> None:
    with queue.session() as session:
        assert daily.get(session, TODAY).updated_by is None
    cap(queue, tokens=5, usd=0.5)
    queue.tick(hours=1)
    cap(queue, tokens=6)
    with queue.session() as session:
        found = daily.get(session, TODAY)
    assert (found.account.token_cap, found.account.cost_cap_usd) == (6, None)
    assert (found.updated_by, found.updated_at) == ("Ann", queue.now)
