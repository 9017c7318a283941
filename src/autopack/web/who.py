"""Who is at the page: a name that the person gave, remembered by the browser and written into every change."""

from urllib.parse import quote, unquote

from fastapi import Request, Response

COOKIE = "autopack_by"
UNNAMED = "a person"
_YEAR_SECONDS = 365 * 86_400
_MOST_CHARS = 200


def of(request: Request) -> str:
    given = unquote(request.cookies.get(COOKIE, "")).strip()
    return given[:_MOST_CHARS] if given.isprintable() else ""


def remember(response: Response, name: str) -> None:
    response.set_cookie(
        COOKIE, quote(name[:_MOST_CHARS]), max_age=_YEAR_SECONDS, path="/ui", httponly=True, samesite="strict"
    )
