"""The auditor: one model call whose verdict counts."""

import json

import pytest

from autopack.domain.messages import Role
from autopack.domain.phases import FailureKind, PhaseState
from autopack.executor.prompt import REVIEW_TOOL
from tests.executor.support_pipeline import completion, files, major, review
from tests.support import phase

pytestmark = pytest.mark.anyio

GOOD = files({"out/p1.txt": "done\n"})
MINOR = {"severity": "minor", "path": "out/p1.txt", "line": 1, "message": "a word too many"}


async def audited(stage, *verdicts, max_attempts=1):
    """One phase whose builder answers the same each time, and the auditor's answers."""
    await stage.create(phase("p1", max_attempts=max_attempts, checks=["test -f out/p1.txt"]))
    stage.llm.will(Role.BUILDER, *[GOOD] * max_attempts)
    stage.llm.will(Role.AUDITOR, *verdicts)
    await stage.drain()
    return await stage.phase()


async def test_the_auditor_sees_the_contract_the_diff_and_the_checks(stage):
    await audited(stage, json.dumps(review()))
    (asked,) = stage.audited
    system, user = asked.messages
    assert system.text.split(".")[0].split(":")[0] == "You audit the work of a builder"
    assert asked.tool == REVIEW_TOOL
    assert "What was asked:\nWrite out/p1.txt." in user.text
    assert "- out/p1.txt" in user.text
    assert "+++ b/out/p1.txt" in user.text
    assert "+done" in user.text
    assert "The checks:\nAll 1 checks passed." in user.text


@pytest.mark.parametrize(
    "answer",
    [
        completion(tool_call=review(issues=[MINOR]), finish_reason="tool_call"),
        json.dumps(review(issues=[MINOR])),
        f"My review:\n\n```json\n{json.dumps(review(issues=[MINOR]), indent=2)}\n```\nThat is all.",
        json.dumps({**review(issues=[{**MINOR, "confidence": 0.3}]), "mood": "good"}),
    ],
    ids=["a tool call", "bare JSON", "JSON in a fence, between prose", "fields that mean nothing"],
)
async def test_a_verdict_is_read_from_a_tool_call_or_from_text(stage, answer):
    assert (await audited(stage, answer)).state is PhaseState.COMPLETE
    (attempt,) = await stage.attempts()
    assert attempt.review == {"approved": True, "issues": [MINOR], "notes": ""}
    assert attempt.verdict["decision"] == "ok"


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (review(approved=True, issues=[MINOR, major("it greets nobody")]), "it greets nobody"),
        (review(approved=False, issues=[major("wrong file"), major("no test")]), "wrong file; no test"),
        (
            review(approved=False, notes="not what was asked"),
            "the auditor does not approve: not what was asked",
        ),
        (review(approved=False, issues=[MINOR]), "a word too many"),
    ],
    ids=[
        "approved with a major issue",
        "major issues",
        "not approved, no issue",
        "not approved, minor issue",
    ],
)
async def test_what_the_auditor_rejects_is_not_kept_and_the_next_prompt_says_why(stage, verdict, reason):
    first_try = completion(tool_call=verdict, finish_reason="tool_call")
    assert (
        await audited(stage, first_try, json.dumps(review()), max_attempts=2)
    ).state is PhaseState.COMPLETE
    first, second = await stage.attempts()
    assert (first.failure_kind, first.reason) == (FailureKind.AUDIT_REJECTED, reason)
    assert first.result_commit is None
    assert second.result_commit == stage.head()
    again = stage.built[1].messages[1].text
    assert "Earlier attempts at this phase; do not repeat their mistakes:" in again
    assert f"Attempt 1 failed (audit_rejected):\n{reason}" in again


async def test_a_phase_that_is_rejected_each_time_fails(stage):
    no = json.dumps(review(approved=False, issues=[major("still wrong")]))
    failed = await audited(stage, no, no, max_attempts=2)
    assert (failed.state, failed.failure_kind, failed.attempts) == (
        PhaseState.FAILED,
        FailureKind.AUDIT_REJECTED,
        2,
    )


MALFORMED = {
    "prose": ("Looks good to me!", "no JSON object"),
    "half an object": ('{"approved": true, "iss', "no whole JSON object"),
    "a word for a boolean": ('{"approved": "yes", "issues": []}', "approved"),
    "no approved": ('{"issues": []}', "approved: Field required"),
    "an unknown severity": (
        json.dumps(review(issues=[{"severity": "critical", "message": "x"}])),
        "issues.0.severity",
    ),
    "a tool call of the wrong form": (
        completion(tool_call={"verdict": "fine"}, finish_reason="tool_call"),
        "approved: Field required",
    ),
}  # fmt: skip
malformed = pytest.mark.parametrize(("answer", "problem"), MALFORMED.values(), ids=MALFORMED.keys())


@malformed
async def test_a_verdict_that_cannot_be_read_is_asked_for_once_more_with_the_reason(stage, answer, problem):
    assert (await audited(stage, answer, json.dumps(review()))).state is PhaseState.COMPLETE
    first, second = stage.audited
    assert second.messages[: len(first.messages)] == first.messages
    assert problem in second.messages[-1].text


@malformed
async def test_no_verdict_is_never_an_approval(stage, answer, problem):
    failed = await audited(stage, answer, answer)
    assert (failed.state, failed.failure_kind) == (PhaseState.FAILED, FailureKind.MALFORMED_ANSWER)
    assert problem in failed.failure_reason
    assert len(stage.audited) == 2


async def test_a_truncated_review_is_asked_for_with_more_room_and_never_read(stage):
    cut = completion(json.dumps(review()), finish_reason="length")
    assert (await audited(stage, cut, json.dumps(review()))).state is PhaseState.COMPLETE
    first, second = stage.audited
    assert second.max_tokens > first.max_tokens


async def test_a_review_that_is_truncated_twice_fails_the_attempt(stage):
    cut = completion(json.dumps(review()), finish_reason="length")
    failed = await audited(stage, cut, cut)
    assert (failed.state, failed.failure_kind) == (PhaseState.FAILED, FailureKind.TRUNCATED)
