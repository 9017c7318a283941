"""Who may ask, and for which database: checked before a body is read.

Loopback needs no key; everything else does. A browser's page from another origin is refused, a foreign Host
too (DNS rebinding), and a request meant for another database gets 409.
"""

import hmac
import logging
import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from autopack.api.problems import problem
from autopack.errors import (
    AutopackError,
    DatabaseMismatch,
    Forbidden,
    PayloadTooLarge,
    Unauthorized,
    UsageError,
)

MAX_BODY_BYTES = 1024 * 1024
# What a worker reports holds whole answers, check reports, plans, and what waits for a person.
MAX_REPORT_BYTES = 16 * MAX_BODY_BYTES
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "autopack"})
DATABASE_HEADER = "x-autopack-database"
PAGE_COOKIE = "autopack_key"
# What a browser is shown before it has the key: the page that asks for it, and how that looks.
_BEFORE_THE_KEY = ("/ui/login", "/ui/static/")
EPOCH_HEADER = "x-autopack-epoch"
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Access:
    """`allowed_hosts` are names besides loopback's under which the server may be asked."""

    api_key: str | None = None
    allowed_hosts: frozenset[str] = frozenset()


class Guard:
    """ASGI middleware. What it checks by is read from the app's state when it starts (`access`, `database_id`)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            _check(scope, headers, scope["app"].state.access)
            body = await _read_body(headers, receive, _most_bytes(scope["path"]))
        except AutopackError as error:
            await _refusal(scope, error)(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)


def is_key(given: str, api_key: str, scope: Scope) -> bool:
    """Somebody who guesses should leave a trace, and the guess none: it may be a key with one letter wrong."""
    if hmac.compare_digest(given.encode(), api_key.encode()):
        return True
    peer = (scope.get("client") or ("an unknown address",))[0]
    _logger.warning(
        "a wrong API key was sent from %s, for %s", peer, "the page" if _is_page(scope) else "the API"
    )
    return False


def _is_page(scope: Scope) -> bool:
    return str(scope["path"]).startswith("/ui/")


def page_token(api_key: str) -> str:
    """What a browser keeps as a cookie once the key was typed in: it tells nothing of the key."""
    return hmac.new(api_key.encode(), b"autopack web page", "sha256").hexdigest()


def _refusal(scope: Scope, error: AutopackError) -> ASGIApp:
    """A server with pages says so on a page (`app.state.refuse`)."""
    refuse = getattr(scope["app"].state, "refuse", None)
    answer: ASGIApp = refuse(scope, error) if refuse else problem(error.status, error.code, str(error))
    return answer


def _check(scope: Scope, headers: Headers, access: Access) -> None:
    host = headers.get("host", "")
    name = _without_port(host).lower()
    if name not in LOOPBACK_NAMES | access.allowed_hosts:
        raise UsageError(
            f"this server is not called {name!r}; add the name to AUTOPACK_ALLOWED_HOSTS if it should be"
        )
    _check_origin(scope, headers, host)
    _check_key(scope, headers, access.api_key)
    _check_database(scope, headers)


def _check_key(scope: Scope, headers: Headers, api_key: str | None) -> None:
    given = headers.get("authorization", "").removeprefix("Bearer ").strip() or headers.get("x-api-key", "")
    if given and api_key is not None:
        if not is_key(given, api_key, scope):
            raise Unauthorized("the API key is wrong; set AUTOPACK_API_KEY to the server's")
        return
    if not _from_loopback(scope, headers) and not _may_look(scope, headers, api_key):
        hint = (
            "send it as AUTOPACK_API_KEY"
            if api_key
            else "the server has none: set AUTOPACK_API_KEY where it runs"
        )
        raise Unauthorized(f"from anywhere but this machine an API key is needed; {hint}")


def _may_look(scope: Scope, headers: Headers, api_key: str | None) -> bool:
    """Whether a browser has shown the key before, or asks for the page that takes it."""
    if api_key is None:
        return False
    if scope["path"].startswith(_BEFORE_THE_KEY):
        return True
    given = cookie_parser(headers.get("cookie", "")).get(PAGE_COOKIE, "")
    return hmac.compare_digest(given.encode(), page_token(api_key).encode())


def _without_port(host: str) -> str:
    return host[: host.rindex("]") + 1] if host.startswith("[") and "]" in host else host.split(":")[0]


def _check_origin(scope: Scope, headers: Headers, host: str) -> None:
    """Whoever sends no Sec-Fetch-Site is no browser of today; one that does says who asks."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    own = site in ("same-origin", "none") or _is_link(scope, headers)
    if not own or (origin is not None and _netloc(origin) != host):
        raise Forbidden("a page of another origin may not use this API")


def _is_link(scope: Scope, headers: Headers) -> bool:
    """Somebody followed a link to one of our pages: that site cannot see the answer, and a page changes nothing."""
    shown = scope["path"] == "/" or scope["path"].startswith("/ui/")
    top = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return scope["method"] in _READS and shown and top


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _check_database(scope: Scope, headers: Headers) -> None:
    wanted = headers.get(DATABASE_HEADER)
    ours = scope["app"].state.database_id
    if wanted is not None and wanted != ours:
        raise DatabaseMismatch(
            f"this server works on database {ours}, the request is meant for {wanted}; nothing was done. "
            "Was the server restarted on another DATABASE_URL?"
        )
    known, epoch = headers.get(EPOCH_HEADER), scope["app"].state.epoch
    if known is not None and known != str(epoch):
        raise DatabaseMismatch(
            f"database {ours} was restored from a backup (epoch {epoch}) since this client connected (epoch {known}); nothing "
            "was done. What happened in between is not in it: look at the run, then start again."
        )


def _from_loopback(scope: Scope, headers: Headers) -> bool:
    # A proxy on this machine forwards for others: then the peer's address says nothing.
    if "x-forwarded-for" in headers or "forwarded" in headers or scope.get("client") is None:
        return False
    try:
        return ip_address(scope["client"][0]).is_loopback
    except ValueError:
        return False


def _most_bytes(path: str) -> int:
    is_report = path.endswith(("/finish", "/settle")) or "/baselines/" in path
    return MAX_REPORT_BYTES if is_report else MAX_BODY_BYTES


async def _read_body(headers: Headers, receive: Receive, most: int) -> bytes:
    parts: list[bytes] = []
    size = _declared_size(headers)
    more = True
    received = 0
    while more and size <= most:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        parts.append(message.get("body", b""))
        received += len(parts[-1])
        size = max(size, received)
        more = message.get("more_body", False)
    if size > most:
        raise PayloadTooLarge(f"the body is larger than {most} bytes")
    return b"".join(parts)


def _declared_size(headers: Headers) -> int:
    """What is no number says nothing: the bytes are counted as they come."""
    declared = headers.get("content-length", "")
    return int(declared) if re.fullmatch("[0-9]{1,20}", declared) else 0


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives the body that was read once more; after it, what the server says (a disconnect)."""
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
