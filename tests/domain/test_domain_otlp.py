"""A call as a span: OpenTelemetry's own parser reads it, ids stay, and nothing that is unknown or private is in it."""

import base64
import copy
import json
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from autopack.domain.otlp import MAPPING_VERSION, span, traces
from tests.support_telemetry import MADE_AT, usage


def parsed(body: dict[str, Any]) -> ExportTraceServiceRequest:
    """By the published protocol. Its parser takes ids in base64; OTLP's JSON has them in hexadecimal."""
    body = copy.deepcopy(body)
    for resource in body["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for each in scope["spans"]:
                for name, length in (("traceId", 16), ("spanId", 8)):
                    raw = bytes.fromhex(each[name])
                    assert len(raw) == length
                    assert any(raw), "all zeros is no id"
                    each[name] = base64.b64encode(raw).decode()
    return ParseDict(body, ExportTraceServiceRequest())


def span_of(**more: Any) -> Span:
    body = traces([usage(**more)], database_id="db-1", version="1.2")
    found: Span = parsed(body).resource_spans[0].scope_spans[0].spans[0]
    return found


def facts(found: Any) -> dict[str, Any]:
    kinds = {each.key: each.value.WhichOneof("value") for each in found.attributes}
    assert None not in kinds.values()
    return {each.key: getattr(each.value, kinds[each.key]) for each in found.attributes}


def test_a_call_becomes_a_client_span_of_the_conventions_for_generative_ai():
    found = span_of(cache_read_input_tokens=10, cache_write_input_tokens=5, reasoning_output_tokens=4)
    assert (found.name, found.kind) == ("chat gpt-x", Span.SPAN_KIND_CLIENT)
    told = facts(found)
    assert [each.string_value for each in told.pop("gen_ai.response.finish_reasons").values] == ["stop"]
    assert {key: value for key, value in told.items() if not key.startswith("autopack.")} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-x",
        "gen_ai.request.max_tokens": 900,
        "gen_ai.response.id": "resp-1",
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 12,
        "gen_ai.usage.cache_read.input_tokens": 10,
        "gen_ai.usage.cache_creation.input_tokens": 5,
        "gen_ai.usage.reasoning.output_tokens": 4,
    }
    assert told["autopack.cost_usd"] == 0.25
    assert (told["autopack.run_id"], told["autopack.role"], told["autopack.provider_mode"]) == (
        "r1",
        "builder",
        "live",
    )
    assert found.status.code == 0


def test_the_resource_and_the_mapping_say_who_made_it():
    body = parsed(traces([usage()], database_id="db-1", version="1.2"))
    assert facts(body.resource_spans[0].resource) == {
        "service.name": "autopack",
        "service.version": "1.2",
        "autopack.database_id": "db-1",
    }
    assert body.resource_spans[0].scope_spans[0].scope.version == MAPPING_VERSION


def test_times_are_exact():
    found = span_of()
    assert found.start_time_unix_nano == int(MADE_AT.timestamp()) * 10**9
    assert found.end_time_unix_nano - found.start_time_unix_nano == 2_000_005_000


@pytest.mark.parametrize("completed_at", [None, MADE_AT - timedelta(seconds=5)])
def test_a_span_never_ends_before_it_begins(completed_at: Any):
    found = span_of(completed_at=completed_at)
    assert found.end_time_unix_nano == found.start_time_unix_nano


def test_a_call_that_is_sent_again_is_the_same_span_and_others_are_others():
    first, again, other = span(usage(1)), span(usage(1)), span(usage(2))
    assert first == again
    assert first["traceId"] == other["traceId"], "of one phase's try"
    assert first["spanId"] != other["spanId"]
    apart = [
        span(usage(1, phase_id="p2")),
        span(usage(1, run_id="r1p", phase_id="1")),
        span(usage(1, attempt_id="a")),
    ]
    assert len({each["traceId"] for each in [first, *apart]}) == 4


def test_what_is_unknown_is_left_out():
    told = facts(
        span_of(input_tokens=None, output_tokens=None, total_tokens=42, cost_usd=None, finish_reason=None)
    )
    assert told["autopack.total_tokens"] == 42
    absent = {"gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "autopack.cost_usd",
              "gen_ai.response.finish_reasons", "gen_ai.usage.reasoning.output_tokens", "error.type"}  # fmt: skip
    assert not absent & told.keys()


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        ("failed", "provider_limit: HTTP 429: def secret_function(): ...", "provider_limit"),
        ("failed", "Boom, and def secret_function()", "_OTHER"),
        ("failed", None, "_OTHER"),
        ("abandoned", "no answer was recorded", "abandoned"),
        ("reserved", None, "abandoned"),
    ],
)
def test_an_error_is_told_by_its_class_alone(status: str, error: str | None, kind: str):
    found = span_of(status=status, error=error)
    assert found.status.code == 2
    assert facts(found)["error.type"] == kind
    assert "secret_function" not in json.dumps(span(usage(status=status, error=error)))


@pytest.mark.parametrize(
    ("provider", "address", "port"),
    [
        ("localhost:8000/v1", "localhost", 8000),
        ("llm.example/v1", "llm.example", None),
        ("[::1]:99", "::1", 99),
        ("anthropic", None, None),
    ],
)
def test_another_service_is_told_by_its_address(provider: str, address: str | None, port: int | None):
    told = facts(span_of(provider=provider))
    assert told["gen_ai.provider.name"] == provider
    assert (told.get("server.address"), told.get("server.port")) == (address, port)


def test_a_call_without_an_answer_is_named_like_one_with_it():
    assert span_of(model="openai:gpt-x", status="failed").name == "chat gpt-x"
