"""Ways to take phases off a queue and end them: the bare database calls, and the real worker over the real API."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench_databases import BASE

from autopack.client import AutopackClient
from autopack.clock import Clock, utc_now
from autopack.db import attempts, claims
from autopack.db.engine import Database
from autopack.domain.calls import EstimateMade
from autopack.domain.messages import CallLabel, Completion, Message, ProviderMode, Role, Tool, Usage
from autopack.domain.phases import AttemptOutcome, Claim, Outcome
from autopack.executor.ledger import Ledger
from autopack.executor.worker import Drained, Request, Worker

NO_OP = Outcome(outcome=AttemptOutcome.NO_OP)
CLOCK = Clock()


@dataclass(kw_only=True)
class Slice:
    """`phases` of a run, taken and ended. `claim_seconds` is the claim's statements alone, without the commit."""

    phases: int
    seconds: float
    claim_seconds: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return self.phases / self.seconds


def bare(database: Database, run_id: str, phases: int) -> Slice:
    """The floor: the very functions that the API calls, two transactions a phase, nothing around them."""
    taken = Slice(phases=phases, seconds=0.0)
    started = time.perf_counter()
    for _ in range(phases):
        with database.transaction() as session:
            before = time.perf_counter()
            claim = claims.claim(
                session, run_id=run_id, worker="bare", attempt_id=CLOCK.new_id(), lease_token=CLOCK.new_id(),
                lease_seconds=60.0, base_commit=BASE, now=utc_now(),
            )  # fmt: skip
            taken.claim_seconds.append(time.perf_counter() - before)
        assert isinstance(claim, Claim), claim
        with database.transaction() as session:
            attempts.finish(
                session, claim.attempt_id, claim.lease_token, NO_OP, request_id=CLOCK.new_id(), now=utc_now()
            )
    taken.seconds = time.perf_counter() - started
    return taken


class Nothing:
    """The phase's work takes no time: what is left is the machinery."""

    async def run(self, claim: Claim, step: Callable[[str], None]) -> Outcome:
        return NO_OP


@dataclass(frozen=True, kw_only=True)
class OneCall:
    """One model call a phase, reserved, answered at once from memory, settled and journaled."""

    client: AutopackClient
    llm: "Answered"

    async def run(self, claim: Claim, step: Callable[[str], None]) -> Outcome:
        ledger = Ledger(client=self.client, claim=claim, clock=CLOCK, base=BASE)
        messages = [
            Message(author="system", text="You build."),
            Message(author="user", text=claim.phase.goal * 40),
        ]
        made = EstimateMade(predicted_output_tokens=1000, version="bench", features={"files": 1})
        await ledger.ask(self.llm, Role.BUILDER, messages, max_tokens=8192, estimate=made)
        return NO_OP


class Answered:
    """A model that is not one: the same answer at once, to anything."""

    model, provider, provider_mode = "openai:scripted", "openai", ProviderMode.REPLAY

    async def complete(
        self, messages: Sequence[Message], *, max_tokens: int, label: CallLabel, tool: Tool | None = None
    ) -> Completion:
        return Completion(
            text="x" * 2000, finish_reason="stop", usage=Usage(input_tokens=500, output_tokens=500), model=self.model,
            provider=self.provider, provider_mode=self.provider_mode, cost_usd=0.0, cost_source="replay",
        )  # fmt: skip

    async def aclose(self) -> None:
        return None


async def drained(client: AutopackClient, runner: Any, run_id: str, phases: int) -> Slice:
    """The real worker over the real client."""
    worker = Worker(client, runner, name="benchmark", clock=CLOCK, base_commit=BASE)
    done = Drained()
    started = time.perf_counter()
    await worker.drain(Request(run_id=run_id, batch_size=phases, max_batches=1), done)
    seconds = time.perf_counter() - started
    assert [outcome for _, outcome in done.outcomes] == [AttemptOutcome.NO_OP] * phases, done
    return Slice(phases=phases, seconds=seconds)


Way = Callable[[Database, AutopackClient, str, int], Awaitable[Slice]]


async def _bare(database: Database, _: AutopackClient, run_id: str, phases: int) -> Slice:
    return bare(database, run_id, phases)


async def _drain(_: Database, client: AutopackClient, run_id: str, phases: int) -> Slice:
    return await drained(client, Nothing(), run_id, phases)


async def _drain_with_a_call(_: Database, client: AutopackClient, run_id: str, phases: int) -> Slice:
    return await drained(client, OneCall(client=client, llm=Answered()), run_id, phases)


WAYS: dict[str, Way] = {"bare": _bare, "drain": _drain, "with_call": _drain_with_a_call}
