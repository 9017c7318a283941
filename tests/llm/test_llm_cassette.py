import json

import pytest

from autopack.domain.messages import CallLabel, Role
from autopack.errors import ModelNotReady
from autopack.llm import cassette

KEY = "a" * 64


def write(path, *lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def ask(role=Role.BUILDER, run_id="r", phase_id="p1", number=1):
    return CallLabel(role=role, run_id=run_id, phase_id=phase_id, ask=number)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{not json", "JSON"),
        ('"text"', "object"),
        ({"text": "x"}, 'exactly one of "key" and "match"'),
        ({"key": KEY, "match": {}, "text": "x"}, 'exactly one of "key" and "match"'),
        ({"match": {}}, '"text" or "tool_call"'),
        ({"match": {}, "text": "x", "colour": "red"}, "colour"),
        ({"match": {"phase": "p1"}, "text": "x"}, "match.phase"),
        ({"match": {"role": "king"}, "text": "x"}, "match.role"),
        ({"match": {"ask": 0}, "text": "x"}, "match.ask"),
        ({"match": {"ask": "1"}, "text": "x"}, "match.ask"),
        ({"key": "short", "text": "x"}, "key"),
        ({"match": {}, "text": 3}, "text"),
        ({"match": {}, "text": "x", "origin": "dream"}, "origin"),
        ({"match": {}, "text": "x", "usage": {"input_tokens": 1}}, "usage.output_tokens"),
        ({"match": {}, "text": "x", "usage": {"input_tokens": -1, "output_tokens": 1}}, "usage.input_tokens"),
        (
            {
                "match": {},
                "text": "x",
                "usage": {"input_tokens": 1, "output_tokens": 1, "reasoning_output_tokens": 2},
            },
            "reasoning_output_tokens is part of output_tokens",
        ),
    ],
)
def test_a_malformed_line_is_refused_by_file_and_line(tmp_path, line, words):
    path = write(tmp_path / "c.jsonl", {"match": {"ask": 9}, "text": "fine"}, "", line)
    with pytest.raises(ModelNotReady, match=r"c\.jsonl line 3: ") as refusal:
        cassette.load(path)
    assert words in str(refusal.value)


def test_a_line_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'{"match": {}, "text": "\xff"}')
    with pytest.raises(ModelNotReady, match="line 1"):
        cassette.load(path)


@pytest.mark.parametrize("duplicate", [{"match": {"ask": 1}, "text": "x"}, {"key": KEY, "text": "x"}])
def test_the_same_question_twice_is_refused(tmp_path, duplicate):
    with pytest.raises(ModelNotReady, match="line 2: a second answer"):
        cassette.load(write(tmp_path / "c.jsonl", duplicate, duplicate))


def test_a_whole_answer_replaces_a_recorded_one_that_was_cut_short(tmp_path):
    cut = {"key": KEY, "text": "ab", "finish_reason": "length"}
    tape = cassette.load(write(tmp_path / "c.jsonl", cut, {"key": KEY, "text": "abc"}))
    assert tape.find(KEY, ask()).text == "abc"


def test_an_unreadable_cassette_is_refused(tmp_path):
    with pytest.raises(ModelNotReady, match=r"missing\.jsonl cannot be read .*AUTOPACK_REPLAY"):
        cassette.load(tmp_path / "missing.jsonl")


def test_a_key_goes_first_then_the_most_specific_match_then_the_first_in_the_file(tmp_path):
    tape = cassette.load(
        write(
            tmp_path / "c.jsonl",
            {"match": {}, "text": "anything"},
            {"match": {"role": "builder"}, "text": "builder"},
            {"match": {"phase_id": "p1"}, "text": "p1"},
            {"match": {"role": "builder", "phase_id": "p1", "ask": 2}, "text": "second ask"},
            {"match": {"run_id": "r2", "phase_id": "p1"}, "text": "p1 of r2"},
            {"key": KEY, "text": "recorded"},
        )
    )

    def found(key="0" * 64, **label):
        return tape.find(key, ask(**label)).text

    assert found(key=KEY, number=2) == "recorded"
    assert found(number=2) == "second ask"
    assert found(number=1) == "builder"  # as specific as "p1", and first in the file
    assert found(role=Role.AUDITOR) == "p1"
    assert found(run_id="r2") == "p1 of r2"
    assert found(role=Role.AUDITOR, phase_id="other") == "anything"


def test_what_a_line_leaves_out(tmp_path):
    tape = cassette.load(
        write(
            tmp_path / "c.jsonl",
            {"match": {}, "text": {"approved": True, "notes": "ü"}},
            {"match": {"ask": 2}, "tool_call": {"approved": False}},
            {"key": KEY, "text": "x", "finish_reason": "content_filter"},
        )
    )
    written, called, recorded = tape.find("", ask()), tape.find("", ask(number=2)), tape.find(KEY, ask())
    assert (json.loads(written.body), written.reason, written.source) == (
        {"approved": True, "notes": "ü"},
        "stop",
        "synthetic",
    )
    assert (called.body, called.reason) == ("", "tool_call")
    assert (recorded.reason, recorded.source) == ("content_filter", "live")
