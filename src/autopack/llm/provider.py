"""The one module that drives the providers' SDKs, through pydantic-ai.

Importing it takes one to two seconds, so `llm/gateway` imports it when the first call is made.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
from pydantic_ai import messages as wire
from pydantic_ai.direct import model_request_stream
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from autopack.clock import Clock
from autopack.domain.messages import Message, Tool, Usage
from autopack.errors import IncompleteResponse
from autopack.llm import usage
from autopack.llm.cassette import Cassette
from autopack.llm.failures import FAILURES, Asked, meaning
from autopack.llm.transport import LiveClient, ReplayTransport


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a model is and how to get in. With a cassette nothing leaves this process."""

    vendor: str
    name: str
    base_url: str | None
    key: str | None = field(repr=False)
    cassette: Cassette | None
    request_timeout_seconds: float
    stall_timeout_seconds: float
    connect_timeout_seconds: float


@dataclass(frozen=True, kw_only=True)
class Reply:
    text: str
    finish_reason: str
    usage: Usage
    tool_call: dict[str, Any] | None
    model: str | None
    response_id: str | None
    reported_cost_usd: float | None
    origin: str
    duration_seconds: float
    first_token_seconds: float | None


class Provider:
    """One model behind one HTTP client."""

    def __init__(self, endpoint: Endpoint, asked: Asked, clock: Clock) -> None:
        self._endpoint = endpoint
        self._asked = asked
        self._clock = clock
        self._is_anthropic = endpoint.vendor == "anthropic" and endpoint.cassette is None
        self._http = _http_client(endpoint)
        self._model = _model(endpoint, self._http)

    async def ask(
        self, messages: Sequence[Message], *, max_tokens: int, tool: Tool | None, headers: dict[str, str]
    ) -> Reply:
        """One request and its whole answer. Raises Unanswered where asking again is safe."""
        settings = ModelSettings(
            max_tokens=max_tokens,
            request_timeout=self._endpoint.request_timeout_seconds,
            extra_headers=headers,
        )
        began = self._clock.monotonic()
        first: float | None = None
        started = False
        try:
            async with model_request_stream(
                self._model,
                _history(messages),
                model_settings=settings,
                model_request_parameters=ModelRequestParameters(function_tools=_definitions(tool)),
                instrument=False,
            ) as stream:
                started = True
                async for _ in stream:
                    first = self._clock.monotonic() if first is None else first
        except FAILURES as error:
            # `from None`: the chain may quote headers or a body that names the key.
            raise meaning(error, asked=self._asked, started=started, now=self._clock.now()) from None
        took = self._clock.monotonic() - began
        return self._reply(stream, tool, took, None if first is None else first - began)

    def _reply(self, stream: StreamedResponse, tool: Tool | None, took: float, first: float | None) -> Reply:
        response = stream.get()
        details = response.provider_details or {}
        finish_reason = response.finish_reason or details.get("finish_reason")
        refused = "refusal" in details
        if not finish_reason or not (refused or details.get("finish_reason")):
            raise IncompleteResponse(self._asked.say("the answer ended without a finish reason"))
        raw = details.get("usage") or {}
        used = _anthropic_usage(response) if self._is_anthropic else usage.from_chat_completions(raw)
        if response.usage.unmeasured_requests or used.total_tokens is None:
            raise IncompleteResponse(self._asked.say("the answer ended without its usage"))
        text = _whole_text(response)
        arguments = _arguments(response, tool)
        call = None if finish_reason == "length" else _decoded(arguments)
        return Reply(
            text=text if text or call or finish_reason == "length" else arguments or "",
            finish_reason=finish_reason,
            usage=used,
            tool_call=call,
            model=response.model_name,
            response_id=response.provider_response_id,
            reported_cost_usd=usage.reported_cost(raw),
            origin=str(details.get("origin", "live")) if self._endpoint.cassette else "live",
            duration_seconds=took,
            first_token_seconds=first,
        )

    async def aclose(self) -> None:
        await self._http.aclose()


def _http_client(endpoint: Endpoint) -> httpx2.AsyncClient:
    if endpoint.cassette is not None:
        return httpx2.AsyncClient(transport=ReplayTransport(endpoint.cassette), trust_env=False)
    timeout = httpx2.Timeout(endpoint.stall_timeout_seconds, connect=endpoint.connect_timeout_seconds)
    return LiveClient(timeout=timeout)


def _model(endpoint: Endpoint, http: httpx2.AsyncClient) -> Model:
    # Imported here: each SDK takes a second to load, and a process rarely needs both.
    if endpoint.vendor == "anthropic" and endpoint.cassette is None:
        from autopack.llm.anthropic_model import open_model as open_anthropic

        return open_anthropic(endpoint.name, http, base_url=endpoint.base_url, key=endpoint.key)
    from autopack.llm.openai_model import open_model as open_openai

    if endpoint.cassette is not None:
        return open_openai(endpoint.name, http, base_url=None, key="replay")
    return open_openai(endpoint.name, http, base_url=endpoint.base_url, key=endpoint.key)


def _history(messages: Sequence[Message]) -> list[wire.ModelMessage]:
    history: list[wire.ModelMessage] = []
    parts: list[wire.ModelRequestPart] = []
    for message in messages:
        if message.author != "assistant":
            is_system = message.author == "system"
            parts.append(
                wire.SystemPromptPart(message.text) if is_system else wire.UserPromptPart(message.text)
            )
            continue
        if parts:
            history.append(wire.ModelRequest(parts=parts))
            parts = []
        history.append(wire.ModelResponse(parts=[wire.TextPart(message.text)]))
    return [*history, wire.ModelRequest(parts=parts)] if parts else history


def _definitions(tool: Tool | None) -> list[ToolDefinition]:
    if tool is None:
        return []
    return [
        # strict=False: the schema goes out as it was written.
        ToolDefinition(
            name=tool.name, description=tool.description, parameters_json_schema=tool.schema, strict=False
        )
    ]


def _whole_text(response: wire.ModelResponse) -> str:
    text = "".join(part.content for part in response.parts if isinstance(part, wire.TextPart))
    return _without_thinking(_mended(text))


def _mended(text: str) -> str:
    """An emoji that a server split over two chunks arrives as two halves; half of one is not text."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _without_thinking(text: str) -> str:
    """Some open models think aloud first, in one block of their own; anywhere else the tag is content."""
    head = text.lstrip()
    if head.startswith("<think>") and "</think>" in head:
        return head.partition("</think>")[2].lstrip()
    return text


def _arguments(response: wire.ModelResponse, tool: Tool | None) -> str | None:
    """The arguments of the first call of our tool, undecoded; a tool that was not offered is no answer."""
    for part in response.parts:
        if isinstance(part, wire.ToolCallPart) and tool is not None and part.tool_name == tool.name:
            return part.args if isinstance(part.args, str) else json.dumps(part.args or {})
    return None


def _decoded(arguments: str | None) -> dict[str, Any] | None:
    """The arguments as an object; None where they are not one that can be kept (NaN, half an emoji, too deep)."""
    try:
        decoded = json.loads(arguments or "null")
        json.dumps(decoded, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


def _anthropic_usage(response: wire.ModelResponse) -> Usage:
    """`details` holds the counts that were reported, the attributes hold the totals."""
    counts, reported = response.usage, response.usage.details
    return usage.within_the_whole(
        Usage(
            input_tokens=counts.input_tokens,
            output_tokens=counts.output_tokens if "output_tokens" in reported else None,
            cache_read_input_tokens=reported.get("cache_read_input_tokens"),
            cache_write_input_tokens=reported.get("cache_creation_input_tokens"),
            reasoning_output_tokens=reported.get("thinking_tokens"),
        )
    )
