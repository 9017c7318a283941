"""From another machine a browser needs the server's key, as everybody does: it is typed in once, and not kept."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from autopack.api.guard import PAGE_COOKIE, Access, is_key, page_token
from autopack.errors import Unauthorized
from autopack.web import who
from autopack.web.forms import FormDep, back
from autopack.web.rendering import page

router = APIRouter(prefix="/ui", include_in_schema=False)
_MONTH_SECONDS = 30 * 86_400


@router.get("/login")
def form(request: Request, failed: Annotated[bool, Query()] = False) -> HTMLResponse:
    access: Access = request.app.state.access
    return page(request, "login.html", failed=failed, has_key=access.api_key is not None)


@router.post("/login")
def login(request: Request, given: FormDep) -> Response:
    """The cookie is no key: it opens pages of this server until the key is another one."""
    access: Access = request.app.state.access
    if access.api_key is None:
        raise Unauthorized("this server has no key: set AUTOPACK_API_KEY where it runs")
    if not is_key(given.get("key"), access.api_key, request.scope):
        return RedirectResponse("/ui/login?failed=true", 303)
    answer = RedirectResponse("/ui/runs?done=logged_in", 303)
    answer.set_cookie(
        PAGE_COOKIE, page_token(access.api_key), max_age=_MONTH_SECONDS, path="/", httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return answer


@router.post("/logout")
def logout() -> RedirectResponse:
    answer = RedirectResponse("/ui/login", 303)
    answer.delete_cookie(PAGE_COOKIE, path="/")
    return answer


@router.post("/who")
def name(given: FormDep) -> RedirectResponse:
    """Remembers who decides here; nothing is proved by it, and the key is what lets somebody in."""
    answer = back(given, "/ui/runs", "named")
    if not given.get("by"):  # a name that was given is remembered already
        who.remember(answer, "")
    return answer
