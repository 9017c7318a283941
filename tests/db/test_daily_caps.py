"""Caps on a day of all runs together: checked with the run's, moved by what a call used, and released by who is gone."""

from typing import Any

import pytest
from sqlalchemy import text, update

from autopack.db import attempts, calls, daily, runs
from autopack.db.tables import DailyUsageRow, LlmUsageEventRow, RunRow
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
from tests.db.support_queue import ON_BOTH, ON_POSTGRESQL, Queue, failed
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
@pytest.mark.parametrize("of_day", [True, False])
def test_a_cap_that_no_end_of_a_call_can_satisfy_pauses_at_once(queue: Queue, of_day: bool) -> None:
    cap(queue, tokens=1000 if of_day else None)
    queue.create(plan(phases=[phase("p1"), phase("p2")], token_cap=None if of_day else 1000))
    queue.reserve(queue.claim(), reserve_tokens=10)
    mine = queue.claim()
    with pytest.raises(BudgetReached, match="no call under way can make room") as reached:
        queue.reserve(mine, reserve_tokens=5000)
    assert report(queue, mine, reached.value)
    assert queue.run()["state"] == RunState.PAUSED


def test_a_cap_of_a_day_that_is_over_pauses_nobody(queue: Queue) -> None:
    cap(queue, tokens=999)
    queue.create(plan())
    queue.tick(hours=23, minutes=59, seconds=59.9)
    claim = queue.claim()
    with pytest.raises(BudgetReached) as reached:
        queue.reserve(claim)
    queue.tick(seconds=0.1)
    assert not report(queue, claim, reached.value), "it may fit today"
    assert queue.run()["state"] == RunState.RUNNING


@ON_BOTH
def test_what_a_lost_worker_of_another_run_held_of_the_day_is_given_back_when_its_lease_has_ended(
    queue: Queue,
) -> None:
    cap(queue, tokens=1000)
    queue.create(plan("r1"))
    queue.create(plan("r2"))
    queue.reserve(queue.claim(run_id="r2"))
    mine = queue.claim(lease_seconds=3600.0)
    assert not ended(queue), "its lease runs"
    queue.tick(seconds=61)
    assert ended(queue)
    assert not ended(queue)
    queue.reserve(mine)
    with queue.session() as session:
        assert runs.get(session, "r2").phase_counts == {PhaseState.QUEUED: 1}
        assert runs.row(session, "r2").tokens_reserved == 0


def ended(queue: Queue) -> bool:
    with queue.session() as session:
        return attempts.end_one_that_holds(session, day_of(queue.now), now=queue.now)


@ON_POSTGRESQL
def test_who_gives_back_what_others_held_never_waits_for_one_run_with_the_day_locked(queue: Queue) -> None:
    """A call that is being reserved has locked its run, and will lock the day."""
    cap(queue, tokens=5000)
    for run_id in ("r1", "r2"):
        queue.create(plan(run_id, phases=[phase("p1"), phase("p2")]))
        queue.reserve(queue.claim(run_id=run_id))
    lives = queue.claim(run_id="r2", lease_seconds=3600.0)
    queue.tick(seconds=61)
    with queue.session() as session:
        runs.row(session, "r2", lock=True)
        with queue.session() as other:
            other.execute(text("SET LOCAL lock_timeout = '5s'"))  # it would wait for ever
            assert attempts.end_one_that_holds(other, TODAY, now=queue.now), "that of r1 alone"
        asked = queue.request(request_key="o" * 64)
        calls.reserve(session, lives.attempt_id, lives.lease_token, asked, now=queue.now)
    assert ended(queue), "that of r2"
    assert days(queue)[TODAY][1] == 1000


@ON_BOTH
def test_what_is_set_aside_is_never_less_than_nothing(queue: Queue) -> None:
    """What an earlier version set aside was no whole number of nano-dollars: more may be given back than is there."""
    queue.create(plan())
    claim = queue.claim()
    call = queue.reserve(claim, reserve_cost_usd=0.3)
    with queue.session() as session:
        session.execute(update(RunRow).values(cost_reserved_usd=0.299999998))
        session.execute(update(DailyUsageRow).values(cost_reserved_usd=0.299999998))
    queue.settle(claim, call.call_id)
    assert queue.run()["cost_reserved_usd"] == 0.0
    assert days(queue) == {TODAY: (42, 0, 0.25, 0.0)}


@ON_BOTH
def test_caps_are_set_each_by_its_name_and_say_by_whom(queue: Queue) -> None:
    with queue.session() as session:
        assert daily.get(session, TODAY).updated_by is None
    cap(queue, tokens=5, usd=0.5)
    queue.tick(hours=1)
    for named in ({"token_cap": 6}, {"cost_cap_usd": None}):
        with queue.session() as session:
            daily.set_caps(session, actor="Bob", now=queue.now, **named)
    with queue.session() as session:
        found = daily.get(session, TODAY)
    assert (found.account.token_cap, found.account.cost_cap_usd) == (6, None)
    assert (found.updated_by, found.updated_at) == ("Bob", queue.now)
