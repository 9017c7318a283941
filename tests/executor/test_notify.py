"""Who follows a run is told in order what asks for a person, once, while it holds; and never stands in the drain's way."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from autopack.clock import Clock
from autopack.domain.messages import Role
from autopack.domain.phases import JsonObject
from autopack.errors import ApiUnreachable, ModelNotReady
from autopack.executor.notify import Notifier
from autopack.schemas import ActorBody
from tests.executor.support_pipeline import Stage, files
from tests.support import phase

pytestmark = pytest.mark.anyio


@dataclass
class Ear:
    """A channel that keeps what it is told, or finds fault with it, or never ends."""

    name: str = "ear"
    fault: str | None = None
    is_stuck: bool = False
    heard: list[JsonObject] = field(default_factory=list)
    began: anyio.Event = field(default_factory=anyio.Event)

    async def send(self, told: JsonObject) -> str | None:
        self.heard.append(told)
        self.began.set()
        if self.is_stuck:
            await anyio.sleep_forever()
        return self.fault

    @property
    def events(self) -> list[tuple[str, str | None]]:
        return [(told["event"], told["phase"] and told["phase"]["phase_id"]) for told in self.heard]


@asynccontextmanager
async def following(stage: Stage, *ears: Ear, said: Callable[[str], None] = print) -> AsyncIterator[Notifier]:
    notifier = Notifier(stage.client, ears, say=said, clock=Clock())
    async with anyio.create_task_group() as group:
        group.start_soon(notifier.listen)
        await notifier.follow("r1")
        yield notifier
        group.cancel_scope.cancel()


async def drained(stage: Stage, ear: Ear, **more: Any) -> list[str]:
    lines: list[str] = []
    async with following(stage, ear, said=lines.append) as notifier:
        await stage.drain(**more)
        await notifier.catch_up(30)
    return lines


async def test_a_failure_a_wait_and_the_end_are_told_in_order(stage: Stage):
    stage.llm.will(
        Role.BUILDER,
        files({"out/p1.txt": "1\n"}),
        files({"Makefile": "all:\n"}),
        files({"out/p3.txt": "3\n"}),
    )
    makefile = {**phase("p2"), "scope": {"paths": ["Makefile"]}}
    await stage.create(phase("p1", checks=["false"], max_attempts=1), makefile, phase("p3"))
    ear = Ear()
    assert await drained(stage, ear) == []
    assert ear.events == [("failed", "p1"), ("needs_me", "p2")]
    failed, waits = ear.heard
    assert failed["run"]["run_id"] == "r1"
    assert failed["phase"]["failure_kind"] == "checks_failed"
    assert "phase p1: it failed: checks failed" in failed["text"]
    assert "autopack phase requeue r1 p1" in failed["do"]
    (request,) = await stage.client.approvals(run_id="r1")
    assert f"autopack approvals approve {request.approval_id}" in waits["do"]
    assert failed["database_id"] == stage.client.database_id
    assert failed["id"] != waits["id"]

    await stage.approve()
    await stage.client.change_phase("r1", "p1", "skip", ActorBody(by="Ada"))
    later = Ear()
    assert await drained(stage, later) == []
    assert later.events == [("done", None)]
    assert "DONE_SUCCESS" in later.heard[0]["text"]


async def test_a_cap_that_is_reached_is_about_the_budget(stage: Stage):
    await stage.create(phase("p1"), token_cap=10)
    ear = Ear()
    await drained(stage, ear)
    assert ear.events == [("budget", None)]
    assert ear.heard[0]["run"]["state_cause"] == "token_cap"
    assert any("--token-cap" in command for command in ear.heard[0]["do"])


async def test_what_a_person_elsewhere_did_is_told_too_and_what_was_before_is_not(stage: Stage):
    await stage.create(phase("p1"))
    await stage.client.change_run("r1", "pause", ActorBody(by="Ada", reason="breakfast"))
    ear = Ear()
    async with following(stage, ear) as notifier:
        await notifier.catch_up(30)
        assert ear.events == []
        await stage.client.change_run("r1", "resume", ActorBody(by="Ada"))
        await stage.client.change_run("r1", "pause", ActorBody(by="Ada", reason="lunch"))
        await notifier.catch_up(30)
    assert ear.events == [("needs_me", None)]
    assert "lunch" in ear.heard[0]["text"]


async def test_what_does_not_hold_any_more_is_not_told(stage: Stage):
    stage.llm.will(Role.BUILDER, files({"out/p1.txt": "1\n"}))
    await stage.create(phase("p1", checks=["false"], max_attempts=1))
    ear = Ear()
    async with following(stage, ear) as notifier:
        await stage.drain()
        await stage.client.change_phase("r1", "p1", "requeue", ActorBody(by="Ada"))
        await notifier.catch_up(30)
    assert ear.events == []


async def test_two_drains_tell_the_same_event_under_the_same_id(stage: Stage):
    await stage.create(phase("p1"))
    ears = Ear(), Ear()
    async with following(stage, ears[0]) as one, following(stage, ears[1]) as other:
        await stage.client.change_run("r1", "pause", ActorBody(by="Ada"))
        await one.catch_up(30)
        await other.catch_up(30)
    assert ears[0].heard == ears[1].heard != []


async def test_nothing_is_told_twice(stage: Stage):
    await stage.create(phase("p1"))
    ear = Ear()
    async with following(stage, ear) as notifier:
        await stage.client.change_run("r1", "pause", ActorBody(by="Ada"))
        for _ in range(3):
            notifier.see()
            await anyio.wait_all_tasks_blocked()
            await notifier.catch_up(30)
    assert ear.events == [("needs_me", None)]


async def test_a_channel_that_finds_fault_costs_a_line_and_the_others_are_told(stage: Stage):
    await stage.create(phase("p1"))
    bad, good, lines = Ear(name="command", fault="exit code 3"), Ear(), list[str]()
    async with following(stage, bad, good, said=lines.append) as notifier:
        await stage.client.change_run("r1", "pause", ActorBody(by="Ada"))
        await notifier.catch_up(30)
    assert lines == ["notify: needs_me was not told by the command: exit code 3"]
    assert good.events == [("needs_me", None)]


async def test_a_channel_that_never_ends_keeps_no_drain_from_ending(stage: Stage):
    stage.llm.will(Role.BUILDER, *(files({f"out/p{n}.txt": "x\n"}) for n in (1, 2)))
    await stage.create(*(phase(f"p{n}", checks=["false"], max_attempts=1) for n in (1, 2)))
    stuck, lines = Ear(is_stuck=True), list[str]()
    async with following(stage, stuck, said=lines.append) as notifier:
        await stage.drain()
        notifier.see()
        with anyio.fail_after(20):
            await stuck.began.wait()
            await notifier.catch_up(0.05)
    assert stuck.events == [("failed", "p1")]
    assert lines == ["notify: no longer waited for; at least 3 not told within 0.05 s"]


async def test_what_ended_the_drain_is_told(stage: Stage):
    await stage.create(phase("p1"))
    ear = Ear()
    async with following(stage, ear) as notifier:
        await notifier.catch_up(30, ended_by=ModelNotReady("the key was taken back"))
    assert ear.events == [("needs_me", None)]
    assert ear.heard[0]["text"].endswith("the key was taken back")


async def test_a_queue_that_does_not_answer_is_asked_again(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    await stage.create(phase("p1"))
    ear, lines = Ear(), list[str]()
    async with following(stage, ear, said=lines.append) as notifier:
        await stage.client.change_run("r1", "pause", ActorBody(by="Ada"))

        async def unreachable(*_: Any) -> Any:
            raise ApiUnreachable("nobody answers")

        with monkeypatch.context() as patched:
            patched.setattr(stage.client, "why", unreachable)
            await notifier.catch_up(30)
        assert ear.events == []
        assert set(lines) == {"notify: what happened cannot be read now: nobody answers"}
        await notifier.catch_up(30)
    assert ear.events == [("needs_me", None)]


async def test_of_the_run_before_the_rest_is_told_when_the_next_one_is_followed(stage: Stage):
    await stage.create(phase("p1"))
    await stage.create(phase("p1"), run_id="r2")
    ear = Ear()
    async with following(stage, ear) as notifier:
        await stage.client.change_run("r1", "pause", ActorBody(by="Ada"))
        await notifier.follow("r2")
        await stage.client.change_run("r2", "pause", ActorBody(by="Ada"))
        await notifier.catch_up(30)
    assert [told["run"]["run_id"] for told in ear.heard] == ["r1", "r2"]
