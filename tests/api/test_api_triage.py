"""Triage through the client, in process and live, and what the API refuses."""

from typing import Any

import httpx
import pytest

from autopack.client import AutopackClient
from autopack.domain.phases import AttemptOutcome, FailureKind, Outcome, PhaseState
from autopack.domain.triage import Before, Options, Trial
from autopack.errors import Conflict, NotFound
from autopack.schemas import PlanBody
from tests.api.conftest import claim_body
from tests.support import phase, plan

pytestmark = pytest.mark.anyio
KEY = ("r1", "p1")
BEFORE = Before(
    state=PhaseState.FAILED, attempts=1, llm_usage_events=0, token_estimation_v2_events=0, signature=None
)
TRIAL = Trial(
    run_id="r1", phase_id="p1", before=PhaseState.FAILED, after=PhaseState.COMPLETE, attempts=1, llm_usage_events=2,
    token_estimation_v2_events=1, seconds=1.5,
)  # fmt: skip


async def a_failed_phase(client: AutopackClient, run_id: str = "r1") -> None:
    await client.create_run(PlanBody.model_validate(plan(run_id, phases=[phase("p1", max_attempts=1)])))
    answer = await client.claim(claim_body(run_id))
    assert answer.claim is not None
    red = Outcome(outcome=AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED, reason="red")
    await client.finish(answer.claim.attempt_id, answer.claim.lease_token, red)


async def test_a_session_lives_through_the_client(client: AutopackClient):
    await a_failed_phase(client)
    (found,) = await client.triage_candidates(run_id="r1")
    assert (found.phase_id, found.failure_reason, found.tried) == ("p1", "red", 0)
    options = Options(run_ids=("r1",), max_total_minutes=1.5)
    begun = await client.open_triage("s1", options)
    assert Options(**{**begun.options, "run_ids": ("r1",), "skip_run_prefixes": ()}) == options
    item = await client.start_trial("s1", 1, KEY, worker="w1", before=BEFORE)
    assert item.result == {"worker": "w1", "before": BEFORE.__dict__}
    with pytest.raises(Conflict, match="another controller"):
        await client.start_trial("s1", 1, KEY, worker="w2", before=BEFORE)
    done = await client.finish_trial("s1", 1, TRIAL)
    assert (done.result or {})["after"] == "COMPLETE"
    assert await client.triage_items("s1") == [done]
    stopped = await client.stop_triage("s1", "nothing left", ended=True)
    assert await client.triage_session("s1") == stopped
    assert await client.triage_sessions(unfinished=True) == []
    assert await client.triage_sessions() == [stopped]


async def test_all_failed_phases_are_listed_or_those_of_a_run(client: AutopackClient):
    for number in (1, 2, 3):
        await a_failed_phase(client, f"r{number}")
    assert [each.run_id for each in await client.triage_candidates()] == ["r1", "r2", "r3"]
    assert await client.triage_candidates(run_id="r2") == (await client.triage_candidates())[1:2]
    with pytest.raises(NotFound, match="no run r9"):
        await client.triage_candidates(run_id="r9")
    with pytest.raises(NotFound, match="no triage session s9"):
        await client.triage_candidates(session_id="s9")


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/triage/sessions", {"session_id": "s1"}, "options: Field required"),
        ("/triage/sessions", {"session_id": "s/1", "options": {}}, "session_id"),
        ("/triage/sessions", {"session_id": "s1", "options": {"batch": 1}}, "batch"),
        ("/triage/sessions", {"session_id": "s1", "options": {"batch_size": 0}}, "batch_size is not a number above 0"),
        ("/triage/sessions", {"session_id": "s1", "options": {"max_total_minutes": -1.5}}, "max_total_minutes"),
        ("/triage/sessions/s1/items", {"position": 0}, "position"),
        ("/triage/sessions/s1/items/0/finish", {}, "position"),
        ("/triage/sessions/s1/items/1/finish", {"result": {"run_id": "r1"}}, "result.phase_id"),
        ("/triage/sessions/s1/stop", {"reason": "x", "ended": "yes"}, "ended"),
    ],
)  # fmt: skip
async def test_what_is_no_triage_is_refused(http: httpx.AsyncClient, path: str, body: Any, told: str):
    answer = await http.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert told in answer.json()["detail"]
