"""What a collector may answer, and what becomes of it: asked again, believed, or refused in words."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from autopack.cli.collector import Collector, Taken, Target, find_target
from autopack.errors import ApiUnreachable, NotReady, UsageError
from tests.cli.support_collector import FakeCollector, Reply, collecting
from tests.support import free_port

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Line:
    """A collector and the pauses that were made for it."""

    def __init__(self, fake: FakeCollector, http: httpx.AsyncClient) -> None:
        self.fake = fake
        self.http = http
        self.pauses: list[float] = []

    async def send(self, url: str | None = None) -> Taken:
        target = Target(url=url or f"{self.fake.url}/v1/traces", headers={"x-key": "secret"})
        return await Collector(self.http, target, now=lambda: NOW, sleep=self.pause).send({"a": 1})

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    with collecting() as fake:
        async with httpx.AsyncClient(trust_env=False) as http:
            yield Line(fake, http)


async def test_what_it_took_is_taken(line: Line):
    for body in (b"{}", b"", b'{"partialSuccess": {}}', b'{"partialSuccess": null, "new": 1}'):
        line.fake.replies = [Reply(body=body)]
        assert await line.send() == Taken()
    assert line.fake.headers[0]["x-key"] == "secret"


@pytest.mark.parametrize("count", [b"3", b'"3"'], ids=["number", "text"])
async def test_spans_that_it_threw_away_are_counted(line: Line, count: bytes):
    line.fake.replies = [
        Reply(body=b'{"partialSuccess": {"rejectedSpans": %s, "errorMessage": "too old"}}' % count)
    ]
    assert await line.send() == Taken(rejected=3, message="too old")
    assert len(line.fake.bodies) == 1, "it is not to be sent again"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_busy_collector_is_asked_again(line: Line, status: int):
    line.fake.replies = [Reply(status), Reply(status)]
    assert await line.send() == Taken()
    assert line.pauses == [1.0, 2.0]


async def test_it_is_waited_for_as_long_as_it_says(line: Line):
    line.fake.replies = [
        Reply(503, headers={"retry-after": "7"}),
        Reply(429, headers={"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}),
        Reply(503, headers={"retry-after": "soon"}),
    ]
    assert await line.send() == Taken()
    assert line.pauses == [7.0, 30.0, 4.0]


async def test_it_is_not_waited_for_without_end(line: Line):
    line.fake.replies = [Reply(503, headers={"retry-after": "3600"})]
    with pytest.raises(NotReady, match="asks to wait 3600 seconds"):
        await line.send()
    line.fake.replies = [Reply(503)] * 9
    with pytest.raises(NotReady, match="answered 503"):
        await line.send()
    assert line.pauses == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (400, "400"),
        (401, "wants a key"),
        (404, "is the path right"),
        (413, "--batch"),
        (500, "500"),
        (301, "301"),
    ],
)
async def test_a_refusal_is_final_and_said(line: Line, status: int, word: str):
    line.fake.replies = [Reply(status, b"secret words")]
    with pytest.raises(NotReady, match=word) as caught:
        await line.send()
    assert "secret" not in str(caught.value)
    assert line.pauses == []


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"[]", b'{"partialSuccess": 4}', b'{"partialSuccess": {"rejectedSpans": "x"}}', b"\xff"])  # fmt: skip
async def test_a_yes_that_is_no_collectors_is_not_believed(line: Line, body: bytes):
    line.fake.replies = [Reply(200, body)]
    with pytest.raises(NotReady, match="no OTLP collector"):
        await line.send()


async def test_nobody_at_the_address_is_said_without_its_secrets(line: Line):
    with pytest.raises(ApiUnreachable) as caught:
        await line.send(f"http://user:hidden@127.0.0.1:{free_port()}/v1/traces?token=hidden")
    assert "hidden" not in str(caught.value)
    assert line.pauses == [1.0, 2.0, 4.0, 8.0]


# Where it is


@pytest.mark.parametrize(
    ("endpoint", "environment", "url"),
    [
        ("http://c:4318", {}, "http://c:4318/v1/traces"),
        ("http://c:4318/", {}, "http://c:4318/v1/traces"),
        ("http://c/otlp/v1/traces?x=1", {}, "http://c/otlp/v1/traces?x=1"),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://base/x/"}, "http://base/x/v1/traces"),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://base/x/?key=k"}, "http://base/x/v1/traces?key=k"),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://b", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/"}, "http://t/"),
        ("http://c/t", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://base"}, "http://c/t"),
    ],
)  # fmt: skip
def test_the_address_is_the_options_else_the_environments(
    endpoint: Any, environment: dict[str, str], url: str
):
    target = find_target(endpoint, [], environment)
    assert target is not None
    assert target.url == url


def test_nobody_named_is_nobody():
    assert find_target(None, [], {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}) is None


def test_headers_come_from_the_environment_and_from_options():
    environment = {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20s3cret, x-a = 1 ,"}
    target = find_target("http://user:pw@c:4318?k=v", ["X-B=2=3", "x-a=4"], environment)
    assert target is not None
    assert target.headers == {"authorization": "Bearer s3cret", "x-a": "4", "X-B": "2=3"}
    assert target.shown == "http://c:4318/v1/traces"
    assert "s3cret" not in repr(target)


@pytest.mark.parametrize("header", ["no-equals", "=v", "a b=c", "x=line\nbreak", "x=ä"])
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(header: str):
    with pytest.raises(UsageError, match="--header: a header is NAME=VALUE") as caught:
        find_target("http://c", [header], {})
    assert "break" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["c:4318", "ftp://c", "http://", "http://[", ""])
def test_what_is_no_address_is_refused(endpoint: str):
    with pytest.raises(UsageError, match="--endpoint is no address"):
        find_target(endpoint, [], {})


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_a_wrong_address_is_named_by_its_variable_and_not_told(name: str):
    with pytest.raises(UsageError, match=f"{name} is no address") as caught:
        find_target(None, [], {name: "grpc://user:s3cret@host:4317"})
    assert "s3cret" not in str(caught.value)
