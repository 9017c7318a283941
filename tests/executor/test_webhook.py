"""A person's server that is told of a notice: signed so that anybody can verify it, and repeated only where that may help."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from autopack.clock import Clock
from autopack.errors import UsageError
from autopack.executor.webhook import Webhook, signature, signing_key

pytestmark = pytest.mark.anyio
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOLD = {"autopack": 1, "id": "n1", "event": "done", "text": "r1 is done: ä €", "do": []}
AT = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class Received:
    """A real server: answers as it is told to, the last answer for ever; keeps every request."""

    answers: list[int] = field(default_factory=lambda: [204])
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    url: str = ""


@pytest.fixture
def server() -> Iterator[Received]:
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            status = received.answers.pop(0) if len(received.answers) > 1 else received.answers[0]
            if status == 0:
                received.release.wait(30)
                return
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", received.url + "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    received.url = f"http://127.0.0.1:{http.server_port}"
    yield received
    received.release.set()
    http.shutdown()
    http.server_close()
    thread.join()


async def no_sleep(_: float) -> None:
    return None


def webhook(server: Received, **more: Any) -> Webhook:
    values = {
        "url": f"{server.url}/services/secret-path",
        "key": signing_key(SECRET),
        "timeout_seconds": 20.0,
    }
    return Webhook(**{**values, "clock": Clock(now=lambda: AT), "sleep": no_sleep, **more})


def verified(headers: dict[str, str], body: bytes, key: bytes) -> bool:
    """As the specification has a receiver do it."""
    to_sign = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, to_sign, hashlib.sha256).digest()).decode()
    versions = [each.split(",", 1) for each in headers["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(expected, given) for version, given in versions)


def test_the_signature_is_the_one_of_the_specifications_example():
    signed = signature(
        signing_key(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}'
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        (SECRET, base64.b64decode(SECRET.removeprefix("whsec_"))),
        ("a plain secret, long", b"a plain secret, long"),
    ],
)
async def test_whoever_has_the_secret_can_verify_what_came(server: Received, secret: str, key: bytes):
    assert await webhook(server, key=signing_key(secret)).send(TOLD) is None
    ((path, headers, body),) = server.requests
    assert path == "/services/secret-path"
    assert json.loads(body) == TOLD
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("n1", str(int(AT.timestamp())))
    assert headers["content-type"] == "application/json"
    assert verified(headers, body, key)
    assert not verified(headers, body + b" ", key)
    assert not verified(headers, body, b"another key, as long")


@pytest.mark.parametrize(
    ("answers", "asked", "fault"),
    [
        ([500, 429, 200], 3, None),
        ([503], 3, "answered 503"),
        ([404], 1, "answered 404"),
        ([410], 1, "answered 410"),
        ([302], 1, "answered 302: redirects are not followed"),
        ([307], 1, "answered 307: redirects are not followed"),
    ],
)
async def test_only_what_may_pass_is_asked_again_and_under_the_same_id(
    server: Received, answers: list[int], asked: int, fault: str | None
):
    server.answers = answers
    assert await webhook(server).send(TOLD) == (fault and f"{server.url} {fault}")
    assert len(server.requests) == asked
    assert {path for path, _, _ in server.requests} == {"/services/secret-path"}
    assert {headers["webhook-id"] for _, headers, _ in server.requests} == {"n1"}


async def test_a_server_that_never_answers_is_not_waited_for(server: Received):
    server.answers = [0]
    assert await webhook(server, timeout_seconds=0.3).send(TOLD) is not None
    assert len(server.requests) <= 1


async def test_nobody_there_is_said_without_what_is_secret(server: Received, monkeypatch: pytest.MonkeyPatch):
    url = "http://ada:hunter2@127.0.0.1:9/services/secret-path?key=k"
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("ALL_PROXY", server.url)
    told = await webhook(server, url=url).send(TOLD)
    assert told == "http://127.0.0.1:9 could not be asked (ConnectError)"
    assert server.requests == [], "no proxy of the environment is asked"


@pytest.mark.parametrize(
    ("secret", "said"),
    [("whsec_@@@@", "no base64"), ("tiny", "too short"), ("whsec_c2hvcnQ=", "too short"), ("", "too short")],
)
def test_a_secret_that_cannot_sign_is_refused_and_not_repeated(secret: str, said: str):
    with pytest.raises(UsageError, match=said) as refused:
        signing_key(secret)
    assert not secret or secret not in str(refused.value)


@pytest.mark.parametrize("url", ["ftp://x", "hooks.example", "http://", "http://x:port/"])
def test_an_address_that_is_none_is_refused(url: str):
    with pytest.raises(UsageError, match="AUTOPACK_NOTIFY_URL is no address"):
        Webhook(url=url, key=b"k" * 16, timeout_seconds=1)
