"""Rows that contradict each other, and leases that ran out, on both databases."""

from typing import Any

import pytest
from sqlalchemy import insert, update

from autopack.db import orphans
from autopack.db.orphans import give_back_expired
from autopack.db.tables import ApprovalRequestRow, AttemptRow, LlmUsageEventRow, PhaseRow, RunRow
from autopack.domain.doctor import Fault
from autopack.domain.phases import AttemptOutcome, PhaseState
from tests.db.support_queue import ON_BOTH, Queue, failed
from tests.support import phase, plan

pytestmark = ON_BOTH
PLAN = plan(phases=[phase("p1"), phase("p2"), phase("p3")])


def found(queue: Queue) -> dict[Fault, tuple[int, tuple[str, ...]]]:
    with queue.session() as session:
        inspection = orphans.inspect(session, now=queue.now)
    assert {each.fault for each in inspection.orphans} == set(Fault)
    return {each.fault: (each.number, each.examples) for each in inspection.orphans if each.number}


def change(queue: Queue, statement: Any) -> None:
    with queue.session() as session:
        session.execute(statement)


def test_a_queue_at_work_contradicts_nothing(queue: Queue):
    queue.create(PLAN)
    assert found(queue) == {}
    gated, under_way = queue.claim(), queue.claim()
    queue.settle(gated, queue.reserve(gated).call_id)
    unknown = queue.reserve(gated)
    queue.settle(gated, unknown.call_id, **failed("cut off", paid=True))
    refused = queue.reserve(gated)
    queue.settle(gated, refused.call_id, **failed("refused", paid=False))
    queue.reserve(under_way)
    request = {"reasons": [], "plan": {}, "diff": "", "diff_hash": "d" * 64, "base_commit": "b" * 40}
    queue.finish(gated, AttemptOutcome.NEEDS_APPROVAL, approval=request)
    assert queue.run()["tokens_reserved"] == 2000, "what a call of unknown usage had set aside stays"
    assert found(queue) == {}
    queue.tick(seconds=61)
    queue.claim()
    assert found(queue) == {}, "an attempt that was lost takes its calls with it"


def test_an_inspection_tells_the_clocks(queue: Queue):
    queue.create(PLAN)
    queue.tick(hours=-1)
    with queue.session() as session:
        told = orphans.inspect(session, now=queue.now)
    assert told.newest_event_at is not None
    assert (told.at, told.newest_event_at > told.at) == (queue.now, True)
    on_a_server = queue.database.location.path is None
    assert (told.database_at is not None) == on_a_server


def test_calls_that_outlived_their_attempt_are_found(queue: Queue):
    queue.create(PLAN)
    claim = queue.claim()
    queue.reserve(claim)
    queue.finish(claim)
    change(queue, update(LlmUsageEventRow).values(status="reserved"))
    assert found(queue) == {
        Fault.CALLS_OF_ENDED: (1, ("r1 p1",)),
        Fault.TOKENS_UNEXPLAINED: (1, ("r1",)),
    }


def test_waiting_for_nobody_is_found(queue: Queue):
    queue.create(PLAN)
    change(queue, update(PhaseRow).where(PhaseRow.phase_id == "p2").values(state=PhaseState.GATE))
    assert found(queue) == {Fault.GATE_WITHOUT_REQUEST: (1, ("r1 p2",))}


def test_a_request_that_nobody_waits_for_is_found(queue: Queue):
    queue.create(PLAN)
    claim = queue.claim()
    queue.finish(claim)
    asked = insert(ApprovalRequestRow).values(
        id="a1", run_id="r1", phase_id="p1", attempt_id=claim.attempt_id, status="pending", reasons=[], plan={}, diff="",
        diff_hash="d" * 64, base_commit="b" * 40, requested_at=queue.now,
    )  # fmt: skip
    change(queue, asked)
    assert found(queue) == {Fault.REQUEST_WITHOUT_GATE: (1, ("r1 p1",))}


def test_executing_without_an_attempt_and_the_other_way_round_are_found(queue: Queue):
    queue.create(PLAN)
    queue.claim()
    change(queue, update(PhaseRow).where(PhaseRow.phase_id != "p3").values(state=PhaseState.EXECUTING))
    change(queue, update(PhaseRow).where(PhaseRow.phase_id == "p1").values(state=PhaseState.QUEUED))
    assert found(queue) == {
        Fault.EXECUTING_WITHOUT_ATTEMPT: (1, ("r1 p2",)),
        Fault.ATTEMPT_WITHOUT_EXECUTING: (1, ("r1 p1",)),
    }


def test_a_run_that_goes_on_without_anything_to_do_is_found(queue: Queue):
    queue.create(PLAN)
    change(queue, update(PhaseRow).values(state=PhaseState.COMPLETE))
    change(queue, update(RunRow).values(state="RUNNING"))
    assert found(queue) == {Fault.RUN_WITHOUT_OPEN_PHASE: (1, ("r1",))}


@pytest.mark.parametrize("held", [999, 1001])
def test_tokens_that_no_call_explains_are_found(queue: Queue, held: int):
    queue.create(PLAN)
    queue.reserve(queue.claim())
    assert found(queue) == {}
    change(queue, update(RunRow).values(tokens_reserved=held))
    assert found(queue) == {Fault.TOKENS_UNEXPLAINED: (1, ("r1",))}


def test_many_are_counted_and_a_few_named(queue: Queue):
    queue.create(plan(phases=[phase(f"p{n}") for n in range(9)]))
    change(queue, update(PhaseRow).values(state=PhaseState.GATE))
    assert found(queue)[Fault.GATE_WITHOUT_REQUEST] == (9, ("r1 p0", "r1 p1", "r1 p2", "r1 p3", "r1 p4"))


def test_leases_that_ran_out_are_given_back_in_every_run_and_live_ones_are_left(queue: Queue):
    queue.create(PLAN)
    queue.create(plan(run_id="r2"))
    lost = [queue.claim(), queue.claim(run_id="r2")]
    queue.tick(seconds=50)
    alive = queue.claim()
    queue.tick(seconds=20)
    assert give_back_expired(queue.database, lambda: queue.now) == 2
    assert give_back_expired(queue.database, lambda: queue.now) == 0
    states = {row["id"]: row["outcome"] for row in queue.rows(AttemptRow)}
    assert [states[each.attempt_id] for each in lost] == ["LOST", "LOST"]
    assert states[alive.attempt_id] is None
    assert queue.phase("p1").state is PhaseState.QUEUED
    queue.finish(alive)
    assert found(queue) == {}
