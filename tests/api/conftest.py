"""The API on a migrated SQLite file: through a client in process and live, and raw."""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from autopack.api.app import create_app
from autopack.api.guard import Access
from autopack.client import AutopackClient, in_process, remote
from autopack.clock import Clock
from autopack.db.engine import Database
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.domain.calls import CallRequest, CallResult
from autopack.domain.messages import ProviderMode, Role, Usage
from autopack.domain.phases import AttemptOutcome, Claim, Idle, Outcome
from autopack.schemas import ClaimBody, PlanBody
from tests.support import free_port, plan, wait_for_port

TOKEN = "0123456789abcdef"
KEY = "the-servers-key"


@dataclass
class Time:
    """Moves by hand."""

    at: datetime = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def tick(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def database(sqlite_url: str, tmp_path: Path) -> Iterator[Database]:
    with open_database(locate(sqlite_url, tmp_path), synchronous="OFF") as opened:
        yield opened


@pytest.fixture
def app(database: Database, time: Time) -> FastAPI:
    return create_app(lambda: nullcontext(database), clock=Clock(now=time))


@pytest.fixture
def keyed_app(database: Database) -> FastAPI:
    access = Access(api_key=KEY, allowed_hosts=frozenset({"queue.example"}))
    return create_app(lambda: nullcontext(database), access=lambda: access)


@pytest.fixture(params=["in process", "live"])
async def client(request: pytest.FixtureRequest, app: FastAPI) -> AsyncIterator[AutopackClient]:
    """The same client over both transports."""
    if request.param == "in process":
        async with in_process(app) as made:
            yield made
        return
    with live(app) as url:
        async with remote(url, patient=False) as made:
            yield made


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Requests as they come, good and bad."""
    async with app.router.lifespan_context(app), raw(app) as made:
        yield made


@pytest.fixture
async def keyed(keyed_app: FastAPI) -> AsyncIterator[FastAPI]:
    async with keyed_app.router.lifespan_context(keyed_app):
        yield keyed_app


def raw(app: FastAPI, peer: tuple[str, int] | None = ("127.0.0.1", 5), **more: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=peer)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, **({"base_url": "http://autopack"} | more))


@contextmanager
def live(app: FastAPI, port: int | None = None) -> Iterator[str]:
    """A real uvicorn on a real port, in a thread, so that its clock can be moved from here."""
    port = port or free_port()
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", ws="none", timeout_graceful_shutdown=1)
    )  # fmt: skip
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_for_port(port, _Alive(thread))  # type: ignore[arg-type]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


@dataclass
class _Alive:
    """As much of a process as `wait_for_port` looks at."""

    thread: threading.Thread
    returncode: int = 1

    def poll(self) -> int | None:
        return None if self.thread.is_alive() else 1

    def communicate(self) -> tuple[str, str]:
        return "", "the thread ended"


_numbers = count(1)


def claim_body(run_id: str = "r1", **more: Any) -> ClaimBody:
    token = f"token-{next(_numbers):012d}"
    return ClaimBody(
        **{"run_id": run_id, "worker": "w1", "lease_token": token, "base_commit": "b" * 40, **more}
    )


@dataclass
class Desk:
    """A worker at a client: claims, and remembers nothing."""

    client: AutopackClient
    calls: Iterator[int] = field(default_factory=lambda: count(1))

    async def create(self, *phases: dict[str, Any], run_id: str = "r1", **more: Any) -> None:
        made = plan(run_id, phases or None, **more)
        await self.client.create_run(PlanBody.model_validate(made))

    async def claim(self, run_id: str = "r1", **more: Any) -> Claim:
        answer = await self.client.claim(claim_body(run_id, **more))
        assert answer.claim is not None, answer.idle
        return answer.claim

    async def idle(self, run_id: str = "r1") -> Idle:
        answer = await self.client.claim(claim_body(run_id))
        assert answer.idle is not None, answer.claim
        return answer.idle

    async def finish(
        self, claim: Claim, outcome: AttemptOutcome = AttemptOutcome.COMPLETE, **more: Any
    ) -> Any:
        ended = Outcome(outcome=outcome, **more)
        return (await self.client.finish(claim.attempt_id, claim.lease_token, ended)).phase

    async def wait_in_gate(self, claim: Claim) -> str:
        """Finishes with work that needs a person; the request's id."""
        approval = {
            "reasons": ["Makefile: a person decides"], "plan": {"summary": "s", "files": []}, "diff": "+all:\n",
            "diff_hash": "d" * 64, "base_commit": "b" * 40,
        }  # fmt: skip
        await self.finish(claim, AttemptOutcome.NEEDS_APPROVAL, reason="Makefile", approval=approval)
        (request,) = await self.client.approvals(run_id=claim.phase.run_id, status="pending")
        return request.approval_id


@pytest.fixture
def desk(client: AutopackClient) -> Desk:
    return Desk(client)


def request(call_id: str = "c1", **more: Any) -> CallRequest:
    values: dict[str, Any] = {
        "call_id": call_id, "role": Role.BUILDER, "provider": "openai", "model": "openai:m", "provider_mode": ProviderMode.LIVE,
        "request_key": "k" * 64, "max_tokens": 100, "reserve_tokens": 1000, "reserve_cost_usd": 0.5,
    }  # fmt: skip
    return CallRequest(**(values | more))


def answered(input_tokens: int = 30, output_tokens: int = 12, **more: Any) -> CallResult:
    values: dict[str, Any] = {
        "completion": {"text": "hello"}, "usage": Usage(input_tokens=input_tokens, output_tokens=output_tokens),
        "usage_source": "provider", "finish_reason": "stop", "cost_usd": 0.01,
    }  # fmt: skip
    return CallResult(**(values | more))
