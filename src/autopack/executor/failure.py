"""How a step says that the attempt has failed, and what a model call without an answer comes to."""

from collections.abc import Callable

from autopack.domain.gate import Verdict
from autopack.domain.phases import AttemptOutcome, FailureKind, Outcome
from autopack.errors import AutopackError, ModelError, ProviderLimit
from autopack.schemas import MAX_RETRY_AFTER_SECONDS

DEFAULT_LIMIT_WAIT_SECONDS = 60.0
_SHORT = 4_000


class PhaseFailed(Exception):
    """Caught by the pipeline, which makes the attempt's outcome of it. The text reaches the next prompt."""

    def __init__(self, kind: FailureKind, reason: str, *, retryable: bool = True) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.retryable = retryable

    @classmethod
    def blocked(cls, verdict: Verdict, told: str = "") -> "PhaseFailed":
        """By the gate. `told`: the same in more words than the gate's own reasons."""
        assert verdict.failure_kind is not None
        return cls(verdict.failure_kind, told.strip() or "; ".join(verdict.reasons))


def unanswered(error: ModelError, redact: Callable[[str], str]) -> Outcome:
    """A model call without an answer: the try is given back where the provider asks to wait."""
    reason = redact(str(error))
    if isinstance(error, ProviderLimit):
        wait = min(error.retry_after_seconds or DEFAULT_LIMIT_WAIT_SECONDS, MAX_RETRY_AFTER_SECONDS)
        return Outcome(
            outcome=AttemptOutcome.DEFERRED, failure_kind=FailureKind.PROVIDER_LIMIT, reason=reason, retry_after_seconds=wait
        )  # fmt: skip
    return Outcome(
        outcome=AttemptOutcome.FAILED, failure_kind=FailureKind.MODEL_ERROR, reason=reason, retryable=error.retryable
    )  # fmt: skip


def without_report(outcome: Outcome, error: AutopackError) -> Outcome:
    """The same end with nothing but what decides it. Work that waits for a person cannot do without its report."""
    if outcome.outcome is AttemptOutcome.NEEDS_APPROVAL:
        reason = f"the request for approval could not be recorded: {error}"
        return Outcome(
            outcome=AttemptOutcome.FAILED, failure_kind=FailureKind.INTERNAL_ERROR, reason=reason[:_SHORT], retryable=False
        )  # fmt: skip
    return Outcome(
        outcome=outcome.outcome, failure_kind=outcome.failure_kind, reason=(outcome.reason or "")[:_SHORT] or None,
        retryable=outcome.retryable, retry_after_seconds=outcome.retry_after_seconds, base_commit=outcome.base_commit,
        result_commit=outcome.result_commit, policy_hash=outcome.policy_hash, result_tree=outcome.result_tree,
        plan_hash=outcome.plan_hash, inputs_hash=outcome.inputs_hash,
    )  # fmt: skip
