"""Errors on the wire: problem+json (RFC 9457) with one code per error class, and never an echo of the input."""

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from autopack.errors import AutopackError, InvalidInput, NotFound
from autopack.schemas import validation_detail

log = logging.getLogger(__name__)


def problem(status: int, code: str, detail: str) -> JSONResponse:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    return JSONResponse(body, status, media_type="application/problem+json")


def _autopack_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AutopackError)
    return problem(error.status, error.code, str(error))


def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return problem(InvalidInput.status, InvalidInput.code, validation_detail(error.errors()))


def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = {404: NotFound.code, 405: "method_not_allowed", 400: "bad_request"}.get(error.status_code, "error")
    return problem(error.status_code, code, error.detail)


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error", exc_info=error, extra={"path": request.url.path})
    return problem(
        500, AutopackError.code, f"unexpected {type(error).__name__} in the API; its log has the traceback"
    )


def install(app: FastAPI) -> None:
    app.add_exception_handler(AutopackError, _autopack_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)
