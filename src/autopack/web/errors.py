"""What goes wrong on a page is said on a page; everything else answers with problem+json, as the API does."""

import inspect
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import Scope

from autopack.api.problems import problem
from autopack.errors import AutopackError, InvalidInput, Unauthorized
from autopack.schemas import validation_detail
from autopack.web.forms import local
from autopack.web.rendering import page

_TITLES = {
    404: "Not here",
    409: "That is not possible now",
    422: "That cannot be taken",
    503: "Not ready",
}


def install(app: FastAPI) -> None:
    """Wraps the handlers that the app has."""
    for kind, words in (
        (AutopackError, _of_autopack),
        (RequestValidationError, _of_validation),
        (HTTPException, _of_http),
        (Exception, _of_anything),
    ):
        app.add_exception_handler(kind, _either(words, app.exception_handlers[kind]))
    app.state.refuse = refuse


def refuse(scope: Scope, error: AutopackError) -> Response:
    """The guard's answer: who needs a key and looks at a page is asked for it on a page."""
    request = Request(scope)
    if not is_page(request):
        return problem(error.status, error.code, str(error))
    if isinstance(error, Unauthorized) and request.method == "GET" and "/stream/" not in request.url.path:
        return RedirectResponse("/ui/login", 303)
    return _error_page(request, error.status, str(error))


def is_page(request: Request) -> bool:
    return request.url.path.startswith("/ui/") or request.url.path == "/ui"


def _either(words: Callable[[Any], tuple[int, str]], plain: Any) -> Any:
    async def answer(request: Request, error: Exception) -> Response:
        told = plain(request, error)  # also where a page answers: it may write to the log
        response: Response = await told if inspect.isawaitable(told) else told
        return _error_page(request, *words(error)) if is_page(request) else response

    return answer


def _error_page(request: Request, status: int, detail: str) -> Response:
    referrer = request.headers.get("referer", "").partition(request.headers.get("host", "\0"))[2]
    return page(
        request, "error.html", status=status, title=_TITLES.get(status, HTTPStatus(status).phrase), status_code=status,
        detail=detail, back_to=local(referrer) or "/ui/runs",
    )  # fmt: skip


def _of_autopack(error: AutopackError) -> tuple[int, str]:
    return error.status, str(error)


def _of_validation(error: RequestValidationError) -> tuple[int, str]:
    return InvalidInput.status, validation_detail(error.errors())


def _of_http(error: HTTPException) -> tuple[int, str]:
    return error.status_code, "There is no such page." if error.status_code == 404 else str(error.detail)


def _of_anything(error: Exception) -> tuple[int, str]:
    return 500, f"Unexpected {type(error).__name__}; the server's log has the traceback."
