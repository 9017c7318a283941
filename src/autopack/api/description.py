"""The OpenAPI description of the API, as it really answers: errors are problem+json, and ids of operations are readable."""

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

ABOUT = """\
State, tokens and money of runs, kept so that nothing is lost and nothing is paid twice.

- Errors are `application/problem+json` (RFC 9457); `code` names the class of the error.
- `X-Autopack-Database` (from `GET /identity`) may be sent with every request: a server that works on another database
  answers 409 `database_mismatch` and does nothing.
- From the machine of the server itself no key is needed; from elsewhere `Authorization: Bearer KEY`.
- Pages are keyset pages: `after` is the last one seen.
"""
_PROBLEM = {
    "title": "Problem",
    "type": "object",
    "description": "Why a request was refused, or failed. Nothing of what was sent is repeated in it.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string", "description": "The HTTP status in words."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was wrong, where, and what to do."},
        "code": {"type": "string", "description": "The class of the error, such as `not_found`, `conflict`, `lease_lost`."},
    },
}  # fmt: skip
_REFUSED = {
    "description": "Refused or failed; `code` says which.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_UNUSED = ("HTTPValidationError", "ValidationError")


def install(app: FastAPI) -> None:
    """`app.openapi()`, and with it /openapi.json, is the description below, made when it is first asked for."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = describe(app)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def describe(app: FastAPI) -> dict[str, Any]:
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    found = get_openapi(title=app.title, version=app.version, description=ABOUT, routes=routes)
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    for unused in _UNUSED:
        schemas.pop(unused, None)
    schemas["Problem"] = _PROBLEM
    found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    found["security"] = [{}, {"key": []}]
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            operation["operationId"] = _operation_id(method, path)
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = _REFUSED
    return found


def _operation_id(method: str, path: str) -> str:
    """`get_runs_run_id_phases`: the same for as long as method and path are."""
    return "_".join([method, *re.findall(r"[A-Za-z0-9_]+", path)]).replace("-", "_")
