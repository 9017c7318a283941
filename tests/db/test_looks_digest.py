"""What happened in a stretch of time, and what waits for a person: the same on both databases, to the nano-dollar."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from autopack.db import daily, runs
from autopack.db.looks import digest, outlook
from autopack.domain.looks.digest import Digest, Need
from autopack.domain.looks.outlook import Outlook
from autopack.domain.messages import ProviderMode
from autopack.domain.phases import AttemptOutcome, Claim, FailureKind, RunState, StateCause
from autopack.domain.usage import Cost, Tokens
from autopack.errors import InvalidInput, NotFound
from tests.db.support_queue import ON_BOTH, START, Queue
from tests.db.support_queue import failed as unanswered
from tests.db.test_approvals import decide, wait_in_gate
from tests.support import phase, plan

WORKER = "build-3|b00t|pid:[1]|4711|99"
RED = {"failure_kind": FailureKind.POLICY_VIOLATION, "reason": "Makefile is forbidden\nmore"}


def told(queue: Queue, since: datetime = START, until: datetime | None = None) -> Digest:
    with queue.session() as session:
        return digest.digest(session, since=since, until=until, now=queue.now)


def spend(queue: Queue, claim: Claim, mode: ProviderMode = ProviderMode.LIVE, **more: Any) -> None:
    made = queue.reserve(claim, provider_mode=mode, request_key=queue.new_id("k") * 2)
    queue.settle(claim, made.call_id, **more)


@ON_BOTH
def test_a_night_is_told_with_what_needs_a_person_first(queue: Queue) -> None:
    queue.create(plan("r1", phases=[phase(f"p{n}") for n in range(1, 6)]))
    queue.finish(queue.claim(worker=WORKER))
    queue.tick(hours=10)
    left = queue.now
    queue.create(plan("r2"))
    for cost in (0.1, 0.2):
        claim = queue.claim(worker=WORKER)
        spend(queue, claim, cost_usd=cost)
        queue.finish(claim, **({} if cost == 0.1 else {"outcome": AttemptOutcome.FAILED, **RED}))
    queue.tick(hours=1)
    request = wait_in_gate(queue, "p4")
    lost = queue.claim(worker=WORKER)
    spend(queue, lost, **unanswered("cut off", paid=True))
    spend(queue, lost, ProviderMode.REPLAY)
    assert queue.lost(lost, worker=WORKER)
    with queue.session() as session:
        daily.set_caps(session, actor="ann (10.0.0.1 cli)", now=queue.now, token_cap=5)
    queue.tick(minutes=1)
    found = told(queue, left)
    assert [(need.need, need.run_id, need.phase_id) for need in found.needs_you] == [
        (Need.APPROVAL, "r1", "p4"), (Need.FAILED, "r1", "p3"), (Need.STALLED, "r1", None),
    ]  # fmt: skip
    assert found.needs_you[0].text == "p4 waits for your approval for 60 s: a person decides"
    assert found.needs_you[0].do[0] == f"autopack approvals show {request}"
    assert found.needs_you[1].text == "1 phase failed: p3 (policy violation: Makefile is forbidden)"
    assert found.needs_you[2].do == ("autopack drain --run-id r1",)
    assert [each.phase_id for each in found.finished] == ["p2"]
    assert [(each.phase_id, each.reason) for each in found.failed] == [("p3", "Makefile is forbidden")]
    assert [(run.run_id, run.state_before, run.state) for run in found.runs] == [
        ("r1", RunState.RUNNING, RunState.RUNNING), ("r2", None, RunState.QUEUED),
    ]  # fmt: skip
    assert (found.runs[0].finished, found.runs[0].failed) == (1, 1)
    assert found.runs[0].phase_counts == {"COMPLETE": 2, "FAILED": 1, "GATE": 1, "QUEUED": 1}
    assert found.runs[0].spent == found.spent
    assert found.spent.cost == Cost(known_usd=0.3, unknown_calls=1)
    assert found.spent.tokens == Tokens(known=84, unknown_calls=1)
    assert (found.replayed.calls, found.replayed.tokens.known) == (1, 42)
    assert found.attempts == {"COMPLETE": 1, "FAILED": 1, "LOST": 1, "NEEDS_APPROVAL": 1}
    assert [(each.kind, each.run_id) for each in found.by_people] == [
        ("daily_caps_changed", None), ("run_created", "r2"),
    ]  # fmt: skip
    assert found.counts == {"runs": 2, "finished": 1, "failed": 1, "approvals_waiting": 1, "by_people": 2}


@ON_BOTH
def test_two_times_that_follow_each_other_share_nothing_and_miss_nothing(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    claim = queue.claim()
    queue.tick(minutes=5)
    spend(queue, claim)
    queue.finish(claim)
    middle = queue.now
    queue.tick(minutes=5)
    claim = queue.claim()
    spend(queue, claim)
    queue.finish(claim)
    queue.tick(minutes=5)
    early, late = told(queue, START, middle), told(queue, middle)
    assert [[each.phase_id for each in part.finished] for part in (early, late)] == [[], ["p1", "p2"][::-1]]
    assert (early.spent.calls, late.spent.calls) == (0, 2)
    assert (early.runs[0].state, late.runs[0].state) == (RunState.RUNNING, RunState.DONE_SUCCESS)
    assert early.runs[0].state_before is None
    assert late.runs[0].state_before is RunState.RUNNING
    assert told(queue, middle, queue.now + timedelta(days=9)).until == queue.now


@ON_BOTH
def test_a_cap_that_was_reached_is_named_and_waits_for_a_person(queue: Queue) -> None:
    queue.create(plan(max_phases=1, phases=[phase("p1"), phase("p2")]))
    queue.finish(queue.claim())
    queue.idle()
    queue.tick(minutes=1)
    found = told(queue)
    assert [event.detail["reason"] for event in found.caps_reached] == ["max_phases is 1, and that many phases were started"]  # fmt: skip
    (need,) = found.needs_you
    assert need.need is Need.PAUSED
    assert need.do == ("autopack run resume r1 --max-phases 2",)


@ON_BOTH
def test_old_failures_of_runs_that_have_ended_need_nobody(queue: Queue) -> None:
    queue.create(plan(phases=[phase(f"p{n}") for n in range(5)]))
    for _ in range(5):
        queue.finish(queue.claim(), AttemptOutcome.FAILED, **RED)
    queue.tick(hours=1)
    (need,) = told(queue).needs_you
    assert need.text.startswith("5 phases failed: p4 (")
    assert need.text.endswith(" and 2 more")
    assert need.do == ("autopack why r1", "autopack phase requeue r1 --failed")
    assert told(queue, queue.now - timedelta(minutes=5)).needs_you == ()


@ON_BOTH
def test_what_a_person_decided_is_theirs_and_what_the_machine_did_is_not(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    decide(queue, wait_in_gate(queue, "p1"), approved=False, reason="no")
    with queue.session() as session:
        runs.pause(session, "r1", actor="autopack", now=queue.now, cause=StateCause.DURATION, reason="max_duration_minutes is 1")  # fmt: skip
    queue.tick(seconds=1)
    found = told(queue)
    assert "rejected" in [event.kind for event in found.by_people]
    assert not [event for event in found.by_people if event.actor == "autopack"]


def test_a_time_in_which_nothing_can_have_happened_is_refused(queue: Queue) -> None:
    with pytest.raises(InvalidInput, match="still to come"):
        told(queue, queue.now + timedelta(seconds=1))
    queue.tick(hours=1)
    with pytest.raises(InvalidInput, match="is not after since"):
        told(queue, queue.now, queue.now)
    empty = told(queue)
    assert (empty.runs, empty.needs_you, empty.spent.tokens.known) == ((), (), 0)


def ahead(queue: Queue, run_id: str = "r1") -> Outlook:
    with queue.session() as session:
        return outlook.look(session, run_id)


@ON_BOTH
def test_what_is_left_is_made_from_what_was_and_says_so(queue: Queue) -> None:
    queue.create(plan(phases=[phase(f"p{n}") for n in range(8)]))
    first = ahead(queue)
    assert (first.phases_open, first.cost_expected_usd, first.seconds_left) == (8, None, None)
    assert first.tokens_expected > 0
    assert first.basis.startswith("tokens: the estimator alone")
    for _ in range(4):
        claim = queue.claim()
        spend(queue, claim)
        queue.tick(seconds=30)
        queue.finish(claim)
    found = ahead(queue)
    assert (found.phases_open, found.tokens_expected) == (4, 4 * 42)
    assert (found.cost_expected_usd, found.seconds_left, found.concurrency) == (1.0, 120.0, 1)
    assert "of 4 finished phases" not in found.basis
    assert "4 finished phases of this run" in found.basis
    with queue.session() as session:
        runs.change(session, "r1", {"concurrency": 3}, actor="ann", now=queue.now)
    assert (ahead(queue).concurrency, ahead(queue).seconds_left) == (3, 60.0)
    queue.create(plan("r2", phases=[phase("p1"), phase("p2")]))
    other = ahead(queue, "r2")
    assert (other.tokens_expected, other.cost_expected_usd, other.seconds_left) == (84, 0.5, 60.0)
    assert "of all runs" in other.basis
    chain = [phase("a1"), phase("a2", depends_on=["a1"]), phase("a3", depends_on=["a2"]), phase("a4")]
    tiers = [{"tier_id": "T1", "phases": chain}, {"tier_id": "T2", "phases": [phase("b1"), phase("b2")]}]
    queue.create({**plan("r3"), "tiers": tiers})
    with queue.session() as session:
        runs.change(session, "r3", {"concurrency": 4}, actor="ann", now=queue.now)
    assert ahead(queue, "r3").seconds_left == 4 * 30
    assert "4 in a row at the least" in ahead(queue, "r3").basis


@ON_BOTH
def test_replayed_answers_will_cost_nothing_and_a_done_run_nothing_at_all(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    claim = queue.claim()
    spend(queue, claim, ProviderMode.REPLAY, cost_usd=None)
    queue.finish(claim)
    assert ahead(queue).cost_expected_usd == 0.0
    queue.finish(queue.claim())
    done = ahead(queue)
    assert (done.phases_open, done.tokens_expected, done.seconds_left) == (0, 0, 0.0)
    with pytest.raises(NotFound):
        ahead(queue, "r9")
