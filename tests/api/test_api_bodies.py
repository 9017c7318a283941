"""What comes in is strict, and whatever comes in is never an error of ours (THREATS section 5)."""

import json
from collections.abc import Callable
from copy import deepcopy
from itertools import product
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autopack.domain.estimate import Coefficients
from autopack.domain.estimators import version_name
from tests.api.conftest import TOKEN
from tests.support import phase, plan

pytestmark = pytest.mark.anyio
SECRET = "hunter2-in-the-wrong-place"

CALL = {
    "call_id": "c1", "role": "builder", "provider": "openai", "model": "m", "provider_mode": "live",
    "request_key": "k" * 64, "max_tokens": 10, "reserve_tokens": 100, "reserve_cost_usd": 0.1,
}  # fmt: skip
CLAIM = {"run_id": "r1", "worker": "w", "lease_token": TOKEN}
APPROVAL = {
    "reasons": ["r"], "plan": {"summary": "", "files": []}, "diff": "d", "diff_hash": "h" * 64, "base_commit": "b" * 40,
    "policy_hash": "1" * 64, "checks_hash": "2" * 64, "timeout_minutes": 60, "on_timeout": "reject",
}  # fmt: skip
ENTRY = {"mode": "100644", "oid": "5" * 40}
WORK = {
    "policy_hash": "1" * 64, "plan_hash": "2" * 64, "inputs_hash": "3" * 64, "result_tree": "4" * 40,
    "plan": {"summary": "s"}, "changes": [{"path": "a", "before": None, "after": ENTRY}],
}  # fmt: skip
RESULT = {
    "completion": {"text": "t"},
    "usage": {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 2},
    "usage_source": "provider", "finish_reason": "stop", "is_truncated": False, "cost_usd": 0.1, "duration_seconds": 1.0,
    "estimate": {
        "predicted_output_tokens": 5, "version": "v", "features": {}, "base_output_tokens": 4.5, "reasoning_level": "none",
        "model_family": "m", "budget_source": "conformal", "target_rate": 0.05, "alpha": 0.04, "escalated_from": 3,
    },
}  # fmt: skip
ESTIMATE = {
    "features": {"task_category": "docs", "complexity": "low", "reasoning_level": "none", "files": [["new", "doc"]]},
    "model": "openai:m", "output_limit": 64_000, "target": 0.05,
}  # fmt: skip
_NUMBERS = Coefficients(
    version="any", overhead={"implementation/medium/none": 900.0}, weights={"new/code": 2000.0}, other_weight=50.0
)  # fmt: skip
COEFFICIENTS = {**_NUMBERS.to_json(), "version": version_name(_NUMBERS, "1" * 64)}
FINISH = {
    "lease_token": TOKEN,
    "outcome": {"outcome": "NEEDS_APPROVAL", "reason": "r", "approval": APPROVAL, **WORK},
    "claim_next": {**CLAIM, "lease_token": "n" * 16},
}
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "plan": ("/runs", plan("r2", phases=[phase("a"), phase("b", depends_on=["a"])], token_cap=5, cost_cap_usd=1.0)),
    "claim": ("/phases/claim", CLAIM),
    "renew": ("/attempts/{attempt}/renew", {"lease_token": TOKEN, "lease_seconds": 60}),
    "reserve": ("/attempts/{attempt}/calls", {"lease_token": TOKEN, "request": {**CALL, "call_id": "c2"}}),
    "estimate": ("/estimates", ESTIMATE),
    "settle": ("/calls/c1/settle", {"lease_token": TOKEN, "result": RESULT}),
    "calibrate": ("/calibrations", {"target": 0.05, "min_samples": 20, "present": {"coefficients": COEFFICIENTS, "data_hash": "1" * 64}}),
    "version": ("/estimator/versions", {"parent": "linear-1", "coefficients": COEFFICIENTS, "data_hash": "1" * 64, "metrics": {"rate": 0.05}}),
    "finish": ("/attempts/{attempt}/finish", FINISH),
    "lost": ("/attempts/{attempt}/lost", {"worker": "w"}),
    "budget": ("/attempts/{attempt}/budget", {"lease_token": TOKEN, "reason": "token cap"}),
    "pause": ("/runs/r1/pause", {"by": "Ann", "reason": "r"}),
    "resume": ("/runs/r1/resume", {"by": "Ann", "token_cap": 5, "cost_cap_usd": 1.5, "max_phases": 2}),
    "requeue": ("/runs/r1/phases/p1/requeue", {"by": "Ann"}),
    "approve": ("/approvals/a1/approve", {"by": "Ann", "run_id": "r1"}),
    "undone": ("/runs/r1/phases/p1/undone", {"by": "Ann", "commit": "c" * 40, "undo_commit": "d" * 40}),
}  # fmt: skip


@pytest.fixture
async def busy(http: httpx.AsyncClient) -> httpx.AsyncClient:
    """A run with a phase that is executing and has asked for one call."""
    await http.post("/runs", json=plan(phases=[phase("p1"), phase("p2")]))
    claimed = (await http.post("/phases/claim", json=CLAIM)).json()
    http.attempt = claimed["claim"]["attempt_id"]  # type: ignore[attr-defined]
    answer = await http.post(f"/attempts/{http.attempt}/calls", json={"lease_token": TOKEN, "request": CALL})  # type: ignore[attr-defined]
    assert answer.status_code == 200
    return http


async def post(http: httpx.AsyncClient, path: str, body: Any) -> httpx.Response:
    content = json.dumps(body).encode()  # allow_nan: what a careless program would send
    headers = {"content-type": "application/json"}
    return await http.post(path.format(attempt=http.attempt), content=content, headers=headers)  # type: ignore[attr-defined]


async def everything(http: httpx.AsyncClient) -> Any:
    """What the queue holds, for "nothing was changed"."""
    pages = ["/runs", "/runs/r1", "/runs/r1/phases", "/runs/r1/phases/p1/attempts", "/runs/r1/calls", "/runs/r1/events", "/approvals"]  # fmt: skip
    return [(await http.get(page)).json() for page in pages]


@pytest.mark.parametrize(("path", "body"), BODIES.values(), ids=BODIES)
async def test_the_bodies_of_these_tests_are_good_as_they_are(busy: httpx.AsyncClient, path: str, body: Any):
    assert (await post(busy, path, body)).status_code in (200, 201, 204, 404, 409)


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every object of a body, its own included."""
    found = [here] if isinstance(value, dict) else []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [place for key, each in pairs for place in places(each, (*here, key))]


def leaves(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, each in value.items() for leaf in leaves(each, (*here, key))]
    if isinstance(value, list):
        return [leaf for key, each in enumerate(value) for leaf in leaves(each, (*here, key))]
    return [here]


def at(value: Any, way: tuple[Any, ...]) -> Any:
    for step in way:
        value = value[step]
    return value


FREE = ({"completion"}, {"plan"}, {"features"}, {"metrics"}, {"coefficients"})
"""Objects whose keys are a model's or a report's own."""


def is_free(way: tuple[Any, ...]) -> bool:
    return any(free & set(way) for free in FREE)


@pytest.mark.parametrize(("path", "body"), BODIES.values(), ids=BODIES)
async def test_an_unknown_field_is_refused_in_every_object_of_a_body(
    busy: httpx.AsyncClient, path: str, body: Any
):
    before = await everything(busy)
    for way in places(body):
        if is_free(way):
            continue
        changed = deepcopy(body)
        at(changed, way)["surprise"] = SECRET
        response = await post(busy, path, changed)
        assert response.status_code == 422, (way, response.text)
        assert "surprise" in response.json()["detail"]
        assert SECRET not in response.text
    assert await everything(busy) == before


ODD: dict[str, Any] = {
    "NUL": "a\0b", "a lone surrogate": "a\ud800b", "beyond 63 bits": 2**63, "below 63 bits": -(2**63), "a huge integer": 10**400,
    "NaN": float("nan"), "infinity": float("inf"), "minus infinity": float("-inf"), "a huge float": 1.7e308, "a tiny float": -1.7e308,
    "true": True, "null": None, "empty text": "", "long text": "x" * 30_000, "a negative": -1, "zero": 0, "a large integer": 2**63 - 1,
    "a list": [], "an object": {}, "text of a number": "5", "nesting": None, "an emoji": "\U0001f600", "a space": " ", "dots": "..",
}  # fmt: skip
for _ in range(60):
    ODD["nesting"] = [ODD["nesting"]]


@pytest.mark.parametrize("name", BODIES)
async def test_an_odd_value_in_any_place_is_never_an_error_of_ours(busy: httpx.AsyncClient, name: str):
    path, body = BODIES[name]
    for way in leaves(body) + [way for way in places(body) if way]:
        for kind, odd in ODD.items():
            changed = deepcopy(body)
            at(changed, way[:-1])[way[-1]] = odd
            response = await post(busy, path, changed)
            assert response.status_code < 500, (way, kind, response.text)


@pytest.mark.parametrize(("path", "body"), BODIES.values(), ids=BODIES)
async def test_what_no_database_can_hold_is_refused_in_every_place(
    busy: httpx.AsyncClient, path: str, body: Any
):
    before = await everything(busy)
    kinds = ("NUL", "a lone surrogate", "beyond 63 bits", "nesting", "a huge integer")
    for way, kind in product(leaves(body), kinds):
        changed = deepcopy(body)
        at(changed, way[:-1])[way[-1]] = ODD[kind]
        response = await post(busy, path, changed)
        assert response.status_code == 422, (way, kind, response.text)
    assert await everything(busy) == before


WRONG: list[tuple[str, tuple[Any, ...], Any]] = [
    ("plan", ("autopack",), True), ("plan", ("autopack",), 2), ("plan", ("autopack",), "1"), ("plan", ("autopack",), 1.5),
    ("plan", ("token_cap",), True), ("plan", ("token_cap",), "5"), ("plan", ("token_cap",), 5.0), ("plan", ("token_cap",), -1),
    ("plan", ("cost_cap_usd",), True), ("plan", ("cost_cap_usd",), "5"), ("plan", ("cost_cap_usd",), 0), ("plan", ("cost_cap_usd",), float("nan")),
    ("plan", ("run_id",), 5), ("plan", ("run_id",), ""), ("plan", ("run_id",), "../x"), ("plan", ("run_id",), "a/b"), ("plan", ("run_id",), "-x"),
    ("plan", ("run_id",), "a..b"), ("plan", ("run_id",), "a.lock"), ("plan", ("run_id",), "x" * 129), ("plan", ("run_id",), "\u00fc"),
    ("plan", ("run_id",), "r1\n"), ("plan", ("goal",), 5), ("plan", ("goal",), None), ("plan", ("tiers",), []), ("plan", ("tiers",), {}),
    ("plan", ("tiers", 0, "phases"), []), ("plan", ("tiers", 0, "phases", 0, "goal"), ""),
    ("plan", ("tiers", 0, "phases", 0, "complexity"), "enormous"), ("plan", ("tiers", 0, "phases", 0, "max_attempts"), True),
    ("plan", ("tiers", 0, "phases", 0, "max_attempts"), 0), ("plan", ("tiers", 0, "phases", 0, "priority"), 1.5),
    ("plan", ("tiers", 0, "phases", 0, "task_category"), "Two Words"), ("plan", ("tiers", 0, "phases", 0, "scope", "paths"), ["../x"]),
    ("plan", ("tiers", 0, "phases", 0, "scope", "paths"), ["**/*.py"]),
    ("plan", ("tiers", 0, "phases", 0, "scope", "paths"), "src/"), ("plan", ("tiers", 0, "phases", 0, "scope", "checks"), [""]),
    ("plan", ("tiers", 0, "phases", 1, "depends_on"), ["b"]), ("plan", ("tiers", 0, "phases", 1, "phase_id"), "a"),
    ("claim", ("force",), "yes"), ("claim", ("force",), 1), ("claim", ("lease_seconds",), True), ("claim", ("lease_seconds",), "60"),
    ("claim", ("lease_seconds",), 0), ("claim", ("lease_seconds",), 1e9), ("claim", ("lease_seconds",), float("nan")),
    ("claim", ("lease_token",), "short"), ("claim", ("lease_token",), "x" * 65), ("claim", ("worker",), ""),
    ("claim", ("base_commit",), "HEAD"), ("claim", ("base_commit",), "B" * 40), ("claim", ("base_commit",), "a" * 65),
    ("reserve", ("request", "reserve_tokens"), -1), ("reserve", ("request", "max_tokens"), 0), ("reserve", ("request", "max_tokens"), True),
    ("reserve", ("request", "reserve_tokens"), 10**12 + 1), ("reserve", ("request", "max_tokens"), 10**12 + 1),
    ("settle", ("result", "usage", "input_tokens"), 10**12 + 1), ("settle", ("result", "usage", "output_tokens"), 2**63 - 1),
    ("reserve", ("request", "reserve_cost_usd"), -0.1), ("reserve", ("request", "reserve_cost_usd"), float("nan")),
    ("reserve", ("request", "role"), "janitor"), ("reserve", ("request", "call_id"), ""), ("reserve", ("request", "call_id"), "x" * 33),
    ("reserve", ("request", "request_key"), "k" * 65), ("reserve", ("request", "model"), "m" * 201),
    ("settle", ("result", "usage", "input_tokens"), -1), ("settle", ("result", "usage", "cache_read_input_tokens"), 11),
    ("settle", ("result", "cost_usd"), -1.0), ("settle", ("result", "cost_usd"), float("nan")), ("settle", ("result", "usage_source"), "u" * 21),
    ("settle", ("result", "estimate", "version"), "v" * 81), ("settle", ("result", "estimate", "budget_source"), "b" * 21),
    ("settle", ("result", "estimate", "base_output_tokens"), -1.0), ("settle", ("result", "estimate", "alpha"), float("nan")),
    ("estimate", ("target",), 0.0009), ("estimate", ("target",), 0.51), ("estimate", ("target",), True), ("estimate", ("output_limit",), 0),
    ("estimate", ("output_limit",), 1.5), ("estimate", ("model",), ""), ("estimate", ("features", "files"), [["add", "doc"]]),
    ("estimate", ("features", "files"), [["new"]]), ("estimate", ("features", "files"), None), ("estimate", ("features", "complexity"), ""),
    ("settle", ("result", "duration_seconds"), float("inf")),
    ("calibrate", ("target",), 0.0009), ("calibrate", ("target",), "0.05"), ("calibrate", ("target",), float("nan")),
    ("calibrate", ("min_samples",), 0), ("calibrate", ("min_samples",), True), ("calibrate", ("present", "data_hash"), "x"),
    ("calibrate", ("present", "coefficients"), {}), ("calibrate", ("present", "coefficients", "overhead"), {}),
    ("calibrate", ("present", "coefficients", "other_weight"), -1), ("version", ("parent",), ""), ("version", ("data_hash",), None),
    ("version", ("coefficients", "weights"), {"new/code": True}), ("version", ("coefficients", "weights"), {"new": 1.0}),
    ("version", ("coefficients", "other_weight"), 51.0), ("version", ("coefficients", "surprise"), 1),
    ("finish", ("outcome", "outcome"), "DONE"), ("finish", ("outcome", "approval"), {}), ("finish", ("outcome", "approval"), None),
    ("finish", ("outcome", "approval", "status"), "approved"), ("finish", ("outcome", "approval", "reasons"), "because"),
    ("finish", ("outcome", "approval", "diff_hash"), "h" * 65), ("finish", ("outcome", "approval", "plan"), []),
    ("finish", ("outcome", "retry_after_seconds"), float("nan")), ("finish", ("outcome", "retry_after_seconds"), 1e300),
    ("finish", ("outcome", "retry_after_seconds"), -5.0), ("finish", ("outcome", "result_commit"), "c" * 65),
    ("finish", ("outcome", "check_report"), []), ("finish", ("outcome", "failure_kind"), "bad luck"),
    ("finish", ("outcome", "policy_hash"), "h" * 64), ("finish", ("outcome", "plan_hash"), "A" * 64), ("finish", ("outcome", "inputs_hash"), "1" * 65),
    ("finish", ("outcome", "inputs_hash"), ""), ("finish", ("outcome", "result_tree"), "main"), ("finish", ("outcome", "plan"), "text"),
    ("finish", ("outcome", "changes"), [{"path": "a"}]), ("finish", ("outcome", "changes"), ["a"]),
    ("finish", ("outcome", "changes", 0, "path"), ""), ("finish", ("outcome", "changes", 0, "after"), {"mode": "rwx", "oid": "5" * 40}),
    ("finish", ("outcome", "changes", 0, "before"), {"mode": "100644", "oid": "x"}), ("finish", ("outcome", "changes", 0, "path"), "p" * 5000),
    ("finish", ("outcome", "approval", "timeout_minutes"), 0), ("finish", ("outcome", "approval", "timeout_minutes"), True),
    ("finish", ("outcome", "approval", "timeout_minutes"), 10**9), ("finish", ("outcome", "approval", "on_timeout"), "approve"),
    ("finish", ("outcome", "approval", "policy_hash"), "h" * 64), ("finish", ("outcome", "approval", "checks_hash"), "1" * 65),
    ("approve", ("run_id",), "../x"), ("undone", ("commit",), "HEAD"), ("undone", ("undo_commit",), None), ("undone", ("undo_commit",), "d" * 39),
    ("plan", ("tiers", 0, "phases", 0, "risk"), "low"), ("plan", ("tiers", 0, "phases", 0, "risk"), True),
    ("resume", ("token_cap",), 0), ("resume", ("token_cap",), True), ("resume", ("cost_cap_usd",), -1), ("resume", ("cost_cap_usd",), True),
    ("pause", ("by",), ""), ("pause", ("by",), "x" * 501), ("pause", ("by",), 5),
]  # fmt: skip


@pytest.mark.parametrize("name", sorted({name for name, _, _ in WRONG}))
async def test_a_wrong_value_is_refused_by_its_place(busy: httpx.AsyncClient, name: str):
    path, body = BODIES[name]
    before = await everything(busy)
    for way, value in [(way, value) for each, way, value in WRONG if each == name]:
        changed = deepcopy(body)
        at(changed, way[:-1])[way[-1]] = value
        response = await post(busy, path, changed)
        assert response.status_code == 422, (way, value, response.text)
        assert response.json()["code"] == "invalid_input"
    assert await everything(busy) == before


NO_OBJECTS = [
        b"", b"{", b"null", b"[]", b'"text"', b"5", b"\xff\xfe", b"[" * 200_000, b'{"a":' * 100_000, b"9" * 10_000,
        b'{"run_id": "\\ud800"}', b'{"\\u0000": 1}', b"{}" * 2, b'{"autopack": 1e999}',
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["/runs", "/phases/claim", "/runs/r1/pause"])
async def test_a_body_that_is_no_object_is_refused(busy: httpx.AsyncClient, path: str):
    before = await everything(busy)
    for content in NO_OBJECTS:
        response = await busy.post(path, content=content, headers={"content-type": "application/json"})
        assert response.status_code in (400, 422), (content[:20], response.text)
        assert response.headers["content-type"] == "application/problem+json"
    assert await everything(busy) == before


async def test_what_a_form_of_a_page_can_send_is_refused(busy: httpx.AsyncClient):
    body = json.dumps({"by": "a page"}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        response = await busy.post("/runs/r1/cancel", content=body, headers={"content-type": kind})
        assert response.status_code == 422


async def test_an_error_never_repeats_what_was_sent(busy: httpx.AsyncClient):
    for name, (path, body) in BODIES.items():
        for way in leaves(body):
            changed = deepcopy(body)
            at(changed, way[:-1])[way[-1]] = {"secret": SECRET}
            response = await post(busy, path, changed)
            assert SECRET not in response.text, (name, way)


WRONG_QUERIES = [
        "/runs?limit=0", "/runs?limit=1001", "/runs?limit=x", "/runs?after=../x", "/runs?limit=99999999999999999999999",
        "/runs/r1/phases?after=99999999999999999999999", "/runs/r1/phases?after=-99999999999999999999999",
        "/runs/r1/phases?state=DONE", "/runs/r1/events?after=99999999999999999999999", "/runs/r1/calls?after=1e5",
        "/runs/r1/calls?after=99999999999999999999999", "/runs/r1/calls?phase_id=a%00b", "/runs/r1/calls?phase_id=",
        "/approvals?status=nothing", "/approvals?status=a%00b", "/approvals?run_id=%ff", "/runs/%00", "/runs/a%00b/phases",
        "/runs/r1/phases/%F0%9F%98%80", "/approvals?status=" + "x" * 5000,
    ]  # fmt: skip


async def test_a_wrong_query_is_refused(busy: httpx.AsyncClient):
    for query in WRONG_QUERIES:
        response = await busy.get(query)
        assert response.status_code == 422, (query, response.text)
        assert response.json()["code"] == "invalid_input"


async def test_pages_follow_one_another_without_gap_or_repeat(http: httpx.AsyncClient):
    await http.post("/runs", json=plan(phases=[phase(f"p{n}") for n in range(7)]))
    for n in range(5):
        claim = (await http.post("/phases/claim", json={**CLAIM, "lease_token": f"token-{n:012d}"})).json()[
            "claim"
        ]
        body = {"lease_token": claim["lease_token"], "request": {**CALL, "call_id": f"c{n}"}}
        assert (await http.post(f"/attempts/{claim['attempt_id']}/calls", json=body)).status_code == 200
    for path, key in (("phases", "phase_index"), ("events", "event_id"), ("calls", "id")):
        whole = (await http.get(f"/runs/r1/{path}?limit=1000")).json()
        assert len(whole) >= 5
        assert await paged(http, f"/runs/r1/{path}", lambda row, key=key: row[key]) == whole
    for name in ("a", "b", "c"):
        await http.post("/runs", json=plan(name))
    assert [run["run_id"] for run in await paged(http, "/runs", lambda row: row["run_id"])] == [
        "a",
        "b",
        "c",
        "r1",
    ]


async def paged(http: httpx.AsyncClient, path: str, key: Callable[[Any], Any]) -> list[Any]:
    found: list[Any] = []
    while True:
        after = {"after": key(found[-1])} if found else {}
        page = (await http.get(path, params={"limit": 2, **after})).json()
        assert len(page) <= 2
        if not page:
            return found
        found += page


async def test_lists_can_be_narrowed(busy: httpx.AsyncClient):
    executing = (await busy.get("/runs/r1/phases?state=EXECUTING")).json()
    assert [found["phase_id"] for found in executing] == ["p1"]
    assert [found["call_id"] for found in (await busy.get("/runs/r1/calls?phase_id=p1")).json()] == ["c1"]
    assert (await busy.get("/runs/r1/calls?phase_id=p2")).json() == []
    assert (await busy.get("/approvals?run_id=r1&status=pending")).json() == []
    assert (await busy.get("/approvals?run_id=other&status=pending")).status_code == 404
    assert (await busy.get("/approvals?after=nothere")).status_code == 404
    assert (await busy.get("/approvals?limit=501")).status_code == 422


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([TOKEN, "r1", "w"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.text(max_size=5) | st.sampled_from(["run_id", "lease_token", "outcome", "request", "tiers", "worker"]), inner, max_size=4
    ),
    max_leaves=10,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(BODIES)), body=JSON)
def test_no_body_at_all_is_an_error_of_ours(request_sync: Callable[[str, bytes], int], name: str, body: Any):
    path = BODIES[name][0].format(attempt="a1")
    assert request_sync(path, json.dumps(body).encode()) < 500


@pytest.fixture
def request_sync(app) -> Any:
    from anyio.from_thread import start_blocking_portal

    from tests.api.conftest import raw

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
    ):

        async def send(path: str, content: bytes) -> int:
            async with raw(app) as http:
                headers = {"content-type": "application/json"}
                return (await http.post(path, content=content, headers=headers)).status_code

        yield lambda path, content: portal.call(send, path, content)
