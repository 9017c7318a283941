"""Chat-completion chunks and server-sent events, written the way an OpenAI-compatible server writes them."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

TEXT_CHUNKS = 4


def event_stream(chunks: Iterable[dict[str, Any]]) -> bytes:
    lines = [json.dumps(chunk) for chunk in chunks]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()


def chunk(common: dict[str, Any], delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {**common, "object": "chat.completion.chunk", "choices": [choice]}


def text_pieces(text: str) -> Iterator[str]:
    size = max(1, -(-len(text) // TEXT_CHUNKS))
    for start in range(0, len(text), size):
        yield text[start : start + size]


def from_json_body(body: bytes) -> bytes:
    """The event stream that says the same as one plain JSON answer.

    Some servers ignore `stream: true`; the SDK then reads no event at all. What the body lacks (a finish
    reason, usage) the stream lacks as well, so that it is judged like any other answer.
    """
    try:
        answer = json.loads(body)
        return event_stream(_chunks_of(answer))
    except (TypeError, ValueError, RecursionError):
        # Passed on for the SDK to stumble over: an answer that cannot be read, not an empty one.
        return b"data: " + b" ".join(body.split()) + b"\n\n"


def _chunks_of(answer: Any) -> list[Any]:  # Any: decoded JSON of a stranger
    match answer:
        case {"choices": [{"message": dict(message)} as choice, *_]}:
            calls = message.get("tool_calls") or []
            delta = {**message, "tool_calls": [{"index": index, **call} for index, call in enumerate(calls)]}
            common = {name: answer[name] for name in ("id", "created", "model") if name in answer}
            usage = {**common, "choices": [], "usage": answer.get("usage")}
            return [chunk(common, delta, choice.get("finish_reason")), *([usage] if usage["usage"] else [])]
        case _:
            return [answer]
