"""Against llmock, an independent fake of both providers, over a real socket."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from llmock.scenarios import Reply

from autopack.domain.messages import ProviderMode, Tool
from autopack.errors import IncompleteResponse, ModelError, ModelNotReady, ProviderLimit
from autopack.llm.gateway import ModelConfig, open_llm

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret-key"
MODELS = {"openai": "openai:gpt-4o", "anthropic": "anthropic:claude-test"}


@pytest.fixture(params=["openai", "anthropic"])
def vendor(request):
    return request.param


@pytest.fixture
async def open_live(llmock, sleeper):
    opened = []

    def open_live(vendor, **config):
        settings = {"model": MODELS[vendor], "base_url": llmock.base_url(vendor), f"{vendor}_api_key": KEY}
        opened.append(open_llm(ModelConfig(**settings | config), sleep=sleeper))
        return opened[-1]

    yield open_live
    for llm in opened:
        await llm.aclose()


@pytest.fixture
async def llm(open_live, vendor):
    return open_live(vendor)


async def test_a_whole_answer(llm, vendor, llmock, question, label, sleeper):
    llmock.reply("src/a.py\n```\nprint('ü 🎉')\n```\n")
    completion = await llm.complete(question, max_tokens=321, label=label)
    assert completion.text == "src/a.py\n```\nprint('ü 🎉')\n```\n"
    assert (completion.finish_reason, completion.is_truncated, completion.retries) == ("stop", False, 0)
    assert completion.usage.input_tokens > 0
    assert completion.usage.output_tokens > 0
    assert completion.usage.reasoning_output_tokens is None
    assert (completion.model, completion.provider_mode) == (
        MODELS[vendor].partition(":")[2],
        ProviderMode.LIVE,
    )
    assert completion.provider == llmock.base_url(vendor).removeprefix("http://")
    assert (completion.cost_usd, completion.cost_source) == (None, None)  # nobody knows a price there
    assert completion.response_id
    assert 0 < completion.first_token_seconds <= completion.duration_seconds
    assert sleeper.waits == []
    llmock.assert_resilient()


async def test_the_price_is_that_of_when_its_worst_case_was_set_aside(llm, question, label, monkeypatch):
    asked_at, moments = datetime(2026, 1, 1, 17, tzinfo=UTC), []

    def unknown(*_, genai_request_timestamp, **__):
        moments.append(genai_request_timestamp)
        raise LookupError

    monkeypatch.setattr("genai_prices.calc_price", unknown)
    await llm.complete(question, max_tokens=321, label=replace(label, asked_at=asked_at))
    assert set(moments) == {asked_at}
    await llm.complete(question, max_tokens=321, label=label)
    assert moments[-1] > asked_at, "now"


async def test_what_is_sent(llm, vendor, llmock, question, label):
    await llm.complete(question, max_tokens=321, label=label)
    body = llmock.last_request.body
    assert body["stream"] is True
    assert body["max_tokens"] == 321
    assert "tools" not in body
    sent = json.dumps(body)
    assert "You build." in sent
    assert "Write a helper." in sent


async def test_a_tool_call_with_scripted_arguments(llm, llmock, question, label, verdict_tool):
    llmock.call_tool("give_verdict", {"approved": True, "notes": "fine ü"})
    completion = await llm.complete(question, max_tokens=100, label=label, tool=verdict_tool)
    assert completion.tool_call == {"approved": True, "notes": "fine ü"}
    assert completion.finish_reason == "tool_call"


async def test_a_tool_call_with_generated_arguments(llm, question, label):
    issue = {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]}
    tool = Tool(
        name="give_verdict",
        description="The verdict.",
        schema={
            "type": "object",
            "properties": {"approved": {"type": "boolean"}, "issues": {"type": "array", "items": issue}},
            "required": ["approved", "issues"],
        },
    )
    completion = await llm.complete(question, max_tokens=100, label=label, tool=tool)
    assert isinstance(completion.tool_call["approved"], bool)
    assert isinstance(completion.tool_call["issues"], list)


async def test_a_model_may_answer_in_text_although_it_has_a_tool(llm, llmock, question, label, verdict_tool):
    llmock.tool_mode("off").reply('{"approved": true}')
    completion = await llm.complete(question, max_tokens=100, label=label, tool=verdict_tool)
    assert (completion.tool_call, completion.text) == (None, '{"approved": true}')


@pytest.mark.parametrize("kind", ["malformed_arguments", "unknown_tool"])
async def test_a_broken_tool_call_is_no_tool_call(llm, llmock, question, label, verdict_tool, kind):
    llmock.break_tool_call(kind)
    completion = await llm.complete(question, max_tokens=100, label=label, tool=verdict_tool)
    assert completion.tool_call is None


async def test_a_truncated_answer_is_reported_and_its_tool_call_not_parsed(
    llm, llmock, question, label, verdict_tool
):
    llmock.add(Reply(text="half", finish_reason="length"))
    completion = await llm.complete(question, max_tokens=100, label=label)
    assert (completion.text, completion.finish_reason, completion.is_truncated) == ("half", "length", True)


@pytest.mark.parametrize("fault", ["truncate", "disconnect", "corrupt"])
@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_stream_that_breaks_is_never_an_answer_and_never_asked_again(
    llm, llmock, question, label, sleeper, fault, after
):
    llmock.reply("one two three four five six seven eight")
    getattr(llmock, fault)(after_chunks=after)
    with pytest.raises(IncompleteResponse) as cut:
        await llm.complete(question, max_tokens=100, label=label)
    assert KEY not in str(cut.value)
    assert cut.value.retryable
    assert (len(llmock.requests), sleeper.waits) == (1, [])


async def test_a_stream_that_stalls_is_never_an_answer(open_live, vendor, llmock, question, label):
    llm = open_live(vendor, stall_timeout_seconds=0.2)
    llmock.reply("one two three four five").stall(after_chunks=2, seconds=1.5)
    with pytest.raises(IncompleteResponse):
        await llm.complete(question, max_tokens=100, label=label)


async def test_an_answer_that_takes_too_long_altogether_is_never_an_answer(
    open_live, llmock, question, label
):
    llm = open_live("openai", request_timeout_seconds=0.3)
    await llm.complete(question, max_tokens=100, label=label)
    llmock.reply("one two three four five").stall(after_chunks=2, seconds=1.5)
    with pytest.raises(IncompleteResponse, match=r"0\.3 seconds"):
        await llm.complete(question, max_tokens=100, label=label)


async def test_a_rate_limit_is_waited_for_as_long_as_the_provider_asks(llm, llmock, question, label, sleeper):
    llmock.rate_limit(times=2, retry_after=7).reply("done")
    completion = await llm.complete(question, max_tokens=100, label=label)
    assert (completion.text, completion.retries, sleeper.waits) == ("done", 2, [7.0, 7.0])


async def test_a_rate_limit_beyond_our_patience_is_the_callers(llm, llmock, question, label, sleeper):
    llmock.rate_limit(retry_after=61)
    with pytest.raises(ProviderLimit) as limit:
        await llm.complete(question, max_tokens=100, label=label)
    assert limit.value.retry_after_seconds == 61
    assert KEY not in str(limit.value)
    assert sleeper.waits == []


async def test_a_rate_limit_that_does_not_end_is_the_callers(
    open_live, vendor, llmock, question, label, sleeper
):
    llmock.rate_limit(times=None, retry_after=2)
    with pytest.raises(ProviderLimit) as limit:
        await open_live(vendor, max_retries=3).complete(question, max_tokens=100, label=label)
    assert (limit.value.retry_after_seconds, sleeper.waits) == (2, [2.0, 2.0, 2.0])
    assert limit.value.retries == 3


@pytest.mark.parametrize(
    ("status", "waits"),
    [
        (500, [1.0, 2.0, 4.0]),
        (503, [1.0, 1.0, 1.0]),
        (529, [1.0, 1.0, 1.0]),
    ],  # llmock names a wait with the last two
)
async def test_a_server_error_is_asked_again(llm, llmock, question, label, sleeper, status, waits):
    llmock.fail(status, times=3).reply("done")
    completion = await llm.complete(question, max_tokens=100, label=label)
    assert (completion.text, completion.retries, sleeper.waits) == ("done", 3, waits)


async def test_a_provider_that_is_down_ends_in_a_retryable_error(llm, llmock, question, label, sleeper):
    llmock.outage(status=500)
    with pytest.raises(ModelError, match="HTTP 500") as down:
        await llm.complete(question, max_tokens=100, label=label)
    assert type(down.value) is ModelError
    assert down.value.retryable
    assert sleeper.waits == [1.0, 2.0, 4.0, 8.0]


async def test_nobody_listening(open_live, vendor, question, label, sleeper):
    llm = open_live(vendor, base_url="http://127.0.0.1:9/v1")
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:9/v1: no answer \(ConnectError") as refused:
        await llm.complete(question, max_tokens=100, label=label)
    assert refused.value.retryable
    assert len(sleeper.waits) == 4


async def test_no_answer_in_time(open_live, vendor, llmock, question, label, sleeper):
    llm = open_live(vendor, stall_timeout_seconds=0.2)
    llmock.delay(0.6).reply("done", times=2)
    with pytest.raises(IncompleteResponse):
        await llm.complete(question, max_tokens=100, label=label)
    assert sleeper.waits == [], (
        "the provider had the request and may charge for it: that is the caller's to repeat"
    )


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_names_its_variable(llm, vendor, llmock, question, label, sleeper, status):
    llmock.fail(status, message=f"Incorrect API key provided: {KEY}")
    with pytest.raises(ModelNotReady, match=f"{vendor.upper()}_API_KEY") as refused:
        await llm.complete(question, max_tokens=100, label=label)
    assert KEY not in str(refused.value)
    assert refused.value.__cause__ is None
    assert sleeper.waits == []


async def test_an_unknown_model_is_not_ready(llm, vendor, llmock, question, label):
    llmock.fail(404, message="no such model", code="model_not_found")
    with pytest.raises(ModelNotReady, match=rf"{MODELS[vendor]} at .*no such model.*AUTOPACK_MODEL"):
        await llm.complete(question, max_tokens=100, label=label)


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_rejected_request_is_not_worth_asking_again(llm, llmock, question, label, sleeper, status):
    llmock.fail(status, message="prompt is too long")
    with pytest.raises(ModelError, match="prompt is too long") as rejected:
        await llm.complete(question, max_tokens=100, label=label)
    assert rejected.value.retryable is False
    assert ModelError.retryable is True
    assert sleeper.waits == []


async def test_a_used_up_account_is_not_waited_for(open_live, llmock, question, label, sleeper):
    llmock.fail(429, code="insufficient_quota", message="You exceeded your current quota")
    with pytest.raises(ModelNotReady, match="quota"):
        await open_live("openai").complete(question, max_tokens=100, label=label)
    assert sleeper.waits == []


async def test_a_live_answer_is_recorded_and_replayed(open_live, vendor, llmock, tmp_path, question, label):
    tape = tmp_path / "tape.jsonl"
    llmock.reply("remember me")
    live = await open_live(vendor, record_file=tape).complete(question, max_tokens=100, label=label)
    replay = open_live(vendor, replay_file=tape)
    replayed = await replay.complete(question, max_tokens=100, label=label)
    assert (replayed.text, replayed.usage, replayed.origin) == ("remember me", live.usage, "live")
    assert len(llmock.requests) == 1
