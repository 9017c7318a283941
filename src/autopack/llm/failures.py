"""What a failed request means: who has to act, and whether asking again may help.

Imports pydantic-ai, so it is imported by `llm/provider` only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2
from pydantic_ai.exceptions import (
    AgentRunError,
    ModelAPIError,
    ModelHTTPError,
    ModelQuotaExceededError,
    ModelRequestTimeout,
    UserError,
)

from autopack.errors import AutopackError, IncompleteResponse, ModelError, ModelNotReady, ProviderLimit
from autopack.llm.base import Unanswered
from autopack.llm.transport import REPLAY_MISS, NoAnswer

# The second row: what the SDKs' parsers trip with over an answer that is valid JSON and nonsense.
FAILURES = (
    *(AgentRunError, UserError, httpx2.HTTPError, httpx2.StreamError),
    *(AttributeError, LookupError, TypeError, ValueError, RecursionError),
)
DETAIL_LENGTH = 500


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the texts of errors name; the key is there to be kept out of them."""

    model: str
    address: str
    key_variable: str
    key: str | None = field(repr=False)

    def say(self, text: str) -> str:
        text = text.replace(self.key, "***") if self.key else text  # first, lest a cut leave half of it
        return f"{self.model} at {self.address}: {' '.join(text.split())[:DETAIL_LENGTH]}"


def meaning(error: Exception, *, asked: Asked, started: bool, now: datetime) -> AutopackError | Unanswered:
    """`started`: the answer had begun, so it may be paid for."""
    for cause in causes(error):
        if isinstance(cause, NoAnswer):
            return Unanswered(ModelError(asked.say(f"no answer ({cause})")))
    if isinstance(error, ModelHTTPError) and not started:
        return _refused(error, asked=asked, now=now)
    if isinstance(error, UserError):
        return not_retryable(asked.say(str(error)))
    if isinstance(error, ModelRequestTimeout):
        return IncompleteResponse(asked.say(f"no whole answer within {error.timeout:g} seconds"))
    if not isinstance(error, AgentRunError | httpx2.HTTPError):
        return IncompleteResponse(asked.say(f"the answer cannot be read ({type(error).__name__}: {error})"))
    text = error.message if isinstance(error, ModelAPIError) else str(error)
    return IncompleteResponse(asked.say(f"the answer was cut off ({text or type(error).__name__})"))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def not_retryable(text: str) -> ModelError:
    error = ModelError(text)
    error.retryable = False
    return error


def _refused(error: ModelHTTPError, *, asked: Asked, now: datetime) -> AutopackError | Unanswered:
    detail = asked.say(f"HTTP {error.status_code}: {_words(error)}")
    wait = retry_after(error.headers or {}, now)
    if error.provider_error_code == REPLAY_MISS:
        return ModelNotReady(_words(error))
    if isinstance(error, ModelQuotaExceededError):
        return ModelNotReady(f"{detail} (the account's credit or quota is used up; waiting does not help)")
    if error.status_code == 429:
        return Unanswered(ProviderLimit(detail, wait), wait)
    if error.status_code >= 500 or error.status_code == 408:
        return Unanswered(ModelError(detail), wait)
    if error.status_code in (401, 403):
        return ModelNotReady(f"{detail} (check {asked.key_variable} and what it may use)")
    if error.status_code == 404:
        return ModelNotReady(f"{detail} (check the model's name in AUTOPACK_MODEL, and AUTOPACK_BASE_URL)")
    return not_retryable(detail)


def _words(error: ModelHTTPError) -> str:
    """The provider's own message, wherever it put it."""
    body = error.body
    while isinstance(body, dict):
        if isinstance(body.get("message"), str):
            return str(body["message"])
        body = body.get("error")
    return str(body) if body else "no details"


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait by `retry-after-ms` or `retry-after` (seconds or an HTTP date); None when it says neither."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        moment = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
