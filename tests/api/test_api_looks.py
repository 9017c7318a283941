"""What people ask about, over the wire: the same values in process and remote, and clear words for wrong questions."""

from datetime import timedelta

import httpx
import pytest

from autopack.client import AutopackClient
from autopack.domain.looks.digest import Need
from autopack.domain.looks.why import Hold
from autopack.errors import InvalidInput, NotFound
from tests.api.conftest import Desk, Time
from tests.support import phase

pytestmark = pytest.mark.anyio


async def test_every_look_comes_as_the_value_that_it_is(
    client: AutopackClient, http: httpx.AsyncClient, desk: Desk, time: Time
) -> None:
    assert await client.last_event() == 0
    began = time.at
    await desk.create(phase("p1"), phase("p2"), phase("p3"))
    await desk.finish(await desk.claim())
    request_id = await desk.wait_in_gate(await desk.claim())
    claim = await desk.claim()
    time.tick(5)
    why = await client.why("r1")
    assert [(each.phase_id, each.hold) for each in why.phases] == [
        ("p2", Hold.APPROVAL),
        ("p3", Hold.EXECUTING),
    ]
    assert why.phases[0].do[0] == f"autopack approvals show {request_id}"
    (worker,) = await client.workers()
    assert [lease.attempt_id for lease in worker.leases] == [claim.attempt_id]
    assert (await client.outlook("r1")).phases_open == 1
    digest = await client.digest(began)
    assert [need.need for need in digest.needs_you] == [Need.APPROVAL]
    assert digest.until == time.at
    events = await client.all_events()
    assert await client.last_event() == events[-1].event_id
    assert await client.all_events(after=events[2].event_id, limit=2) == events[3:5]
    assert await client.all_events(since=began + timedelta(days=1)) == []
    for asked, found in (({"q": "P", "limit": 1}, ["p1"]), ({"state": "GATE", "tier": "T1"}, ["p2"])):
        answer = await http.get("/runs/r1/phases", params=asked)
        assert [each["phase_id"] for each in answer.json()] == found


async def test_a_wrong_question_is_told_what_is_wrong(client: AutopackClient, time: Time) -> None:
    for ask in (client.why, client.outlook):
        with pytest.raises(NotFound, match="there is no run r9"):
            await ask("r9")
    with pytest.raises(InvalidInput, match="still to come"):
        await client.digest(time.at + timedelta(days=1))
    with pytest.raises(InvalidInput, match="is not after since"):
        await client.digest(time.at - timedelta(days=1), time.at - timedelta(days=2))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/digest", 422),
        ("/digest?since=2026-01-01T00:00:00", 422),  # which zone is it in?
        ("/runs?state=BUSY", 422),
        ("/runs?q=%00", 422),
        ("/runs?q=", 200),
        ("/runs?q=%25", 200),
        ("/events?limit=0", 422),
        ("/events?run_id=r9", 404),
        ("/events?after=99999999999999999999", 422),
        ("/workers", 200),
    ],
)
async def test_what_comes_in_is_judged(http: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await http.get(path)
    assert answer.status_code == status
    assert status == 200 or answer.headers["content-type"] == "application/problem+json"
