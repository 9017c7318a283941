"""Below the SDKs: the HTTP client for live requests, and the transport that replays a cassette.

Imports httpx2 (0.2 s), so it is imported by `llm/provider` only.
"""

import json
from typing import Any
from urllib.parse import quote, unquote

import httpx2

from autopack.domain.messages import CallLabel, Role
from autopack.llm import events
from autopack.llm.cassette import Answer, Cassette, RecordedUsage

REPLAY_MISS = "autopack_replay_miss"
CHARACTERS_PER_TOKEN = 4


# Only these say that the provider never had the whole request: after them it may be at work, and charge for it.
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)


class NoAnswer(httpx2.TransportError):
    """The request never reached the provider."""


class LiveClient(httpx2.AsyncClient):
    """An HTTP client that tells "no answer" from "cut off", and always answers with an event stream."""

    async def send(
        self, request: httpx2.Request, **options: Any
    ) -> httpx2.Response:  # Any: httpx2's own keywords
        try:
            response = await super().send(request, **options)
        except _NEVER_SENT as error:
            raise NoAnswer(f"{type(error).__name__}: {error}".rstrip(": ")) from error
        is_json = "json" in response.headers.get("content-type", "")
        if response.status_code != 200 or not is_json or not request.url.path.endswith("/chat/completions"):
            return response
        body = await response.aread()
        await response.aclose()
        return event_response(events.from_json_body(body), request)


class ReplayTransport(httpx2.AsyncBaseTransport):
    """Answers chat-completion requests from a cassette, as the event stream that a provider would send."""

    def __init__(self, cassette: Cassette) -> None:
        self._cassette = cassette

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = json.loads(await request.aread())
        key, label = key_and_label(request.headers)
        answer = self._cassette.find(key, label)
        if answer is None:
            return self._miss(request, label)
        prompt = sum(len(str(message.get("content") or "")) for message in body["messages"])
        tools = [tool["function"]["name"] for tool in body.get("tools", [])]
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        chunks = replayed(answer, prompt=tokens_in(prompt), limit=limit, tool=tools[0] if tools else None)
        return event_response(events.event_stream(chunks), request)

    def _miss(self, request: httpx2.Request, label: CallLabel) -> httpx2.Response:
        detail = (
            f"cassette {self._cassette.name} has no answer for role {label.role}, phase {label.phase_id!r}, "
            f"ask {label.ask} (run {label.run_id!r}). To call a model, set AUTOPACK_MODEL=openai:NAME and "
            "OPENAI_API_KEY (or anthropic:NAME and ANTHROPIC_API_KEY); to replay another cassette, set "
            "AUTOPACK_REPLAY=FILE. A recorded answer is found only under the model it was recorded with."
        )
        error = {"message": detail, "type": "invalid_request_error", "code": REPLAY_MISS}
        return httpx2.Response(404, json={"error": error}, request=request)


def event_response(content: bytes, request: httpx2.Request) -> httpx2.Response:
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return httpx2.Response(200, headers=headers, content=content, request=request)


def replay_headers(key: str, label: CallLabel) -> dict[str, str]:
    """Who asks, for the replay transport; a live request never carries these."""
    return {
        "x-autopack-key": key,
        "x-autopack-role": label.role,
        "x-autopack-run": quote(label.run_id),
        "x-autopack-phase": quote(label.phase_id),
        "x-autopack-ask": str(label.ask),
    }


def key_and_label(headers: httpx2.Headers) -> tuple[str, CallLabel]:
    return headers["x-autopack-key"], CallLabel(
        role=Role(headers["x-autopack-role"]),
        run_id=unquote(headers["x-autopack-run"]),
        phase_id=unquote(headers["x-autopack-phase"]),
        ask=int(headers["x-autopack-ask"]),
    )


def tokens_in(characters: int) -> int:
    return -(-characters // CHARACTERS_PER_TOKEN)


def replayed(answer: Answer, *, prompt: int, limit: int | None, tool: str | None) -> list[dict[str, Any]]:
    """The chunks of one answer, cut at the request's `max_tokens` as a provider would cut it."""
    arguments = None if answer.tool_call is None else json.dumps(answer.tool_call, ensure_ascii=False)
    text = answer.body
    if arguments is not None and tool is None:  # nothing to call: the same verdict as JSON in text
        text, arguments = text or arguments, None
    usage = answer.usage or RecordedUsage(
        input_tokens=prompt, output_tokens=max(1, tokens_in(len(text) + len(arguments or "")))
    )
    reason, kept = answer.reason, usage.output_tokens
    if limit is not None and usage.output_tokens > limit:
        reason, kept = "length", limit
        text = _share(text, limit, usage.output_tokens)
        arguments = arguments and _share(arguments, limit, usage.output_tokens)
    if reason == "tool_call":
        reason = "stop" if arguments is None else "tool_calls"
    common = {"id": "replay", "created": 0, "model": "replay"}
    chunks = [events.chunk(common, {"role": "assistant", "content": ""})]
    chunks += [events.chunk(common, {"content": piece}) for piece in events.text_pieces(text)]
    if arguments is not None:
        call = {"index": 0, "id": "call_1", "type": "function"}
        chunks.append(
            events.chunk(
                common, {"tool_calls": [call | {"function": {"name": tool, "arguments": arguments}}]}
            )
        )
    chunks.append(events.chunk(common, {}, reason))
    chunks.append(
        {**common, "choices": [], "usage": _wire_usage(usage, kept), "autopack_origin": answer.source}
    )
    return chunks


def _share(text: str, part: int, whole: int) -> str:
    return text[: len(text) * part // whole]


def _wire_usage(usage: RecordedUsage, output_tokens: int) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": usage.input_tokens + output_tokens,
    }
    cached = {
        "cached_tokens": usage.cache_read_input_tokens,
        "cache_write_tokens": usage.cache_write_input_tokens,
    }
    if known := {name: value for name, value in cached.items() if value is not None}:
        wire["prompt_tokens_details"] = known
    if usage.reasoning_output_tokens is not None:
        wire["completion_tokens_details"] = {
            "reasoning_tokens": min(usage.reasoning_output_tokens, output_tokens)
        }
    return wire
