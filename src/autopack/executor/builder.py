"""From a claimed phase to edits that may be applied, or a failure with its kind."""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from autopack.domain import estimate
from autopack.domain.calls import EstimateMade
from autopack.domain.edits import EditPlan, Format
from autopack.domain.messages import Completion, Message, Role, request_key
from autopack.domain.phases import Claim, FailureKind, Phase
from autopack.executor import prompt
from autopack.executor.failure import PhaseFailed
from autopack.executor.ground import Ground
from autopack.executor.ledger import Ledger
from autopack.executor.prompt import Shown
from autopack.executor.proposal import BlocksRefused, Proposal, read_proposal
from autopack.llm.base import LLM
from autopack.workspace.git import GitWorkspace
from autopack.workspace.trees import TreeEntry

ASKS = 2


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the builder is asked, and all that its answer depends on as one hash."""

    messages: tuple[Message, ...]
    seen: Mapping[str, str]
    """The blobs whose content is shown, by path."""
    inputs_hash: str


@dataclass(frozen=True, kw_only=True)
class Builder:
    llm: LLM
    git: GitWorkspace
    telemetry: bool = True
    """Whether each call leaves its estimate behind, for calibration."""
    format_for: Callable[[str], Format] = lambda _model: Format.WHOLE_FILES
    """The format that a model is asked for; an answer in any other is read all the same."""

    async def question(self, claim: Claim, ground: Ground) -> Question:
        scope = claim.phase.scope
        wanted, context = prompt.paths_to_show(scope, list(ground.entries))
        in_scope = await self._shown(ground.entries, wanted, prompt.MAX_CONTEXT_CHARS)
        read_only = await self._shown(ground.entries, context, prompt.MAX_CONTEXT_CHARS // 2)
        messages = prompt.builder_messages(claim, in_scope, read_only, self.format_for(self.llm.model))
        depends_on = [
            request_key(self.llm.model, messages, None), ground.base, ground.policy.hash,
            list(scope.checks or ground.checks.commands),
        ]  # fmt: skip
        seen = {path: ground.oids[path] for path in (*in_scope.contents, *read_only.contents)}
        inputs_hash = hashlib.sha256(json.dumps(depends_on).encode()).hexdigest()
        return Question(messages=tuple(messages), seen=seen, inputs_hash=inputs_hash)

    async def build(self, claim: Claim, ledger: Ledger, ground: Ground, question: Question) -> Proposal:
        """Asks for the edits; what cannot be used is asked for once more with the reason. Raises PhaseFailed."""
        phase, messages = claim.phase, list(question.messages)
        made, kept = _estimate(phase, phase.scope.deliverables, ground), None
        for ask in range(1, ASKS + 1):
            answer = await self._whole_answer(ledger, messages, made)
            try:
                return await read_proposal(
                    self.git, answer.text, phase=phase, ground=ground, seen=question.seen, kept=kept
                )
            except PhaseFailed as failure:
                if ask == ASKS or failure.kind is FailureKind.POLICY_VIOLATION:
                    raise
                messages, made, kept = _asked_again(messages, answer.text, failure, phase, ground, made)
        raise AssertionError("unreachable")

    async def _whole_answer(
        self, ledger: Ledger, messages: Sequence[Message], made: estimate.Estimate
    ) -> Completion:
        """An answer that was not cut by its budget; the budget is raised once."""
        larger = estimate.escalated(made.budget)
        answer = await ledger.ask(
            self.llm, Role.BUILDER, messages, max_tokens=made.budget, estimate=self._about(made)
        )  # fmt: skip
        if answer.is_truncated and larger is not None:
            answer = await ledger.ask(
                self.llm, Role.BUILDER, messages, max_tokens=larger, estimate=self._about(made, escalated_from=made.budget)
            )  # fmt: skip
        if answer.is_truncated:
            reason = (
                f"the answer was cut at {larger or made.budget} tokens; split the phase into smaller ones"
            )
            raise PhaseFailed(FailureKind.TRUNCATED, reason, retryable=False)
        if answer.finish_reason == "content_filter":
            raise PhaseFailed(
                FailureKind.MALFORMED_ANSWER,
                "the provider's content filter stopped the answer",
                retryable=False,
            )
        return answer

    def _about(self, made: estimate.Estimate, escalated_from: int | None = None) -> EstimateMade | None:
        if not self.telemetry:
            return None
        return EstimateMade(
            predicted_output_tokens=made.predicted_output_tokens, version=made.version,
            features=asdict(made.features), escalated_from=escalated_from,
        )  # fmt: skip

    async def _shown(self, base: Mapping[str, TreeEntry], paths: Sequence[str], room: int) -> Shown:
        """Contents within `room` characters, in order; what is too large or no text is only named."""
        small = [
            path
            for path in paths
            if base[path].kind == "blob" and (base[path].size or 0) <= prompt.MAX_FILE_CHARS
        ]
        fitting: list[str] = []
        for path in small:
            room -= base[path].size or 0
            if room < 0:
                break
            fitting.append(path)
        blobs = await self.git.read_blobs(base[path].oid for path in fitting)
        contents = {path: text for path in fitting if (text := _text(blobs[base[path].oid])) is not None}
        return Shown(contents=contents, left_out=[path for path in paths if path not in contents])


def _asked_again(
    messages: Sequence[Message], answer: str, failure: PhaseFailed, phase: Phase, ground: Ground, made: estimate.Estimate
) -> tuple[list[Message], estimate.Estimate, EditPlan | None]:  # fmt: skip
    """The next ask. Of refused blocks only these are wanted, which need fewer tokens; the rest of the plan is kept."""
    if not isinstance(failure, BlocksRefused):
        return prompt.ask_again(messages, answer, failure.reason), made, None
    again = prompt.ask_for_blocks(messages, answer, failure.reason)
    needed = _estimate(phase, sorted({each.path for each in failure.refused}), ground)
    return again, min(needed, made, key=lambda each: each.budget), failure.kept


def _estimate(phase: Phase, deliverables: Sequence[str], ground: Ground) -> estimate.Estimate:
    existing: Collection[str] = ground.entries
    return estimate.estimate(
        estimate.features(
            task_category=phase.task_category, complexity=phase.complexity, deliverables=deliverables, existing=existing
        )
    )  # fmt: skip


def _text(data: bytes) -> str | None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def with_model(builder: Builder, llm: LLM | None) -> Builder:
    return builder if llm is None else replace(builder, llm=llm)
