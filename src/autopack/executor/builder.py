"""From a claimed phase to an edit plan that may be applied, or a failure with its kind."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from autopack.domain import edits, estimate, policy
from autopack.domain.calls import EstimateMade
from autopack.domain.edits import EditPlan, EmptyPlan, MalformedEdit
from autopack.domain.messages import Completion, Message, Role
from autopack.domain.phases import Claim, FailureKind, Phase
from autopack.domain.policy import Action, Violation
from autopack.executor import prompt
from autopack.executor.failure import PhaseFailed
from autopack.executor.ledger import Ledger
from autopack.executor.prompt import Shown
from autopack.llm.base import LLM
from autopack.workspace.git import GitWorkspace
from autopack.workspace.trees import TreeEntry

ASKS = 2


@dataclass(frozen=True, kw_only=True)
class Built:
    plan: EditPlan
    violations: tuple[Violation, ...] = ()
    """Only those that ask a person; what is refused never gets this far."""


@dataclass(frozen=True, kw_only=True)
class Builder:
    llm: LLM
    git: GitWorkspace
    telemetry: bool = True
    """Whether each call leaves its estimate behind, for calibration."""

    async def build(self, claim: Claim, ledger: Ledger, base: dict[str, TreeEntry]) -> Built:
        """Asks for the edits; an answer that cannot be used is asked for once more with the reason. Raises PhaseFailed."""
        phase = claim.phase
        made = estimate.estimate(
            estimate.features(
                task_category=phase.task_category, complexity=phase.complexity,
                deliverables=phase.scope.deliverables, existing=base,
            )
        )  # fmt: skip
        wanted, context = prompt.paths_to_show(phase.scope, list(base))
        in_scope = await self._shown(base, wanted, prompt.MAX_CONTEXT_CHARS)
        read_only = await self._shown(base, context, prompt.MAX_CONTEXT_CHARS // 2)
        messages = prompt.builder_messages(claim, in_scope, read_only)
        for ask in range(1, ASKS + 1):
            answer = await self._whole_answer(ledger, messages, made)
            try:
                return _usable(answer.text, phase, base)
            except PhaseFailed as failure:
                if ask == ASKS or failure.kind is FailureKind.POLICY_VIOLATION:
                    raise
                messages = prompt.ask_again(messages, answer.text, failure.reason)
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

    async def _shown(self, base: dict[str, TreeEntry], paths: Sequence[str], room: int) -> Shown:
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


def _text(data: bytes) -> str | None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _usable(text: str, phase: Phase, base: dict[str, TreeEntry]) -> Built:
    """The plan of an answer that keeps every rule; else PhaseFailed, whose text the model is told."""
    try:
        plan = edits.parse(text)
    except EmptyPlan as error:
        raise PhaseFailed(FailureKind.EMPTY_FILES, str(error), retryable=False) from error
    except MalformedEdit as error:
        raise PhaseFailed(FailureKind.MALFORMED_ANSWER, str(error), retryable=False) from error
    violations = judge_plan(plan, phase, base)
    if missing := policy.missing_deliverables(phase.scope, {**base, **dict.fromkeys(plan.paths)}):
        reason = "these deliverables would not exist: " + ", ".join(missing)
        raise PhaseFailed(FailureKind.MISSING_DELIVERABLES, reason, retryable=False)
    return Built(plan=plan, violations=tuple(violations))


def judge_plan(plan: EditPlan, phase: Phase, base: dict[str, TreeEntry]) -> list[Violation]:
    """The violations that ask a person. Raises PhaseFailed for what is refused."""
    violations = policy.check(plan, phase.scope, {path: entry.mode for path, entry in base.items()})
    refused = [violation for violation in violations if violation.action is Action.REFUSE]
    if refused:
        outside = all(violation.rule == policy.OUTSIDE for violation in refused)
        kind = FailureKind.OUT_OF_SCOPE if outside else FailureKind.POLICY_VIOLATION
        raise PhaseFailed(kind, "; ".join(violation.reason for violation in refused), retryable=False)
    return violations
