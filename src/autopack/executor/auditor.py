"""One model call whose verdict counts; or two, of which neither sees the other's."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autopack.domain.gate import Issue, Recommendation, Review
from autopack.domain.messages import Completion, Message, Role
from autopack.domain.phases import FailureKind, Phase
from autopack.domain.policy import Violation
from autopack.executor import prompt
from autopack.executor.failure import PhaseFailed
from autopack.executor.ledger import Ledger
from autopack.llm.base import LLM

MAX_TOKENS = 4_096
ASKS = 2


class _Issue(BaseModel):
    model_config = ConfigDict(extra="ignore")
    severity: Literal["minor", "major"]
    path: str | None = None
    line: int | None = None
    message: str


class _Review(BaseModel):
    model_config = ConfigDict(extra="ignore")
    approved: bool = Field(strict=True)
    issues: list[_Issue] = []
    notes: str | None = None
    recommendation: Recommendation | None = None


@dataclass(frozen=True, kw_only=True)
class Auditor:
    llm: LLM
    second: LLM | None = None
    """Asked where two are wanted; None: the first model is, once more and as the second auditor."""

    async def reviews(
        self,
        phase: Phase,
        ledger: Ledger,
        *,
        diff: str,
        checks: str,
        findings: Sequence[Violation] = (),
        dual: bool = False,
    ) -> tuple[Review, ...]:
        """The auditors' verdicts: one, or two. An answer that is none is asked for once more. Raises PhaseFailed."""
        return tuple(
            [
                await self._review(
                    llm, ledger, prompt.auditor_messages(phase, diff=diff, checks=checks, findings=findings, second=second)
                )
                for llm, second in [(self.llm, False), (self.second or self.llm, True)][: 2 if dual else 1]
            ]
        )  # fmt: skip

    async def _review(self, llm: LLM, ledger: Ledger, asked: Sequence[Message]) -> Review:
        problem, messages = "", asked
        for _ in range(ASKS):
            answer = await self._whole_answer(llm, ledger, messages)
            try:
                return parse_review(answer)
            except ValueError as error:
                problem = str(error)
                messages = prompt.ask_again(messages, answer.text, problem)
        raise PhaseFailed(
            FailureKind.MALFORMED_ANSWER, f"the auditor gave no verdict that can be read: {problem}"
        )

    async def _whole_answer(self, llm: LLM, ledger: Ledger, messages: Sequence[Message]) -> Completion:
        for budget in (MAX_TOKENS, MAX_TOKENS * 4):
            answer = await ledger.ask(llm, Role.AUDITOR, messages, max_tokens=budget, tool=prompt.REVIEW_TOOL)
            if not answer.is_truncated:
                return answer
        raise PhaseFailed(FailureKind.TRUNCATED, f"the auditor's answer was cut at {MAX_TOKENS * 4} tokens")


def parse_review(answer: Completion) -> Review:
    """The verdict in a tool call, else as JSON in the text. Raises ValueError saying what is wrong."""
    value = answer.tool_call if answer.tool_call is not None else _object_in(answer.text)
    try:
        review = _Review.model_validate(value)
    except ValidationError as error:
        places = [
            f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors(include_input=False)
        ]
        raise ValueError("the review has the wrong form: " + "; ".join(places)) from error
    issues = tuple(
        Issue(severity=each.severity, message=each.message, path=each.path, line=each.line)
        for each in review.issues
    )
    return Review(
        approved=review.approved, issues=issues, notes=review.notes or "", recommendation=review.recommendation
    )  # fmt: skip


def _object_in(text: str) -> Any:
    start = text.find("{")
    if start < 0:
        raise ValueError("the review is no JSON object")
    try:
        return json.JSONDecoder(strict=False).raw_decode(text[start:])[0]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the review is no whole JSON object: {error}") from error
