"""An OpenTelemetry collector: where it is, what it wants to be told, and whether it took what it was sent."""

import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import anyio
import httpx

from autopack.cli.common import check_address, say
from autopack.domain.addresses import shown_address
from autopack.domain.phases import JsonObject
from autopack.errors import ApiUnreachable, NotReady, UsageError

TRACES_PATH = "/v1/traces"
_ASK_AGAIN = (429, 502, 503, 504)  # the only ones that OTLP allows to be sent again
_PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0)
_LONGEST_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Target:
    """`url` takes traces; `headers` may hold keys and are never shown."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def shown(self) -> str:
        """The address without what may be secret in it: user, password, query."""
        return shown_address(self.url)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What the collector said of a batch that it took: spans that it threw away, and a remark."""

    rejected: int = 0
    message: str = ""


def find_target(
    endpoint: str | None, headers: Sequence[str], environment: Mapping[str, str]
) -> Target | None:
    """By the options, else by OpenTelemetry's variables. None where nobody names a collector. Raises UsageError."""
    traces = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or None
    base = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None
    check_address("--endpoint", endpoint)
    check_address("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", traces)
    check_address("OTEL_EXPORTER_OTLP_ENDPOINT", base)
    url = (_with_path(endpoint) if endpoint else None) or traces or (base and _below(base))
    if url is None:
        return None
    found = dict(_header("--header", part, str) for part in headers)
    return Target(url=url, headers=_configured_headers(environment) | found)


def _with_path(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    return endpoint if parts.path.strip("/") else urlunsplit(parts._replace(path=TRACES_PATH))


def _below(base: str) -> str:
    parts = urlsplit(base)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + TRACES_PATH))


def _configured_headers(environment: Mapping[str, str]) -> dict[str, str]:
    name = "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
    name = name if environment.get(name) else "OTEL_EXPORTER_OTLP_HEADERS"
    listed = environment.get(name, "").split(",")
    return dict(_header(name, part, unquote) for part in listed if part.strip())


def _header(source: str, text: str, decode: Callable[[str], str]) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    key, value = key.strip(), decode(value.strip())
    if (
        not equals
        or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", key)
        or not re.fullmatch(r"[ -~]*", value)
    ):
        raise UsageError(f"{source}: a header is NAME=VALUE in plain characters")  # its value may be a key
    return key, value


class Collector:
    def __init__(
        self,
        http: httpx.AsyncClient,
        target: Target,
        *,
        now: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._http = http
        self._target = target
        self._now = now
        self._sleep = sleep

    async def send(self, body: JsonObject) -> Taken:
        """Raises NotReady where it refuses, ApiUnreachable where it does not answer; then nothing is known to be taken."""
        for pause in (*_PAUSES_SECONDS, None):
            try:
                response = await self._http.post(
                    self._target.url, json=body, headers=dict(self._target.headers)
                )
            except (httpx.RequestError, httpx.InvalidURL) as error:
                if pause is None or not isinstance(error, httpx.TransportError):
                    raise ApiUnreachable(
                        f"no answer from the collector at {self._target.shown} ({type(error).__name__}). What was sent "
                        "before is not sent again by the next export."
                    ) from error
                await self._wait(pause, "gives no answer")
                continue
            if response.is_success:
                return self._taken(response)
            if pause is None or response.status_code not in _ASK_AGAIN:
                raise self._refusal(response)
            await self._wait(self._pause(response, pause), f"answered {response.status_code}")
        raise AssertionError("unreachable")

    async def _wait(self, seconds: float, why: str) -> None:
        say(f"the collector at {self._target.shown} {why}; asking again in {seconds:g} seconds")
        await self._sleep(seconds)

    def _pause(self, response: httpx.Response, otherwise: float) -> float:
        wanted = _retry_after(response.headers.get("retry-after", ""), self._now())
        if wanted is not None and wanted > _LONGEST_PAUSE_SECONDS:
            raise NotReady(
                f"the collector at {self._target.shown} asks to wait {wanted:.0f} seconds; run the export again then"
            )
        return otherwise if wanted is None else wanted

    def _refusal(self, response: httpx.Response) -> NotReady:
        hint = {
            401: "; it wants a key (OTEL_EXPORTER_OTLP_HEADERS)",
            403: "; the key may not write (OTEL_EXPORTER_OTLP_HEADERS)",
            404: f"; is the path right? Traces mostly go to {TRACES_PATH}",
            413: "; a smaller --batch may fit",
            415: "; it does not take OTLP in JSON",
        }.get(response.status_code, "")
        return NotReady(
            f"the collector at {self._target.shown} answered {response.status_code}{hint}. What it did not take is sent again "
            "by the next export."
        )

    def _taken(self, response: httpx.Response) -> Taken:
        """Raises NotReady for an answer that is no collector's: a web page says 200 to anything."""
        if not response.content:
            return Taken()
        try:
            return _partial_success(response.json())
        except ValueError:
            raise NotReady(
                f"what answers at {self._target.shown} is no OTLP collector: {response.status_code} with a body that is none "
                "of its answers"
            ) from None


def _partial_success(answer: Any) -> Taken:
    told = (answer.get("partialSuccess") or {}) if isinstance(answer, dict) else None
    if not isinstance(told, dict):
        raise ValueError("no answer to an export")
    return Taken(
        rejected=int(str(told.get("rejectedSpans") or 0)), message=str(told.get("errorMessage") or "")
    )


def _retry_after(text: str, now: datetime) -> float | None:
    """Seconds, from a number of them or a date; None where it is neither."""
    try:
        seconds = float(text)
    except ValueError:
        pass
    else:
        return seconds if 0 <= seconds < math.inf else None
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
