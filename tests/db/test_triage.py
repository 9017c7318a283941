"""Sessions of triage as rows: begun, gone on with, fenced against a second controller; and what there is to try."""

from typing import Any

import pytest
from sqlalchemy import update

from autopack.db import runs, triage
from autopack.db.tables import PhaseRow
from autopack.domain.phases import AttemptOutcome, FailureKind, PhaseState, StateCause
from autopack.domain.triage import Candidate
from autopack.errors import Conflict, NotFound
from tests.db.support_queue import ON_BOTH, Queue
from tests.support import phase, plan

FAILED = AttemptOutcome.FAILED
BEFORE: dict[str, Any] = {"state": "FAILED", "attempts": 1}


def fail(queue: Queue, run_id: str = "r1", outcome: AttemptOutcome = FAILED, **more: Any) -> None:
    values = {"failure_kind": FailureKind.CHECKS_FAILED, "reason": "red", "retryable": False}
    queue.finish(queue.claim(run_id=run_id), outcome, **(values | more))


def begin(queue: Queue, session_id: str = "s1", **options: Any) -> None:
    with queue.session() as session:
        triage.open_session(session, session_id, options, now=queue.now)


def start(
    queue: Queue, position: int, phase_id: str = "p1", *, worker: str = "w1", run_id: str = "r1"
) -> Any:
    with queue.session() as session:
        return triage.start_item(
            session, "s1", position, (run_id, phase_id), worker=worker, before=BEFORE, now=queue.now
        )  # fmt: skip


def finish(queue: Queue, position: int, **result: Any) -> Any:
    with queue.session() as session:
        return triage.finish_item(session, "s1", position, result, now=queue.now)


def listed(queue: Queue, **more: Any) -> list[Candidate]:
    values: dict[str, Any] = {"run_id": None, "session_id": None, "after": None, "limit": 10}
    with queue.session() as session:
        return triage.candidates(session, **(values | more))


@ON_BOTH
def test_a_session_is_begun_tried_and_ended(queue: Queue):
    queue.create(plan(phases=[phase("p1")]))
    begin(queue, batch_size=3)
    queue.tick(seconds=1)
    started = start(queue, 1)
    assert (started.result, started.finished_at) == ({"worker": "w1", "before": BEFORE}, None)
    assert start(queue, 1) == started, "a repeat changes nothing"
    done = finish(queue, 1, after="COMPLETE")
    assert (done.result, done.finished_at) == ({"after": "COMPLETE"}, queue.now)
    assert finish(queue, 1, after="FAILED") == done, "the first end counts"
    with queue.session() as session:
        stopped = triage.stop(session, "s1", reason="batch size", ended=False, now=queue.now)
        assert (stopped.reason, stopped.ended_at, stopped.options) == ("batch size", None, {"batch_size": 3})
        assert [each.position for each in triage.items(session, "s1", after=0, limit=10)] == [1]
        assert triage.items(session, "s1", after=1, limit=10) == []


@ON_BOTH
def test_a_second_controller_on_a_session_is_refused(queue: Queue):
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    begin(queue)
    start(queue, 1)
    for position, phase_id in ((1, "p2"), (1, "p1"), (3, "p2")):
        with pytest.raises(Conflict, match="another controller"):
            start(queue, position, phase_id, worker="w2")
    with pytest.raises(NotFound, match="no phase p9"):
        start(queue, 2, "p9")
    with pytest.raises(NotFound, match="no item 7"):
        finish(queue, 7)


def test_a_session_that_has_ended_stays_ended(queue: Queue):
    begin(queue)
    begin(queue, batch_size=5)
    with queue.session() as session:
        assert triage.get(session, "s1").options == {"batch_size": 5}, "options that were given override"
        triage.stop(session, "s1", reason="nothing left", ended=True, now=queue.now)
        assert triage.stop(session, "s1", reason="later", ended=False, now=queue.now).reason == "nothing left"
    with pytest.raises(Conflict, match="has ended"):
        begin(queue)
    queue.tick(seconds=1)
    begin(queue, "s2")
    with queue.session() as session:
        assert [each.session_id for each in triage.page(session, unfinished=False, limit=5)] == ["s2", "s1"]
        assert [each.session_id for each in triage.page(session, unfinished=True, limit=5)] == ["s2"]
        with pytest.raises(NotFound, match="no triage session s9"):
            triage.get(session, "s9")
    with pytest.raises(NotFound, match="no triage session s9"):
        listed(queue, session_id="s9")


@ON_BOTH
def test_failed_phases_are_listed_across_runs_with_how_they_failed_last(queue: Queue):
    queue.create(plan(phases=[phase("p1"), phase("p2"), phase("p3", depends_on=["p1"])]))
    queue.create(plan("r2", phases=[phase("p1", max_attempts=2)]))
    queue.finish(queue.claim(run_id="r2"), FAILED, failure_kind=FailureKind.CHECKS_FAILED, reason="first")
    fail(queue, "r2", reason="line 12 of r2 is red")
    fail(queue, reason="line 7 of r1 is red\n" + "x" * 5000)
    one, other = listed(queue)
    assert (one.run_id, one.phase_id, one.state, one.has_base, one.tried) == (
        "r1",
        "p1",
        PhaseState.FAILED,
        True,
        0,
    )
    assert (other.run_id, other.failure_reason) == ("r2", "line 12 of r2 is red")
    assert len(one.failure_reason or "") == 300
    assert one.signature != other.signature
    assert [each.run_id for each in listed(queue, run_id="r2")] == ["r2"]
    assert [each.run_id for each in listed(queue, limit=1)] == ["r1"]
    assert [each.run_id for each in listed(queue, limit=1, after=("r1", 0))] == ["r2"]


@ON_BOTH
def test_attempts_of_triage_are_counted_in_all_sessions_but_for_those_that_had_to_wait(queue: Queue):
    queue.create(plan(phases=[phase("p1", max_attempts=1)]))
    fail(queue)
    assert listed(queue)[0].tried == 0, "before triage"
    for session_id in ("s1", "s2"):
        queue.tick(seconds=1)
        begin(queue, session_id)
        with queue.session() as session:
            triage.start_item(session, session_id, 1, ("r1", "p1"), worker="w1", before=BEFORE, now=queue.now)
        queue.tick(seconds=1)
        wait = {"failure_kind": FailureKind.PROVIDER_LIMIT, "retry_after_seconds": 0.0}
        queue.finish(queue.claim(phase_id="p1"), AttemptOutcome.DEFERRED, **wait)
        fail(queue)
        queue.tick(seconds=1)
        with queue.session() as session:
            triage.finish_item(session, session_id, 1, {}, now=queue.now)
    queue.tick(seconds=1)
    queue.finish(queue.claim(phase_id="p1"), FAILED, retryable=False)  # by a drain
    assert listed(queue)[0].tried == 2


@ON_BOTH
def test_what_a_session_left_open_is_listed_with_it_and_only_with_it(queue: Queue):
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    begin(queue)
    start(queue, 1)
    assert listed(queue) == []
    (found,) = listed(queue, session_id="s1")
    assert (found.phase_id, found.state, found.signature) == ("p1", PhaseState.QUEUED, None)
    queue.claim()
    assert [each.state for each in listed(queue, session_id="s1")] == [PhaseState.EXECUTING]


def test_a_lost_worker_is_a_failure_too_and_always_of_the_same_class(queue: Queue):
    queue.create(plan(phases=[phase("p1", max_attempts=1), phase("p2", max_attempts=1)]))
    for worker in ("host|0123-45|pid:[1]|7|123", "other|9999-99|pid:[2]|8|4567"):
        assert queue.lost(queue.claim(worker=worker), worker)
    one, other = listed(queue)
    assert one.failure_kind is FailureKind.WORKER_LOST
    assert one.signature == other.signature is not None


def test_a_phase_without_attempts_knows_its_failure_itself(queue: Queue):
    """So it is with those of an earlier database."""
    queue.create(plan(phases=[phase("p1")]))
    with queue.session() as session:
        session.execute(update(PhaseRow).values(state=PhaseState.FAILED, failure_reason="it broke"))
    (found,) = listed(queue)
    assert (found.has_base, found.failure_kind, found.failure_reason) == (False, None, "it broke")
    assert found.signature is not None


def test_a_paused_run_is_told_as_such(queue: Queue):
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    fail(queue)
    with queue.session() as session:
        runs.pause(session, "r1", actor="Ann", now=queue.now, cause=StateCause.PERSON, reason="wait")
    assert listed(queue)[0].run_state == "PAUSED"
