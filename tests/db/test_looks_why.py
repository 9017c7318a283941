"""Why a run does not move: each phase's own reason, in words, and the command that helps."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from autopack.db import calls, phases, runs
from autopack.db.looks import events, why, workers
from autopack.db.tables import EventRow
from autopack.domain.looks.why import Hold, PhaseWhy, Why
from autopack.domain.phases import AttemptOutcome, FailureKind, PhaseState, RunState, StateCause
from autopack.errors import BudgetReached, NotFound
from tests.db.support_queue import ON_BOTH, Queue
from tests.db.test_approvals import REJECTS, wait_in_gate
from tests.support import phase, plan

WORKER = "build-3|b00t|pid:[1]|4711|99"


def asked(queue: Queue, run_id: str = "r1") -> Why:
    with queue.session() as session:
        return why.why(session, run_id, now=queue.now)


def of(found: Why, phase_id: str) -> PhaseWhy:
    return next(each for each in found.phases if each.phase_id == phase_id)


def tiers(*groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"tier_id": f"T{number}", "phases": group} for number, group in enumerate(groups, 1)]


@ON_BOTH
def test_each_phase_that_is_not_done_has_its_own_reason(queue: Queue) -> None:
    first = [phase(name) for name in ("done", "red", "asks", "works", "later", "due")]
    first.append(phase("bound", depends_on=["red", "due"]))
    queue.create(plan(tiers=tiers(first, [phase("next")])))
    queue.finish(queue.claim(phase_id="done"))
    red = queue.claim(phase_id="red")
    queue.finish(
        red, AttemptOutcome.FAILED, failure_kind=FailureKind.POLICY_VIOLATION, reason="x is forbidden\nlog"
    )
    request = wait_in_gate(queue, "asks")
    limited = {"failure_kind": FailureKind.PROVIDER_LIMIT, "reason": "429", "retry_after_seconds": 600.0}
    queue.finish(queue.claim(phase_id="later"), AttemptOutcome.FAILED, **limited)
    works = queue.claim(phase_id="works", worker=WORKER)
    queue.tick(seconds=20)
    queue.renew(works, step="checking")
    found = asked(queue)
    assert [(each.phase_id, each.hold) for each in found.phases] == [
        ("red", Hold.FAILED), ("asks", Hold.APPROVAL), ("works", Hold.EXECUTING), ("due", Hold.DUE),
        ("later", Hold.NOT_BEFORE), ("bound", Hold.DEPENDENCY), ("next", Hold.TIER),
    ]  # fmt: skip
    assert of(found, "red").text == "failed: policy violation: x is forbidden"
    assert of(found, "red").do == ("autopack phase requeue r1 red", "autopack phase skip r1 red")
    assert of(found, "asks").text == f"waits for your approval (request {request}): Makefile"
    assert of(found, "asks").do[1] == f"autopack approvals approve {request}"
    assert of(found, "works").text == (
        "is being worked on for 20 s (try 1 by process 4711 on build-3, since 00:00 UTC), now: checking"
    )
    assert of(found, "later").text == "waits until 00:10 UTC after provider limit: 429"
    assert of(found, "bound").text == "depends on red, which is FAILED"
    assert of(found, "next").text == "waits for the earlier tier T1: 6 phases of it are open, red is FAILED"
    assert of(found, "next").do == of(found, "red").do
    assert found.moves
    assert found.text == (
        "It moves: 1 phase is being worked on; 1 more phase is due. 1 phase waits for your approval and 1 phase failed."
    )
    assert found.do == ("autopack approvals list --run-id r1", "autopack phase requeue r1 --failed")
    assert found.counts == {hold.value: 1 for hold in Hold if hold is not Hold.CANCELLED}


@ON_BOTH
def test_a_worker_that_is_gone_and_work_that_nobody_drains_are_said(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    assert asked(queue).text == "2 phases are due, and nothing drains this run."
    assert asked(queue).do == ("autopack drain --run-id r1",)
    claim = queue.claim(worker=WORKER)
    queue.tick(seconds=61)
    found = asked(queue)
    assert not found.moves
    assert found.text == (
        "1 worker did not renew in time and is taken for gone: any drain takes the work back, and none is running."
    )
    assert of(found, "p1").text == (
        "its worker is gone: try 1 by process 4711 on build-3 did not renew since 00:01 UTC; any drain takes it back"
    )
    with queue.session() as session:
        (look,) = workers.look(session, now=queue.now, limit=10)
    assert (look.worker, [(each.attempt_id, each.expired) for each in look.leases]) == (
        WORKER, [(claim.attempt_id, True)],
    )  # fmt: skip


@ON_BOTH
def test_only_a_later_moment_is_waited_for(queue: Queue) -> None:
    queue.create(plan())
    limited = {"failure_kind": FailureKind.PROVIDER_LIMIT, "retry_after_seconds": 7200.0}
    queue.finish(queue.claim(), AttemptOutcome.FAILED, **limited)
    assert asked(queue).text == "Nothing is due before 02:00 UTC, in 2 h; a drain goes on then."
    queue.tick(hours=-3)
    assert asked(queue).text == "Nothing is due before 02:00 on 2026-01-01 UTC, in 5 h; a drain goes on then."


@ON_BOTH
def test_a_run_that_a_person_paused_says_who_and_why(queue: Queue) -> None:
    queue.create(plan())
    queue.claim()
    with queue.session() as session:
        runs.pause(session, "r1", actor="ann (10.0.0.1 cli)", now=queue.now, reason="the provider is down")
    queue.tick(seconds=5)
    found = asked(queue)
    assert found.state is RunState.PAUSED
    assert found.text == (
        "Paused by ann at 00:00 UTC: the provider is down. Nothing more of it is claimed. "
        "What is being worked on (1 phase) ends as it would."
    )
    assert found.do == ("autopack run resume r1",)


@ON_BOTH
@pytest.mark.parametrize(
    ("cap", "do"),
    [
        ({"token_cap": 900}, "autopack run resume r1 --token-cap 1000"),
        ({"cost_cap_usd": 0.4}, "autopack run resume r1 --cost-cap-usd 1"),
    ],
)
def test_a_cap_says_how_much_would_do(queue: Queue, cap: dict[str, Any], do: str) -> None:
    queue.create(plan(**cap))
    claim = queue.claim()
    with pytest.raises(BudgetReached) as refused:
        queue.reserve(claim)
    with queue.session() as session:
        assert calls.pause_for_budget(session, claim.attempt_id, str(refused.value), now=queue.now)
    found = asked(queue)
    assert found.text.startswith("Paused at 00:00 UTC for a cap: ")
    assert found.do == (do,)


def test_every_other_cap_has_its_command_too(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    queue.claim()
    for cause, reason, do in (
        (StateCause.MAX_PHASES, "max_phases is 1", "autopack run resume r1 --max-phases 2"),
        (
            StateCause.DURATION,
            "max_duration_minutes is 1",
            "autopack run resume r1 --max-duration-minutes 61",
        ),
        (StateCause.COST_CAP, "the price of m is unknown", "autopack run set r1 --cost-cap-usd none"),
        (
            StateCause.DAILY_CAP,
            "the cap would have to be 70 or more",
            "autopack budget set --daily-tokens 70",
        ),
    ):
        queue.tick(seconds=30)
        with queue.session() as session:
            runs.pause(session, "r1", actor="autopack", now=queue.now, cause=cause, reason=reason)
            assert why.why(session, "r1", now=queue.now).do[0] == do
            runs.resume(session, "r1", caps={}, actor="ann", now=queue.now)


@ON_BOTH
def test_what_has_ended_says_how(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2", depends_on=["p1"])]))
    queue.finish(queue.claim(), AttemptOutcome.FAILED, failure_kind=FailureKind.POLICY_VIOLATION)
    queue.idle()
    found = asked(queue)
    assert found.text == "The run has ended with 1 failed phase; 1 more phase is held back by that."
    assert found.do == ("autopack phase requeue r1 --failed",)
    with queue.session() as session:
        phases.skip(session, "r1", "p1", actor="ann", now=queue.now)
        phases.requeue(session, "r1", "p1", actor="ann", now=queue.now)
    queue.finish(queue.claim())
    queue.finish(queue.claim())
    assert asked(queue).text == "Everything is done: 2 complete."
    queue.create(plan("r2"))
    with queue.session() as session:
        runs.cancel(session, "r2", actor="ann", now=queue.now)
    found = asked(queue, "r2")
    assert found.text == "The run was given up; 1 phase of it is not done."
    assert of(found, "p1").text == "was cancelled"


def test_a_request_that_ran_out_is_no_longer_waited_for(queue: Queue) -> None:
    queue.create(plan())
    wait_in_gate(queue, **REJECTS)
    queue.tick(hours=1)
    assert of(asked(queue), "p1").text.startswith("failed: approval timed out: nobody decided before")


def test_no_run_is_not_found(queue: Queue) -> None:
    with pytest.raises(NotFound, match="r9"):
        asked(queue, "r9")


@contextmanager
def statements(queue: Queue) -> Iterator[list[str]]:
    told: list[str] = []

    def tell(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        told.append(statement)

    event.listen(queue.database.engine, "before_cursor_execute", tell)
    yield told
    event.remove(queue.database.engine, "before_cursor_execute", tell)


def test_a_long_run_is_explained_as_fast_and_listed_in_part(queue: Queue) -> None:
    many = [phase(f"p{n}", depends_on=[f"p{n - 1}"] if n % 2 else []) for n in range(1200)]
    queue.create(plan(tiers=tiers(many, [phase(f"q{n}") for n in range(500)])))
    with statements(queue) as told:
        began = time.process_time()
        found = asked(queue)
        spent = time.process_time() - began
    assert found.counts == {"due": 600, "dependency": 600, "tier": 500}
    assert len(found.phases) == 60
    assert found.not_listed == 1640
    assert len(told) < 16
    assert spent < 2  # quadratic in the phases it takes much longer


@ON_BOTH
def test_events_of_all_runs_come_page_by_page(queue: Queue) -> None:
    with queue.session() as session:
        assert events.last_id(session) == 0
    queue.create(plan("r1"))
    queue.tick(hours=1)
    queue.create(plan("r2"))
    queue.claim(run_id="r2")
    rows = queue.rows(EventRow)
    with queue.session() as session:
        assert events.last_id(session) == rows[-1]["id"]
        first = events.page(session, after=0, limit=2)
        rest = events.page(session, after=first[-1].event_id, limit=100)
        assert [each.event_id for each in (*first, *rest)] == [row["id"] for row in rows]
        assert {each.run_id for each in events.page(session, after=0, limit=9, since=queue.now)} == {"r2"}
        assert {each.run_id for each in events.page(session, after=0, limit=9, run_id="r1")} == {"r1"}
        with pytest.raises(NotFound):
            events.page(session, after=0, limit=9, run_id="r9")


@ON_BOTH
def test_runs_and_phases_are_found_by_state_and_text(queue: Queue) -> None:
    queue.create(plan("r1", goal="Ship 100%_of it", phases=[phase("p1"), phase("p2", name="The Parser")]))
    queue.create(plan("other"))
    queue.claim()
    with queue.session() as session:

        def found(**wanted: Any) -> list[str]:
            return [run.run_id for run in runs.page(session, after=None, limit=10, **wanted)]

        assert found() == ["other", "r1"]
        assert found(state=RunState.RUNNING) == ["r1"]
        assert found(q="OTH") == ["other"]
        assert found(q="0%_o") == ["r1"]
        assert found(q="0__o") == []
        (run,) = runs.page(session, state=RunState.RUNNING, after=None, limit=10)
        assert run.phase_counts == {"EXECUTING": 1, "QUEUED": 1}

        def of_run(**wanted: Any) -> list[str]:
            return [each.phase_id for each in phases.page(session, "r1", after=-1, limit=10, **wanted)]

        assert of_run(q="parser") == ["p2"]
        assert of_run(q="p", state=PhaseState.EXECUTING) == ["p1"]
        assert of_run(tier="T1") == ["p1", "p2"]
        assert of_run(tier="T2") == []
