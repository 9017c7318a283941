"""What a worker does with leases, interruptions and errors; the queue is real, what runs in the phase is by hand."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from autopack.api.app import create_app
from autopack.cli.drain import judge
from autopack.client import AutopackClient
from autopack.clock import Clock
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.domain.phases import AttemptOutcome, Claim, FailureKind, IdleReason, Outcome, PhaseState
from autopack.errors import (
    ApiUnreachable,
    AutopackError,
    BudgetReached,
    DatabaseMismatch,
    DatabaseReplaced,
    LeaseLost,
    ModelError,
    ModelNotReady,
    ProviderLimit,
    WorkspaceRefused,
)
from autopack.executor.pipeline import Step
from autopack.executor.worker import Drained, Progress, Request, Worker
from autopack.schemas import ActorBody, ClaimBody, PlanBody, RenewAnswer
from tests.support import phase, plan

pytestmark = pytest.mark.anyio

DONE = Outcome(outcome=AttemptOutcome.COMPLETE)
Do = Callable[[Claim], Awaitable[Outcome]]


@dataclass
class Time:
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def tick(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@dataclass
class Runner:
    """Runs what the test says, one after the other; then every phase is done."""

    steps: list[Do] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)

    async def run(self, claim: Claim, step: Step) -> Outcome:
        self.ran.append(claim.phase.phase_id)
        return await self.steps.pop(0)(claim) if self.steps else DONE


class CountingClient(AutopackClient):
    """Lets a test wait for renewals."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        super().__init__(http)
        self.renewals = 0
        self.renew_error: AutopackError | None = None
        self._renewed = anyio.Event()

    async def renew(
        self, attempt_id: str, lease_token: str, lease_seconds: float, step: str | None = None
    ) -> RenewAnswer:
        if self.renew_error is not None:
            raise self.renew_error
        answer = await super().renew(attempt_id, lease_token, lease_seconds, step)
        self.renewals += 1
        self._renewed.set()
        self._renewed = anyio.Event()
        return answer

    async def renewed(self, times: int) -> None:
        while self.renewals < times:
            await self._renewed.wait()


@dataclass(kw_only=True)
class Stage:
    client: CountingClient
    time: Time
    runner: Runner
    worker: Worker
    drained: Drained = field(default_factory=Drained)
    told: list[Progress] = field(default_factory=list)

    async def drain(self, **request: Any) -> Drained:
        with anyio.fail_after(20):
            await self.worker.drain(Request(run_id="r1", **request), self.drained)
        return self.drained

    async def states(self) -> dict[str, str]:
        return {each.phase_id: str(each.state) for each in await self.client.phases("r1")}

    async def outcomes(self, phase_id: str = "p1") -> list[AttemptOutcome | None]:
        return [each.outcome for each in await self.client.attempts("r1", phase_id)]


@pytest.fixture
def stage(sqlite_url: str, tmp_path: Path) -> Callable[..., Any]:
    @asynccontextmanager
    async def on_stage(
        *steps: Do, phases: list[dict[str, Any]] | None = None, lease_seconds: float = 60.0
    ) -> AsyncIterator[Stage]:
        time = Time()
        with open_database(locate(sqlite_url, tmp_path), one_session=True) as database:
            app = create_app(lambda: nullcontext(database), clock=Clock(now=lambda: time.now))
            http = httpx.AsyncClient(
                transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://autopack"
            )
            async with app.router.lifespan_context(app), http:
                client = CountingClient(http)
                await client.connect()
                await client.create_run(PlanBody.model_validate(plan(phases=phases or [phase("p1")])))
                runner, told = Runner(list(steps)), []

                def report(progress: Progress) -> None:
                    told.append(progress)
                    if progress.kind == "waiting":
                        time.tick(seconds=6)

                # This worker's clock is far ahead: a wait of the queue's is over as soon as it is begun.
                ahead = Clock(now=lambda: time.now + timedelta(seconds=60))
                worker = Worker(
                    client, runner, name="w1", clock=ahead, lease_seconds=lease_seconds, base_commit="b" * 40, report=report
                )  # fmt: skip
                yield Stage(client=client, time=time, runner=runner, worker=worker, told=told)

    return on_stage


def raising(error: Exception) -> Do:
    async def do(claim: Claim) -> Outcome:
        raise error

    return do


def two() -> list[dict[str, Any]]:
    return [phase("p1"), phase("p2")]


async def test_a_drain_runs_every_phase_and_says_that_it_is_done(stage: Any) -> None:
    async with stage(phases=two()) as on:
        drained = await on.drain()
        assert on.runner.ran == ["p1", "p2"]
        assert drained.idle.reason is IdleReason.DONE
        assert judge(await on.client.run("r1"), drained, Request(run_id="r1"), None)[0] == 0


async def test_the_first_interrupt_lets_the_phase_end_and_claims_no_other(stage: Any) -> None:
    async def interrupted(claim: Claim) -> Outcome:
        on.worker.stop("interrupted by SIGINT")
        await anyio.lowlevel.checkpoint()
        return DONE

    async with stage(interrupted, phases=two()) as on:
        drained = await on.drain()
        assert await on.states() == {"p1": "COMPLETE", "p2": "QUEUED"}
        assert (drained.idle, on.worker.stopped) == (None, "interrupted by SIGINT")


async def test_the_second_interrupt_gives_the_phase_back_without_spending_an_attempt(stage: Any) -> None:
    async def long(claim: Claim) -> Outcome:
        scope.cancel()
        await anyio.sleep_forever()
        return DONE

    async with stage(long) as on:
        with anyio.CancelScope() as scope:
            await on.drain()
        assert scope.cancelled_caught
        found = await on.client.phase("r1", "p1")
        assert (found.state, found.attempts) == (PhaseState.QUEUED, 0)
        assert await on.outcomes() == [AttemptOutcome.INTERRUPTED]


async def test_renewals_keep_a_lease_however_long_the_phase_takes(stage: Any) -> None:
    async def slow(claim: Claim) -> Outcome:
        for renewal in range(1, 5):
            on.time.tick(seconds=0.4)
            await on.client.renewed(renewal)
        return DONE

    async with stage(slow, lease_seconds=0.6) as on:
        await on.drain()
        assert on.client.renewals >= 4
        assert await on.outcomes() == [AttemptOutcome.COMPLETE]


async def take_over(on: Stage) -> str:
    """Another worker claims the phase once its lease has run out."""
    on.time.tick(seconds=61)
    body = ClaimBody(run_id="r1", worker="w2", lease_token="x" * 32, lease_seconds=600)
    claim = (await on.client.claim(body)).claim
    assert claim is not None
    return claim.attempt_id


async def test_a_lost_lease_stops_the_phase_at_the_next_renewal_and_its_result_is_dropped(stage: Any) -> None:
    stopped = []

    async def slow(claim: Claim) -> Outcome:
        other = await take_over(on)
        try:
            await anyio.sleep_forever()
        finally:
            stopped.append(claim.attempt_id)
            on.worker.stop("enough seen")
            with anyio.CancelScope(shield=True):
                await on.client.finish(other, "x" * 32, DONE)
        return DONE

    async with stage(slow, lease_seconds=0.15) as on:
        await on.drain()
        assert len(stopped) == 1
        assert await on.outcomes() == [AttemptOutcome.LOST, AttemptOutcome.COMPLETE]
        assert on.drained.outcomes == []


async def test_a_result_that_comes_after_the_lease_was_lost_is_dropped(stage: Any) -> None:
    async def late(claim: Claim) -> Outcome:
        await on.client.finish(await take_over(on), "x" * 32, Outcome(outcome=AttemptOutcome.NO_OP))
        return Outcome(outcome=AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED)

    async with stage(late) as on:
        drained = await on.drain()
        assert await on.outcomes() == [AttemptOutcome.LOST, AttemptOutcome.NO_OP]
        assert drained.outcomes == []
        assert drained.idle.reason is IdleReason.DONE


async def test_a_lease_that_is_lost_in_a_model_call_is_no_failure_of_the_phase(stage: Any) -> None:
    async def refused(claim: Claim) -> Outcome:
        await on.client.finish(await take_over(on), "x" * 32, DONE)
        raise LeaseLost("the reservation was refused")

    async with stage(refused) as on:
        await on.drain()
        assert await on.outcomes() == [AttemptOutcome.LOST, AttemptOutcome.COMPLETE]


async def test_a_cancelled_run_stops_the_phase_at_the_next_renewal(stage: Any) -> None:
    async def slow(claim: Claim) -> Outcome:
        await on.client.change_run("r1", "cancel", ActorBody())
        await anyio.sleep_forever()
        return DONE

    async with stage(slow, phases=two(), lease_seconds=0.15) as on:
        drained = await on.drain()
        assert await on.states() == {"p1": "CANCELLED", "p2": "CANCELLED"}
        assert await on.outcomes() == [AttemptOutcome.CANCELLED]
        assert drained.idle.reason is IdleReason.CANCELLED


async def test_a_queue_that_is_gone_until_the_lease_ends_costs_the_try_and_not_the_drain(stage: Any) -> None:
    async def slow(claim: Claim) -> Outcome:
        on.client.renew_error = ApiUnreachable("gone")
        try:
            await anyio.sleep_forever()
        finally:
            on.client.renew_error = None
            on.time.tick(seconds=1)
        return DONE

    async with stage(slow, lease_seconds=0.15) as on:
        await on.drain()
        assert await on.outcomes() == [AttemptOutcome.LOST, AttemptOutcome.COMPLETE]


@pytest.mark.parametrize("error", [DatabaseReplaced("gone"), DatabaseMismatch("another")], ids=repr)
async def test_a_queue_that_is_another_ends_the_work_at_once(stage: Any, error: AutopackError) -> None:
    async def slow(claim: Claim) -> Outcome:
        on.client.renew_error = error
        await anyio.sleep_forever()
        return DONE

    async with stage(slow, lease_seconds=0.3) as on:
        with pytest.raises(type(error)):
            await on.drain()
        assert await on.states() == {"p1": "QUEUED"}
        assert await on.outcomes() == [AttemptOutcome.INTERRUPTED]


async def test_a_providers_limit_defers_the_phase_without_spending_an_attempt(stage: Any) -> None:
    limit = raising(ProviderLimit("429", retry_after_seconds=5))
    async with stage(limit, phases=[phase("p1", max_attempts=1)]) as on:
        await on.drain()
        assert await on.outcomes() == [AttemptOutcome.DEFERRED, AttemptOutcome.COMPLETE]
        assert (await on.client.phase("r1", "p1")).attempts == 1
        assert "waiting" in [each.kind for each in on.told]


async def test_a_long_limit_ends_the_drain_with_the_moment_from_which_it_may_go_on(stage: Any) -> None:
    async with stage(raising(ProviderLimit("429", retry_after_seconds=3600))) as on:
        drained = await on.drain()
        assert drained.idle.reason is IdleReason.NOT_BEFORE
        assert drained.idle.until - on.time.now == timedelta(seconds=3600)
        assert judge(await on.client.run("r1"), drained, Request(run_id="r1"), None)[0] == 75


async def test_what_does_not_wait_for_the_provider_is_done_before_the_drain_ends_with_75(stage: Any) -> None:
    async with stage(raising(ProviderLimit("429", retry_after_seconds=3600)), phases=two()) as on:
        drained = await on.drain()
        assert await on.states() == {"p1": "QUEUED", "p2": "COMPLETE"}
        assert judge(await on.client.run("r1"), drained, Request(run_id="r1"), None)[0] == 75
        on.time.tick(hours=1)
        drained = await on.drain()
        assert await on.outcomes() == [AttemptOutcome.DEFERRED, AttemptOutcome.COMPLETE]
        assert drained.idle.reason is IdleReason.DONE


async def test_a_phase_that_is_stuck_ends_early_and_the_drain_says_why(stage: Any) -> None:
    async def red(claim: Claim) -> Outcome:
        kind, edits = FailureKind.CHECKS_FAILED, "a" * 64
        return Outcome(outcome=AttemptOutcome.FAILED, failure_kind=kind, reason="red", plan_hash=edits)

    async with stage(red, red, red, phases=[phase("p1", max_attempts=9)]) as on:
        drained = await on.drain()
        assert on.runner.ran == ["p1", "p1"]
        assert judge(await on.client.run("r1"), drained, Request(run_id="r1"), None)[0] == 1
        last = [each.detail for each in on.told if each.kind == "finished"][-1]
        assert last.startswith("FAILED (stuck: the same edits failed twice in a row")


async def test_a_model_error_is_tried_again_after_a_backoff(stage: Any) -> None:
    async with stage(raising(ModelError("500"))) as on:
        began = on.time.now
        await on.drain()
        assert await on.outcomes() == [AttemptOutcome.FAILED, AttemptOutcome.COMPLETE]
        first, second = await on.client.attempts("r1", "p1")
        assert first.failure_kind is FailureKind.MODEL_ERROR
        assert second.claimed_at - began >= timedelta(seconds=5)


async def test_a_model_error_that_no_retry_can_mend_fails_the_phase_at_once(stage: Any) -> None:
    error = ModelError("400: no such parameter")
    error.retryable = False
    async with stage(raising(error)) as on:
        drained = await on.drain()
        assert await on.states() == {"p1": "FAILED"}
        assert await on.outcomes() == [AttemptOutcome.FAILED]
        assert judge(await on.client.run("r1"), drained, Request(run_id="r1"), None)[0] == 1


async def test_a_cap_that_is_reached_pauses_the_run_and_gives_the_phase_back(stage: Any) -> None:
    async with stage(raising(BudgetReached("token cap of run r1: 10 tokens")), phases=two()) as on:
        drained = await on.drain()
        assert on.runner.ran == ["p1"]
        found = await on.client.phase("r1", "p1")
        assert (found.state, found.attempts) == (PhaseState.QUEUED, 0)
        assert drained.idle.reason is IdleReason.BUDGET
        assert judge(await on.client.run("r1"), drained, Request(run_id="r1"), None)[0] == 6


@pytest.mark.parametrize("error", [ModelNotReady("no key"), WorkspaceRefused("the branch is gone")], ids=repr)
async def test_an_environment_that_is_not_ready_gives_the_phase_back_and_ends_the_drain(
    stage: Any, error: AutopackError
) -> None:
    async with stage(raising(error), phases=two()) as on:
        with pytest.raises(type(error), match=str(error)):
            await on.drain()
        assert await on.states() == {"p1": "QUEUED", "p2": "QUEUED"}
        assert (await on.client.phase("r1", "p1")).attempts == 0
        assert await on.outcomes() == [AttemptOutcome.INTERRUPTED]


async def test_a_fault_of_ours_fails_the_attempt_and_not_the_drain(stage: Any) -> None:
    async with stage(raising(ZeroDivisionError("a bug")), phases=two()) as on:
        await on.drain()
        assert await on.outcomes() == [AttemptOutcome.FAILED, AttemptOutcome.COMPLETE]
        (first, _) = await on.client.attempts("r1", "p1")
        assert (first.failure_kind, first.reason) == (FailureKind.INTERNAL_ERROR, "ZeroDivisionError: a bug")


async def test_batches_are_no_larger_than_asked_for(stage: Any) -> None:
    async with stage(phases=[phase(f"p{number}") for number in range(5)]) as on:
        drained = await on.drain(batch_size=2, max_batches=2)
        assert (drained.batches, len(on.runner.ran)) == (2, 4)
        assert drained.stopped == "2 batches were asked for, and are done"


async def test_the_first_failure_ends_the_drain_where_that_was_asked_for(stage: Any) -> None:
    async def red(claim: Claim) -> Outcome:
        return Outcome(outcome=AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED, retryable=False)

    async with stage(red, phases=two()) as on:
        await on.drain(stop_on_first_failure=True)
        assert await on.states() == {"p1": "FAILED", "p2": "QUEUED"}
        assert "p1 failed" in on.worker.stopped


async def test_exactly_the_named_phase_is_drained_through_all_its_attempts(stage: Any) -> None:
    async def red(claim: Claim) -> Outcome:
        return Outcome(outcome=AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED)

    async with stage(red, red, phases=two()) as on:
        drained = await on.drain(phase_id="p2")
        assert on.runner.ran == ["p2", "p2", "p2"]
        assert drained.idle.reason is IdleReason.DONE
        assert (await on.states())["p1"] == "QUEUED"


async def test_as_many_phases_run_at_once_as_asked_for(stage: Any) -> None:
    running, most = 0, 0
    three = anyio.Event()

    async def counted(claim: Claim) -> Outcome:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            three.set()
        with anyio.fail_after(60):
            await three.wait()
        running -= 1
        return DONE

    async with stage(*[counted] * 6, phases=[phase(f"p{number}") for number in range(6)]) as on:
        drained = await on.drain(concurrency=3)
        assert most == 3
        assert sorted(on.runner.ran) == [f"p{number}" for number in range(6)]
        assert drained.idle.reason is IdleReason.DONE
