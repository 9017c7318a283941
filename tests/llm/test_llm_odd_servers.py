"""Servers that llmock does not play: plain JSON instead of a stream, dates, refusals, errors inside a stream."""

import asyncio
import json
from datetime import UTC, datetime
from itertools import count

import pytest

from autopack.clock import Clock
from autopack.domain.messages import Usage
from autopack.errors import IncompleteResponse, ModelError, ProviderLimit
from autopack.llm.gateway import ModelConfig, open_llm

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def http(body, status="200 OK", content_type="text/event-stream", **headers):
    lines = [f"HTTP/1.1 {status}", f"content-type: {content_type}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode() + body


def plain(**answer):
    return http(json.dumps(answer).encode(), content_type="application/json; charset=utf-8")


def stream(*chunks):
    return http(b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks))


def piece(delta, finish_reason=None, **more):
    return {
        "id": "c1",
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        **more,
    }


@pytest.fixture
async def served(sleeper):
    """A model behind a server that answers with exactly these bytes, one after the other."""
    servers, opened, heads = [], [], []

    async def serve(*answers):
        left = list(answers)

        async def answer(reader, writer):
            head = await reader.readuntil(b"\r\n\r\n")
            heads.append(head)
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
            writer.write(left.pop(0))
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        servers.append(server)
        port = server.sockets[0].getsockname()[1]
        ticks = count()
        clock = Clock(now=lambda: NOW, monotonic=lambda: float(next(ticks)))
        config = ModelConfig(model="openai:m", base_url=f"http://127.0.0.1:{port}/v1")
        opened.append(open_llm(config, clock=clock, sleep=sleeper))
        return opened[-1]

    serve.heads = heads
    yield serve
    for llm in opened:
        await llm.aclose()
    for server in servers:
        server.close()
        await server.wait_closed()


async def test_a_live_request_does_not_say_who_asks(served, question, label):
    llm = await served(stream(piece({"content": "x"}, "stop", usage=USAGE)))
    await llm.complete(question, max_tokens=9, label=label)
    assert b"\r\nauthorization: bearer no-key\r\n" in served.heads[0].lower()
    assert b"x-autopack" not in served.heads[0].lower()


async def test_one_plain_json_answer_counts_when_it_is_whole(served, question, label):
    choice = {"index": 0, "message": {"role": "assistant", "content": "whole"}, "finish_reason": "stop"}
    llm = await served(
        plain(id="c1", object="chat.completion", created=1, model="m", choices=[choice], usage=USAGE)
    )
    completion = await llm.complete(question, max_tokens=9, label=label)
    assert (completion.text, completion.finish_reason) == ("whole", "stop")
    assert completion.usage == Usage(input_tokens=10, output_tokens=5)


async def test_a_tool_call_in_a_plain_json_answer(served, question, label, verdict_tool):
    call = {
        "id": "t",
        "type": "function",
        "function": {"name": "give_verdict", "arguments": '{"approved": true}'},
    }
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    llm = await served(plain(id="c1", created=1, model="m", choices=[choice], usage=USAGE))
    completion = await llm.complete(question, max_tokens=9, label=label, tool=verdict_tool)
    assert (completion.tool_call, completion.finish_reason) == ({"approved": True}, "tool_call")


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "message": {"content": "x"}}], "usage": USAGE},
        {"choices": [], "usage": USAGE},
        {"choices": ["?"], "usage": USAGE},
        {"choices": [{"message": "?", "finish_reason": "stop"}], "usage": USAGE},
        {"choices": [{"index": 0, "message": {"tool_calls": "?"}, "finish_reason": "stop"}], "usage": USAGE},
        {"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}], "usage": "?"},
        {"choices": "?"},
        {"error": {"message": "no"}},
        {},
    ],
)
async def test_a_plain_json_answer_that_is_not_whole_does_not_count(served, question, label, body):
    llm = await served(plain(**body))
    with pytest.raises(IncompleteResponse):
        await llm.complete(question, max_tokens=9, label=label)


@pytest.mark.parametrize("body", [b"", b"not json", b'"text"', b"null", b"[1]", b"data: [DONE]\n\n"])
async def test_a_body_that_is_no_answer_at_all_does_not_count(served, question, label, body):
    llm = await served(http(body, content_type="application/json"))
    with pytest.raises(IncompleteResponse):
        await llm.complete(question, max_tokens=9, label=label)


@pytest.mark.parametrize(
    "event", [None, 1, "x", [1], {}, {"choices": ["?"]}, {"choices": "?"}, {"usage": "?"}]
)
async def test_a_stream_of_nonsense_does_not_count(served, question, label, event):
    llm = await served(stream(event, event))
    with pytest.raises(IncompleteResponse):
        await llm.complete(question, max_tokens=9, label=label)


async def test_a_stream_without_usage_does_not_count(served, question, label):
    llm = await served(stream(piece({"content": "x"}), piece({}, "stop")))
    with pytest.raises(IncompleteResponse, match="without its usage"):
        await llm.complete(question, max_tokens=9, label=label)


@pytest.mark.filterwarnings("ignore:Failed to extract usage")
@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"prompt_tokens": 1},
        {"completion_tokens": 1, "prompt_tokens": None},
        {"completion_tokens": 1, "prompt_tokens": 10**12 + 1},
    ],
)
async def test_usage_without_its_counts_is_no_usage(served, question, label, usage):
    llm = await served(stream(piece({"content": "x"}, "stop"), {"choices": [], "usage": usage}))
    with pytest.raises(IncompleteResponse, match="without its usage"):
        await llm.complete(question, max_tokens=9, label=label)


async def test_a_refusal_is_an_answer(served, question, label):
    llm = await served(
        stream(piece({"refusal": "I will not."}), piece({}, "stop"), {"choices": [], "usage": USAGE})
    )
    completion = await llm.complete(question, max_tokens=9, label=label)
    assert (completion.text, completion.finish_reason) == ("", "content_filter")


async def test_a_thinking_tag_inside_a_file_and_a_split_emoji_arrive_whole(served, question, label):
    parts = ["a = '", "<think>", "' # \ud83c", "\udf89", "</think>", "\n"]
    llm = await served(stream(*[piece({"content": part}) for part in parts], piece({}, "stop", usage=USAGE)))
    completion = await llm.complete(question, max_tokens=9, label=label)
    assert completion.text == "a = '<think>' # 🎉</think>\n"


async def test_reported_parts_and_cost(served, question, label):
    usage = USAGE | {"prompt_tokens_details": {"cached_tokens": 0}, "cost": 0.25}
    usage["completion_tokens_details"] = {"reasoning_tokens": 3}
    llm = await served(stream(piece({"content": "x"}, "stop"), {"choices": [], "usage": usage}))
    completion = await llm.complete(question, max_tokens=9, label=label)
    assert completion.usage == Usage(
        input_tokens=10, output_tokens=5, cache_read_input_tokens=0, reasoning_output_tokens=3
    )
    assert (completion.cost_usd, completion.cost_source, completion.price_table_version) == (
        0.25,
        "provider",
        None,
    )
    assert completion.first_token_seconds == 1.0


async def test_reasoning_counted_beside_the_output_becomes_part_of_it(served, question, label):
    usage = USAGE | {"total_tokens": 115, "completion_tokens_details": {"reasoning_tokens": 100}}
    llm = await served(stream(piece({"content": "x"}, "stop"), {"choices": [], "usage": usage}))
    completion = await llm.complete(question, max_tokens=9, label=label)
    assert (completion.usage.output_tokens, completion.usage.reasoning_output_tokens) == (105, 100)


async def test_cumulative_usage_on_every_chunk_is_not_added_up(served, question, label):
    llm = await served(stream(piece({"content": "x"}, usage=USAGE), piece({}, "stop", usage=USAGE)))
    completion = await llm.complete(question, max_tokens=9, label=label)
    assert completion.usage == Usage(input_tokens=10, output_tokens=5)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [({"retry_after": "Sun, 22 Nov 2026 12:00:20 GMT"}, 20.0), ({"retry_after_ms": "1500"}, 1.5)],
)
async def test_the_other_ways_to_ask_for_a_wait(served, question, label, sleeper, headers, wait):
    llm = await served(
        http(b"{}", "429 Too Many Requests", "application/json", **headers),
        stream(piece({"content": "x"}, "stop", usage=USAGE)),
    )
    completion = await llm.complete(question, max_tokens=9, label=label)
    assert (completion.text, completion.retries, sleeper.waits) == ("x", 1, [wait])


async def test_a_date_too_far_ahead_is_the_callers(served, question, label):
    llm = await served(
        http(b"{}", "429 Too Many Requests", "application/json", retry_after="Sun, 22 Nov 2026 13:00:00 GMT")
    )
    with pytest.raises(ProviderLimit) as limit:
        await llm.complete(question, max_tokens=9, label=label)
    assert limit.value.retry_after_seconds == 3600


async def test_a_limit_as_the_first_event_of_a_stream_is_a_limit(served, question, label, sleeper):
    error = {"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}
    llm = await served(stream(error), stream(piece({"content": "x"}, "stop", usage=USAGE)))
    assert (await llm.complete(question, max_tokens=9, label=label)).retries == 1


async def test_an_error_inside_a_stream_cuts_the_answer_off(served, question, label, sleeper):
    error = {"error": {"message": "overloaded", "type": "server_error", "code": "server_error"}}
    llm = await served(stream(piece({"content": "x"}), error))
    with pytest.raises(IncompleteResponse, match="overloaded"):
        await llm.complete(question, max_tokens=9, label=label)
    assert sleeper.waits == []


async def test_a_connection_closed_before_an_answer_is_left_to_the_caller(served, question, label, sleeper):
    """The provider had the request and may charge for it."""
    llm = await served(b"", stream(piece({"content": "x"}, "stop", usage=USAGE)))
    with pytest.raises(IncompleteResponse):
        await llm.complete(question, max_tokens=9, label=label)
    assert sleeper.waits == []


async def test_an_error_page_is_short_and_on_one_line(served, question, label):
    page = b"<html>\n" + b"x" * 10_000 + b"</html>"
    llm = await served(*[http(page, "502 Bad Gateway", "text/html")] * 5)
    with pytest.raises(ModelError, match="HTTP 502") as down:
        await llm.complete(question, max_tokens=9, label=label)
    assert len(str(down.value)) < 700
    assert "\n" not in str(down.value)
