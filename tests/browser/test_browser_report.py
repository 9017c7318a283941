"""The report as a file in a browser: no request, no error, no script; readable on a telephone, in both themes."""

from datetime import timedelta
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from autopack.cli.report import page as report_page
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.db.looks.digest import digest
from autopack.domain.phases import AttemptOutcome, FailureKind
from tests.db.support_queue import START, Queue
from tests.support import phase, plan

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script> " + "long" * 200


@pytest.fixture
def report(sqlite_url: str, tmp_path: Path) -> Path:
    """What a night left: work that is done, that failed with hostile words, that waits, and that nobody drains."""
    with open_database(locate(sqlite_url, tmp_path), synchronous="OFF") as database:
        queue = Queue(database)
        queue.create(plan("r1", [phase(f"p{n}") for n in range(1, 5)], goal=HOSTILE))
        claim = queue.claim()
        made = queue.reserve(claim)
        queue.settle(claim, made.call_id)
        queue.finish(claim, result_commit="c" * 40)
        queue.finish(queue.claim(), AttemptOutcome.FAILED, failure_kind=FailureKind.POLICY_VIOLATION, reason=HOSTILE)  # fmt: skip
        asked = {
            "reasons": [HOSTILE],
            "plan": {},
            "diff": "+x\n",
            "diff_hash": "d" * 64,
            "base_commit": "b" * 40,
        }
        queue.finish(queue.claim(), AttemptOutcome.NEEDS_APPROVAL, reason=HOSTILE, approval=asked)
        queue.tick(hours=9)
        with queue.session() as session:
            found = digest(session, since=START - timedelta(hours=1), until=None, now=queue.now)
    path = tmp_path / "report.html"
    path.write_text(report_page(found), encoding="utf-8")
    return path


@pytest.mark.slow
def test_the_report_asks_nothing_of_anybody(chromium: Browser, report: Path) -> None:
    for theme, width in (("light", 1280), ("dark", 390)):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, java_script_enabled=True
        )
        page = context.new_page()
        requests, errors = [], []
        page.on("request", lambda request, seen=requests: seen.append(request.url))
        page.on("console", lambda message, seen=errors: seen.append(message.text))
        page.on("pageerror", lambda error, seen=errors: seen.append(str(error)))
        page.on("dialog", lambda dialog, seen=errors: seen.append(dialog.message))
        page.goto(report.as_uri())
        assert page.locator("h1").inner_text() == "3 things need you"
        assert page.locator("img, script").count() == 0
        assert page.get_by_text("<img src=x onerror=alert(1)>").count() > 2
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert (requests, errors) == ([report.as_uri()], [])
        context.close()
