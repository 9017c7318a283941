"""A server's app with its pages over a queue of the test's own, asked as a browser on the same machine would."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from autopack import web
from autopack.api.app import create_app
from autopack.clock import Clock
from autopack.db.engine import Database
from autopack.db.identity import open_database
from autopack.db.location import locate
from tests.db.support_queue import Queue

HOSTILE = "<script>alert(1)</script>'\"&{{7*7}}\u202e"


@dataclass
class Seat:
    queue: Queue
    client: TestClient

    def page(self, address: str, status: int = 200) -> str:
        return self.answer(address, status).text

    def answer(self, address: str, status: int = 200) -> Response:
        answer = self.client.get(address)
        assert answer.status_code == status, answer.text
        return answer

    def post(self, address: str, **fields: str) -> Response:
        return self.client.post(address, data=fields, follow_redirects=False)


class _Wiring:
    """What the one app stands on for now: to make an app for each test would cost more than the tests."""

    database: Database
    now: Callable[[], datetime]


_wiring = _Wiring()


@cache
def _app() -> FastAPI:
    app = create_app(lambda: nullcontext(_wiring.database), clock=Clock(now=lambda: _wiring.now()))
    web.install(app)
    return app


@contextmanager
def seat_at(url: str, directory: Path) -> Iterator[Seat]:
    with open_database(locate(url, directory), synchronous="OFF") as database:
        queue = Queue(database)
        _wiring.database, _wiring.now = database, lambda: queue.now
        with TestClient(_app(), base_url="http://127.0.0.1", client=("127.0.0.1", 5)) as client:
            yield Seat(queue, client)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_data(self, data: str) -> None:
        self.found.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def text(html: str) -> str:
    """What a person reads, with single spaces."""
    return " ".join(" ".join(_parsed(html).found).split())


def tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    return _parsed(html).tags


def assert_harmless(html: str) -> None:
    """Nothing of what came from outside became markup: every script is a file of ours, and nothing is inline."""
    for tag, attributes in tags(html):
        if tag == "script":
            assert (attributes.get("src") or "").startswith("/ui/static/"), attributes
        assert tag not in ("style", "iframe", "object", "embed"), tag
        assert not [name for name in attributes if name.startswith("on") or name == "style"], attributes


def _parsed(html: str) -> _Text:
    parser = _Text()
    parser.feed(html)
    return parser
