"""The API to be read and tried in a browser: Swagger UI, served from here. FastAPI's own page fetches it from elsewhere."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from autopack.web.rendering import page

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def docs(request: Request) -> HTMLResponse:
    return page(request, "docs.html")
