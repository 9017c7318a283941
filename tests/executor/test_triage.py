"""A session of triage over a real queue; what runs in a phase, and the clock, are by hand."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from autopack.api.app import create_app
from autopack.bootstrap.models import Models
from autopack.client import AutopackClient, in_process
from autopack.clock import Clock
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.domain.calls import CallRequest, CallResult
from autopack.domain.messages import ProviderMode, Role
from autopack.domain.models import load_model_table
from autopack.domain.phases import AttemptOutcome, Claim, FailureKind, Outcome, PhaseState, RunState
from autopack.domain.triage import Before, Options, Why
from autopack.domain.triage_order import Place, Stop
from autopack.errors import BudgetReached, Conflict, ModelNotReady, ProviderLimit, WorkspaceRefused
from autopack.executor.liveness import worker_name
from autopack.executor.pipeline import Step
from autopack.executor.triage import Bench, Report, Triage, stored_options
from autopack.executor.worker import Worker
from autopack.schemas import ActorBody, ClaimBody, PlanBody
from tests.support import phase, plan

pytestmark = pytest.mark.anyio

DONE = Outcome(outcome=AttemptOutcome.COMPLETE)
Do = Callable[[Claim], Awaitable[Outcome]]
DEAD = "|".join([*worker_name().split("|")[:4], "1"])
"""A process with the number of this one, which began at another time."""


def red(reason: str = "red", **more: Any) -> Outcome:
    return Outcome(
        outcome=AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED, reason=reason, **more
    )


@dataclass
class Runner:
    """Runs what the test says of a phase; every other is done at once."""

    steps: dict[str, Do] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)

    async def run(self, claim: Claim, step: Step) -> Outcome:
        self.ran.append(f"{claim.phase.run_id}/{claim.phase.phase_id}")
        do = self.steps.get(self.ran[-1]) or self.steps.get("*")
        return await do(claim) if do else DONE

    def will(self, name: str, end: Outcome | Exception) -> None:
        async def do(_: Claim) -> Outcome:
            if isinstance(end, Exception):
                raise end
            return end

        self.steps[name] = do


@dataclass(kw_only=True)
class Stage:
    client: AutopackClient
    runner: Runner = field(default_factory=Runner)
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    seconds: float = 0.0
    refused: set[str] = field(default_factory=set)
    providers: dict[str, frozenset[str]] = field(default_factory=dict)
    """By task category; "one" for any other."""
    opened: list[str] = field(default_factory=list)

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, monotonic=lambda: self.seconds)

    def tick(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.seconds += seconds

    async def failed(self, run_id: str, *phases: str, max_attempts: int = 1, **more: Any) -> None:
        """A run whose phases have all failed."""
        made = [phase(name, max_attempts=max_attempts, **more) for name in phases]
        await self.client.create_run(PlanBody.model_validate(plan(run_id, made)))
        for name in phases:
            await self.fail(run_id, name)

    async def fail(self, run_id: str, name: str) -> None:
        claim = await self.claim(run_id, name)
        await self.client.finish(claim.attempt_id, claim.lease_token, red("as ever", retryable=False))
        self.tick(1)

    async def claim(self, run_id: str, name: str, worker: str = "w1") -> Claim:
        token = Clock().new_id()
        body = ClaimBody(run_id=run_id, phase_id=name, force=True, worker=worker, lease_token=token, base_commit="b" * 40)  # fmt: skip
        answer = await self.client.claim(body)
        assert answer.claim is not None
        return answer.claim

    @asynccontextmanager
    async def open_bench(self, run_id: str, report: Report) -> AsyncIterator[Bench]:
        self.opened.append(run_id)
        if run_id in self.refused:
            raise WorkspaceRefused(f"this is not the workspace of {run_id}")
        worker = Worker(
            self.client, self.runner, name="here", clock=Clock(now=lambda: self.now), report=report
        )
        every = frozenset({"one"}).union(*self.providers.values())
        yield Bench(
            worker=worker, providers=lambda name: self.providers.get(name, frozenset({"one"})), all_providers=every
        )  # fmt: skip

    def controller(self, session_id: str = "s1", **options: Any) -> Triage:
        return Triage(
            client=self.client, open_bench=self.open_bench, clock=self.clock, worker_name="here", session_id=session_id,
            options=Options(**options),
        )  # fmt: skip

    async def triage(self, session_id: str = "s1", *, resumed: bool = False, **options: Any) -> Triage:
        controller = self.controller(session_id, **options)
        await controller.load(resumed=resumed)
        await controller.begin()
        self.tick(1)
        with anyio.fail_after(30):
            await controller.run()
        self.tick(1)
        return controller

    async def states(self, run_id: str) -> dict[str, str]:
        return {each.phase_id: str(each.state) for each in await self.client.phases(run_id)}


@pytest.fixture
async def stage(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    with open_database(locate(sqlite_url, tmp_path), one_session=True, synchronous="OFF") as database:
        held: list[Stage] = []
        app = create_app(lambda: nullcontext(database), clock=Clock(now=lambda: held[0].now if held else datetime(2026, 1, 1, tzinfo=UTC)))  # fmt: skip
        async with in_process(app) as client:
            held.append(Stage(client=client))
            yield held[0]


async def test_a_sample_of_each_run_comes_first_and_runs_that_fail_as_ever_are_left(stage: Stage):
    await stage.failed("good", "p1", "p2")
    await stage.failed("bad", "p1", "p2")
    stage.runner.will("bad/p1", red("as ever"))
    done = await stage.triage()
    assert stage.runner.ran == ["bad/p1", "good/p1", "good/p2"]
    assert stage.opened == ["bad", "good"], "a worker serves all phases of its run"
    assert (await stage.states("good"), await stage.states("bad")) == (
        {"p1": "COMPLETE", "p2": "COMPLETE"},
        {"p1": "FAILED", "p2": "FAILED"},
    )
    assert done.stopped is not None
    assert (done.stopped.why, done.stopped.open_ended) == (Stop.NOTHING_LEFT, False)
    session = await stage.client.triage_session("s1")
    assert (session.ended_at is not None, session.reason) == (True, "nothing left: nothing is left to try")
    results = [item.result or {} for item in await stage.client.triage_items("s1")]
    assert [(each["run_id"], each["after"], each["attempts"], each["why"]) for each in results] == [
        ("bad", "FAILED", 1, "failed_before_llm"),
        ("good", "COMPLETE", 1, "success_no_llm_calls"),
        ("good", "COMPLETE", 1, "success_no_llm_calls"),
    ]


async def test_looking_writes_nothing(stage: Stage):
    await stage.failed("r1", "p1", "p2")
    controller = stage.controller()
    await controller.load(resumed=False)
    assert [look.place for look in controller.outlook()] == [Place.SAMPLE, Place.WAITS]
    assert await stage.client.triage_sessions() == []


async def test_a_call_takes_as_many_as_asked_for_and_the_next_goes_on(stage: Stage):
    await stage.failed("r1", "p1", "p2", "p3")
    first = await stage.triage(batch_size=2)
    assert first.stopped is not None
    assert (first.stopped.why, len(stage.runner.ran)) == (Stop.BATCH_SIZE, 2)
    session = await stage.client.triage_session("s1")
    assert (session.ended_at, stored_options(session)) == (None, Options(batch_size=2))
    await stage.triage(resumed=True, batch_size=2)
    assert stage.runner.ran == ["r1/p1", "r1/p2", "r1/p3"]


async def test_a_phase_gets_as_many_attempts_as_triage_may_make(stage: Stage):
    await stage.failed("r1", "p1", max_attempts=3)
    stage.runner.will("*", red("new"))
    (tried,) = (await stage.triage(max_attempts_per_phase=2)).history.mine
    assert (tried.attempts, tried.after, tried.again) == (2, PhaseState.QUEUED, False)
    await stage.fail("r1", "p1")
    again = await stage.triage("s2", max_attempts_per_phase=2)
    assert (len(stage.runner.ran), again.history.mine) == (2, [])
    (tried,) = (await stage.triage("s3", max_attempts_per_phase=3)).history.mine
    assert tried.attempts == 1


async def test_a_phase_that_takes_too_long_is_given_back_and_after_two_its_run_is_left(stage: Stage):
    await stage.failed("r1", "p1", "p2", "p3")

    async def hang(_: Claim) -> Outcome:
        return await anyio.sleep_forever()

    stage.runner.steps["*"] = hang
    done = await stage.triage(phase_timeout_seconds=0.3)
    assert [(each.timed_out, each.why) for each in done.history.mine] == [(True, Why.TIMEOUT)] * 2
    assert await stage.states("r1") == {"p1": "QUEUED", "p2": "QUEUED", "p3": "FAILED"}
    assert (await stage.client.attempts("r1", "p1"))[-1].outcome is AttemptOutcome.INTERRUPTED
    assert "ran out of time" in done.outlook()[-1].reason


@pytest.mark.parametrize("wait", [3600.0, 5.0])
async def test_a_provider_that_asks_to_wait_ends_the_call_at_once(stage: Stage, wait: float):
    await stage.failed("a", "p1", "p2", max_attempts=3)
    await stage.failed("b", "p1")
    stage.runner.will("a/p1", ProviderLimit("slow down", wait))
    done = await stage.triage()
    assert done.stopped is not None
    assert (done.stopped.why, done.stopped.open_ended) == (Stop.QUOTA, True)
    assert (stage.runner.ran, done.stopped.detail) == (["a/p1"], "one: slow down")
    stage.tick(10)
    (tried,) = done.history.mine
    assert (tried.why, tried.again, tried.after) == (Why.LLM_BOUNDARY_HIT, True, PhaseState.QUEUED)
    stage.runner.steps.clear()
    early = await stage.triage(resumed=True)
    assert early.stopped is not None
    if wait > 60:
        assert (early.stopped.why, stage.runner.ran) == (Stop.QUOTA, ["a/p1"]), (
            "it is not asked before its time"
        )
        stage.tick(wait)
        await stage.triage(resumed=True)
    assert stage.runner.ran == ["a/p1", "a/p1", "b/p1", "a/p2"], "what had to wait comes first"


async def test_only_phases_that_need_the_provider_are_left(stage: Stage):
    await stage.failed("a", "p1", task_category="docs")
    await stage.failed("b", "p1", task_category="docs")
    await stage.failed("c", "p1")
    stage.providers["docs"] = frozenset({"one", "two"})

    async def limited(claim: Claim) -> Outcome:
        asked = CallRequest(
            call_id="c1", role=Role.AUDITOR, provider="two", model="openai:m", provider_mode=ProviderMode.LIVE,
            request_key="k" * 64, max_tokens=100, reserve_tokens=100, reserve_cost_usd=None,
        )  # fmt: skip
        await stage.client.reserve(claim.attempt_id, claim.lease_token, asked)
        refused = CallResult(error="429", may_have_been_paid=False)
        await stage.client.settle("c1", claim.lease_token, refused)
        raise ProviderLimit("slow down", 3600)

    stage.runner.steps["a/p1"] = limited
    done = await stage.triage()
    assert stage.runner.ran == ["a/p1", "c/p1"]
    assert done.stopped is not None
    assert (done.stopped.why, done.limited) == (Stop.QUOTA, {"two": "slow down"})
    reasons = {look.candidate.run_id: look.reason for look in done.outlook() if look.place is Place.LEFT}
    assert reasons["b"] == "it needs two, which asked to wait"


@dataclass(frozen=True)
class Named:
    """As much of a model as is asked about."""

    provider: str


def test_which_providers_a_phase_needs_follows_the_models_of_its_category():
    table = load_model_table(
        '[models]\n[models.category.docs]\nbuilder = "anthropic:big"\n[models.attempt.2]\nbuilder = "openai:late"\n'
    )
    named: Any = {"anthropic:big": Named("theirs"), "openai:late": Named("late")}
    models: Any = Models(
        builder=Named("ours"), auditor=Named("judge"), second_auditor=Named("ours"), table=table, named=named, prices=None,
    )  # type: ignore[arg-type]  # fmt: skip
    assert models.providers("tests") == {"ours", "judge"}
    assert models.providers("docs") == {"theirs", "ours", "judge"}
    assert models.all_providers() == {"ours", "judge", "theirs", "late"}


async def test_a_run_that_reached_its_cap_is_left_and_others_go_on(stage: Stage):
    await stage.failed("a", "p1", "p2")
    await stage.failed("b", "p1")
    stage.runner.will("a/p1", BudgetReached("no room"))
    done = await stage.triage()
    assert (stage.runner.ran, list(done.budgets)) == (["a/p1", "b/p1"], ["a"])
    assert (await stage.client.run("a")).state is RunState.PAUSED
    assert done.stopped is not None
    assert done.stopped.open_ended
    assert [each.why for each in done.history.mine] == [Why.LLM_BOUNDARY_HIT, Why.SUCCESS_NO_LLM_CALLS]


async def test_runs_that_reached_their_cap_are_no_part_of_a_batch(stage: Stage):
    for run_id in "abc":
        await stage.failed(run_id, "p1")
    for name in ("a/p1", "b/p1"):
        stage.runner.will(name, BudgetReached("no room"))
    await stage.triage(batch_size=1, max_consecutive_zero_yield=1)
    assert stage.runner.ran == ["a/p1", "b/p1", "c/p1"]


async def test_a_run_that_is_paused_meanwhile_is_left_and_its_phase_stays_to_be_tried(stage: Stage):
    await stage.client.create_run(PlanBody.model_validate(plan("a", [phase("p1"), phase("p2")])))
    await stage.fail("a", "p1")
    controller = stage.controller()
    await controller.load(resumed=False)
    await controller.begin()
    await stage.client.change_run("a", "pause", ActorBody(by="Ann"))
    await controller.run()
    assert (stage.runner.ran, controller.budgets) == ([], {})
    assert [each.again for each in controller.history.mine] == [True]
    assert (await stage.client.triage_session("s1")).ended_at is None


async def test_a_run_of_another_workspace_is_left_with_the_reason(stage: Stage):
    await stage.failed("a", "p1", "p2")
    await stage.failed("b", "p1")
    stage.refused = {"a"}
    done = await stage.triage()
    assert (stage.runner.ran, done.refused) == (["b/p1"], {"a": "this is not the workspace of a"})
    assert len(await stage.client.triage_items("s1")) == 1, "nothing of it was tried"


async def test_a_workspace_that_turns_out_wrong_in_a_phase_leaves_its_run(stage: Stage):
    await stage.failed("a", "p1", "p2")
    await stage.failed("b", "p1")
    stage.runner.will("a/p1", WorkspaceRefused("the branch is gone"))
    done = await stage.triage()
    assert (stage.runner.ran, done.refused) == (["a/p1", "b/p1"], {"a": "the branch is gone"})
    assert [each.why for each in done.history.mine] == [Why.EXECUTION_ERROR, Why.SUCCESS_NO_LLM_CALLS]


async def test_no_model_ends_the_call_and_its_phase_is_first_when_it_goes_on(stage: Stage):
    await stage.failed("a", "p1")
    await stage.failed("b", "p1")
    stage.runner.will("a/p1", ModelNotReady("no key"))
    with pytest.raises(ModelNotReady):
        await stage.triage()
    assert await stage.states("a") == {"p1": "QUEUED"}
    stage.runner.steps.clear()
    await stage.triage(resumed=True)
    assert stage.runner.ran == ["a/p1", "a/p1", "b/p1"]


async def test_a_phase_that_another_worker_has_by_now_is_left(stage: Stage):
    await stage.failed("a", "p1")
    await stage.failed("b", "p1")
    controller = stage.controller()
    await controller.load(resumed=False)
    await controller.begin()
    await stage.claim("a", "p1")
    await controller.run()
    assert stage.runner.ran == ["b/p1"]
    assert controller.history.left_phases == {("a", "p1"): "it is EXECUTING by now"}


async def test_minutes_are_those_of_the_clock(stage: Stage):
    await stage.failed("r1", "p1", "p2", "p3")

    async def slow(_: Claim) -> Outcome:
        stage.tick(40)
        return DONE

    stage.runner.steps["*"] = slow
    done = await stage.triage(max_total_minutes=1.0)
    assert done.stopped is not None
    assert (len(stage.runner.ran), done.stopped.why) == (2, Stop.TIME)
    assert [each.seconds for each in done.history.mine] == [40.0, 40.0]


async def test_told_to_stop_it_lets_the_phase_end(stage: Stage):
    await stage.failed("r1", "p1", "p2", max_attempts=3)
    controller = stage.controller()

    async def interrupted(_: Claim) -> Outcome:
        controller.stop("by SIGINT")
        return red("new")

    stage.runner.steps["*"] = interrupted
    await controller.load(resumed=False)
    await controller.begin()
    await controller.run()
    assert stage.runner.ran == ["r1/p1"], "no further attempt either"
    assert [each.again for each in controller.history.mine] == [True]
    session = await stage.client.triage_session("s1")
    assert (session.reason, session.ended_at) == ("interrupted: by SIGINT", None)


async def test_cancelled_it_gives_the_phase_back_and_a_later_call_begins_with_it(stage: Stage):
    await stage.failed("a", "p1")
    await stage.failed("b", "p1")
    controller = stage.controller()
    with anyio.CancelScope() as scope:

        async def cancelled(_: Claim) -> Outcome:
            scope.cancel()
            return await anyio.sleep_forever()

        stage.runner.steps["a/p1"] = cancelled
        await controller.load(resumed=False)
        await controller.begin()
        await controller.run()
    assert (await stage.client.triage_session("s1")).reason == "interrupted: interrupted"
    assert await stage.states("a") == {"p1": "QUEUED"}
    stage.runner.steps.clear()
    await stage.triage(resumed=True)
    assert stage.runner.ran == ["a/p1", "a/p1", "b/p1"]
    first = (await stage.client.triage_items("s1"))[0].result or {}
    assert (first["again"], first["after"], first["seconds"]) == (True, "QUEUED", None)


async def killed(stage: Stage, *, worker: str, claimed: bool = True) -> Claim | None:
    """A session whose controller is gone while it tried b/p1."""
    before = Before(state=PhaseState.FAILED, attempts=1, llm_usage_events=0, token_estimation_v2_events=0, signature=None)  # fmt: skip
    await stage.client.open_triage("s1", Options())
    await stage.client.start_trial("s1", 1, ("b", "p1"), worker=worker, before=before)
    return await stage.claim("b", "p1", worker) if claimed else None


@pytest.mark.parametrize("claimed", [True, False])
async def test_a_killed_controller_is_followed_by_one_that_begins_with_its_phase(stage: Stage, claimed: bool):
    await stage.failed("a", "p1", max_attempts=3)
    await stage.failed("b", "p1", max_attempts=3)
    await killed(stage, worker=DEAD, claimed=claimed)
    done = await stage.triage(resumed=True)
    assert stage.runner.ran == ["b/p1", "a/p1"]
    assert [(each.key[0], each.again) for each in done.history.trials] == [("b", True), ("b", False), ("a", False)]  # fmt: skip
    outcomes = [each.outcome for each in await stage.client.attempts("b", "p1")]
    assert outcomes == [AttemptOutcome.FAILED, *([AttemptOutcome.LOST] if claimed else []), AttemptOutcome.COMPLETE]  # fmt: skip


async def test_what_the_killed_controller_had_done_is_not_done_again(stage: Stage):
    await stage.failed("b", "p1")
    claim = await killed(stage, worker=DEAD)
    assert claim is not None
    await stage.client.finish(claim.attempt_id, claim.lease_token, DONE)
    done = await stage.triage(resumed=True)
    assert stage.runner.ran == []
    (found,) = done.history.trials
    assert (found.after, found.again, found.seconds) == (PhaseState.COMPLETE, False, None)


async def test_the_attempts_of_a_lost_worker_count(stage: Stage):
    await stage.failed("b", "p1", max_attempts=3)
    await killed(stage, worker=DEAD)
    await stage.triage(resumed=True, max_attempts_per_phase=1)
    assert stage.runner.ran == []


async def test_a_controller_that_lives_elsewhere_is_not_followed_before_its_lease_ends(stage: Stage):
    await stage.failed("b", "p1", max_attempts=3)
    await killed(stage, worker="another machine")
    with pytest.raises(Conflict, match="another machine executes phase p1 of run b"):
        await stage.triage(resumed=True, batch_size=1)
    assert stored_options(await stage.client.triage_session("s1")) == Options(), "it is left as it was"
    stage.tick(120)
    await stage.triage(resumed=True)
    assert stage.runner.ran == ["b/p1"]


async def test_a_controller_that_has_yet_to_claim_its_phase_is_not_followed(stage: Stage):
    await stage.failed("b", "p1", max_attempts=3)
    await killed(stage, worker="another machine", claimed=False)
    with pytest.raises(
        Conflict, match=r"another machine tries phase p1 of run b.*or resume after 00:01:01 UTC"
    ):
        await stage.triage(resumed=True)
    stage.tick(61)
    await stage.triage(resumed=True)
    assert stage.runner.ran == ["b/p1"]


async def test_a_controller_of_this_machine_that_lives_is_not_followed_however_long_it_takes(stage: Stage):
    await stage.failed("b", "p1", max_attempts=3)
    await killed(stage, worker=worker_name(), claimed=False)
    stage.tick(86_400)
    with pytest.raises(Conflict, match=r"tries phase p1 of run b.*or end that process"):
        await stage.triage(resumed=True)
    assert stored_options(await stage.client.triage_session("s1")) == Options(), "it is left as it was"


async def test_of_two_controllers_on_one_session_the_second_stops(stage: Stage):
    await stage.failed("a", "p1", "p2")
    first, second = stage.controller(), stage.controller()
    await first.load(resumed=False)
    await first.begin()
    await second.load(resumed=True)
    await second.begin()

    async def meanwhile(_: Claim) -> Outcome:
        stage.runner.steps.clear()
        with pytest.raises(Conflict, match="another controller"):
            await second.run()
        return DONE

    stage.runner.steps["a/p1"] = meanwhile
    await first.run()
    assert stage.runner.ran == ["a/p1", "a/p2"]
    assert (await stage.client.triage_session("s1")).reason == "nothing left: nothing is left to try"


async def test_a_phase_that_was_decided_by_a_person_meanwhile_is_left(stage: Stage):
    await stage.failed("a", "p1")
    controller = stage.controller()
    await controller.load(resumed=False)
    await controller.begin()
    await stage.client.change_phase("a", "p1", "skip", ActorBody(by="Ann"))
    await controller.run()
    assert controller.history.left_phases == {("a", "p1"): "it is SKIPPED by now"}
