"""What all pages have in common: where they are, what they send to the browser, how errors look, who may come in."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from autopack import web
from autopack.api.app import create_app
from autopack.api.guard import Access
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.domain.looks.words import spoken
from autopack.web import diffs
from autopack.web.forms import local
from autopack.web.install import STATIC
from autopack.web.rendering import environment, tokens, usd
from tests.web.support_seat import HOSTILE, Seat, assert_harmless, text

VENDOR = STATIC / "vendor"
KEY = "the-servers-key"
ELSEWHERE = ("203.0.113.7", 5)


def test_the_server_begins_at_its_runs(seat: Seat):
    answer = seat.client.get("/", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/runs")


@pytest.mark.parametrize(
    "address", ["/ui/runs", "/ui/approvals", "/ui/login", "/ui/runs/nope", "/ui/static/app.css", "/runs"]
)
def test_every_answer_keeps_the_browser_at_home(seat: Seat, address: str):
    headers = seat.client.get(address).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert (
        policy["script-src"]
        == policy["style-src"]
        == policy["connect-src"]
        == policy["form-action"]
        == "'self'"
    )
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_a_page_is_not_kept_and_a_file_is_asked_for_again(seat: Seat):
    assert seat.answer("/ui/runs").headers["cache-control"] == "no-store"
    file = seat.answer("/ui/static/app.css")
    assert file.headers["cache-control"] == "no-cache"
    again = seat.client.get("/ui/static/app.css", headers={"if-none-match": file.headers["etag"]})
    assert again.status_code == 304


def test_what_is_not_there_is_said_on_a_page_and_to_a_program_as_a_problem(seat: Seat):
    page = seat.page("/ui/runs/nope", 404)
    assert "there is no run nope" in text(page)
    assert "There is no such page." in text(seat.page("/ui/nothing", 404))
    assert seat.client.get("/runs/nope").headers["content-type"] == "application/problem+json"


def test_a_wrong_id_is_refused_on_a_page_that_does_not_run_it(seat: Seat):
    page = seat.client.get("/ui/runs/%3Cscript%3E")
    assert page.status_code == 422
    assert_harmless(page.text)


def test_what_nobody_thought_of_is_a_page_without_a_traceback(seat: Seat, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **__: object) -> None:
        raise KeyError("a secret of the code")

    monkeypatch.setattr("autopack.db.pages.runs.lines", broken)
    client = TestClient(
        seat.client.app, base_url="http://127.0.0.1", client=("127.0.0.1", 5), raise_server_exceptions=False
    )
    answer = client.get("/ui/runs")
    assert answer.status_code == 500
    assert "Unexpected KeyError" in text(answer.text)
    assert "a secret of the code" not in answer.text


def test_vendored_files_are_the_ones_that_are_written_down():
    listed = {
        cells[0]: cells[-1]
        for line in (VENDOR / "VENDOR.md").read_text(encoding="utf-8").splitlines()
        if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 5
        and re.fullmatch("[0-9a-f]{64}", cells[-1])
    }
    files = {path.name for path in VENDOR.iterdir() if path.suffix not in (".txt", ".md")}
    assert listed.keys() == files
    for name, digest in listed.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name


def test_each_vendored_file_has_its_licence_beside_it():
    text = (VENDOR / "VENDOR.md").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w.-]+\.(?:LICENSE|NOTICE)\.txt", text))
    assert named == {path.name for path in VENDOR.glob("*.txt")}


def test_no_template_trusts_what_it_prints_or_brings_code_along():
    """Escaping is what stands between a phase's name and a script; `safe` would take it away."""
    assert environment().autoescape is True
    for path in sorted((STATIC.parent / "templates").rglob("*.html")):
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe\b|autoescape|\bstyle=|\son[a-z]+=|javascript:", source), path
        assert not re.search(r"<script(?![^>]*\ssrc=\"/ui/static/)", source), path


def test_only_addresses_of_our_own_pages_are_gone_back_to():
    assert local("/ui/runs?state=open") == "/ui/runs?state=open"
    for address in (
        "https://elsewhere/ui/",
        "//elsewhere/ui/",
        "/ui/../logout",
        "/ui/\\elsewhere",
        "/ui/a\nb",
        "/runs",
        "",
    ):
        assert local(address) is None, address


def test_a_name_is_remembered_and_printed_as_text(seat: Seat):
    answer = seat.post("/ui/who", by=HOSTILE, back="/ui/approvals")
    assert answer.headers["location"] == "/ui/approvals?done=named"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    page = seat.page("/ui/approvals?done=named")
    assert_harmless(page)
    assert "Your name goes with every change" in text(page)


def test_a_message_comes_from_our_table_and_never_from_the_address(seat: Seat):
    assert "flash" not in seat.page("/ui/runs?done=You+won&n=3").split('id="flash"')[1][:80]


def test_a_form_of_another_kind_or_size_is_refused_in_words(seat: Seat):
    other = seat.client.post("/ui/who", json={"by": "Ada"})
    assert other.status_code == 400
    assert "programs use the API" in text(other.text)
    many = seat.client.post("/ui/who", data={f"f{number}": "x" for number in range(2001)})
    assert many.status_code == 422
    assert "2000" in text(many.text)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_form_of_another_origin_changes_nothing(seat: Seat, site: str):
    refused = seat.client.post("/ui/who", data={"by": "Eve"}, headers={"sec-fetch-site": site})
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers
    assert "another origin" in text(refused.text)


@contextmanager
def from_elsewhere(url: str, directory: Path, key: str | None) -> Iterator[TestClient]:
    with open_database(locate(url, directory), synchronous="OFF") as database:
        app: FastAPI = create_app(
            lambda: nullcontext(database),
            access=lambda: Access(api_key=key, allowed_hosts=frozenset({"queue.example"})),
        )
        web.install(app)
        with TestClient(
            app, base_url="http://queue.example", client=ELSEWHERE, follow_redirects=False
        ) as client:
            yield client


def test_a_page_has_a_head_and_a_stream_has_none(seat: Seat):
    for address in ("/", "/ui/runs", "/ui/login"):
        assert seat.client.head(address, follow_redirects=False).status_code in (200, 303)
    assert seat.client.head("/ui/runs/nope").status_code == 404
    assert seat.client.head("/ui/stream/runs").status_code == 405
    assert seat.client.head("/ui/approvals/decide").status_code in (404, 405, 422)


def test_a_name_is_remembered_by_one_cookie(seat: Seat):
    for name in ("Ada", ""):
        answer = seat.post("/ui/who", by=name)
        assert len(answer.headers.get_list("set-cookie")) == 1


def test_from_elsewhere_the_key_opens_the_pages(
    sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with from_elsewhere(sqlite_url, tmp_path, KEY) as client:
        assert client.get("/ui/runs").headers["location"] == "/ui/login"
        assert client.get("/ui/static/app.css").status_code == 200
        assert client.post("/ui/who", data={"by": "Eve"}).status_code == 401
        assert client.get("/ui/stream/runs").status_code == 401
        wrong = client.post("/ui/login", data={"key": "a guess"})
        assert caplog.messages == ["a wrong API key was sent from 203.0.113.7, for the page"]
        assert wrong.headers["location"] == "/ui/login?failed=true"
        assert "That is not the server's key" in text(client.get(wrong.headers["location"]).text)
        right = client.post("/ui/login", data={"key": KEY})
        cookie = right.headers["set-cookie"]
        assert KEY not in cookie
        assert "httponly" in cookie.lower()
        assert "samesite=strict" in cookie.lower()
        assert client.get("/ui/runs").status_code == 200
        assert client.get("/runs").status_code == 200
        client.post("/ui/logout")
        assert client.get("/ui/runs").status_code == 303


def test_a_cookie_of_another_key_opens_nothing(sqlite_url: str, tmp_path: Path):
    with from_elsewhere(sqlite_url, tmp_path, KEY) as client:
        client.post("/ui/login", data={"key": KEY})
        cookies = dict(client.cookies)
    with from_elsewhere(sqlite_url, tmp_path, "another key") as client:
        client.cookies.update(cookies)
        assert client.get("/ui/runs").status_code == 303


def test_without_a_key_a_server_is_for_its_own_machine(sqlite_url: str, tmp_path: Path):
    with from_elsewhere(sqlite_url, tmp_path, None) as client:
        assert client.get("/ui/runs").status_code == 303
        assert client.get("/ui/login").status_code in (303, 401)
        assert client.post("/ui/login", data={"key": ""}).status_code == 401


def test_numbers_are_short_and_unknown_is_said():
    assert [tokens(number) for number in (None, 0, 9_999, 10_000, 123_456, 999_900, 1_234_567)] == [
        "unknown", "0", "9,999", "10k", "123k", "1M", "1.23M",
    ]  # fmt: skip
    assert [usd(amount) for amount in (None, 0.0, 1234.5, 0.0004)] == [
        "unknown",
        "$0.00",
        "$1,234.50",
        "$0.0004",
    ]
    assert spoken("DONE_FAILED_POLICY_VIOLATION") == "failed policy violation"


def test_lines_of_a_diff_are_told_apart_and_a_long_one_is_cut():
    diff = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+new\n same"
    assert [kind for kind, _ in diffs.lines(diff, "git show")] == [
        "file",
        "file",
        "file",
        "hunk",
        "taken",
        "added",
        "same",
    ]
    cut = diffs.lines("+x\n" * 10, "git show", most=4)
    assert (len(cut), cut[-1][0]) == (5, "cut")
    assert cut[-1][1] == "... 7 more lines; `git show` shows all"
