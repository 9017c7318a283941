"""The life of a run through the client, in process and against a live server: the same words, the same rows."""

import pytest

from autopack.db.tables import REVISION
from autopack.domain.calls import CallResult, EstimateMade
from autopack.domain.phases import AttemptOutcome, FailureKind, IdleReason, PhaseState, RunState
from autopack.errors import BudgetReached, Conflict, DatabaseMismatch, LeaseLost, NotFound, PhaseBlocked
from autopack.schemas import ActorBody, PlanBody, ResumeBody
from tests.api.conftest import Desk, answered, claim_body, request
from tests.support import phase, plan

pytestmark = pytest.mark.anyio


async def test_a_phase_lives_from_its_plan_to_its_end(client, desk: Desk, time):
    run, made = await client.create_run(PlanBody.model_validate(plan(phases=[phase("p1"), phase("p2")])))
    assert (made, run.state, run.phase_counts) == (True, RunState.QUEUED, {"QUEUED": 2})

    claim = await desk.claim()
    assert (claim.phase.phase_id, claim.phase.state, claim.number) == ("p1", PhaseState.EXECUTING, 1)
    assert (claim.run.state, claim.run.base_commit) == (RunState.RUNNING, "b" * 40)
    assert (await client.open_attempts("r1"))[0].attempt_id == claim.attempt_id

    time.tick(30)
    renewed = await client.renew(claim.attempt_id, claim.lease_token, 60)
    assert renewed.lease_expires_at > claim.lease_expires_at
    assert not renewed.cancelled

    held = await client.reserve(claim.attempt_id, claim.lease_token, request())
    assert (held.ask, held.completion) == (1, None)
    assert (await client.run("r1")).tokens_reserved == 1000
    estimate = EstimateMade(predicted_output_tokens=9, version="v", features={"files": []})
    await client.settle("c1", claim.lease_token, answered(estimate=estimate))
    run = await client.run("r1")
    assert (run.tokens_reserved, run.tokens_used, run.cost_usd) == (0, 42, 0.01)
    (call,) = await client.calls("r1", "p1")
    assert (call.status, call.input_tokens, call.output_tokens, call.usage_source) == (
        "answered", 30, 12, "provider",
    )  # fmt: skip

    answer = await client.finish(
        claim.attempt_id,
        claim.lease_token,
        _outcome(AttemptOutcome.COMPLETE, result_commit="c" * 40),
        claim_body(),
    )
    assert answer.phase.state is PhaseState.COMPLETE
    assert answer.next.claim.phase.phase_id == "p2"
    second = answer.next.claim
    assert (await desk.finish(second)).state is PhaseState.COMPLETE

    assert (await desk.idle()).reason is IdleReason.DONE
    run = await client.run("r1")
    assert (run.state, run.head_commit, run.phase_counts) == (
        RunState.DONE_SUCCESS, "c" * 40, {"COMPLETE": 2},
    )  # fmt: skip
    kinds = [event.kind for event in await client.events("r1")]
    assert kinds == ["run_created", "run_state", "claimed", "finished", "claimed", "finished", "run_state"]
    telemetry = await client.telemetry("r1", "p1")
    assert (telemetry.llm_usage_events, telemetry.token_estimation_v2_events) == (1, 1)
    assert [attempt.outcome for attempt in await client.attempts("r1", "p1")] == [AttemptOutcome.COMPLETE]


def _outcome(outcome: AttemptOutcome, **more):
    from autopack.domain.phases import Outcome

    return Outcome(outcome=outcome, **more)


async def test_the_same_plan_twice_is_one_run_and_another_plan_is_a_conflict(client, desk: Desk):
    body = PlanBody.model_validate(plan(phases=[phase("p1")]))
    assert [(await client.create_run(body))[1] for _ in range(2)] == [True, False]
    other = PlanBody.model_validate(plan(phases=[phase("p1"), phase("p2")]))
    with pytest.raises(Conflict, match="exists with other content"):
        await client.create_run(other)
    assert (await client.run("r1")).phase_counts == {"QUEUED": 1}


async def test_a_dead_workers_phase_is_claimed_again_and_its_late_words_are_refused(client, desk: Desk, time):
    await desk.create()
    first = await desk.claim()
    time.tick(61)
    second = await desk.claim(worker="w2")
    assert (second.number, second.phase.attempts, second.dead_attempts) == (2, 2, (first.attempt_id,))
    for late in (
        client.renew(first.attempt_id, first.lease_token, 60),
        client.reserve(first.attempt_id, first.lease_token, request()),
        desk.finish(first),
        client.report_budget(first.attempt_id, first.lease_token, "token cap"),
        desk.finish(second.__class__(**{**second.__dict__, "lease_token": "x" * 16})),
    ):
        with pytest.raises(LeaseLost):
            await late
    assert (await desk.finish(second)).state is PhaseState.COMPLETE


async def test_a_claim_a_call_and_an_end_that_are_sent_twice_count_once(client, desk: Desk):
    await desk.create(phase("p1"), phase("p2"))
    body = claim_body()
    one, again = await client.claim(body), await client.claim(body)
    assert one.claim == again.claim
    claim = one.claim
    assert [(await client.reserve(claim.attempt_id, claim.lease_token, request())).ask for _ in "12"] == [
        1,
        1,
    ]
    for _ in "12":
        await client.settle("c1", claim.lease_token, answered())
    assert [(await desk.finish(claim)).state for _ in "12"] == [PhaseState.COMPLETE] * 2
    run = await client.run("r1")
    assert (run.tokens_used, run.tokens_reserved) == (42, 0)
    assert len(await client.calls("r1")) == len(await client.attempts("r1", "p1")) == 1
    with pytest.raises(LeaseLost):
        await client.claim(body)


async def test_an_end_that_contradicts_the_first_is_refused(client, desk: Desk):
    await desk.create()
    claim = await desk.claim()
    await desk.finish(claim, AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED, reason="red")
    with pytest.raises(LeaseLost):
        await desk.finish(claim, AttemptOutcome.COMPLETE)
    assert (await client.phase("r1", "p1")).state is PhaseState.QUEUED


async def test_a_failed_try_tells_the_next_one_what_was_wrong(client, desk: Desk):
    await desk.create(phase("p1", max_attempts=2))
    for number in (1, 2):
        claim = await desk.claim()
        assert claim.number == number
        state = (
            await desk.finish(
                claim, AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED, reason="red"
            )
        ).state
    assert [(seen.number, seen.reason) for seen in claim.previous] == [(1, "red")]
    assert state is PhaseState.FAILED
    assert (await client.run("r1")).state is RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW
    assert (await desk.idle()).reason is IdleReason.FAILED


async def test_the_words_of_a_model_never_keep_an_attempt_from_ending(client, desk: Desk):
    """NUL, lone surrogates, numbers beyond 63 bits and endless nesting are kept as far as they can be."""
    deep: list = []
    for _ in range(300):
        deep = [deep]
    await desk.create()
    claim = await desk.claim()
    odd = {"a\0": "b\ud800", "n": 2**80, "x": float("nan"), "deep": deep}
    phase_after = await desk.finish(
        claim, AttemptOutcome.FAILED, failure_kind=FailureKind.AUDIT_REJECTED, reason="\0\udc00!", review=odd, check_report=odd
    )  # fmt: skip
    assert phase_after.failure_reason == "\ufffd\ufffd!"
    (attempt,) = await client.attempts("r1", "p1")
    assert attempt.review["a\ufffd"] == "b\ufffd"


async def test_tiers_priorities_and_dependencies_decide_what_is_next(client, desk: Desk):
    tiers = [
        {"tier_id": "T1", "phases": [phase("a"), phase("b", depends_on=["c"]), phase("c", priority=5)]},
        {"tier_id": "T2", "phases": [phase("d")]},
    ]
    await desk.create(tiers=tiers)
    order = []
    for _ in range(4):
        claim = await desk.claim()
        order.append(claim.phase.phase_id)
        await desk.finish(claim)
    assert order == ["c", "a", "b", "d"]


async def test_what_is_held_back_is_not_claimed_by_name_unless_forced(client, desk: Desk):
    tiers = [
        {"tier_id": "T1", "phases": [phase("a"), phase("b", depends_on=["a"])]},
        {"tier_id": "T2", "phases": [phase("c")]},
    ]
    await desk.create(tiers=tiers)
    with pytest.raises(PhaseBlocked, match="depends on a"):
        await desk.claim(phase_id="b")
    with pytest.raises(PhaseBlocked, match="earlier tier T1 is open"):
        await desk.claim(phase_id="c")
    assert (await client.phase("r1", "c")).attempts == 0
    assert (await desk.claim(phase_id="c", force=True)).phase.phase_id == "c"
    with pytest.raises(PhaseBlocked, match="is EXECUTING"):
        await desk.claim(phase_id="c", force=True)


async def test_a_paused_run_gives_nothing_out_until_it_is_resumed(client, desk: Desk):
    await desk.create()
    run = await client.change_run("r1", "pause", ActorBody(by="Ann", reason="lunch"))
    assert (run.state, run.state_reason) == (RunState.PAUSED, "lunch")
    idle = await desk.idle()
    assert (idle.reason, "run resume r1" in idle.detail) == (IdleReason.PAUSED, True)
    await client.change_run("r1", "pause", ActorBody(by="Ann"))
    assert (await client.change_run("r1", "resume", ResumeBody(by="Ann"))).state is RunState.RUNNING
    with pytest.raises(Conflict, match="RUNNING, not PAUSED"):
        await client.change_run("r1", "resume", ResumeBody())
    assert (await desk.claim()).phase.phase_id == "p1"


async def test_a_cap_that_is_reached_refuses_the_call_and_a_higher_one_lets_it_go(client, desk: Desk):
    await desk.create(token_cap=1500, cost_cap_usd=10.0)
    claim = await desk.claim()
    await client.reserve(claim.attempt_id, claim.lease_token, request("c1"))
    with pytest.raises(BudgetReached, match="token cap of run r1: 1500 tokens, 0 used and 1000 set aside"):
        await client.reserve(claim.attempt_id, claim.lease_token, request("c2"))
    await client.report_budget(claim.attempt_id, claim.lease_token, "token cap: too small")
    assert (await client.run("r1")).state is RunState.RUNNING, "the call that is under way may leave room"
    await client.settle("c1", claim.lease_token, answered(700, 700))
    with pytest.raises(BudgetReached, match="1400 used and 0 set aside"):
        await client.reserve(claim.attempt_id, claim.lease_token, request("c2"))
    await client.report_budget(claim.attempt_id, claim.lease_token, "token cap: too small")
    await desk.finish(claim, AttemptOutcome.DEFERRED, failure_kind=FailureKind.BUDGET)
    idle = await desk.idle()
    assert (idle.reason, "raise the cap" in idle.detail) == (IdleReason.BUDGET, True)
    run = await client.change_run("r1", "resume", ResumeBody(token_cap=5000))
    assert (run.token_cap, run.cost_cap_usd, run.state) == (5000, 10.0, RunState.RUNNING)
    claim = await desk.claim()
    assert claim.phase.attempts == 1, "the deferred try was not counted"
    asked = request("c3", request_key="o" * 64)  # another question: the answer to the first is journaled
    assert (await client.reserve(claim.attempt_id, claim.lease_token, asked)).ask == 2


async def test_a_cost_cap_refuses_what_has_no_known_price(client, desk: Desk):
    await desk.create(cost_cap_usd=0.6)
    claim = await desk.claim()
    with pytest.raises(BudgetReached, match=r"the price of openai:m is unknown"):
        await client.reserve(claim.attempt_id, claim.lease_token, request("c1", reserve_cost_usd=None))
    await client.reserve(claim.attempt_id, claim.lease_token, request("c2"))
    with pytest.raises(BudgetReached, match=r"cost cap of run r1: 0\.6 USD"):
        await client.reserve(claim.attempt_id, claim.lease_token, request("c3"))


async def test_a_failed_call_gives_its_reservation_back_unless_it_may_have_been_paid(client, desk: Desk):
    await desk.create()
    claim = await desk.claim()
    for call_id, paid in (("c1", False), ("c2", True)):
        await client.reserve(claim.attempt_id, claim.lease_token, request(call_id))
        await client.settle(call_id, claim.lease_token, CallResult(error="gone", may_have_been_paid=paid))
    run = await client.run("r1")
    assert (run.tokens_reserved, run.tokens_used, run.calls_of_unknown_usage) == (1000, 0, 1)
    assert [call.status for call in await client.calls("r1")] == ["failed", "failed"]
    with pytest.raises(NotFound, match="no call nothere"):
        await client.settle("nothere", claim.lease_token, answered())


async def test_an_answer_of_a_dead_try_is_given_to_the_next_one(client, desk: Desk, time):
    await desk.create()
    first = await desk.claim()
    await client.reserve(first.attempt_id, first.lease_token, request("c1"))
    await client.settle("c1", first.lease_token, answered())
    time.tick(61)
    second = await desk.claim()
    held = await client.reserve(second.attempt_id, second.lease_token, request("c2"))
    assert (held.call_id, held.completion) == ("c1", {"text": "hello"})
    assert len(await client.calls("r1")) == 1


async def test_a_worker_that_is_known_to_be_gone_need_not_be_waited_for(client, desk: Desk):
    await desk.create()
    claim = await desk.claim(worker="w1")
    assert not await client.report_lost(claim.attempt_id, "somebody else")
    assert await client.report_lost(claim.attempt_id, "w1")
    assert not await client.report_lost(claim.attempt_id, "w1")
    assert (await desk.claim()).number == 2
    with pytest.raises(NotFound, match="no attempt nothere"):
        await client.report_lost("nothere", "w1")


async def test_a_cancelled_run_stops_its_worker_at_the_next_renewal(client, desk: Desk):
    await desk.create(phase("p1"), phase("p2"))
    claim = await desk.claim()
    run = await client.change_run("r1", "cancel", ActorBody(by="Ann"))
    assert (run.state, run.phase_counts) == (RunState.CANCELLED, {"CANCELLED": 1, "EXECUTING": 1})
    assert (await client.renew(claim.attempt_id, claim.lease_token, 60)).cancelled
    await desk.finish(claim, AttemptOutcome.INTERRUPTED)
    assert (await client.phase("r1", "p1")).state is PhaseState.CANCELLED
    assert (await desk.idle()).reason is IdleReason.CANCELLED
    for action, body in (("cancel", ActorBody()), ("pause", ActorBody()), ("resume", ResumeBody())):
        with pytest.raises(Conflict, match="CANCELLED"):
            await client.change_run("r1", action, body)


async def test_max_phases_and_max_duration_end_a_run_early(client, desk: Desk, time):
    await desk.create(phase("p1"), phase("p2"), max_phases=1)
    await desk.finish(await desk.claim())
    assert (await desk.idle()).reason is IdleReason.BUDGET
    assert (await client.phase("r1", "p2")).attempts == 0
    await client.change_run("r1", "resume", ResumeBody(max_phases=2))
    await desk.finish(await desk.claim())

    await desk.create(phase("p1"), phase("p2"), run_id="r2", max_duration_minutes=1)
    await desk.finish(await desk.claim("r2"))
    time.tick(61)
    idle = await desk.idle("r2")
    assert (idle.reason, "max_duration_minutes is 1" in idle.detail) == (IdleReason.BUDGET, True)


async def test_a_phase_is_requeued_and_skipped_by_a_person_only_where_that_means_something(
    client, desk: Desk
):
    await desk.create(phase("p1", max_attempts=1), phase("p2", depends_on=["p1"]))
    with pytest.raises(Conflict, match="p1 of run r1 is QUEUED"):
        await client.change_phase("r1", "p1", "requeue", ActorBody())
    claim = await desk.claim()
    for action in ("requeue", "skip"):
        with pytest.raises(Conflict, match="is EXECUTING"):
            await client.change_phase("r1", "p1", action, ActorBody())
    await desk.finish(claim, AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED)
    assert (await desk.idle()).reason is IdleReason.FAILED
    assert (await client.run("r1")).state is RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW

    again = await client.change_phase("r1", "p1", "requeue", ActorBody(by="Ann"))
    assert (again.state, again.attempts) == (PhaseState.QUEUED, 0)
    assert (await client.run("r1")).state is RunState.RUNNING
    skipped = await client.change_phase("r1", "p1", "skip", ActorBody(by="Ann"))
    assert skipped.state is PhaseState.SKIPPED
    assert (await desk.claim()).phase.phase_id == "p2"
    with pytest.raises(Conflict, match="is SKIPPED"):
        await client.change_phase("r1", "p1", "skip", ActorBody())


async def test_approved_work_is_due_again_with_exactly_the_plan_that_was_shown(client, desk: Desk):
    await desk.create()
    request_id = await desk.wait_in_gate(await desk.claim())
    assert (await client.phase("r1", "p1")).state is PhaseState.GATE
    assert (await desk.idle()).reason is IdleReason.APPROVAL
    (shown,) = await client.approvals(status="pending")
    assert (shown.diff, shown.reasons) == ("+all:\n", ("Makefile: a person decides",))

    decided = await client.decide(request_id, "approve", ActorBody(by="Ann", reason="fine"))
    assert (decided.status, decided.responded_by, decided.response_reason) == ("approved", "Ann", "fine")
    claim = await desk.claim()
    assert (claim.approved.approval_id, claim.approved.diff_hash) == (request_id, "d" * 64)
    assert claim.phase.attempts == 1, "waiting for a person spends no attempt"
    await desk.finish(claim)
    assert [each.status for each in await client.approvals(run_id="r1")] == ["used"]


async def test_rejected_work_fails_the_phase_with_the_persons_reason(client, desk: Desk):
    await desk.create()
    request_id = await desk.wait_in_gate(await desk.claim())
    await client.decide(request_id, "reject", ActorBody(by="Ann", reason="not the Makefile"))
    phase_after = await client.phase("r1", "p1")
    assert (phase_after.state, phase_after.failure_kind, phase_after.failure_reason) == (
        PhaseState.FAILED, FailureKind.APPROVAL_REJECTED, "not the Makefile",
    )  # fmt: skip
    assert (await client.run("r1")).state is RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW


@pytest.mark.parametrize("first", ["approve", "reject"])
@pytest.mark.parametrize("second", ["approve", "reject"])
async def test_a_request_is_decided_once(client, desk: Desk, first: str, second: str):
    await desk.create()
    request_id = await desk.wait_in_gate(await desk.claim())
    await client.decide(request_id, first, ActorBody(by="Ann"))
    before = await client.phase("r1", "p1")
    with pytest.raises(Conflict, match="not pending"):
        await client.decide(request_id, second, ActorBody(by="Bob"))
    assert await client.phase("r1", "p1") == before


@pytest.mark.parametrize("action", ["requeue", "skip"])
async def test_a_phase_that_left_the_gate_takes_its_request_with_it(client, desk: Desk, action: str):
    await desk.create()
    request_id = await desk.wait_in_gate(await desk.claim())
    await client.change_phase("r1", "p1", action, ActorBody())
    with pytest.raises(Conflict, match="void"):
        await client.decide(request_id, "approve", ActorBody())


async def test_a_run_that_is_cancelled_leaves_nothing_to_approve(client, desk: Desk):
    await desk.create()
    request_id = await desk.wait_in_gate(await desk.claim())
    await client.change_run("r1", "cancel", ActorBody())
    with pytest.raises(Conflict):
        await client.decide(request_id, "approve", ActorBody())
    assert (await client.phase("r1", "p1")).state is PhaseState.CANCELLED


async def test_lists_come_whole_and_in_order_however_many_pages_they_take(client, desk: Desk):
    for number in range(3):
        await desk.create(run_id=f"run-{number}")
    await desk.create(*[phase(f"p{n:04d}") for n in range(1001)], run_id="big")
    assert [run.run_id for run in await client.runs()] == ["big", "run-0", "run-1", "run-2"]
    assert [run.run_id for run in await client.runs(after="run-0")] == ["run-1", "run-2"]
    phases = await client.phases("big")
    assert [found.phase_index for found in phases] == list(range(1001))
    assert await client.phases("big", state=PhaseState.FAILED) == []


async def test_a_client_of_another_database_is_refused_before_anything_is_done(client, desk: Desk):
    await desk.create()
    client.database_id = "0" * 32
    with pytest.raises(DatabaseMismatch, match="nothing was done"):
        await desk.claim()
    with pytest.raises(DatabaseMismatch):
        await client.connect()
    client.database_id = None
    assert (await client.phase("r1", "p1")).attempts == 0


async def test_the_identity_says_which_database_this_is(client, database):
    identity = await client.connect()
    assert identity["path"] == str(database.location.path)
    assert identity["inode"] == database.location.path.stat().st_ino
    assert identity["device"] == database.location.path.stat().st_dev
    assert (identity["dialect"], identity["revision"]) == ("sqlite", REVISION)
    assert identity["journal_mode"] in ("wal", "truncate")
    assert len(identity["database_id"]) == 32
    assert identity["sqlite_version"]
