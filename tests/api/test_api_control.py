"""Runs and phases as a person changes them from outside, and what the audit trail says of it."""

from typing import Any

import httpx
import pytest

from autopack import __version__
from autopack.client import AutopackClient
from autopack.domain.phases import PhaseState, RunState
from autopack.errors import Conflict, InvalidInput, NotFound
from autopack.schemas import ActorBody, DecideBody, PlanBody, ResumeBody
from tests.api.conftest import Desk
from tests.support import phase, plan

pytestmark = pytest.mark.anyio


async def told(client: AutopackClient, kind: str, run_id: str = "r1") -> list[tuple[str, dict[str, Any]]]:
    """Who and what, without where from: that differs from client to client."""
    found = [event for event in await client.events(run_id) if event.kind == kind]
    people = [event.actor for event in found if event.actor not in ("autopack", "w1")]
    assert all(actor.endswith(")") and "(127.0.0.1 " in actor for actor in people), people
    return [(event.actor.split(" (")[0], event.detail) for event in found]


async def test_what_is_named_changes_and_null_takes_away(client: AutopackClient, desk: Desk) -> None:
    await desk.create(phase("p1"), token_cap=10)
    run = await client.change_run_settings("r1", by="Ann", reason="night", token_cap=None, concurrency=3)
    assert (run.token_cap, run.concurrency, run.builder_model) == (None, 3, None)
    run = await client.change_run_settings("r1", by="Ann", builder_model="anthropic:x", cost_cap_usd=1)
    assert (run.concurrency, run.builder_model, run.cost_cap_usd) == (3, "anthropic:x", 1.0)
    assert (await desk.claim()).run.builder_model == "anthropic:x"
    (first, second) = await told(client, "run_changed")
    assert first == (
        "Ann",
        {"changes": {"token_cap": [10, None], "concurrency": [None, 3]}, "reason": "night"},
    )
    assert second[1]["reason"] is None


@pytest.mark.parametrize(
    "changes",
    [{}, {"concurrency": 0}, {"concurrency": 257}, {"concurrency": True}, {"builder_model": "gpt"}, {"token_cap": 0},
     {"builder_model": "openai:a b"}, {"max_phases": 1.5}, {"cost_cap_usd": -1.0}, {"goal": "other"},
     {"builder_model": "openai:\0"}, {"builder_model": "openai:a\x1b[2J"}, {"builder_model": "openai:\u202eab"}, {"by": "a\nb", "token_cap": 5},
     {"by": "a\x1b[2Jb", "token_cap": 5}, {"builder_model": f"openai:{'x' * 200}"}],
    ids=repr,
)  # fmt: skip
async def test_wrong_changes_are_refused_and_change_nothing(
    http: httpx.AsyncClient, changes: dict[str, Any]
) -> None:
    body = {"autopack": 1, "run_id": "r1", "tiers": [{"tier_id": "T1", "phases": [phase("p1")]}]}
    assert (await http.post("/runs", json=body)).status_code == 201
    answer = await http.patch("/runs/r1", json={"by": "Ann", **changes})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    events = (await http.get("/runs/r1/events")).json()
    assert [event["kind"] for event in events] == ["run_created"]


async def test_the_record_names_who_made_a_run_and_with_what(client: AutopackClient) -> None:
    made = PlanBody.model_validate(plan())
    with pytest.raises(InvalidInput, match="by: "):
        await client.create_run(made, by="x" * 201)
    with pytest.raises(InvalidInput, match="by: "):
        await client.create_run(made, by="Ann\x00")
    await client.create_run(made, by="Zoë 王")
    (event,) = await client.events("r1")
    assert event.actor == f"Zoë 王 (127.0.0.1 autopack/{__version__})"


async def test_a_run_that_is_over_or_not_there_is_not_changed(client: AutopackClient, desk: Desk) -> None:
    await desk.create(phase("p1"))
    await client.change_run("r1", "cancel", ActorBody(by="Ann", reason="wrong plan"))
    assert (await told(client, "run_state")) == [("Ann", {"state": "CANCELLED", "reason": "wrong plan"})]
    with pytest.raises(Conflict, match="r1 is CANCELLED"):
        await client.change_run_settings("r1", by="Ann", concurrency=2)
    with pytest.raises(NotFound):
        await client.change_run_settings("r2", by="Ann", concurrency=2)
    with pytest.raises(InvalidInput, match="name at least one of token_cap"):
        await client.change_run_settings("r1", by="Ann")


async def test_the_run_pauses_after_the_phase(client: AutopackClient, desk: Desk) -> None:
    await desk.create(phase("p1"), phase("p2"))
    assert (await client.pause_after("r1", "p1", by="Ann", reason="to look")).pause_after
    assert not (await client.pause_after("r1", "p1", by="Ann", pause=False)).pause_after
    await client.pause_after("r1", "p1", by="Ann")
    await desk.finish(await desk.claim())
    run = await client.run("r1")
    assert (run.state, run.state_cause) == (RunState.PAUSED, "person")
    with pytest.raises(Conflict, match="it has ended"):
        await client.pause_after("r1", "p1", by="Ann")
    await client.change_run("r1", "resume", ResumeBody(by="Bob", reason="looked"))
    assert (await told(client, "run_state"))[-1] == ("Bob", {"state": "RUNNING", "reason": "looked"})


async def told_of_all_runs(database: Any) -> list[tuple[str, str | None, str]]:
    from autopack.db.looks import events

    with database.transaction() as session:
        found = events.page(session, after=0, limit=100)
    return [(event.kind, event.run_id, event.actor.split(" (")[0]) for event in found]


async def test_each_of_several_phases_is_answered_for(client: AutopackClient, desk: Desk) -> None:
    await desk.create(phase("p1"), phase("p2"))
    acted = await client.act_on_phases("r1", ["p1", "p2", "p9"], "skip", by="Ann", reason="later")
    assert [(each.phase_id, each.done, each.state) for each in acted] == [
        ("p1", True, PhaseState.SKIPPED), ("p2", True, PhaseState.SKIPPED), ("p9", False, None),
    ]  # fmt: skip
    assert await told(client, "phase_state") == [("Ann", {"state": "SKIPPED", "reason": "later"})] * 2
    assert (await client.run("r1")).state is RunState.DONE_SUCCESS
    many = ["p1", *(f"x{number}" for number in range(1000))]
    acted = await client.act_on_phases("r1", many, "requeue", by="Ann")
    assert (len(acted), sum(each.done for each in acted)) == (1001, 1)
    with pytest.raises(NotFound):
        await client.act_on_phases("r2", ["p1"], "skip", by="Ann")
    with pytest.raises(InvalidInput, match="action"):
        await client.act_on_phases("r1", ["p1"], "cancel", by="Ann")


async def test_a_renewal_tells_the_step_and_hears_of_the_run(client: AutopackClient, desk: Desk) -> None:
    await desk.create(phase("p1"))
    claim = await desk.claim()
    long = "\u0958" * 300 + "\0\ud800"
    await client.renew(claim.attempt_id, claim.lease_token, 60, long)
    (attempt,) = await client.open_attempts("r1")
    assert (len(attempt.step or ""), (attempt.step or "")[0]) == (200, "\u0915")
    await client.change_run_settings("r1", by="Ann", concurrency=9)
    answer = await client.renew(claim.attempt_id, claim.lease_token, 60)
    assert (answer.concurrency, answer.cancelled) == (9, False)


async def test_every_persons_word_is_in_the_audit_trail(
    client: AutopackClient, desk: Desk, database: Any
) -> None:
    """Also what is of no run: daily caps, estimator versions, sessions of triage."""
    await desk.create(phase("p1"))
    approval = await desk.wait_in_gate(await desk.claim())
    await client.decide(approval, "reject", DecideBody(by="Ann", reason="no"))
    assert [who for who, _ in await told(client, "rejected")] == ["Ann"]
    await client.set_daily_caps(by="Bob", reason="month's end", token_cap=5)
    await client.activate_estimator((await client.estimator_versions())[0].version, by="Bob")
    await client.stop_triage(await _triage(client), "nothing is left", ended=True)
    assert await told_of_all_runs(database) == [
        ("run_created", "r1", (await client.events("r1"))[0].actor), ("run_state", "r1", "autopack"),
        ("claimed", "r1", "w1"), ("finished", "r1", "w1"), ("rejected", "r1", "Ann"), ("run_state", "r1", "Ann"),
        ("daily_caps_changed", None, "Bob"), *await _triage_events(client),
    ]  # fmt: skip


async def _triage(client: AutopackClient) -> str:
    from autopack.domain.triage import Options

    await client.open_triage("s1", Options())
    await client.open_triage("s1", Options())  # the same request once more is no second beginning
    return "s1"


async def _triage_events(client: AutopackClient) -> list[tuple[str, None, str]]:
    origin = (await client.events("r1"))[0].actor
    return [("triage_begun", None, origin), ("triage_stopped", None, origin)]
