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
    except ValueError:
        return b"data: " + b" ".join(body.split()) + b"\n\n"
    if not isinstance(answer, dict) or not isinstance(answer.get("choices"), list):
        return event_stream([answer])
    common = {name: answer[name] for name in ("id", "created", "model") if name in answer}
    chunks = []
    for choice in answer["choices"][:1]:
        message = dict(choice.get("message") or {})
        calls = message.get("tool_calls") or []
        message["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
        chunks.append(chunk(common, message, choice.get("finish_reason")))
    if answer.get("usage"):
        chunks.append({**common, "object": "chat.completion.chunk", "choices": [], "usage": answer["usage"]})
    return event_stream(chunks)
