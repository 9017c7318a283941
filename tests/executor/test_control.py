"""What a person changes while a drain is at work, seen by the real worker and pipeline over the real queue."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from pydantic import SecretStr

from autopack.bootstrap.models import open_models
from autopack.domain.messages import Role
from autopack.domain.models import ModelTable, load_model_table
from autopack.domain.phases import AttemptOutcome, Claim, IdleReason, Outcome, PhaseState
from autopack.domain.telemetry import ESTIMATIONS, Selection
from autopack.errors import ModelNotReady
from autopack.executor import attempt
from autopack.executor.lease import ASK_SECONDS, Leases
from autopack.executor.pipeline import Step
from autopack.schemas import ActorBody, ClaimBody, RenewAnswer
from autopack.settings import Settings
from tests.executor.support_pipeline import ScriptedLLM, Stage, completion, files
from tests.support import phase

pytestmark = pytest.mark.anyio
SOON = 0.02


async def seen(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for tells nobody when it is so
        await anyio.sleep(SOON)


async def cancelled(stage: Stage) -> None:
    await stage.client.change_run("r1", "cancel", ActorBody(by="Ann", reason="enough"))


async def test_a_cancel_is_heard_in_a_model_call(stage: Stage) -> None:
    async def cancelled_meanwhile() -> Any:
        await cancelled(stage)
        await anyio.sleep_forever()

    await stage.create(phase("p1"), phase("p2"))
    stage.llm.will(Role.BUILDER, cancelled_meanwhile)
    with anyio.fail_after(60):
        drained = await stage.drain(ask_seconds=SOON)
    assert drained.idle is not None
    assert drained.idle.reason is IdleReason.CANCELLED
    assert (await stage.phase()).state is PhaseState.CANCELLED
    assert [each.outcome for each in await stage.attempts()] == [AttemptOutcome.CANCELLED]
    assert [call.status for call in await stage.client.calls("r1")] == ["abandoned"]


async def test_a_cancel_is_heard_in_a_check_which_is_killed(stage: Stage) -> None:
    """A check that is not killed would keep the drain for ten minutes."""
    await stage.create(phase("p1", checks=["sleep 600"]))
    stage.llm.will(Role.BUILDER, files({"out/p1.txt": "one\n"}))
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:

            async def cancel_the_check() -> None:
                await seen(lambda: "checking" in stage.steps())
                await cancelled(stage)

            group.start_soon(cancel_the_check)
            await stage.drain(ask_seconds=SOON)
    (attempt,) = await stage.attempts()
    assert attempt.outcome is AttemptOutcome.CANCELLED


async def test_what_is_being_done_is_told(stage: Stage) -> None:
    told: list[str | None] = []

    async def looked_at() -> Any:
        while not told or told[-1] is None:
            (attempt,) = await stage.attempts()
            told.append(attempt.step)
            await anyio.sleep(SOON)
        return files({"out/p1.txt": "one\n"})

    await stage.create(phase("p1"))
    stage.llm.will(Role.BUILDER, looked_at)
    with anyio.fail_after(60):
        await stage.drain(ask_seconds=SOON)
    assert told[-1] == "building"


class Together:
    """A runner that counts the phases under way, and does with each claim what the test says."""

    def __init__(self, do: Callable[["Together", Claim], Any]) -> None:
        self.do, self.most = do, 0
        self.ran: list[str] = []
        self.open: set[str] = set()

    async def run(self, claim: Claim, step: Step) -> Outcome:
        self.open.add(claim.phase.phase_id)
        self.most = max(self.most, len(self.open))
        self.ran.append(claim.phase.phase_id)
        try:
            await self.do(self, claim)
        finally:
            self.open.remove(claim.phase.phase_id)
        return Outcome(outcome=AttemptOutcome.NO_OP)


async def drained_together(stage: Stage, runner: Together, **more: Any) -> None:
    with anyio.fail_after(60):
        drained = await stage.drain(wrap=lambda _: runner, ask_seconds=SOON, **more)
    assert drained.idle is not None
    assert drained.idle.reason is IdleReason.DONE


async def set_concurrency(stage: Stage, concurrency: int | None) -> None:
    await stage.client.change_run_settings("r1", by="Ann", concurrency=concurrency)


async def test_more_phases_begin_at_once_when_a_person_says_so(stage: Stage) -> None:
    async def until_three_run(runner: Together, claim: Claim) -> None:
        if claim.phase.phase_id == "p0":
            await set_concurrency(stage, 3)
        await seen(lambda: runner.most == 3)

    await stage.create(*(phase(f"p{number}") for number in range(6)))
    runner = Together(until_three_run)
    await drained_together(stage, runner, concurrency=1)
    assert (runner.most, sorted(runner.ran)) == (3, [f"p{number}" for number in range(6)])


async def test_fewer_slots_leave_after_their_phase_and_the_flag_holds_again_at_last(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, renew = anyio.Event(), stage.client.renew

    async def overheard(*about: Any) -> RenewAnswer:
        answer = await renew(*about)
        if answer.concurrency == 1:
            heard.set()
        return answer

    alone: list[str] = []

    async def do(runner: Together, claim: Claim) -> None:
        name = claim.phase.phase_id
        if name in ("p0", "p1", "p2"):
            await seen(lambda: runner.most == 3)
            if name == "p0":
                await set_concurrency(stage, 1)
            await heard.wait()
            await seen(lambda: name == "p2" or "p2" not in runner.open)  # the other two end after this one
        elif name == "p3":
            await seen(lambda: runner.open == {"p3"})
            alone.append(name)
        else:
            if name == "p4":
                alone.append(name)
                await set_concurrency(stage, None)
            await seen(lambda: len(runner.ran) == 7)  # the three last ones are under way together

    monkeypatch.setattr(stage.client, "renew", overheard)
    await stage.create(*(phase(f"p{number}") for number in range(7)))
    runner = Together(do)
    await drained_together(stage, runner, concurrency=3)
    assert alone == ["p3", "p4"]
    assert runner.most == 3


async def test_a_run_that_is_resumed_is_as_wide_as_before(stage: Stage) -> None:
    async def do(runner: Together, claim: Claim) -> None:
        name = claim.phase.phase_id
        if name in ("p0", "p1", "p2"):
            await seen(lambda: len(runner.ran) == 3)
        if name == "p0":
            await stage.client.change_run("r1", "pause", ActorBody(by="Ann"))
            paused.set()
            await seen(lambda: [each.kind for each in stage.progress].count("finished") == 2)
            await stage.client.change_run("r1", "resume", ActorBody(by="Ann"))
        elif len(runner.ran) == 3:
            await paused.wait()
        else:
            await seen(lambda: len(runner.ran) == 6)  # the three last ones are under way together

    await stage.create(*(phase(f"p{number}") for number in range(6)))
    runner, paused = Together(do), anyio.Event()
    await drained_together(stage, runner, concurrency=3)
    assert sorted(runner.ran) == [f"p{number}" for number in range(6)]


async def test_a_cap_that_is_raised_while_its_refusal_is_told_does_not_end_the_drain(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = stage.client.report_budget

    async def raised_meanwhile(*about: Any) -> bool:
        await stage.client.change_run_settings("r1", by="Ann", token_cap=10**9)
        return await report(*about)

    monkeypatch.setattr(stage.client, "report_budget", raised_meanwhile)
    monkeypatch.setattr(attempt, "ROOM_SECONDS", SOON)
    await stage.create(phase("p1"), token_cap=10)
    stage.llm.will(Role.BUILDER, files({"out/p1.txt": "one\n"}))
    drained = await stage.drain()
    assert drained.idle is not None
    assert drained.idle.reason is IdleReason.DONE
    outcomes = [each.outcome for each in await stage.attempts()]
    assert outcomes == [AttemptOutcome.DEFERRED, AttemptOutcome.COMPLETE]


async def test_a_run_of_a_set_concurrency_never_has_more_under_way_whatever_the_flag_says(
    stage: Stage,
) -> None:
    async def do(runner: Together, claim: Claim) -> None:
        await anyio.sleep(2 * SOON)

    await stage.create(*(phase(f"p{number}") for number in range(4)))
    await set_concurrency(stage, 1)
    runner = Together(do)
    await drained_together(stage, runner, concurrency=4)
    assert runner.most == 1


async def test_of_one_named_phase_there_is_one_however_many_the_run_should_have(stage: Stage) -> None:
    async def do(runner: Together, claim: Claim) -> None:
        await anyio.sleep(3 * SOON)

    await stage.create(phase("p1"), phase("p2"))
    await set_concurrency(stage, 5)
    runner = Together(do)
    await drained_together(stage, runner, phase_id="p1")
    assert runner.ran == ["p1"]


async def test_a_phase_after_which_the_run_pauses_ends_the_drain(stage: Stage) -> None:
    await stage.create(phase("p1"), phase("p2"))
    await stage.client.pause_after("r1", "p1", by="Ann")
    stage.llm.will(Role.BUILDER, files({"out/p1.txt": "one\n"}))
    drained = await stage.drain()
    assert drained.idle is not None
    assert drained.idle.reason is IdleReason.PAUSED
    assert (await stage.phase("p2")).state is PhaseState.QUEUED


class Asked:
    """A queue that counts how often it is asked, and by whom."""

    def __init__(self) -> None:
        self.by: list[str] = []

    async def renew(self, attempt_id: str, *_: Any) -> RenewAnswer:
        self.by.append(attempt_id)
        return RenewAnswer(lease_expires_at=datetime(2026, 1, 1, tzinfo=UTC), cancelled=len(self.by) >= 4)


async def test_many_leases_ask_together_and_one_answer_stops_them_all() -> None:
    """Twenty phases at once ask no more often than two would; a cancel that one hears is all the others' as well."""
    queue: Any = Asked()
    leases = Leases(queue, lease_seconds=60, ask_seconds=0.1)
    claims: list[Any] = [SimpleNamespace(attempt_id=f"a{number}", lease_token="t") for number in range(20)]
    kept = [leases.open(claim) for claim in claims]

    async def work(lease: Any) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(lease.keep, group)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as all_of_them:
            for lease in kept:
                all_of_them.start_soon(work, lease)
    assert all(lease.cancelled and not lease.lost for lease in kept)
    assert len(queue.by) == 4
    assert 1.5 * ASK_SECONDS < 2, "a cancel is heard within two seconds"


async def a_claim(stage: Stage, model: str | None) -> Claim:
    await stage.create(phase("p1", task_category="docs"))
    if model is not None:
        await stage.client.change_run_settings("r1", by="Ann", builder_model=model)
    answer = await stage.client.claim(ClaimBody(run_id="r1", worker="w", lease_token="t" * 32))
    assert answer.claim is not None
    return answer.claim


def settings(**more: Any) -> Settings:
    return Settings().model_copy(update={"model": "openai:plain", "openai_api_key": SecretStr("k"), **more})


TABLE = load_model_table(
    '[models]\nladder = ["openai:weak", "openai:strong"]\n[models.category.docs]\nbuilder = "openai:docs"\n'
)


async def test_the_model_that_a_person_names_goes_before_the_table_and_its_ladder(stage: Stage) -> None:
    claim, notes = await a_claim(stage, "openai:asked"), list[str]()
    async with open_models(settings(), TABLE, note=notes.append) as models:
        for failed in (claim, replace(claim, failures=1, escalations=1)):
            chosen = models.choose(Role.BUILDER, failed)
            assert chosen is not None
            assert chosen.model == "openai:asked"
        assert models.choose(Role.AUDITOR, claim) is None
        assert not models.has_stronger(claim)
        without = replace(claim, run=replace(claim.run, builder_model=None))
        assert models.choose(Role.BUILDER, without) is models.named["openai:docs"]
        assert models.has_stronger(without)
    assert notes == [
        "run r1 asks for openai:asked: it builds from now on",
        "run r1 asks for no model any more: this drain's own builds",
    ]


async def test_a_model_without_its_key_gives_the_phase_back_and_says_how_to_go_on(stage: Stage) -> None:
    """Named while the drain is at work; named before, it is refused before anything is claimed."""
    said = r"run r1 asks for the builder anthropic:x, .*ANTHROPIC_API_KEY.*`autopack run set r1 --model none`"
    await stage.create(phase("p1"))
    async with open_models(settings(), ModelTable()) as models:
        await stage.client.change_run_settings("r1", by="Ann", builder_model="anthropic:x")
        with pytest.raises(ModelNotReady, match=said):
            await stage.drain(choose=models.choose)
    found = await stage.phase()
    assert (found.state, found.attempts) == (PhaseState.QUEUED, 0)
    assert await stage.client.calls("r1") == []
    with pytest.raises(ModelNotReady, match=said):
        async with open_models(settings(), ModelTable(), run=await stage.client.run("r1")):
            pass


async def test_a_drain_that_replays_goes_on_replaying_and_says_so_once(stage: Stage) -> None:
    claim, notes = await a_claim(stage, "openai:asked"), list[str]()
    async with open_models(Settings(), TABLE, run=claim.run, note=notes.append) as models:
        assert models.choose(Role.BUILDER, claim) is None
    assert len(notes) == 1
    assert "no model is configured here (AUTOPACK_MODEL): recorded answers go on" in notes[0]


async def test_calls_and_estimates_name_the_model_that_was_asked(stage: Stage) -> None:
    await stage.create(phase("p1"))
    other = ScriptedLLM()
    other.model = "openai:other"
    other.will(Role.BUILDER, replace(completion(files({"out/p1.txt": "one\n"})), model="other"))
    await stage.drain(choose=lambda role, _: other if role is Role.BUILDER else None)
    calls = await stage.client.calls("r1")
    assert {(call.role, call.model) for call in calls} == {("builder", "other"), ("auditor", "scripted")}
    pages = stage.client.telemetry_pages(ESTIMATIONS, Selection(run_id="r1"))
    assert [row.model async for page in pages for row in page] == ["other"]
