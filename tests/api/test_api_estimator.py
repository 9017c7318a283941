"""Calibrations and versions over the API: what is proposed can be put in force, and budgets follow it."""

import pytest

from autopack.client import AutopackClient
from autopack.db.engine import Database
from autopack.domain.calibrate import Decision
from autopack.domain.estimate import SHIPPED, Features
from autopack.domain.estimators import NewVersion
from autopack.errors import Conflict, InvalidInput, NotFound
from tests.api.conftest import Time
from tests.support_calibration import history, skewed, stored

pytestmark = pytest.mark.anyio
DOC = Features(task_category="docs", complexity="low", files=(("new", "doc"),))


async def test_a_proposal_is_the_same_value_on_both_sides_and_can_be_put_in_force(
    client: AutopackClient, database: Database, time: Time
):
    stored(database, history(400, skewed(3.0)))
    found = await client.calibrate(target=0.05, min_samples=20)
    assert (found.decision, found.present_version, found.events) == (Decision.ACCEPTED, SHIPPED.version, 400)
    assert found.coefficients is not None
    assert [each.version for each in await client.estimator_versions()] == [SHIPPED.version], (
        "nothing was written"
    )
    new = NewVersion(
        parent=found.present_version, coefficients=found.coefficients, data_hash=found.data_hash, metrics={"a": 1}
    )  # fmt: skip
    version, changed = await client.add_estimator_version(new)
    assert (changed, version.is_active, version.created_at) == (True, True, time.at)
    assert await client.add_estimator_version(new) == (version, False)
    estimate = await client.estimate(DOC, "openai:m", output_limit=64_000, target=0.05)
    assert estimate.version == found.coefficients.version
    assert estimate.base_output_tokens > 2000
    again = await client.calibrate(target=0.05, min_samples=20)
    assert again.decision is Decision.NOTHING_NEW
    assert (await client.activate_estimator(SHIPPED.version)).is_active
    assert (await client.calibrate(target=0.05, min_samples=20)) == found
    (shipped,) = [each for each in await client.estimator_versions() if each.is_active]
    assert await client.calibrate(target=0.05, min_samples=20, present=version) == again
    assert shipped.coefficients == SHIPPED


async def test_the_same_errors_on_both_sides(client: AutopackClient):
    with pytest.raises(NotFound, match="estimator list"):
        await client.activate_estimator("linear-2-00000000")
    with pytest.raises(InvalidInput):
        await client.activate_estimator("../runs")
    with pytest.raises(InvalidInput, match="target"):
        await client.calibrate(target=0.9, min_samples=20)
    named = NewVersion(parent="linear-2", coefficients=SHIPPED, data_hash="1" * 64, metrics={})
    with pytest.raises(InvalidInput, match="are version linear-2-"):
        await client.add_estimator_version(named)


async def test_a_version_whose_parent_is_not_in_force_is_a_conflict(
    client: AutopackClient, database: Database
):
    stored(database, history(400, skewed(3.0)))
    found = await client.calibrate(target=0.05, min_samples=20)
    assert found.coefficients is not None
    new = NewVersion(
        parent="linear-1", coefficients=found.coefficients, data_hash=found.data_hash, metrics={}
    )
    with pytest.raises(Conflict, match="calibrate again"):
        await client.add_estimator_version(new)
    assert len(await client.estimator_versions()) == 1
