"""The page of the API is served from here, on servers with pages only; FastAPI's own, which ask elsewhere, are gone."""

from contextlib import nullcontext
from pathlib import Path

from fastapi.routing import APIRoute
from starlette.routing import Route

from autopack.api.app import create_app
from tests.web.support_seat import assert_harmless, seat_at, tags


def test_it_needs_nothing_from_elsewhere_and_every_file_of_it_is_there(sqlite_url: str, tmp_path: Path):
    with seat_at(sqlite_url, tmp_path) as seat:
        answer = seat.answer("/docs")
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert_harmless(answer.text)
        needed = [
            tag.get("src") or tag.get("href") or ""
            for name, tag in tags(answer.text)
            if name in ("script", "link")
        ]
        assert len(needed) == 5
        for address in needed:
            assert address.startswith("/ui/static/")
            seat.answer(address)
        assert "/docs" not in seat.answer("/openapi.json").json()["paths"]


def test_an_app_without_pages_has_no_page_about_its_api():
    app = create_app(lambda: nullcontext(None))  # type: ignore[arg-type]  # nothing is opened: only its routes are asked for
    pages = [
        route.path for route in app.routes if isinstance(route, Route) and not isinstance(route, APIRoute)
    ]
    assert pages == ["/openapi.json"]
