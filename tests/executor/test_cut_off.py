"""A worker that is cut off: what was answered is recorded all the same, and work without a lease stops."""

from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from autopack.clock import Clock
from autopack.domain.calls import Reservation
from autopack.domain.messages import Message, Role
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
