"""How a step says that the attempt has failed."""

from autopack.domain.phases import FailureKind, JsonObject


class PhaseFailed(Exception):
    """Caught by the pipeline, which makes the attempt's outcome of it. The text reaches the next prompt."""

    def __init__(
        self, kind: FailureKind, reason: str, *, retryable: bool = True,
        base_commit: str | None = None, check_report: JsonObject | None = None,
    ) -> None:  # fmt: skip
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.retryable = retryable
        self.base_commit = base_commit
        self.check_report = check_report
