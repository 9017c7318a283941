"""Who may ask (THREATS section 5): hosts, origins, keys, databases, sizes; and what an error looks like."""

import json
import socket
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from autopack.api.guard import MAX_BODY_BYTES, Access
from tests.api.conftest import KEY, live, raw
from tests.support import plan

pytestmark = pytest.mark.anyio
OUTSIDE = ("203.0.113.5", 1)


def problem(response: httpx.Response) -> dict[str, Any]:
    """The body of an error, which has the one shape that all errors have."""
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body.keys() == {"type", "title", "status", "detail", "code"}
    assert body["status"] == response.status_code
    assert body["detail"]
    return body


# Host


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:99", "[::1]", "[::1]:8000", "autopack"])  # fmt: skip
async def test_a_name_of_this_machine_is_answered(http: httpx.AsyncClient, host: str):
    assert (await http.get("/identity", headers={"host": host})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::2]", "[", "10.0.0.1"])  # fmt: skip
async def test_a_foreign_host_is_refused_whatever_it_resolves_to(http: httpx.AsyncClient, host: str):
    response = await http.get("/identity", headers={"host": host})
    assert response.status_code == 400
    assert "AUTOPACK_ALLOWED_HOSTS" in problem(response)["detail"]


async def test_a_host_that_was_allowed_is_answered(keyed: FastAPI):
    async with raw(keyed) as http:
        assert (await http.get("/identity", headers={"host": "Queue.Example:443"})).status_code == 200
        assert (await http.get("/identity", headers={"host": "other.example"})).status_code == 400


# Origin


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://localhost:3000"}, {"origin": "http://["},
        {"origin": ""}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
        {"origin": "http://autopack", "sec-fetch-site": "cross-site"}, {"sec-fetch-site": "something new"}, {"sec-fetch-site": ""},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("body", [None, {"by": "a page"}])
async def test_a_page_of_another_origin_can_do_nothing(
    http: httpx.AsyncClient, headers: dict[str, str], body: Any
):
    await http.post("/runs", json=plan())
    response = await http.post("/runs/r1/cancel", json=body, headers=headers)
    assert response.status_code == 403
    assert problem(response)["code"] == "forbidden"
    assert (await http.get("/runs/r1")).json()["state"] == "QUEUED"


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://autopack"}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {}],
)
async def test_our_own_pages_and_programs_can(http: httpx.AsyncClient, headers: dict[str, str]):
    assert (await http.post("/runs", json=plan(), headers=headers)).status_code == 201


LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.mark.parametrize("path", ["/", "/ui/runs", "/ui/runs/r1"])
async def test_a_link_somewhere_else_opens_a_page_and_nothing_more(http: httpx.AsyncClient, path: str):
    # This app has no pages: 404 says that the guard let it through.
    assert (await http.get(path, headers=LINK)).status_code == 404
    for more in ({"sec-fetch-dest": "iframe"}, {"sec-fetch-mode": "cors"}, {"origin": "http://evil.example"}):
        assert (await http.get(path, headers=LINK | more)).status_code == 403
    assert (await http.post(path, headers=LINK)).status_code == 403
    assert (await http.get("/runs", headers=LINK)).status_code == 403, "the API is for no link"


# Key


KEYS: list[tuple[Any, dict[str, str], int]] = [
    (("127.0.0.1", 1), {}, 200),
    (("::1", 1), {}, 200),
    (("127.9.9.9", 1), {}, 200),
    (("127.0.0.1", 1), {"authorization": f"Bearer {KEY}"}, 200),
    (("127.0.0.1", 1), {"authorization": "Bearer wrong"}, 401),
    (("127.0.0.1", 1), {"x-api-key": "wrong"}, 401),
    (("127.0.0.1", 1), {"x-forwarded-for": "198.51.100.7"}, 401),
    (("127.0.0.1", 1), {"forwarded": "for=198.51.100.7"}, 401),
    (("127.0.0.1", 1), {"x-forwarded-for": "127.0.0.1"}, 401),
    (("127.0.0.1", 1), {"x-forwarded-for": "198.51.100.7", "x-api-key": KEY}, 200),
    (OUTSIDE, {}, 401),
    (OUTSIDE, {"authorization": f"Bearer {KEY}"}, 200),
    (OUTSIDE, {"x-api-key": KEY}, 200),
    (OUTSIDE, {"authorization": f"Bearer {KEY}x"}, 401),
    (OUTSIDE, {"authorization": "Bearer "}, 401),
    (OUTSIDE, {"authorization": "Basic " + KEY}, 401),
    (OUTSIDE, {"x-forwarded-for": "127.0.0.1"}, 401),
    (("not an address", 1), {}, 401),
    (None, {}, 401),
]


async def test_only_loopback_needs_no_key_and_a_wrong_one_is_always_refused(keyed: FastAPI):
    for peer, headers, status in KEYS:
        async with raw(keyed, peer) as http:
            response = await http.get("/identity", headers=headers)
        assert response.status_code == status, (peer, headers)
        if status == 401:
            assert "key" in problem(response)["detail"]
            assert KEY not in response.text


async def test_a_wrong_key_leaves_a_trace_and_the_guess_none(
    keyed: FastAPI, caplog: pytest.LogCaptureFixture
):
    async with raw(keyed, OUTSIDE) as http:
        await http.get("/identity", headers={"x-api-key": KEY})
        assert not caplog.records
        await http.get("/identity", headers={"x-api-key": f"{KEY}x"})
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("WARNING", "a wrong API key was sent from 203.0.113.5, for the API")
    ]


async def test_a_key_with_odd_bytes_is_wrong_and_no_error(keyed: FastAPI):
    async with raw(keyed) as http:
        response = await http.get("/identity", headers=[(b"x-api-key", b"\xff\xfe\xe9")])
    assert response.status_code == 401


async def test_a_server_without_a_key_answers_this_machine_only(app: FastAPI, http: httpx.AsyncClient):
    assert (await http.get("/identity", headers={"x-api-key": "any"})).status_code == 200
    async with raw(app, OUTSIDE) as far:
        for headers in ({}, {"x-api-key": "any"}, {"x-api-key": ""}):
            response = await far.get("/identity", headers=headers)
            assert response.status_code == 401
            assert "the server has none" in problem(response)["detail"]


@pytest.mark.parametrize(
    "path", ["/identity", "/runs", "/health/live", "/health/ready", "/openapi.json", "/docs", "/nothing"]
)
async def test_no_page_is_open_to_the_world(keyed: FastAPI, path: str):
    async with raw(keyed, OUTSIDE) as http:
        assert (await http.get(path)).status_code == 401


# Database


async def test_a_request_for_another_database_does_nothing(http: httpx.AsyncClient):
    ours = (await http.get("/identity")).json()["database_id"]
    for path in ("/runs", "/runs/r1/cancel", "/phases/claim"):
        response = await http.post(path, json=plan(), headers={"X-Autopack-Database": "f" * 32})
        assert response.status_code == 409
        body = problem(response)
        assert body["code"] == "database_mismatch"
        assert ours in body["detail"]
        assert "f" * 32 in body["detail"]
    assert (await http.get("/runs")).json() == []
    assert (await http.post("/runs", json=plan(), headers={"X-Autopack-Database": ours})).status_code == 201


async def test_a_request_from_before_a_restore_does_nothing(http: httpx.AsyncClient):
    identity = (await http.get("/identity")).json()
    ours = {"X-Autopack-Database": identity["database_id"]}
    for epoch in ("0", "2", "", "x"):
        response = await http.post("/runs", json=plan(), headers=ours | {"X-Autopack-Epoch": epoch})
        assert response.status_code == 409
        assert problem(response)["code"] == "database_mismatch"
        assert "restored from a backup" in problem(response)["detail"]
    assert (await http.get("/runs")).json() == []
    same = ours | {"X-Autopack-Epoch": str(identity["epoch"])}
    assert (await http.post("/runs", json=plan(), headers=same)).status_code == 201


# Size


async def test_a_body_over_a_mebibyte_is_refused_before_it_is_read(http: httpx.AsyncClient):
    response = await http.post("/runs", content=b" " * (MAX_BODY_BYTES + 1))
    assert response.status_code == 413
    assert problem(response)["code"] == "payload_too_large"


async def test_a_body_of_exactly_a_mebibyte_is_read(http: httpx.AsyncClient):
    body = json.dumps(plan()).encode()
    response = await http.post("/runs", content=body + b" " * (MAX_BODY_BYTES - len(body)))
    assert response.status_code in (201, 422), response.text
    assert response.status_code != 413


async def test_a_chunked_body_is_measured_as_it_comes(http: httpx.AsyncClient):
    async def chunks():
        for _ in range(40):
            yield b" " * 65_536

    response = await http.post("/runs", content=chunks())
    assert "content-length" not in response.request.headers
    assert response.status_code == 413


@pytest.mark.parametrize(
    "length", [b"\xb2", b"9" * 5000, b"-5", b"0x10", b"1e3", b"", b"99999999999999999999"]
)
async def test_an_odd_content_length_is_never_an_error_of_ours(
    app: FastAPI, http: httpx.AsyncClient, length: bytes
):
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/runs", "raw_path": b"/runs", "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "headers": [(b"host", b"autopack"), (b"content-length", length), (b"content-type", b"application/json")],
    }  # fmt: skip
    await app(scope, receive, send)
    assert sent[0]["status"] in (400, 413, 422)


@pytest.mark.slow
async def test_a_live_server_keeps_its_guard(keyed_app: FastAPI):
    with live(keyed_app) as url:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            assert (await http.get("/health/ready")).json() == {"status": "ready"}
            assert (await http.get("/identity", headers={"host": "evil.example"})).status_code == 400
            assert (await http.get("/identity", headers={"x-forwarded-for": "1.2.3.4"})).status_code == 401
            assert (
                await http.get("/identity", headers={"authorization": f"Bearer {KEY}"})
            ).status_code == 200

            async def chunks():
                for _ in range(40):
                    yield b" " * 65_536

            try:
                status = (await http.post("/runs", content=chunks())).status_code
            except (httpx.WriteError, httpx.ReadError):
                status = 413  # the server answered and closed while we were still sending
            assert status == 413
            assert (await http.get("/runs")).json() == []


@pytest.mark.slow
async def test_a_request_that_breaks_off_in_its_body_does_nothing(app: FastAPI):
    with live(app) as url:
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(
                b"POST /runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n" + b'{"autopack": 1,'
            )
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            assert (await http.get("/runs")).json() == []


# Errors


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/runs/nothing", 404, "not_found"),
        ("GET", "/runs/bad id", 422, "invalid_input"),
        ("DELETE", "/runs", 405, "method_not_allowed"),
        ("POST", "/runs", 422, "invalid_input"),
    ],
)
async def test_every_error_is_a_problem_with_a_code(http: httpx.AsyncClient, method, path, status, code):
    response = await http.request(method, path)
    assert (response.status_code, problem(response)["code"]) == (status, code)


async def test_an_unexpected_error_says_no_more_than_its_kind(app: FastAPI, http: httpx.AsyncClient):
    @app.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError("secret detail")

    response = await http.get("/broken")
    assert response.status_code == 500
    assert "ZeroDivisionError" in problem(response)["detail"]
    assert "secret" not in response.text


async def test_health_says_alive_and_ready(http: httpx.AsyncClient):
    assert (await http.get("/health/live")).json() == {"status": "alive"}
    assert (await http.get("/health/ready")).json() == {"status": "ready"}


async def test_a_server_whose_database_was_replaced_is_alive_and_not_ready(http: httpx.AsyncClient, database):
    path = database.location.path
    path.rename(path.with_suffix(".moved"))
    path.write_bytes(path.with_suffix(".moved").read_bytes())
    assert (await http.get("/health/live")).status_code == 200
    response = await http.get("/health/ready")
    assert response.status_code == 503
    assert problem(response)["code"] == "database_replaced"
    path.with_suffix(".moved").replace(path)
    assert (await http.get("/health/ready")).status_code == 200


async def test_the_description_of_the_api_is_made(http: httpx.AsyncClient):
    described = (await http.get("/openapi.json")).json()
    assert described["info"]["title"] == "Autopack"
    for path in ("/runs", "/phases/claim", "/attempts/{attempt_id}/finish", "/approvals/{approval_id}/approve", "/identity"):  # fmt: skip
        assert path in described["paths"]


def test_access_is_closed_unless_it_is_opened():
    assert Access() == Access(api_key=None, allowed_hosts=frozenset())


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "status"),
    [("/attempts/a/finish", 422), ("/calls/c/settle", 422), ("/runs", 413), ("/phases/claim", 413)],
)
async def test_only_what_a_worker_reports_may_be_larger(http: httpx.AsyncClient, path: str, status: int):
    """422: it was read whole, and is not the body that the route takes."""
    answer = await http.post(path, json={"what": "x" * (2 * 1024 * 1024)})
    assert answer.status_code == status
