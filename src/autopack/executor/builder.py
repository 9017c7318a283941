"""From a claimed phase to edits that may be applied, or a failure with its kind."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from autopack.domain.budget import SPLIT
from autopack.domain.calls import EstimateMade
from autopack.domain.conformal import PRIOR
from autopack.domain.edits import EditPlan, Format
from autopack.domain.estimate import Estimate, escalated, features
from autopack.domain.messages import Completion, Message, Role, request_key
from autopack.domain.observations import ESCALATED, PARTIAL, RAISED
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
    output_limit_for: Callable[[str], int] = lambda _model: 64_000
    """The most output tokens that a model can be asked for."""
    truncation_target: float = 0.05

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
        phase = claim.phase
        asked = _Ask(
            messages=question.messages,
            made=await self._estimate(ledger, phase, _files(phase, ground), ground),
        )
        if asked.made.decision == SPLIT:
            raise PhaseFailed(FailureKind.TOO_LARGE, _too_large(asked.made), retryable=False)
        for ask in range(1, ASKS + 1):
            answer, budget = await self._whole_answer(ledger, asked)
            try:
                return await read_proposal(
                    self.git, answer.text, phase=phase, ground=ground, seen=question.seen, kept=asked.kept
                )
            except PhaseFailed as failure:
                if ask == ASKS or failure.kind is FailureKind.POLICY_VIOLATION:
                    raise
                asked = await self._asked_again(
                    asked.with_budget(budget), answer.text, failure, ledger, phase, ground
                )
        raise AssertionError("unreachable")

    async def _whole_answer(self, ledger: Ledger, asked: "_Ask") -> tuple[Completion, int]:
        """An answer that was not cut, and the budget that it came within; the budget is raised once."""
        given = budget = asked.made.budget
        larger = escalated(budget, asked.made.output_limit)
        answer = await ledger.ask(
            self.llm, Role.BUILDER, asked.messages, max_tokens=budget, estimate=self._about(asked.made)
        )  # fmt: skip
        if answer.is_truncated and larger is not None:
            given = larger
            answer = await ledger.ask(
                self.llm, Role.BUILDER, asked.messages, max_tokens=larger, estimate=self._about(asked.made, escalated_from=budget)
            )  # fmt: skip
        if answer.is_truncated:
            reason = f"the answer was cut at {given} tokens; split the phase into smaller ones"
            raise PhaseFailed(FailureKind.TRUNCATED, reason, retryable=False)
        if answer.finish_reason == "content_filter":
            raise PhaseFailed(
                FailureKind.MALFORMED_ANSWER,
                "the provider's content filter stopped the answer",
                retryable=False,
            )
        return answer, given

    async def _asked_again(
        self, asked: "_Ask", answer: str, failure: PhaseFailed, ledger: Ledger, phase: Phase, ground: Ground
    ) -> "_Ask":  # fmt: skip
        """The next ask. Of refused blocks only these are wanted, which need fewer tokens; the rest of the plan is kept."""
        if not isinstance(failure, BlocksRefused):
            return _Ask(messages=prompt.ask_again(asked.messages, answer, failure.reason), made=asked.made)
        again = prompt.ask_for_blocks(asked.messages, answer, failure.reason)
        needed = await self._estimate(ledger, phase, sorted({each.path for each in failure.refused}), ground)
        least = replace(needed, budget=min(needed.budget, asked.made.budget), budget_source=PARTIAL)
        return _Ask(messages=again, made=least, kept=failure.kept)

    async def _estimate(self, ledger: Ledger, phase: Phase, files: Sequence[str], ground: Ground) -> Estimate:
        about = features(
            task_category=phase.task_category, complexity=phase.complexity, deliverables=files, existing=ground.entries
        )  # fmt: skip
        limit = self.output_limit_for(self.llm.model)
        return await ledger.client.estimate(
            about, self.llm.model, output_limit=limit, target=self.truncation_target
        )

    def _about(self, made: Estimate, escalated_from: int | None = None) -> EstimateMade | None:
        if not self.telemetry:
            return None
        return EstimateMade(
            predicted_output_tokens=made.predicted_output_tokens, version=made.version, features=asdict(made.features),
            escalated_from=escalated_from, base_output_tokens=made.base_output_tokens,
            reasoning_level=made.features.reasoning_level, model_family=made.model_family,
            budget_source=made.budget_source if escalated_from is None or made.budget_source == PARTIAL else ESCALATED,
            target_rate=made.target_rate, alpha=made.alpha,
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


@dataclass(frozen=True, kw_only=True)
class _Ask:
    messages: Sequence[Message]
    made: Estimate
    kept: EditPlan | None = None

    def with_budget(self, tokens: int) -> "_Ask":
        """One that is known to be too small is not paid for again."""
        if tokens == self.made.budget:
            return self
        return replace(self, made=replace(self.made, budget=tokens, budget_source=RAISED))


def _files(phase: Phase, ground: Ground) -> Sequence[str]:
    """What the answer will be about: its deliverables, else the files among the paths that it may change."""
    return phase.scope.deliverables or [path for path in phase.scope.paths if path in ground.entries]


def _too_large(made: Estimate) -> str:
    return (
        f"the phase is too large for one answer: about {made.predicted_output_tokens} tokens are expected, and "
        f"{made.multiplier:.2f} times that ({made.budget}; {made.budget_source}) would be asked for so that no more than "
        f"{made.target_rate:.1%} of answers are cut; {_why_too_large(made)} the model's limit of {made.output_limit} "
        "(AUTOPACK_OUTPUT_LIMIT, or [models.output_limit] in autopack.toml). No call was made. Split the phase into smaller ones"
    )


def _why_too_large(made: Estimate) -> str:
    if made.budget_source == PRIOR:
        return "what is expected is alone above"
    return "and, by what earlier answers needed, more than that would be cut at"


def _text(data: bytes) -> str | None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def with_model(builder: Builder, llm: LLM | None) -> Builder:
    return builder if llm is None else replace(builder, llm=llm)
