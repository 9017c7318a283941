"""What a phase's page reads: attempts in short, one of them whole, its calls and the answers that it found again."""

import pytest

from autopack.db.pages import phase as page
from autopack.domain.phases import AttemptOutcome, FailureKind
from autopack.errors import NotFound
from tests.db.support_queue import ON_BOTH, Queue
from tests.support import phase, plan


@ON_BOTH
def test_the_newest_attempt_comes_first_and_any_may_be_opened(queue: Queue):
    queue.create(plan())
    first = queue.claim()
    report = {"passed": False, "results": []}
    queue.finish(
        first,
        AttemptOutcome.FAILED,
        failure_kind=FailureKind.CHECKS_FAILED,
        reason="red",
        check_report=report,
    )
    queue.tick(hours=1)
    second = queue.claim()
    with queue.session() as session:
        lines = page.attempt_lines(session, "r1", "p1")
        newest, opened = (page.attempt_look(session, lines, number) for number in (None, 1))
        with pytest.raises(NotFound, match="no attempt 7"):
            page.attempt_look(session, lines, 7)
    assert [(line.number, line.outcome, line.failure_kind) for line in lines] == [
        (2, None, None), (1, "FAILED", "checks_failed"),
    ]  # fmt: skip
    assert newest is not None
    assert (newest.line.id, newest.check_report) == (second.attempt_id, None)
    assert opened is not None
    assert (opened.check_report, opened.line.reason) == (report, "red")


@ON_BOTH
def test_an_attempts_calls_are_its_own_and_those_whose_answers_it_found_in_the_journal(queue: Queue):
    queue.create(plan())
    dead = queue.claim()
    asked = queue.reserve(dead)
    queue.settle(dead, asked.call_id)
    queue.lost(dead)
    heir = queue.claim()
    queue.reserve(heir)  # the same question: answered from the journal
    other = queue.reserve(heir, request_key="x" * 64)
    with queue.session() as session:
        lines = page.attempt_lines(session, "r1", "p1")
        look = page.attempt_look(session, lines, None)
        before = page.attempt_look(session, lines, 1)
    assert look is not None
    assert before is not None
    assert [call.call_id for call in look.calls] == [asked.call_id, other.call_id]
    assert look.from_journal == {asked.call_id}
    assert [call.call_id for call in before.calls] == [asked.call_id]
    assert before.from_journal == frozenset()


@ON_BOTH
def test_of_many_calls_the_newest_are_shown_and_the_others_counted(queue: Queue, monkeypatch):
    monkeypatch.setattr(page, "MOST_CALLS", 2)
    queue.create(plan())
    claim = queue.claim()
    ids = [queue.reserve(claim, request_key=f"{number}" * 64).call_id for number in range(3)]
    with queue.session() as session:
        look = page.attempt_look(session, page.attempt_lines(session, "r1", "p1"), None)
    assert look is not None
    assert ([call.call_id for call in look.calls], look.more_calls) == (ids[1:], 1)


@ON_BOTH
def test_a_phase_that_nobody_claimed_has_no_attempt_and_one_that_waits_names_its_request(queue: Queue):
    queue.create(plan("r1", [phase("p1"), phase("p2")]))
    claim = queue.claim()
    approval = {
        "reasons": ["Makefile"], "plan": {"summary": "s", "files": []}, "diff": "+a\n", "diff_hash": "d" * 64,
        "base_commit": "b" * 40,
    }  # fmt: skip
    queue.finish(claim, AttemptOutcome.NEEDS_APPROVAL, reason="Makefile", approval=approval)
    with queue.session() as session:
        assert page.pending_approval(session, "r1", "p1") is not None
        assert page.pending_approval(session, "r1", "p2") is None
        assert page.attempt_look(session, page.attempt_lines(session, "r1", "p2"), None) is None
