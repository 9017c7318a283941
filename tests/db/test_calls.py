"""Model calls in the database: caps that hold under races, settled once, journaled, reused where nobody judged them."""

import threading
from typing import Any

import pytest

from autopack.db.tables import EventRow, LlmResponseRow, LlmUsageEventRow, TokenBudgetEscalationRow
from autopack.domain.calls import EstimateMade
from autopack.domain.messages import Role, Usage
from autopack.domain.phases import AttemptOutcome, Claim, FailureKind
from autopack.errors import BudgetReached, LeaseLost, NotFound
from tests.db.support_queue import ON_BOTH, Queue, failed
from tests.support import phase, plan


def reserved(queue: Queue) -> tuple[int, float]:
    return queue.run()["tokens_reserved"], queue.run()["cost_reserved_usd"]


def spent(queue: Queue) -> tuple[int, float, int]:
    run = queue.run()
    return run["tokens_used"], run["cost_usd"], run["calls_of_unknown_usage"]


@ON_BOTH
def test_the_worst_case_is_set_aside_and_gives_way_to_what_was_used(queue: Queue) -> None:
    queue.create(plan(token_cap=1000, cost_cap_usd=1.0))
    claim = queue.claim()
    call = queue.reserve(claim)
    assert reserved(queue) == (1000, 1.0)
    queue.settle(claim, call.call_id)
    assert reserved(queue) == (0, 0.0)
    assert spent(queue) == (42, 0.25, 0)
    assert queue.phase("p1").tokens_used == 42
    (row,) = queue.rows(LlmUsageEventRow)
    assert (row["status"], row["input_tokens"], row["output_tokens"]) == ("answered", 30, 12)
    assert row["cache_read_input_tokens"] is None, "unknown is NULL, never 0"


def test_a_call_that_would_overshoot_the_token_cap_is_refused_before_it_is_made(queue: Queue) -> None:
    queue.create(plan(token_cap=1999))
    claim = queue.claim()
    queue.reserve(claim)
    with pytest.raises(BudgetReached, match=r"token cap of run r1: 1999 tokens.*would have to be 2000"):
        queue.reserve(claim)
    assert reserved(queue)[0] == 1000
    assert len(queue.rows(LlmUsageEventRow)) == 1


def test_a_call_that_would_overshoot_the_cost_cap_is_refused(queue: Queue) -> None:
    queue.create(plan(cost_cap_usd=1.5))
    claim = queue.claim()
    queue.reserve(claim)
    with pytest.raises(
        BudgetReached,
        match=r"cost cap of run r1: 1.5 USD, 0 used and 1 set aside.* would have to be 2 USD or more",
    ):
        queue.reserve(claim)


@ON_BOTH
def test_costs_that_floats_cannot_add_neither_leak_nor_leave_a_rest(queue: Queue) -> None:
    """0.1 + 0.2 is more than 0.3 for floats, and 0.3 - 0.1 - 0.2 is less than nothing."""
    queue.create(plan(cost_cap_usd=0.3))
    claim = queue.claim()
    one, two = (queue.reserve(claim, reserve_cost_usd=cost) for cost in (0.1, 0.2))
    assert reserved(queue)[1] == 0.3
    with pytest.raises(BudgetReached, match=r"0.300000001 USD or more"):
        queue.reserve(claim, reserve_cost_usd=1e-12)
    for call, cost in ((two, 0.2), (one, 0.1)):
        queue.settle(claim, call.call_id, cost_usd=cost)
    assert reserved(queue)[1] == 0.0
    assert spent(queue)[1] == 0.3


def test_a_late_answer_may_take_a_run_above_its_cap_and_that_is_recorded(queue: Queue) -> None:
    """Its reservation was given back when its worker was lost, and another call took the room."""
    queue.create(plan(token_cap=1000, cost_cap_usd=1.0))
    slow = queue.claim()
    late = queue.reserve(slow)
    queue.tick(seconds=61)
    quick = queue.claim()
    call = queue.reserve(quick, request_key="o" * 64)
    queue.settle(quick, call.call_id, usage=Usage(input_tokens=900, output_tokens=100), cost_usd=1.0)
    queue.settle(slow, late.call_id)
    assert (reserved(queue), spent(queue)) == ((0, 0.0), (1042, 1.25, 0))
    with pytest.raises(BudgetReached, match=r"1042 used.*would have to be 1043"):
        queue.reserve(quick, request_key="q" * 64, reserve_tokens=1)


def test_under_a_cost_cap_a_call_of_unknown_price_is_refused(queue: Queue) -> None:
    queue.create(plan(cost_cap_usd=1_000_000.0))
    with pytest.raises(BudgetReached, match="the price of openai:m is unknown"):
        queue.reserve(queue.claim(), reserve_cost_usd=None)


@ON_BOTH
@pytest.mark.parametrize("caps", [{"token_cap": 10_500}, {"cost_cap_usd": 10.5}], ids=str)
def test_eight_workers_racing_for_the_last_of_a_budget_never_overshoot_it(
    queue: Queue, caps: dict[str, Any]
) -> None:
    ids = [f"p{number}" for number in range(8)]
    queue.create(plan(phases=[phase(each) for each in ids], **caps))
    claims = [queue.claim() for _ in ids]
    start = threading.Barrier(8)
    held: list[str] = []
    refused: list[str] = []
    errors: list[Exception] = []

    def worker(claim: Claim) -> None:
        start.wait()
        for number in range(3):
            try:
                call_id = f"{claim.attempt_id[-20:]}-{number}"
                held.append(queue.reserve(claim, call_id=call_id).call_id)
            except BudgetReached as error:
                refused.append(str(error))
            except Exception as error:  # noqa: BLE001 - shown below: a thread's error would be lost
                errors.append(error)

    threads = [threading.Thread(target=worker, args=(claim,)) for claim in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert (len(held), len(refused)) == (10, 14)
    assert reserved(queue) == (10_000, 10.0)
    assert len(queue.rows(LlmUsageEventRow)) == 10


def test_a_reservation_that_is_repeated_is_the_same_one(queue: Queue) -> None:
    queue.create(plan(token_cap=1000))
    claim = queue.claim()
    first = queue.reserve(claim, call_id="c" * 32)
    assert queue.reserve(claim, call_id="c" * 32) == first
    assert reserved(queue)[0] == 1000


def test_only_the_owner_of_the_attempt_may_reserve(queue: Queue) -> None:
    queue.create(plan())
    claim = queue.claim()
    queue.tick(seconds=61)
    queue.claim()
    with pytest.raises(LeaseLost):
        queue.reserve(claim)


@ON_BOTH
def test_a_settlement_that_is_repeated_is_counted_once(queue: Queue) -> None:
    queue.create(plan())
    claim = queue.claim()
    call = queue.reserve(claim)
    for text in ("first", "second"):
        queue.settle(claim, call.call_id, text=text)
    assert spent(queue) == (42, 0.25, 0)
    assert [row["completion"] for row in queue.rows(LlmResponseRow)] == [{"text": "first"}]


def test_nobody_settles_a_call_of_another(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    mine, other = queue.claim(), queue.claim()
    call = queue.reserve(mine)
    with pytest.raises(NotFound):
        queue.settle(other, call.call_id)


def test_an_attempt_that_is_lost_abandons_its_open_calls(queue: Queue) -> None:
    queue.create(plan())
    claim = queue.claim()
    queue.reserve(claim)
    queue.lost(claim)
    assert reserved(queue) == (0, 0.0)
    assert spent(queue) == (0, 0.0, 1)
    (row,) = queue.rows(LlmUsageEventRow)
    assert (row["status"], row["usage_source"], row["input_tokens"]) == ("abandoned", "missing", None)


@ON_BOTH
def test_an_answer_that_comes_after_its_call_was_abandoned_is_recorded_and_paid_for_once(
    queue: Queue,
) -> None:
    queue.create(plan())
    slow = queue.claim()
    call = queue.reserve(slow)
    queue.tick(seconds=61)
    quick = queue.claim(worker="w2")
    queue.settle(slow, call.call_id)
    assert reserved(queue) == (0, 0.0)
    assert spent(queue) == (42, 0.25, 0), "it was of unknown usage until now"
    assert queue.rows(LlmUsageEventRow)[0]["status"] == "answered"
    again = queue.reserve(quick)
    assert again.completion == {"text": "an answer"}, "the next try need not ask again"


def test_a_cut_answer_may_have_been_paid_so_its_worst_case_stays_set_aside(queue: Queue) -> None:
    queue.create(plan())
    claim = queue.claim()
    queue.settle(claim, queue.reserve(claim).call_id, **failed("incomplete_response: cut", paid=True))
    assert spent(queue) == (0, 0.0, 1)
    assert reserved(queue) == (1000, 1.0)
    (row,) = queue.rows(LlmUsageEventRow)
    assert (row["status"], row["is_complete"], row["error"]) == ("failed", False, "incomplete_response: cut")
    assert queue.rows(LlmResponseRow) == []
    assert queue.rows(EventRow)[-1]["kind"] == "model_call_failed"


def test_a_refused_request_costs_nothing(queue: Queue) -> None:
    queue.create(plan())
    claim = queue.claim()
    queue.settle(claim, queue.reserve(claim).call_id, **failed("model_error: 500", paid=False))
    assert spent(queue) == (0, 0.0, 0)
    assert reserved(queue) == (0, 0.0)
    (row,) = queue.rows(LlmUsageEventRow)
    assert (row["status"], row["usage_source"], row["input_tokens"], row["cost_usd"]) == (
        "failed",
        "none",
        None,
        None,
    )


def test_an_answer_without_usage_is_counted_as_unknown(queue: Queue) -> None:
    queue.create(plan())
    claim = queue.claim()
    queue.settle(claim, queue.reserve(claim).call_id, usage=Usage(), usage_source="missing", cost_usd=None)
    assert spent(queue) == (0, 0.0, 1)
    assert queue.rows(LlmUsageEventRow)[0]["output_tokens"] is None
    assert reserved(queue)[0] == 1000


def test_asks_count_the_answers_of_a_role_for_a_phase(queue: Queue) -> None:
    queue.create(plan())
    claim = queue.claim()
    asks = []
    for number, role in enumerate([Role.BUILDER, Role.BUILDER, Role.AUDITOR, Role.BUILDER]):
        call = queue.reserve(claim, role=role, request_key=f"{number}" * 64)
        asks.append(call.ask)
        queue.settle(claim, call.call_id)
    refused = queue.reserve(claim)
    queue.settle(claim, refused.call_id, **failed("model_error: 500", paid=False))
    assert [*asks, refused.ask, queue.reserve(claim).ask] == [1, 2, 1, 3, 4, 4]


@ON_BOTH
@pytest.mark.parametrize(
    "outcome", [AttemptOutcome.LOST, AttemptOutcome.INTERRUPTED, AttemptOutcome.DEFERRED]
)
def test_an_answer_that_nobody_judged_is_taken_from_the_journal_once(
    queue: Queue, outcome: AttemptOutcome
) -> None:
    queue.create(plan())
    first = queue.claim()
    call = queue.reserve(first)
    queue.settle(first, call.call_id)
    end(queue, first, outcome)
    second = queue.claim()
    found = queue.reserve(second)
    assert (found.call_id, found.ask, found.completion) == (call.call_id, 1, {"text": "an answer"})
    assert reserved(queue) == (0, 0.0), "nothing is set aside for a call that is not made"
    assert queue.reserve(second).completion is None, "it is this try's now; asking anew is a new call"
    assert spent(queue)[0] == 42


def end(queue: Queue, claim: Claim, outcome: AttemptOutcome) -> None:
    if outcome is AttemptOutcome.LOST:
        queue.lost(claim)
    else:
        queue.finish(claim, outcome)


def test_an_answer_outlives_several_dead_tries(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1", max_attempts=4)]))
    first = queue.claim()
    queue.settle(first, queue.reserve(first).call_id)
    queue.lost(first)
    for _ in range(2):
        taken = queue.claim()
        assert queue.reserve(taken).completion is not None
        queue.lost(taken)
    assert queue.reserve(queue.claim()).completion is not None


def test_an_answer_that_failed_its_checks_is_not_used_again(queue: Queue) -> None:
    queue.create(plan())
    first = queue.claim()
    queue.settle(first, queue.reserve(first).call_id)
    queue.finish(first, AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED)
    assert queue.reserve(queue.claim()).completion is None


@pytest.mark.parametrize(
    "other", [{"request_key": "o" * 64}, {"role": Role.AUDITOR}, {"max_tokens": 101}], ids=str
)
def test_an_answer_to_another_question_or_a_smaller_budget_is_not_used(
    queue: Queue, other: dict[str, Any]
) -> None:
    queue.create(plan())
    first = queue.claim()
    queue.settle(first, queue.reserve(first).call_id, finish_reason="length", is_truncated=True)
    queue.lost(first)
    assert queue.reserve(queue.claim(), **other).completion is None


def test_an_answer_for_another_phase_is_not_used(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2", depends_on=["p1"])]))
    first = queue.claim()
    queue.settle(first, queue.reserve(first).call_id)
    queue.lost(first)
    queue.finish(queue.claim())
    assert queue.reserve(queue.claim()).completion is None


def test_a_raised_budget_is_an_event(queue: Queue) -> None:
    queue.create(plan())
    claim = queue.claim()
    made = EstimateMade(predicted_output_tokens=10, version="v", features={}, escalated_from=50)
    queue.settle(claim, queue.reserve(claim).call_id, estimate=made)
    (row,) = queue.rows(TokenBudgetEscalationRow)
    assert (row["from_budget"], row["to_budget"]) == (50, 100)


def test_an_answer_outlives_a_model_that_could_not_be_reached_afterwards(queue: Queue) -> None:
    """The builder has answered; that the auditor's provider is down says nothing about the builder's answer."""
    queue.create(plan())
    first = queue.claim()
    queue.settle(first, queue.reserve(first, base_commit="a" * 40).call_id)
    queue.finish(first, AttemptOutcome.FAILED, failure_kind=FailureKind.MODEL_ERROR, reason="HTTP 500")
    queue.tick(seconds=60)
    second = queue.claim()
    assert second.previous == (), "the same question is asked"
    assert second.resume_base == "a" * 40, "on the same base"
    assert queue.reserve(second).completion == {"text": "an answer"}


def test_every_try_after_a_dead_one_begins_where_the_answer_was_asked_for(queue: Queue) -> None:
    queue.create(plan(phases=[phase("p1", max_attempts=4)]))
    first = queue.claim()
    queue.settle(first, queue.reserve(first, base_commit="a" * 40).call_id)
    queue.lost(first)
    second = queue.claim()
    queue.lost(second)  # before it has asked for anything
    assert queue.claim().resume_base == "a" * 40
