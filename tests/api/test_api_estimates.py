"""The budget of a builder call over the API: what is asked, what is answered, what is kept."""

import pytest

from autopack.domain.calls import EstimateMade
from autopack.domain.estimate import Features
from autopack.domain.telemetry import ESTIMATIONS, Selection
from autopack.errors import InvalidInput
from autopack.schemas import PlanBody
from tests.api.conftest import Desk, answered, request
from tests.support import phase, plan

pytestmark = pytest.mark.anyio
FEATURES = Features(task_category="docs", complexity="low", files=(("new", "doc"), ("mod", "config")))


async def test_an_estimate_is_the_same_over_both_transports_and_writes_nothing(client):
    found = await client.estimate(FEATURES, "openai:gpt-5.2", output_limit=64_000, target=0.1)
    assert (found.features, found.model_family, found.version) == (FEATURES, "gpt", "linear-2")
    assert (found.predicted_output_tokens, found.base_output_tokens, found.samples) == (2500, 2500.0, 0)
    assert (found.budget, found.decision, found.budget_source) == (9006, "call", "prior")
    assert [page async for page in client.telemetry_pages(ESTIMATIONS, Selection())] == []


async def test_what_cannot_be_asked_is_refused_before_it_is_sent(client):
    with pytest.raises(InvalidInput, match="target"):
        await client.estimate(FEATURES, "openai:m", output_limit=64_000, target=0.9)


async def test_an_estimate_that_is_settled_with_its_call_teaches_the_next_one(client, desk: Desk):
    await client.create_run(PlanBody.model_validate(plan(phases=[phase("p1")])))
    claim = await desk.claim()
    made = EstimateMade(
        predicted_output_tokens=2500, version="linear-2", budget_source="prior", target_rate=0.5,
        features={"task_category": "docs", "complexity": "low", "files": [["new", "doc"], ["mod", "config"]]},
    )  # fmt: skip
    await client.reserve(claim.attempt_id, claim.lease_token, request())
    await client.settle("c1", claim.lease_token, answered(estimate=made))
    ask = {"output_limit": 64_000, "target": 0.5}
    assert (await client.estimate(FEATURES, "openai:m", **ask)).samples == 0, (
        "whether it will be used is not known yet"
    )
    await desk.finish(claim)
    after = await client.estimate(FEATURES, "openai:m", **ask)
    assert (after.samples, after.budget_source, after.budget) == (1, "conformal", 12)
