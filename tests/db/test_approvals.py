"""A person's word, on exactly what was shown: once, in time, and never made up."""

import threading
from pathlib import Path
from typing import Any

import pytest

from autopack.db import approvals, phases, runs
from autopack.db.approvals import Decision
from autopack.db.identity import open_database
from autopack.db.tables import ApprovalRequestRow, EventRow
from autopack.domain.phases import (
    Approval,
    AttemptOutcome,
    Claim,
    FailureKind,
    IdleReason,
    PhaseState,
    RunState,
)
from autopack.errors import Conflict, DatabaseBusy, NotFound
from tests.db.support_queue import ON_BOTH, ON_POSTGRESQL, Queue
from tests.support import phase, plan

BOUND = {"diff_hash": "d" * 64, "base_commit": "b" * 40, "policy_hash": "e" * 64, "checks_hash": "f" * 64}
ASKED = {"reasons": ["a person decides"], "plan": {"summary": "", "files": []}, "diff": "+x\n", **BOUND}
REJECTS = {"timeout_minutes": 30, "on_timeout": "reject"}
WAITS = {"timeout_minutes": 30, "on_timeout": "wait"}


def wait_in_gate(queue: Queue, phase_id: str = "p1", **more: Any) -> str:
    """The request's id."""
    claim = queue.claim(phase_id=phase_id)
    queue.finish(claim, AttemptOutcome.NEEDS_APPROVAL, reason="Makefile", approval={**ASKED, **more})
    return next(row["id"] for row in requests(queue) if row["attempt_id"] == claim.attempt_id)


def requests(queue: Queue) -> list[dict[str, Any]]:
    return queue.rows(ApprovalRequestRow)


def decide(queue: Queue, request_id: str, approved: bool = True, **more: Any) -> Approval:
    decision = Decision(**{"approved": approved, "by": "Ann", "method": "test", **more})
    with queue.session() as session:
        return approvals.decide(session, request_id, decision, now=queue.now)


def listed(queue: Queue, run_id: str | None = "r1", status: str | None = None) -> list[Approval]:
    with queue.session() as session:
        return approvals.page(session, run_id=run_id, status=status, now=queue.now)


def kinds(queue: Queue) -> list[str]:
    return [row["kind"] for row in queue.rows(EventRow)]


@ON_BOTH
def test_the_next_claim_holds_all_that_the_approval_is_bound_to(queue: Queue) -> None:
    queue.create(plan())
    decided = decide(queue, wait_in_gate(queue), reason="fine")
    assert (decided.status, decided.responded_by, decided.response_method, decided.responded_at) == (
        "approved", "Ann", "test", queue.now,
    )  # fmt: skip
    approved = queue.claim().approved
    assert approved is not None
    assert {name: getattr(approved, name) for name in BOUND} == BOUND


@ON_BOTH
def test_what_waits_for_a_person_survives_a_restart(queue: Queue, tmp_path: Path) -> None:
    queue.create(plan())
    request_id = wait_in_gate(queue, **WAITS)
    with open_database(queue.database.location) as reopened:
        after = Queue(reopened, now=queue.now, ids=queue.ids)
        (found,) = listed(after, status="pending")
        assert (found.approval_id, found.diff, found.policy_hash) == (request_id, "+x\n", "e" * 64)
        assert decide(after, request_id).status == "approved"
        assert after.claim().approved is not None


@ON_BOTH
def test_what_nobody_decided_in_time_is_rejected_by_nobody(queue: Queue) -> None:
    queue.create(plan())
    request_id = wait_in_gate(queue, **REJECTS)
    queue.tick(minutes=29, seconds=59)
    assert [each.status for each in listed(queue)] == ["pending"]
    queue.tick(seconds=1)
    (found,) = listed(queue)
    assert (found.approval_id, found.status, found.response_method, found.responded_by) == (
        request_id, "expired", "timeout", None,
    )  # fmt: skip
    assert "nobody decided before 2026-01-01 00:30 UTC" in (found.response_reason or "")
    failed = queue.phase("p1")
    assert (failed.state, failed.failure_kind, failed.completed_at) == (
        PhaseState.FAILED, FailureKind.APPROVAL_TIMED_OUT, queue.now,
    )  # fmt: skip
    assert "nobody decided" in (failed.failure_reason or "")
    assert queue.run()["state"] == RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW
    assert kinds(queue)[-2:] == ["approval_expired", "run_state"]
    assert "approved" not in kinds(queue)
    assert "rejected" not in kinds(queue)
    with pytest.raises(Conflict, match="expired, not pending: nobody decided before"):
        decide(queue, request_id)
    events = queue.rows(EventRow)
    assert listed(queue) == [found], "it ran out once"
    assert queue.rows(EventRow) == events


def test_a_deadline_that_has_just_passed_is_not_decided_over(queue: Queue) -> None:
    queue.create(plan())
    request_id = wait_in_gate(queue, **REJECTS)
    queue.tick(minutes=31)
    for approved in (True, False):
        with pytest.raises(Conflict, match="expired, not pending"):
            decide(queue, request_id, approved)
    assert queue.phase("p1").state is PhaseState.GATE


@ON_BOTH
def test_a_claim_notices_that_the_time_is_up(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    wait_in_gate(queue, **REJECTS)
    queue.finish(queue.claim())
    assert queue.idle().reason is IdleReason.APPROVAL
    queue.tick(minutes=30)
    idle = queue.idle()
    assert (idle.reason, idle.detail) == (IdleReason.FAILED, "failed: p1")
    again = queue.claim(phase_id="p1")
    assert again.approved is None


def test_where_the_policy_waits_a_late_request_is_only_marked(queue: Queue) -> None:
    queue.create(plan())
    request_id = wait_in_gate(queue, **WAITS)
    assert [each.overdue for each in listed(queue)] == [False]
    queue.tick(days=3)
    (late,) = listed(queue)
    assert (late.status, late.overdue) == ("pending", True)
    assert queue.phase("p1").state is PhaseState.GATE
    decided = decide(queue, request_id)
    assert (decided.status, decided.overdue) == ("approved", False)


def test_an_approval_that_came_in_time_does_not_run_out(queue: Queue) -> None:
    queue.create(plan())
    decide(queue, wait_in_gate(queue, **REJECTS))
    queue.tick(days=3)
    assert queue.claim().approved is not None
    assert [each.status for each in listed(queue)] == ["approved"]


@ON_BOTH
def test_a_clean_up_marks_what_ran_out_in_every_run_and_nothing_else(queue: Queue) -> None:
    queue.create(plan("r1", [phase("p1"), phase("p2"), phase("p3")]))
    queue.create(plan("r2"))
    for number, more in enumerate((REJECTS, WAITS, {}), start=1):
        wait_in_gate(queue, f"p{number}", **more)
    claim = queue.claim(run_id="r2")
    queue.finish(claim, AttemptOutcome.NEEDS_APPROVAL, approval={**ASKED, **REJECTS})
    assert approvals.expire_everywhere(queue.database, lambda: queue.now) == 0
    queue.tick(hours=1)
    assert approvals.expire_everywhere(queue.database, lambda: queue.now) == 2
    assert approvals.expire_everywhere(queue.database, lambda: queue.now) == 0
    found = {(each.run_id, each.phase_id): each.status for each in listed(queue, run_id=None)}
    assert found == {
        ("r1", "p1"): "expired", ("r1", "p2"): "pending", ("r1", "p3"): "pending", ("r2", "p1"): "expired",
    }  # fmt: skip


def _use(queue: Queue, request_id: str) -> None:
    decide(queue, request_id)
    queue.finish(queue.claim(), result_commit="c" * 40)


def _fail(queue: Queue, request_id: str) -> None:
    decide(queue, request_id)
    claim, why = queue.claim(), "the base is 1234, and bbbb was approved"
    queue.finish(claim, AttemptOutcome.FAILED, failure_kind=FailureKind.BASE_MOVED, approval_void_reason=why)


def _ask_anew(queue: Queue, request_id: str) -> None:
    decide(queue, request_id)
    queue.finish(queue.claim(), AttemptOutcome.NEEDS_APPROVAL, approval=ASKED)


def _requeue(queue: Queue, request_id: str) -> None:
    with queue.session() as session:
        phases.requeue(session, "r1", "p1", actor="Bob", now=queue.now)


def _skip(queue: Queue, request_id: str) -> None:
    with queue.session() as session:
        phases.skip(session, "r1", "p1", actor="Bob", now=queue.now)


def _cancel(queue: Queue, request_id: str) -> None:
    with queue.session() as session:
        runs.cancel(session, "r1", actor="Bob", now=queue.now)


def _reject(queue: Queue, request_id: str) -> None:
    decide(queue, request_id, approved=False, reason="no")


@pytest.mark.parametrize(
    ("end", "status", "words"),
    [
        (_use, "used", "used, not pending: Ann decided at .*, and the edits are applied"),
        (_fail, "void", "void, not pending: the base is 1234, and bbbb was approved"),
        (_ask_anew, "void", "void, not pending: the work is no longer what was approved"),
        (_requeue, "void", "void, not pending: the phase was requeued by Bob"),
        (_skip, "void", "void, not pending: the phase was skipped by Bob"),
        (_cancel, "void", "void, not pending: the run was cancelled by Bob"),
        (_reject, "rejected", "rejected, not pending: Ann decided at 2026-01-01"),
    ],
)
def test_a_request_that_is_over_is_refused_and_says_what_became_of_it(
    queue: Queue, end: Any, status: str, words: str
) -> None:
    queue.create(plan())
    request_id = wait_in_gate(queue)
    end(queue, request_id)
    before = requests(queue)
    assert before[0]["status"] == status
    assert (before[0]["void_reason"] is None) == (status != "void")
    for approved in (True, False):
        with pytest.raises(Conflict, match=words):
            decide(queue, request_id, approved, by="Eve")
    assert requests(queue) == before
    voided = [row["detail"]["reason"] for row in queue.rows(EventRow) if row["kind"] == "approval_void"]
    assert voided == [before[0]["void_reason"]] * (status == "void")


def test_a_foreign_request_is_refused(queue: Queue) -> None:
    queue.create(plan("r1"))
    queue.create(plan("r2"))
    request_id = wait_in_gate(queue)
    with pytest.raises(NotFound, match="there is no approval request nowhere"):
        decide(queue, "nowhere")
    with pytest.raises(NotFound, match="belongs to run r1, not to r2; nothing was decided"):
        decide(queue, request_id, run_id="r2")
    assert decide(queue, request_id, run_id="r1").status == "approved"
    assert queue.claim(run_id="r2").approved is None


def test_a_decision_whose_answer_was_lost_may_be_sent_again_and_another_word_may_not(queue: Queue) -> None:
    queue.create(plan())
    request_id = wait_in_gate(queue)
    first = decide(queue, request_id, reason="fine")
    events = queue.rows(EventRow)
    queue.tick(seconds=9)
    assert decide(queue, request_id, reason="fine") == first
    assert queue.rows(EventRow) == events
    for other in ({"reason": "fine", "by": "Bob"}, {"reason": "fine", "approved": False}):
        with pytest.raises(Conflict):
            decide(queue, request_id, **other)


def test_a_provider_that_asks_to_wait_takes_no_approval_away(queue: Queue) -> None:
    queue.create(plan())
    decide(queue, wait_in_gate(queue))
    for outcome in (AttemptOutcome.DEFERRED, AttemptOutcome.FAILED):
        kind = FailureKind.PROVIDER_LIMIT
        queue.finish(queue.claim(), outcome, failure_kind=kind, retry_after_seconds=9.0)
        queue.tick(seconds=9)
    claim = queue.claim()
    assert claim.approved is not None
    assert claim.phase.attempts == 1


def test_work_that_comes_to_the_gate_of_a_cancelled_run_is_not_asked_about(queue: Queue) -> None:
    queue.create(plan())
    claim = queue.claim()
    _cancel(queue, "")
    queue.finish(claim, AttemptOutcome.NEEDS_APPROVAL, approval=ASKED)
    assert queue.phase("p1").state is PhaseState.CANCELLED
    assert [each.status for each in listed(queue)] == ["void"]


@ON_POSTGRESQL
def test_of_a_decision_and_a_requeue_at_once_one_counts(queue: Queue) -> None:
    """On PostgreSQL two requests run side by side; SQLite has one writer."""
    for round_ in range(3):
        run_id = f"r{round_}"
        queue.create(plan(run_id))
        claim = queue.claim(run_id=run_id)
        queue.finish(claim, AttemptOutcome.NEEDS_APPROVAL, approval=ASKED)
        (request,) = listed(queue, run_id)
        together, said = threading.Barrier(2), []

        def approve(request_id: str, together: Any = together, said: Any = said) -> None:
            together.wait(30)
            try:
                said.append(decide(queue, request_id).status)
            except (Conflict, DatabaseBusy) as error:
                said.append(type(error).__name__)

        def requeue(run_id: str, together: Any = together, said: Any = said) -> None:
            together.wait(30)
            try:
                with queue.session() as session:
                    phases.requeue(session, run_id, "p1", actor="Bob", now=queue.now)
                said.append("requeued")
            except Conflict as error:
                said.append(type(error).__name__)

        threads = [
            threading.Thread(target=approve, args=(request.approval_id,)),
            threading.Thread(target=requeue, args=(run_id,)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(said) in (["Conflict", "approved"], ["Conflict", "requeued"]), said
        (after,) = listed(queue, run_id)
        assert after.status == ("approved" if "approved" in said else "void")
        found = queue.ask(run_id=run_id)
        assert isinstance(found, Claim)
        assert (found.approved is not None) == ("approved" in said)
