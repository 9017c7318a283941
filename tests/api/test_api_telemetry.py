"""Telemetry over the API: pages that a client follows, cursors, and /metrics as Prometheus reads it."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from autopack.client import AutopackClient
from autopack.db.engine import Database
from autopack.domain.telemetry import ESCALATIONS, ESTIMATIONS, USAGE, Selection
from autopack.errors import Conflict, InvalidInput
from tests.api.conftest import KEY, Desk, Time, answered, raw, request
from tests.support_telemetry import ESCALATION_EVENT, MADE_AT, estimation, store, usage

pytestmark = pytest.mark.anyio
OUTSIDE = ("203.0.113.5", 1)


def keep(database: Database, *events: Any) -> None:
    with database.transaction() as session:
        store(session, *events)


async def test_a_client_follows_the_pages_to_the_end(client: AutopackClient, database: Database):
    keep(database, *[usage(n) for n in range(1, 6)], estimation(), ESCALATION_EVENT)
    pages = [page async for page in client.telemetry_pages(USAGE, Selection(), limit=2)]
    assert [[row.id for row in page] for page in pages] == [[1, 2], [3, 4], [5]]
    assert pages[0][0] == usage(1)
    assert [page async for page in client.telemetry_pages(ESTIMATIONS, Selection())] == [[estimation()]]
    assert [page async for page in client.telemetry_pages(ESCALATIONS, Selection())] == [[ESCALATION_EVENT]]


async def test_a_selection_travels(client: AutopackClient, database: Database):
    keep(database, usage(1), usage(2, created_at=MADE_AT + timedelta(seconds=1)), usage(3, run_id="r 2+ä"))
    since = Selection(since=MADE_AT, until=MADE_AT + timedelta(microseconds=1))
    assert [[row.id for row in page] async for page in client.telemetry_pages(USAGE, since)] == [[1, 3]]
    one = Selection(run_id="r 2+ä", phase_id="p1")
    assert [[row.id for row in page] async for page in client.telemetry_pages(USAGE, one)] == [[3]]
    assert [page async for page in client.telemetry_pages(USAGE, Selection(run_id="none"))] == []


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "after=-2", "after=9223372036854775808", "since=yesterday", "since=2026-01-01T00:00:00",
     "since=0001-01-01T00:00:00%2B14:00", "until=9999-12-31T23:59:59-14:00",
     "run_id=", "run_id=a%00b", "run_id=" + "x" * 201, "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z"],
)  # fmt: skip
async def test_a_query_that_makes_no_sense_is_refused(http: httpx.AsyncClient, query: str):
    for table in ("usage", "estimations", "escalations"):
        response = await http.get(f"/telemetry/{table}?{query}")
        assert (response.status_code, response.json()["code"]) == (422, "invalid_input")


async def test_a_cursor_is_kept_and_moves_one_way_at_a_time(client: AutopackClient):
    name = "otlp http://collector:4318/v1/traces"
    assert await client.export_cursor(name) is None
    moved = await client.move_export_cursor(name, expected=None, position=5, mapping_version="v1")
    assert await client.export_cursor(name) == moved
    with pytest.raises(Conflict):
        await client.move_export_cursor(name, expected=4, position=9, mapping_version="v1")
    with pytest.raises(InvalidInput):
        await client.move_export_cursor("", expected=5, position=9, mapping_version="v1")
    assert (await client.export_cursor(name)).position == 5  # type: ignore[union-attr]


async def test_final_calls_are_those_that_stay_as_they_are(desk: Desk, client: AutopackClient, time: Time):
    await desk.create()
    claim = await desk.claim(lease_seconds=600.0)
    held = await client.reserve(claim.attempt_id, claim.lease_token, request())
    time.tick(60)
    assert await client.final_usage(after=0, limit=10) == []
    await client.settle(held.call_id, claim.lease_token, answered())
    (call,) = await client.final_usage(after=0, limit=10)
    assert (call.status, call.total_tokens, call.run_id) == ("answered", 42, "r1")


# Metrics


async def scraped(http: httpx.AsyncClient) -> dict[str, dict[tuple[str, ...], float]]:
    """Samples by name, then by the values of their labels in the order of the labels' names."""
    response = await http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(response.text):
        assert family.documentation
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


async def test_a_scrape_shows_what_the_database_holds(http: httpx.AsyncClient, database: Database):
    keep(database, usage(1, reasoning_output_tokens=4), usage(2, model="openai:gpt-x", status="failed", cost_usd=None,
         input_tokens=None, output_tokens=None, total_tokens=None), estimation(actual_output_tokens=12))  # fmt: skip
    found = await scraped(http)
    who = ("gpt-x", "live", "builder")
    assert found["autopack_llm_tokens_total"] == {
        ("input", *who): 30, ("output", *who): 12, ("reasoning", *who): 4, ("unsplit", *who): 0,
    }  # fmt: skip
    assert found["autopack_llm_calls_total"] == {(*who, "answered"): 1, (*who, "failed"): 1}
    assert found["autopack_llm_cost_usd_total"] == {who: 0.25}
    assert found["autopack_llm_calls_of_unknown_usage"] == {who: 1}
    assert found["autopack_llm_calls_of_unknown_cost"] == {who: 1}
    assert found["autopack_estimate_budget_tokens_total"] == {("prior", "live"): 20}
    assert found["autopack_estimate_actual_tokens_total"] == {("prior", "live"): 12}
    assert found["autopack_runs"]["RUNNING",] == 0
    assert found["autopack_open_attempts"] == {(): 0}


async def test_no_run_and_no_phase_is_ever_a_label(
    desk: Desk, client: AutopackClient, http: httpx.AsyncClient
):
    await desk.create(run_id="some-run")
    claim = await desk.claim("some-run")
    held = await client.reserve(claim.attempt_id, claim.lease_token, request(model='openai:"odd\\\nname'))
    await client.settle(held.call_id, claim.lease_token, answered())
    text = (await http.get("/metrics")).text
    for private in ("some-run", "p1", claim.attempt_id, held.call_id):
        assert private not in text
    assert ('"odd\\\nname', "live", "builder", "answered") in (await scraped(http))[
        "autopack_llm_calls_total"
    ]


async def test_a_scrape_from_elsewhere_needs_the_key_and_no_name_of_the_database(keyed: FastAPI):
    async with raw(keyed, peer=OUTSIDE) as http:
        assert (await http.get("/metrics")).status_code == 401
        bearer = {"authorization": f"Bearer {KEY}"}
        assert (await http.get("/metrics", headers=bearer)).status_code == 200
        assert (await http.get("/telemetry/usage")).status_code == 401
