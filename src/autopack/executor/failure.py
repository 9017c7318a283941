"""How a step says that the attempt has failed, and what a model call without an answer comes to."""

from autopack.domain.gate import Verdict
from autopack.domain.phases import AttemptOutcome, FailureKind, Outcome
from autopack.errors import ModelError, ProviderLimit
from autopack.schemas import MAX_RETRY_AFTER_SECONDS

DEFAULT_LIMIT_WAIT_SECONDS = 60.0


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


def unanswered(error: ModelError) -> Outcome:
    """A model call without an answer: the try is given back where the provider asks to wait."""
    if isinstance(error, ProviderLimit):
        wait = min(error.retry_after_seconds or DEFAULT_LIMIT_WAIT_SECONDS, MAX_RETRY_AFTER_SECONDS)
        return Outcome(
            outcome=AttemptOutcome.DEFERRED, failure_kind=FailureKind.PROVIDER_LIMIT, reason=str(error), retry_after_seconds=wait
        )  # fmt: skip
    return Outcome(
        outcome=AttemptOutcome.FAILED, failure_kind=FailureKind.MODEL_ERROR, reason=str(error), retryable=error.retryable
    )  # fmt: skip
