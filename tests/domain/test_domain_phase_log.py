"""Lines of a phase's log: whatever a report holds, it becomes lines that a person can read, and nothing raises."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from autopack.domain.phase_log import (
    MAX_LINE_CHARS,
    Call,
    Report,
    Source,
    call_lines,
    fired_rules,
    report_lines,
)

START = datetime(2030, 1, 1, tzinfo=UTC)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    "results",
    "notes",
    "level",
    "passed",
    "output",
    "issues",
    "second",
    "violations",
    "auditing",
    "reasons",
)
ODD = st.dictionaries(st.sampled_from(NAMES) | st.text(), ANY_JSON, max_size=6)


def report(**more: Any) -> Report:
    return Report(number=1, claimed_at=START, finished_at=START + timedelta(seconds=60), **more)


def call(**more: Any) -> Call:
    values: dict[str, Any] = {
        "attempt": 1, "role": "builder", "ask": 1, "status": "answered", "model": "m", "provider_mode": "live",
        "request_max_tokens": 100, "input_tokens": 30, "cache_read_input_tokens": None, "output_tokens": 12,
        "reasoning_output_tokens": None, "total_tokens": 42, "finish_reason": "stop", "cost_usd": 0.5, "error": None,
        "retries": 0, "duration_seconds": 1.25, "created_at": START, "completed_at": START + timedelta(seconds=2),
    }  # fmt: skip
    return Call(**(values | more))


@settings(max_examples=40)
@given(check_report=ODD, review=ODD, verdict=ODD, timings=ODD, reason=st.none() | st.text())
def test_no_report_is_too_odd_to_be_told(**odd: Any):
    for line in report_lines(report(**odd)):
        assert START <= line.at <= START + timedelta(seconds=60)
        assert len(line.text) <= MAX_LINE_CHARS
        assert "\n" not in line.text
        assert "\x1b" not in line.text


def test_output_of_megabytes_becomes_its_last_lines():
    output = "".join(f"line {n}\n" for n in range(1_000_000))
    found = report_lines(
        report(check_report={"results": [{"command": "c", "output": output, "passed": False}]})
    )
    texts = [line.text for line in found if line.source is Source.CHECKS]
    assert texts[0] == "$ c"
    assert texts[-3:] == ["line 999999", "-> did not pass", "the checks did not pass"]
    assert len(texts) < 50_000


def test_a_line_without_an_end_is_cut_and_says_how_long_it_was():
    (line,) = report_lines(report(reason="x" * 50_000))
    assert line.text.endswith("[50000 characters]")


def test_what_the_gate_said_is_not_said_again_as_the_reason():
    verdict = {"decision": "blocked", "reasons": ["no", "never"]}
    texts = [line.text for line in report_lines(report(verdict=verdict, reason="no; never"))]
    assert texts == ["gate: blocked: no; never"]
    assert report_lines(report(verdict=verdict, reason="another"))[-1].text == "another"


def test_checks_are_told_before_the_audit_that_followed_them():
    timings = {"building": 1.0, "checking": 2.0, "auditing": 30.0}
    found = report_lines(report(timings=timings, check_report={"passed": True}, review={"approved": True}))
    at = {line.source: line.at - START for line in found}
    assert at[Source.CHECKS] == timedelta(seconds=30)
    assert at[Source.AUDIT] == timedelta(seconds=60)


def test_both_auditors_are_told_with_their_issues():
    issue = {"severity": "major", "path": "a.py", "line": 3, "message": "wrong"}
    review = {"approved": False, "issues": [issue], "second": {"approved": True, "issues": []}}
    texts = [line.text for line in report_lines(report(review=review))]
    assert texts == ["auditor: does not approve", "  major: a.py:3: wrong", "second auditor: approves"]


def test_of_many_rules_the_number_of_the_rest_is_told():
    broken = [{"rule": "r", "path": f"{n}", "reason": "because", "action": "ask"} for n in range(25)]
    told = fired_rules({"violations": broken})
    assert (told[0], told[-1], len(told)) == ("rule 'r' (ask): 0: because", "and 5 more", 21)


def test_a_call_tells_what_was_used_and_what_it_cost_where_that_is_known():
    asked, answered = call_lines(call(cache_read_input_tokens=10, reasoning_output_tokens=5, retries=2))
    assert asked.text == "builder 1: m is asked, up to 100 output tokens"
    assert answered.text == (
        "builder 1: answered, 30 in (10 cached), 12 out (5 reasoning), stop, 0.5000 USD, 1.2 s, sent 3 times"
    )
    _, cut = call_lines(call(finish_reason="length", cost_usd=None))
    assert "cut off by its budget (length), cost unknown" in cut.text
    _, failed = call_lines(
        call(status="failed", input_tokens=None, output_tokens=None, total_tokens=None, finish_reason=None, error="no route")
    )  # fmt: skip
    assert "failed, usage unknown" in failed.text
    assert failed.text.endswith("no route")
    _, replayed = call_lines(call(provider_mode="replay"))
    assert "USD" not in replayed.text
    assert len(list(call_lines(call(completed_at=None)))) == 1
