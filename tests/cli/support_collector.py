"""An OpenTelemetry collector, as far as it takes traces: a real HTTP server that answers as it is told."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class FakeCollector:
    """`replies` are given in turn, then the plain yes."""

    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def call_ids(self) -> list[list[str]]:
        """Of each request that came."""
        return [
            [
                attribute["value"]["stringValue"]
                for span in body["resourceSpans"][0]["scopeSpans"][0]["spans"]
                for attribute in span["attributes"]
                if attribute["key"] == "autopack.call_id"
            ]
            for body in self.bodies
        ]


@contextmanager
def collecting() -> Iterator[FakeCollector]:
    fake = FakeCollector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.headers["content-type"] == "application/json"
            fake.paths.append(self.path)
            fake.headers.append({key.lower(): value for key, value in self.headers.items()})
            fake.bodies.append(json.loads(body))
            reply = fake.replies.pop(0) if fake.replies else Reply()
            self.send_response(reply.status)
            for name, value in {"content-length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *_: Any) -> None:
            """Says nothing on stderr, which tests read."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
