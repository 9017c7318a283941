import json

import pytest

from autopack.domain.messages import CallLabel, Completion, ProviderMode, Role, Usage, request_key
from autopack.errors import ModelNotReady
from autopack.llm import gateway
from autopack.llm.gateway import ModelConfig, open_llm
from autopack.llm.record import RecordingLLM

pytestmark = pytest.mark.anyio

USAGE = {
    "input_tokens": 100,
    "output_tokens": 50,
    "cache_read_input_tokens": 20,
    "cache_write_input_tokens": 0,
    "reasoning_output_tokens": 40,
}


@pytest.fixture
async def replay(tmp_path):
    """Opens an LLM over a cassette with these lines."""
    opened = []

    def open_replay(*lines, **config):
        path = tmp_path / "cassette.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        opened.append(open_llm(ModelConfig(replay_file=path, **config)))
        return opened[-1]

    yield open_replay
    for llm in opened:
        await llm.aclose()


async def test_an_answer_is_replayed_as_it_was_written(replay, question, label):
    text = "src/a.py\n```\n<think>\nprint('ü 🎉')\n```\n"
    llm = replay({"match": {"role": "builder", "phase_id": "p1", "ask": 1}, "text": text, "usage": USAGE})
    completion = await llm.complete(question, max_tokens=1000, label=label)
    assert llm.model == "openai:replay"
    assert llm.provider_mode is ProviderMode.REPLAY
    assert completion.text == text
    assert completion.usage == Usage(**USAGE)
    assert (completion.finish_reason, completion.is_truncated, completion.retries) == ("stop", False, 0)
    assert (completion.provider_mode, completion.origin) == (ProviderMode.REPLAY, "synthetic")
    assert (completion.cost_usd, completion.cost_source, completion.price_table_version) == (
        0.0,
        "replay",
        None,
    )
    assert 0 <= completion.first_token_seconds <= completion.duration_seconds


@pytest.mark.parametrize("text", ["", " ", "x", "<think>", "no end"])
async def test_short_and_odd_texts_survive(replay, question, label, text):
    llm = replay({"match": {}, "text": text})
    assert (await llm.complete(question, max_tokens=1000, label=label)).text == text


async def test_what_a_model_thinks_aloud_first_is_left_out(replay, question, label):
    llm = replay({"match": {}, "text": "<think>\nhm, src/wrong.py?\n</think>\n\nsrc/right.py"})
    assert (await llm.complete(question, max_tokens=1000, label=label)).text == "src/right.py"


async def test_an_object_is_replayed_as_json(replay, question, label):
    llm = replay({"match": {}, "text": {"approved": True, "issues": []}})
    completion = await llm.complete(question, max_tokens=1000, label=label)
    assert json.loads(completion.text) == {"approved": True, "issues": []}


async def test_a_tool_call_is_replayed_to_a_tool_and_as_text_without_one(
    replay, question, label, verdict_tool
):
    llm = replay({"match": {}, "tool_call": {"approved": True}})
    called = await llm.complete(question, max_tokens=1000, label=label, tool=verdict_tool)
    written = await llm.complete(question, max_tokens=1000, label=label)
    assert (called.tool_call, called.finish_reason, called.text) == ({"approved": True}, "tool_call", "")
    assert (written.tool_call, written.finish_reason) == (None, "stop")
    assert json.loads(written.text) == {"approved": True}


async def test_an_answer_longer_than_the_budget_is_cut_and_says_so(replay, question, label):
    llm = replay({"match": {}, "text": "0123456789", "usage": USAGE})
    completion = await llm.complete(question, max_tokens=25, label=label)
    assert (completion.text, completion.finish_reason, completion.is_truncated) == ("01234", "length", True)
    assert completion.usage.output_tokens == 25
    assert completion.usage.reasoning_output_tokens == 25
    whole = await llm.complete(question, max_tokens=50, label=label)
    assert (whole.text, whole.is_truncated) == ("0123456789", False)


async def test_a_cut_tool_call_is_not_parsed(replay, question, label, verdict_tool):
    llm = replay({"match": {}, "tool_call": {"approved": True}, "usage": USAGE})
    completion = await llm.complete(question, max_tokens=25, label=label, tool=verdict_tool)
    assert (completion.tool_call, completion.finish_reason, completion.text) == (None, "length", "")


async def test_usage_that_a_line_leaves_out_is_estimated(replay, question, label):
    llm = replay({"match": {}, "text": "x" * 400})
    completion = await llm.complete(question, max_tokens=1000, label=label)
    assert completion.usage == Usage(input_tokens=7, output_tokens=100)
    assert (await llm.complete(question, max_tokens=60, label=label)).text == "x" * 240


@pytest.mark.parametrize(
    ("word", "reported"), [("content_filter", "content_filter"), ("guardrail", "guardrail")]
)
async def test_a_finish_reason_is_passed_on(replay, question, label, word, reported):
    llm = replay({"match": {}, "text": "x", "finish_reason": word})
    assert (await llm.complete(question, max_tokens=9, label=label)).finish_reason == reported


async def test_a_miss_is_loud_and_says_how_to_configure_a_model(replay, question, label):
    llm = replay({"match": {"ask": 2}, "text": "x"})
    with pytest.raises(ModelNotReady) as miss:
        await llm.complete(question, max_tokens=9, label=label)
    for words in (
        "cassette.jsonl",
        "role builder",
        "phase 'p1'",
        "ask 1",
        "run-ü",
        "AUTOPACK_MODEL=openai:NAME",
    ):
        assert words in str(miss.value)
    for words in ("OPENAI_API_KEY", "AUTOPACK_REPLAY=FILE"):
        assert words in str(miss.value)


class Parrot:
    """A live model that says what it is told."""

    model, provider, provider_mode = "openai:gpt-4o", "openai", ProviderMode.LIVE

    def __init__(self, *answers):
        self.answers = list(answers)

    async def complete(self, messages, *, max_tokens, label, tool=None):
        text, reason, tool_call = self.answers.pop(0)
        return Completion(
            text=text,
            finish_reason=reason,
            usage=Usage(input_tokens=10, output_tokens=20),
            model="gpt-4o",
            provider="openai",
            provider_mode=self.provider_mode,
            tool_call=tool_call,
        )

    async def aclose(self):
        pass


async def test_what_was_recorded_is_replayed_under_the_same_key(tmp_path, question, label, verdict_tool):
    tape = tmp_path / "tape.jsonl"
    answers = ("half ü", "length", None), ("whole ü 🎉", "stop", None), ("again", "stop", None)
    recorder = RecordingLLM(Parrot(*answers, ("", "tool_call", {"approved": False})), tape)
    for _ in answers:
        await recorder.complete(question, max_tokens=1, label=label)
    await recorder.complete(question, max_tokens=1, label=label, tool=verdict_tool)

    lines = [json.loads(line) for line in tape.read_text().splitlines()]
    assert [line["text"] for line in lines] == ["half ü", "whole ü 🎉", ""]
    assert lines[0]["key"] == request_key("openai:gpt-4o", question, None)
    assert tape.stat().st_mode & 0o777 == 0o600

    llm = open_llm(ModelConfig(model="openai:gpt-4o", replay_file=tape))
    other = CallLabel(role=Role.AUDITOR, run_id="another", phase_id="another", ask=7)
    text = await llm.complete(question, max_tokens=1000, label=other)
    call = await llm.complete(question, max_tokens=1000, label=other, tool=verdict_tool)
    assert (text.text, text.usage.output_tokens, text.origin) == ("whole ü 🎉", 20, "live")
    assert (text.provider_mode, text.cost_usd) == (ProviderMode.REPLAY, 0.0)
    assert call.tool_call == {"approved": False}
    await llm.aclose()


async def test_two_recorders_share_a_file_without_contradicting_each_other(tmp_path, question, label):
    tape = tmp_path / "tape.jsonl"
    first = RecordingLLM(Parrot(("one", "stop", None)), tape)
    second = RecordingLLM(Parrot(("two", "stop", None)), tape)
    await first.complete(question, max_tokens=1, label=label)
    await second.complete(question, max_tokens=1, label=label)
    assert [json.loads(line)["text"] for line in tape.read_text().splitlines()] == ["one"]


async def test_a_replayed_answer_is_not_recorded(tmp_path, question, label):
    parrot = Parrot(("x", "stop", None))
    parrot.provider_mode = ProviderMode.REPLAY
    await RecordingLLM(parrot, tmp_path / "tape.jsonl").complete(question, max_tokens=1, label=label)
    assert (tmp_path / "tape.jsonl").read_text() == ""


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model": "gpt-4o"}, "openai:NAME or anthropic:NAME"),
        ({"model": ""}, "openai:NAME or anthropic:NAME"),
        ({"model": "openai:"}, "openai:NAME or anthropic:NAME"),
        ({"model": "openai:gpt-4o"}, "OPENAI_API_KEY"),
        ({"model": "anthropic:claude", "openai_api_key": "k"}, "ANTHROPIC_API_KEY"),
        ({"model": "openai:gpt-4o", "openai_api_key": "k\n"}, "OPENAI_API_KEY is empty or holds"),
        ({"model": "openai:gpt-4o", "openai_api_key": ""}, "OPENAI_API_KEY is empty or holds"),
        ({"model": "openai:gpt-4o", "base_url": "localhost:8000"}, "AUTOPACK_BASE_URL"),
    ],
)
async def test_a_model_that_cannot_be_called_is_refused_at_open(config, words):
    with pytest.raises(ModelNotReady, match=words):
        open_llm(ModelConfig(**config))


async def test_recording_needs_a_model_and_a_file_that_can_be_written(tmp_path):
    with pytest.raises(ModelNotReady, match="nothing to record"):
        open_llm(ModelConfig(record_file=tmp_path / "t"))
    with pytest.raises(ModelNotReady, match=r"AUTOPACK_RECORD"):
        open_llm(ModelConfig(model="openai:x", openai_api_key="k", record_file=tmp_path / "no" / "t"))
    (tmp_path / "bad").write_text("{")
    with pytest.raises(ModelNotReady, match=r"bad line 1"):
        open_llm(ModelConfig(model="openai:x", openai_api_key="k", record_file=tmp_path / "bad"))


async def test_without_a_model_the_shipped_cassette_is_replayed(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(gateway, "files", lambda package: tmp_path)
    with pytest.raises(ModelNotReady, match="of Autopack"):
        open_llm(ModelConfig())
    (tmp_path / "data" / "replay.jsonl").write_text('{"match": {}, "text": "shipped"}\n')
    assert open_llm(ModelConfig()).provider_mode is ProviderMode.REPLAY


def test_a_config_does_not_show_its_keys():
    assert "secret" not in repr(ModelConfig(openai_api_key="secret", anthropic_api_key="secret"))
