"""What happened in a phase, line by line: its events, its model calls, and what each attempt's checks and judges said. Pure.

Whatever a report holds, a line comes of it: reports are data from outside, and of several versions.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from autopack.domain.event_words import what, who
from autopack.domain.phases import Event, JsonObject, PhaseState

MAX_TAIL = 2000
MAX_LINE_CHARS = 1000
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_SHOWN = 20  # of issues, reasons and the like; the report has all of them
_MOST_COMMANDS = 100
_MOST_CHARS = 256 * 1024  # of one text, from its end: more than the last lines can show


class Source(StrEnum):
    """What a line is from, in the order in which lines of one moment stand."""

    CLAIM = "claim"
    CHECKS = "checks"
    STEP = "step"
    MODEL = "model"
    AUDIT = "audit"
    GATE = "gate"
    ATTEMPT = "attempt"
    EVENT = "event"


_RANK = {source: rank for rank, source in enumerate(Source)}


@dataclass(frozen=True, kw_only=True)
class LogLine:
    at: datetime
    attempt: int | None
    """The number of the attempt that it is about, if any."""
    source: Source
    text: str


@dataclass(frozen=True, kw_only=True)
class PhaseLog:
    """The last lines, oldest first. `step` is what the attempt that is under way is doing; None where there is none."""

    run_id: str
    phase_id: str
    state: PhaseState
    step: str | None = None
    lines: tuple[LogLine, ...] = ()
    cut: bool = False
    """Whether there are lines before these."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """As much of a model call as a line tells."""

    attempt: int | None
    role: str
    ask: int | None
    status: str
    model: str
    provider_mode: str
    request_max_tokens: int | None
    input_tokens: int | None
    cache_read_input_tokens: int | None
    output_tokens: int | None
    reasoning_output_tokens: int | None
    total_tokens: int | None
    finish_reason: str | None
    cost_usd: float | None
    error: str | None
    retries: int
    duration_seconds: float | None
    created_at: datetime
    completed_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """What an attempt left behind when it ended."""

    number: int
    claimed_at: datetime
    finished_at: datetime
    reason: str | None = None
    check_report: JsonObject | None = None
    review: JsonObject | None = None
    verdict: JsonObject | None = None
    timings: JsonObject | None = None


def in_order(lines: list[LogLine]) -> list[LogLine]:
    return sorted(lines, key=lambda line: (line.at, _RANK[line.source]))


# Events


def event_line(event: Event, attempt: int | None) -> LogLine:
    """What was done, and by whom. What the end of an attempt was like is told by its report."""
    text = what(replace(event, phase_id=None))
    if event.kind != "finished":
        text = f"{text}; by {who(event)}"
    source = Source.CLAIM if event.kind == "claimed" else Source.EVENT
    return LogLine(at=event.created_at, attempt=attempt, source=source, text=one_line(text))


# Model calls


def call_lines(call: Call) -> Iterator[LogLine]:
    """When it was asked, and when and how it was answered."""
    name = f"{call.role}{'' if call.ask is None else f' {call.ask}'}"
    most = "" if call.request_max_tokens is None else f", up to {call.request_max_tokens} output tokens"
    mode = " (recorded answers)" if call.provider_mode == "replay" else ""
    asked = f"{name}: {call.model} is asked{most}{mode}"
    yield LogLine(at=call.created_at, attempt=call.attempt, source=Source.MODEL, text=one_line(asked))
    if call.completed_at is not None:
        text = f"{name}: {call.status}, {', '.join(_ended(call))}"
        yield LogLine(at=call.completed_at, attempt=call.attempt, source=Source.MODEL, text=one_line(text))


def _ended(call: Call) -> Iterator[str]:
    yield _tokens(call)
    if call.finish_reason == "length":
        yield "cut off by its budget (length)"
    elif call.finish_reason:
        yield call.finish_reason
    if call.provider_mode != "replay":
        yield "cost unknown" if call.cost_usd is None else f"{call.cost_usd:.4f} USD"
    if call.duration_seconds is not None:
        yield f"{call.duration_seconds:.1f} s"
    if call.retries:
        yield f"sent {call.retries + 1} times"
    if call.error:
        yield call.error


def _tokens(call: Call) -> str:
    if call.input_tokens is None or call.output_tokens is None:
        return "usage unknown" if call.total_tokens is None else f"{call.total_tokens} tokens in and out"
    cached = f" ({call.cache_read_input_tokens} cached)" if call.cache_read_input_tokens else ""
    reasoning = f" ({call.reasoning_output_tokens} reasoning)" if call.reasoning_output_tokens else ""
    return f"{call.input_tokens} in{cached}, {call.output_tokens} out{reasoning}"


# The report of an attempt


def report_lines(report: Report) -> list[LogLine]:
    """Steps, checks with their output, reviews, verdict and reason, in the order in which they came about."""
    checked = _moment(report, _mapping(report.timings).get("auditing")) or report.finished_at
    told = (
        (Source.CHECKS, checked, _check_texts(_mapping(report.check_report))),
        (Source.AUDIT, report.finished_at, _review_texts(_mapping(report.review))),
        (Source.GATE, report.finished_at, _verdict_texts(_mapping(report.verdict))),
        (Source.ATTEMPT, report.finished_at, _reason_texts(report)),
    )
    lines = [*_steps(report)]
    for source, at, texts in told:
        lines += [
            LogLine(at=at, attempt=report.number, source=source, text=one_line(text))
            for each in texts
            for text in each[-_MOST_CHARS:].splitlines()
        ]
    return lines


def _steps(report: Report) -> Iterator[LogLine]:
    for name, seconds in _mapping(report.timings).items():
        if (at := _moment(report, seconds)) is not None:
            yield LogLine(at=at, attempt=report.number, source=Source.STEP, text=one_line(str(name)))


def _moment(report: Report, seconds: object) -> datetime | None:
    """So long after the claim, and never after the end: the worker has a clock of its own."""
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < 10**9:
        return None
    return min(report.claimed_at + timedelta(seconds=seconds), report.finished_at)


def _check_texts(report: Mapping[str, Any]) -> Iterator[str]:
    if not report:
        return
    for each in _list(report.get("results"))[-_MOST_COMMANDS:]:
        yield from _command_texts(_mapping(each))
    yield from (f"note: {note}" for note in _list(report.get("notes"))[-_MOST_COMMANDS:])
    level = f" (sandbox: {report['level']})" if report.get("level") else ""
    yield f"the checks {'passed' if report.get('passed') is True else 'did not pass'}{level}"


def _command_texts(result: Mapping[str, Any]) -> Iterator[str]:
    yield f"$ {result.get('command')}"
    if output := str(result.get("output") or ""):
        yield output
    yield f"-> {', '.join(_how_it_ended(result))}"


def _how_it_ended(result: Mapping[str, Any]) -> Iterator[str]:
    how = "passed" if result.get("passed") is True else str(result.get("reason") or "did not pass")
    yield how
    if result.get("timed_out") is True:
        yield "its time was over"
    elif result.get("exit_code") is not None and not how.startswith("exit code"):
        yield f"exit code {result['exit_code']}"
    elif result.get("signal") is not None:
        yield f"ended by signal {result['signal']}"
    if isinstance(seconds := result.get("duration_seconds"), (int, float)):
        yield f"{seconds:.1f} s"
    yield from (f"{count} {outcome}" for outcome, count in _mapping(result.get("tests")).items())


def _review_texts(review: Mapping[str, Any], who: str = "auditor") -> Iterator[str]:
    if not review:
        return
    yield f"{who}: {'approves' if review.get('approved') is True else 'does not approve'}"
    for issue in map(_mapping, _list(review.get("issues"))[:_SHOWN]):
        place = ":".join(str(issue[name]) for name in ("path", "line") if issue.get(name) is not None)
        yield f"  {issue.get('severity')}: {f'{place}: ' if place else ''}{issue.get('message')}"
    if review.get("notes"):
        yield f"  {review['notes']}"
    yield from _review_texts(_mapping(review.get("second")), "second auditor")


def _verdict_texts(verdict: Mapping[str, Any]) -> Iterator[str]:
    """The gate's word, and the rules that fired."""
    if not verdict:
        return
    reasons = _reasons(verdict)
    yield f"gate: {verdict.get('decision')}{f': {reasons}' if reasons else ''}"
    for rule in fired_rules(verdict):
        yield f"  {rule}"


def fired_rules(verdict: Mapping[str, Any]) -> list[str]:
    """The rules of the policy that an attempt's work broke, each with what came of it."""
    found = [*_list(verdict.get("violations")), *_list(verdict.get("others"))]
    told = [_rule(_mapping(each)) for each in found[:_SHOWN]]
    return told + ([f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else [])


def _rule(violation: Mapping[str, Any]) -> str:
    path, reason = str(violation.get("path") or ""), str(violation.get("reason"))
    place = f"{path}: " if path and not reason.startswith(path) else ""
    return f"rule {violation.get('rule')!r} ({violation.get('action')}): {place}{reason}"


def _reason_texts(report: Report) -> Iterator[str]:
    """What the checks printed, and what the gate said, is in lines of their own already."""
    reason = (report.reason or "").strip()
    if _list(_mapping(report.check_report).get("results")):
        reason = reason.partition("\n")[0]
    if reason and reason not in _reasons(_mapping(report.verdict)):
        yield reason


def _reasons(verdict: Mapping[str, Any]) -> str:
    return "; ".join(str(each) for each in _list(verdict.get("reasons"))[:_SHOWN])


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def one_line(text: str) -> str:
    """Without what would act on a terminal, and no longer than a person reads."""
    text = _CONTROLS.sub("\ufffd", text.replace("\n", " ").replace("\r", ""))
    return text if len(text) <= MAX_LINE_CHARS else f"{text[: MAX_LINE_CHARS - 20]} [{len(text)} characters]"
