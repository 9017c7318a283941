"""A model exchange as values: what is asked, what is answered, what it used."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Role(StrEnum):
    BUILDER = "builder"
    AUDITOR = "auditor"


class ProviderMode(StrEnum):
    LIVE = "live"
    REPLAY = "replay"


@dataclass(frozen=True, kw_only=True)
class Message:
    """`author` is "system", "user" or "assistant"."""

    author: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A function the model may call instead of answering in text; `schema` is JSON Schema."""

    name: str
    description: str
    schema: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class CallLabel:
    """Which request this is: `ask` counts the answered requests of that role for that phase, from 1.

    `asked_at` is when its worst case was set aside, and the moment of its price; None is the moment of its answer.
    """

    role: Role
    run_id: str
    phase_id: str
    ask: int
    asked_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens of one request. `input_tokens` includes cached, `output_tokens` includes reasoning; None is unknown."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    reasoning_output_tokens: int | None = None

    @property
    def total_tokens(self) -> int | None:
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A whole answer. `finish_reason` is "stop", "length", "tool_call", "content_filter" or the provider's word."""

    text: str
    finish_reason: str
    usage: Usage
    model: str
    provider: str
    provider_mode: ProviderMode
    tool_call: dict[str, Any] | None = None
    cost_usd: float | None = None
    cost_source: str | None = None
    price_table_version: str | None = None
    response_id: str | None = None
    retries: int = 0
    duration_seconds: float = 0.0
    first_token_seconds: float | None = None
    origin: str = "live"
    """Where the answer comes from: "live", or of a cassette "live" (recorded) or "synthetic" (hand-written)."""

    @property
    def is_truncated(self) -> bool:
        return self.finish_reason == "length"


def request_key(model: str, messages: Sequence[Message], tool: Tool | None) -> str:
    """The canonical request as SHA-256, without `max_tokens`: a larger budget asks the same question."""
    request = {
        "model": model,
        "messages": [asdict(message) for message in messages],
        "tool": asdict(tool) if tool else None,
    }
    text = json.dumps(request, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
