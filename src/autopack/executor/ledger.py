"""One attempt's model calls: reserved before, recorded after, and never made when the answer is already there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import anyio
from pydantic import TypeAdapter

from autopack.client import AutopackClient
from autopack.clock import Clock
from autopack.domain.calls import CallRequest, CallResult, EstimateMade
from autopack.domain.estimate import input_token_bound
from autopack.domain.messages import (
    CallLabel,
    Completion,
    Message,
    ProviderMode,
    Role,
    Tool,
    request_key,
)
from autopack.domain.phases import Claim
from autopack.domain.storable import storable, storable_text
from autopack.errors import ApiUnreachable, AutopackError, BudgetReached, IncompleteResponse, ModelError
from autopack.llm.base import LLM
from autopack.llm.pricing import TABLE_ONLY, Prices

CUT_ANSWERS_TAKEN = 3
RECORD_SECONDS = 60.0
_COMPLETION: TypeAdapter[Completion] = TypeAdapter(Completion)


class NoRoom(BudgetReached):
    """`request` is what a cap left no room for."""

    def __init__(self, detail: str, request: CallRequest) -> None:
        super().__init__(detail)
        self.request = request


@dataclass(frozen=True, kw_only=True)
class Ledger:
    client: AutopackClient
    claim: Claim
    clock: Clock
    base: str
    """The commit that the prompts are made from."""
    redact: Callable[[str], str] = lambda text: text
    """Takes secrets out of what is sent: a file of the workspace, or what a check printed, may hold one."""
    prices: Prices = TABLE_ONLY

    async def ask(
        self,
        llm: LLM,
        role: Role,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        tool: Tool | None = None,
        estimate: EstimateMade | None = None,
    ) -> Completion:
        """The answer. One that was cut off on its way is asked for again, each time as a call of its own.

        Raises NoRoom before anything is spent; ModelError and ModelNotReady from the model.
        """
        messages = [replace(message, text=self.redact(message.text)) for message in messages]
        for attempt in range(1, CUT_ANSWERS_TAKEN + 1):
            try:
                return await self._ask_once(
                    llm, role, messages, max_tokens=max_tokens, tool=tool, estimate=estimate
                )
            except IncompleteResponse:
                if attempt == CUT_ANSWERS_TAKEN:
                    raise
        raise AssertionError("unreachable")

    async def _ask_once(
        self,
        llm: LLM,
        role: Role,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        tool: Tool | None,
        estimate: EstimateMade | None,
    ) -> Completion:
        now = self.clock.now()
        request = self._request(llm, role, messages, max_tokens, tool, now)
        try:
            held = await self.client.reserve(self.claim.attempt_id, self.claim.lease_token, request)
        except BudgetReached as error:
            raise NoRoom(str(error), request) from error
        if held.completion is not None:
            return _COMPLETION.validate_python(held.completion)
        phase = self.claim.phase
        label = CallLabel(role=role, run_id=phase.run_id, phase_id=phase.phase_id, ask=held.ask, asked_at=now)
        try:
            completion = await llm.complete(messages, max_tokens=max_tokens, label=label, tool=tool)
        except AutopackError as error:
            await self._settle(held.call_id, _failure(error, estimate))
            raise
        completion = _storable(completion)
        await self._settle(held.call_id, _success(completion, estimate))
        return completion

    def _request(
        self,
        llm: LLM,
        role: Role,
        messages: Sequence[Message],
        max_tokens: int,
        tool: Tool | None,
        now: datetime,
    ) -> CallRequest:
        texts = [message.text for message in messages] + ([str(tool.schema)] if tool else [])
        most_input = input_token_bound(*texts)
        live = llm.provider_mode is ProviderMode.LIVE
        worst = partial(self.prices.worst_case_usd, llm.model, llm.provider, most_input, max_tokens, at=now)
        return CallRequest(
            call_id=self.clock.new_id(), role=role, provider=llm.provider, model=llm.model,
            provider_mode=llm.provider_mode, request_key=request_key(llm.model, messages, tool),
            max_tokens=max_tokens, reserve_tokens=most_input + max_tokens, reserve_cost_usd=worst() if live else 0.0,
            base_commit=self.base,
        )  # fmt: skip

    async def _settle(self, call_id: str, result: CallResult) -> None:
        # What was answered is recorded, whoever cancels: else it would be paid for again.
        with anyio.move_on_after(RECORD_SECONDS, shield=True) as scope:
            await self.client.settle(call_id, self.claim.lease_token, result)
        if scope.cancelled_caught:
            raise ApiUnreachable(
                f"the answer of call {call_id} could not be recorded within {RECORD_SECONDS} seconds"
            )


def _storable(completion: Completion) -> Completion:
    """No database keeps a NUL or a lone surrogate; the answer must be recorded all the same."""
    return replace(completion, text=storable_text(completion.text), tool_call=storable(completion.tool_call))


def _success(completion: Completion, estimate: EstimateMade | None) -> CallResult:
    return CallResult(
        completion=_COMPLETION.dump_python(completion, mode="json"), usage=completion.usage,
        usage_source="recorded" if completion.provider_mode is ProviderMode.REPLAY else "provider",
        finish_reason=completion.finish_reason[:40], is_truncated=completion.is_truncated,
        model=completion.model[:200],
        cost_usd=completion.cost_usd, cost_source=completion.cost_source,
        price_table_version=completion.price_table_version, response_id=completion.response_id and completion.response_id[:200],
        retries=completion.retries, duration_seconds=completion.duration_seconds,
        first_token_seconds=completion.first_token_seconds, estimate=estimate,
    )  # fmt: skip


def _failure(error: AutopackError, estimate: EstimateMade | None) -> CallResult:
    cut = isinstance(error, IncompleteResponse)
    # A request that was refused is no builder call that an estimate could be held against.
    return CallResult(
        error=f"{error.code}: {error}"[:2000], may_have_been_paid=cut, estimate=estimate if cut else None,
        retries=error.retries if isinstance(error, ModelError) else 0,
    )  # fmt: skip
