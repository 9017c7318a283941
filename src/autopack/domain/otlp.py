"""A model call as an OpenTelemetry span: one mapping from a row of the ledger, with a version of its own.

Names are those of OpenTelemetry's conventions for generative AI, the encoding is OTLP's JSON (ids in hexadecimal,
64-bit integers as text). Ids are made from the row's, so a call that is sent again is the same span. What was
asked and answered is no part of a row, and an error's text stays here too: it may quote either.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from autopack.domain.phases import JsonObject
from autopack.domain.telemetry import UsageEvent, bare_model

MAPPING_VERSION = "autopack.otlp.v1"
SCOPE = "autopack.telemetry"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLIENT_KIND = 3
_ERROR_STATUS = 2
_UNNAMED_ERROR = "_OTHER"  # OpenTelemetry's own word for it

_GENAI = {
    "gen_ai.request.max_tokens": "request_max_tokens",
    "gen_ai.response.id": "response_id",
    "gen_ai.response.time_to_first_chunk": "first_token_seconds",
    "gen_ai.usage.input_tokens": "input_tokens",
    "gen_ai.usage.output_tokens": "output_tokens",
    "gen_ai.usage.cache_read.input_tokens": "cache_read_input_tokens",
    "gen_ai.usage.cache_creation.input_tokens": "cache_write_input_tokens",
    "gen_ai.usage.reasoning.output_tokens": "reasoning_output_tokens",
}
_OWN = (
    "call_id", "run_id", "phase_id", "attempt_id", "role", "ask", "status", "provider_mode", "usage_source",
    "total_tokens", "cost_usd", "cost_source", "price_table_version", "is_truncated", "is_complete", "retries",
    "duration_seconds", "origin", "source_database_id", "source_row_id",
)  # fmt: skip


def traces(events: Iterable[UsageEvent], *, database_id: str | None, version: str) -> JsonObject:
    """The body of one export request, or one line of a file in OTLP's JSON."""
    resource = {"service.name": "autopack", "service.version": version, "autopack.database_id": database_id}
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeSpans": [
                    {
                        "scope": {"name": SCOPE, "version": MAPPING_VERSION},
                        "spans": [span(event) for event in events],
                    }
                ],
            }
        ]
    }


def span(event: UsageEvent) -> JsonObject:
    ended = max(event.created_at, event.completed_at or event.created_at)
    error = _error_type(event)
    return {
        "traceId": _id(32, event.source_database_id, event.run_id, event.phase_id, event.attempt_id),
        "spanId": _id(16, event.call_id),
        "name": f"chat {bare_model(event.model)}",
        "kind": _CLIENT_KIND,
        "startTimeUnixNano": _nanoseconds(event.created_at),
        "endTimeUnixNano": _nanoseconds(ended),
        "attributes": _attributes(_facts(event) | {"error.type": error}),
        "status": {"code": _ERROR_STATUS} if error else {},
    }


def _facts(event: UsageEvent) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": event.provider,
        "gen_ai.request.model": bare_model(event.model),
        "gen_ai.response.finish_reasons": [event.finish_reason] if event.finish_reason else None,
        **{name: getattr(event, column) for name, column in _GENAI.items()},
        **_address(event.provider),
        **{f"autopack.{column}": getattr(event, column) for column in _OWN},
    }


def _address(provider: str) -> dict[str, Any]:
    """A service that is no well-known vendor is kept by its address."""
    found = re.fullmatch(r"(?P<host>\[[^\]]+\]|[^:/]+)(?::(?P<port>[0-9]{1,5}))?(?P<path>/.*)?", provider)
    if found is None or not (found["port"] or found["path"] or "." in found["host"]):
        return {}
    port = int(found["port"]) if found["port"] else None
    return {"server.address": found["host"].strip("[]"), "server.port": port}


def _error_type(event: UsageEvent) -> str | None:
    """The class of the error: a word from a small set."""
    if event.status == "answered":
        return None
    if event.status in ("reserved", "abandoned"):
        return "abandoned"
    code = re.match(r"([a-z_]{1,40}): ", event.error or "")
    return code[1] if code else _UNNAMED_ERROR


def _id(digits: int, *parts: str | None) -> str:
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:digits]
    return digest if digest.strip("0") else "1".rjust(digits, "0")  # all zeros is no id


def _nanoseconds(moment: datetime) -> str:
    return str((moment - _EPOCH) // timedelta(microseconds=1) * 1000)


def _attributes(facts: Mapping[str, Any]) -> list[JsonObject]:
    """Without those that are unknown."""
    return [{"key": key, "value": _value(value)} for key, value in facts.items() if value is not None]


def _value(value: Any) -> JsonObject:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list():
            return {"arrayValue": {"values": [_value(each) for each in value]}}
    return {"stringValue": str(value)}
