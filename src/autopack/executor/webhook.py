"""A person's server that is told of a notice: the envelope by POST, signed as the Standard Webhooks specification says.

https://www.standardwebhooks.com: `webhook-id`, `webhook-timestamp`, and `webhook-signature`, which is "v1," and the
HMAC-SHA256 of "ID.TIMESTAMP.BODY" in base64.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
import httpx

from autopack.clock import Clock
from autopack.domain.addresses import fault_of, shown_host
from autopack.domain.phases import JsonObject
from autopack.errors import UsageError

_PREFIX = "whsec_"
_SHORTEST_SECRET = 16
_PAUSES_SECONDS = (0.5, 2.0)
_ASK_AGAIN = frozenset({408, 425, 429})


def signing_key(secret: str) -> bytes:
    """The bytes to sign with: `whsec_` and base64, as the specification writes it, or any other text as it is."""
    key = secret.encode()
    if secret.startswith(_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise UsageError(
                "AUTOPACK_NOTIFY_SECRET begins with whsec_, and the rest of it is no base64"
            ) from None
    if len(key) < _SHORTEST_SECRET:
        raise UsageError(
            f"AUTOPACK_NOTIFY_SECRET is too short to sign with: {_SHORTEST_SECRET} bytes or more"
        )
    return key


def signature(key: bytes, notice_id: str, timestamp: str, body: bytes) -> str:
    signed = hmac.new(key, b".".join([notice_id.encode(), timestamp.encode(), body]), hashlib.sha256)
    return f"v1,{base64.b64encode(signed.digest()).decode()}"


@dataclass(frozen=True, kw_only=True)
class Webhook:
    url: str
    key: bytes = field(repr=False)
    timeout_seconds: float
    clock: Clock = field(default_factory=Clock)
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    name: str = "webhook"

    def __post_init__(self) -> None:
        if (fault := fault_of(self.url)) is not None:
            raise UsageError(f"AUTOPACK_NOTIFY_URL is no address: {fault}; write https://HOST/PATH")

    async def send(self, told: JsonObject) -> str | None:
        """Why it was not taken, in a line; None where it was. Tried three times, all of it within the time limit."""
        fault: str | None = f"gave no answer within {self.timeout_seconds:g} s"
        with anyio.move_on_after(self.timeout_seconds):
            # No proxy and no .netrc of the environment, and no redirect: what is signed goes where it was meant to go.
            async with httpx.AsyncClient(trust_env=False, timeout=self.timeout_seconds) as http:
                for pause in (*_PAUSES_SECONDS, None):
                    fault, is_final = await self._post(http, told)
                    if fault is None or is_final or pause is None:
                        break
                    await self.sleep(pause)
        return None if fault is None else f"{shown_host(self.url)} {fault}"

    async def _post(self, http: httpx.AsyncClient, told: JsonObject) -> tuple[str | None, bool]:
        """What was wrong, if anything, and whether asking again is pointless. Its answer's body is nobody's business."""
        body = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
        notice_id, timestamp = str(told["id"]), str(int(self.clock.now().timestamp()))
        headers = {
            "content-type": "application/json", "user-agent": "autopack", "webhook-id": notice_id,
            "webhook-timestamp": timestamp, "webhook-signature": signature(self.key, notice_id, timestamp, body),
        }  # fmt: skip
        try:
            async with http.stream("POST", self.url, content=body, headers=headers) as answer:
                status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"could not be asked ({type(error).__name__})", not isinstance(error, httpx.TransportError)
        if 200 <= status < 300:
            return None, True
        where = ": redirects are not followed" if 300 <= status < 400 else ""
        return f"answered {status}{where}", status < 500 and status not in _ASK_AGAIN
