"""Every error that Autopack raises on purpose: one class, one code, the same class on both sides of the wire.

`status` is the HTTP status the API answers with; `exit_code` is what the command line ends with
(0 done, 1 some phase failed, 2 wrong usage, 3 refused or not ready, 4 API unreachable, 5 waiting for a
person, 6 budget reached, 75 waiting for a provider's limit).
"""


class AutopackError(Exception):
    """Something Autopack refuses or cannot do; the text says what, where, and what to do."""

    code = "error"
    status = 500
    exit_code = 1


class UsageError(AutopackError):
    """The call itself is wrong: a flag, a file, a value."""

    code, status, exit_code = "usage", 400, 2


class InvalidInput(UsageError):
    """Data from outside does not have the shape it must have."""

    code, status = "invalid_input", 422


class NotFound(AutopackError):
    code, status, exit_code = "not_found", 404, 3


class Conflict(AutopackError):
    """What was asked contradicts what is stored."""

    code, status, exit_code = "conflict", 409, 3


class LeaseLost(Conflict):
    """The phase was reclaimed by another worker."""

    code = "lease_lost"


class PhaseBlocked(Conflict):
    """The phase cannot be drained now: an earlier tier or a dependency is open, or its state forbids it."""

    code = "phase_blocked"


class Unauthorized(AutopackError):
    code, status, exit_code = "unauthorized", 401, 3


class Forbidden(AutopackError):
    code, status, exit_code = "forbidden", 403, 3


class PayloadTooLarge(InvalidInput):
    code, status = "payload_too_large", 413


class BudgetReached(AutopackError):
    """The run's token or cost cap leaves no room for the call that was asked for."""

    code, status, exit_code = "budget_reached", 409, 6


class NotReady(AutopackError):
    """The environment is not ready: nothing was changed, and the text says what would make it so."""

    code, status, exit_code = "not_ready", 503, 3


class DatabaseRefused(NotReady):
    """The database is missing, empty, behind, ahead, foreign, damaged, or was replaced under us."""

    code = "database_refused"


class DatabaseReplaced(DatabaseRefused):
    """The file is gone, or is not the one that was opened: what is done on is known to nobody."""

    code = "database_replaced"


class DatabaseBusy(NotReady):
    """The database chose this request to give way to another (a deadlock). Nothing was done; ask again."""

    code = "database_busy"


class DatabaseMismatch(DatabaseRefused):
    """Client and server do not use the same database."""

    code, status = "database_mismatch", 409


class WorkspaceRefused(NotReady):
    """The workspace is not a git repository Autopack can build on."""

    code = "workspace_refused"


class ModelNotReady(NotReady):
    """No model can be called as configured: no key, unknown name, or no recorded answer to replay."""

    code = "model_not_ready"


class ApiUnreachable(AutopackError):
    """No answer from the API; nothing is known about what it did."""

    code, status, exit_code = "api_unreachable", 502, 4


class ModelError(AutopackError):
    """A model request ended without an answer that counts. `retryable` says whether asking again may help."""

    code, status = "model_error", 502
    retryable = True
    retries = 0
    """How often the request had been sent again by then."""


class IncompleteResponse(ModelError):
    """The answer was cut off on its way: never parsed, perhaps paid for."""

    code = "incomplete_response"


class ProviderLimit(ModelError):
    """The provider asks us to wait."""

    code, exit_code = "provider_limit", 75

    def __init__(self, detail: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


def _subclasses(cls: type[AutopackError]) -> dict[str, type[AutopackError]]:
    found = {cls.code: cls}
    for child in cls.__subclasses__():
        found |= _subclasses(child)
    return found


BY_CODE = _subclasses(AutopackError)
