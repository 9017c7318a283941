"""A worker that is cut off: what was answered is recorded all the same, and work without a lease stops."""

from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from autopack.client import AutopackClient
from autopack.clock import Clock
from autopack.domain.calls import Reservation
from autopack.domain.messages import Message, Role
from autopack.domain.phases import AttemptOutcome, Outcome
from autopack.executor.attempt import AttemptRunner
from autopack.executor.lease import Leases
from autopack.executor.ledger import Ledger
from tests.executor.support_pipeline import ScriptedLLM, completion

pytestmark = pytest.mark.anyio
CLAIM: Any = SimpleNamespace(
    attempt_id="a", lease_token="t" * 32, number=1, phase=SimpleNamespace(run_id="r1", phase_id="p1")
)


class Queue:
    """As much of a client as is asked here."""

    def __init__(self) -> None:
        self.settled: list[str] = []

    async def reserve(self, *_: object) -> Reservation:
        return Reservation(call_id="c1", ask=1)

    async def settle(self, call_id: str, *_: object) -> None:
        await anyio.lowlevel.checkpoint()
        self.settled.append(call_id)

    async def renew(self, *_: object) -> None:
        await anyio.sleep_forever()

    async def finish(self, *_: object) -> None:
        raise AssertionError("the phase is another's by now")


async def test_an_answer_is_recorded_although_the_work_was_cancelled_meanwhile() -> None:
    queue, llm = Queue(), ScriptedLLM()
    with anyio.CancelScope() as scope:

        async def cancelled_and_answered() -> Any:
            scope.cancel()
            return completion("done")

        llm.will(Role.BUILDER, cancelled_and_answered)
        ledger = Ledger(client=queue, claim=CLAIM, clock=Clock(), base="0" * 40)  # type: ignore[arg-type]
        await ledger.ask(llm, Role.BUILDER, [Message(author="user", text="x")], max_tokens=10)
    assert queue.settled == ["c1"]


async def test_work_stops_when_its_lease_could_not_be_renewed_in_time() -> None:
    class Endless:
        async def run(self, *_: object) -> Any:
            await anyio.sleep_forever()

    queue: Any = Queue()
    leases, runner = Leases(queue, lease_seconds=0.15), AttemptRunner(queue, Endless())
    with anyio.fail_after(30):
        assert await runner.run(CLAIM, leases.open(CLAIM), lambda _: None) is None


class Away:
    """A server that is away, or cannot write, for longer than a client is patient, and then is back."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_back = anyio.Event()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.asked <= 20:
            raise httpx.ConnectError("refused")
        if self.asked <= 22:
            return httpx.Response(503, json={"code": "database_refused", "detail": "the disk is full"})
        self.is_back.set()
        return httpx.Response(200, json={"lease_expires_at": "2026-01-01T00:00:00Z", "cancelled": False})


async def test_work_goes_on_while_its_queue_is_away_for_less_than_the_lease() -> None:
    server = Away()

    class UntilItIsBack:
        async def run(self, *_: object) -> Any:
            await server.is_back.wait()
            return Outcome(outcome=AttemptOutcome.COMPLETE)

    async def no_pause(_: float) -> None:
        await anyio.lowlevel.checkpoint()

    async with httpx.AsyncClient(transport=httpx.MockTransport(server), base_url="http://autopack") as http:
        client = AutopackClient(http, sleep=no_pause)
        leases = Leases(client, lease_seconds=60, ask_seconds=0.01)
        lease, runner = leases.open(CLAIM), AttemptRunner(client, UntilItIsBack())  # type: ignore[arg-type]
        with anyio.fail_after(30):
            outcome = await runner.run(CLAIM, lease, lambda _: None)
    assert (outcome and outcome.outcome, lease.lost) == (AttemptOutcome.COMPLETE, False)
