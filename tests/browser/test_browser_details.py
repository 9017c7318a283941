"""A phase, telemetry, workers, since you left, and the API, in a real browser: live, without script, in both themes."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from autopack import web
from autopack.api.app import create_app
from autopack.clock import Clock
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.domain.phases import AttemptOutcome, FailureKind
from tests.api.conftest import live
from tests.db.support_queue import START, Queue
from tests.support import phase, plan
from tests.support_telemetry import estimation, store, usage

PHASE = "/ui/runs/r1/phases/p1"
PAGES = (PHASE, "/ui/telemetry", "/ui/workers", "/ui/since")
NARROW, WIDE = 390, 1280
# Of the dark theme only the colours differ.
RULES = {"light": {}, "dark": {"runOnly": {"type": "rule", "values": ["color-contrast"]}}}
RED = {
    "passed": False, "level": "full", "notes": [], "evidence": {"comparisons": [{"newly_failing": ["tests.a::t"]}]},
    "results": [
        {"command": "pytest -q", "passed": False, "kind": "failed", "exit_code": 1, "duration_seconds": 2.5, "output": "E boom\n" * 50,
         "reason": "1 failed", "tests": {"failed": 1, "passed": 3200}, "not_passed": {"tests.a::t": "failed"}}
    ],
}  # fmt: skip
VERDICT = {
    "decision": "blocked", "reasons": ["newly failing: tests.a::t"], "checks": {"passed": False},
    "violations": [{"rule": "builds the project", "path": "Makefile", "action": "ask", "reason": "Makefile: a person"}],
}  # fmt: skip
REVIEW = {"approved": False, "issues": [{"severity": "major", "message": "wrong", "path": "a.py", "line": 1}], "notes": "no"}  # fmt: skip


@dataclass
class Served:
    url: str
    queue: Queue


@pytest.fixture(scope="module")
def served(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("details") / "autopack.db"
    copy(migrated_file, path)
    with open_database(locate(f"sqlite:///{path}", path.parent), synchronous="OFF") as database:
        queue = Queue(database)
        seed(queue)
        app = create_app(lambda: nullcontext(database), clock=Clock(now=lambda: queue.now))
        web.install(app)
        with live(app) as url:
            yield Served(url, queue)


def seed(queue: Queue) -> None:
    """A phase whose first attempt failed and whose second is under way, one whose worker is gone, and calls of two days."""
    queue.create(plan("r1", [phase("p1", name="A <b>helper</b>", checks=["pytest -q"]), phase("p2")]))
    queue.create(plan("r2", [phase("p1")]))
    first = queue.claim(phase_id="p1")
    asked = queue.reserve(first)
    queue.settle(first, asked.call_id)
    queue.finish(
        first, AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED, reason="newly failing: tests.a::t\nlong",
        check_report=RED, verdict=VERDICT, review=REVIEW, diff="--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+new\n",
    )  # fmt: skip
    queue.claim(run_id="r2", worker="gone|b|ns|5|1", lease_seconds=10.0)
    queue.tick(hours=1)
    late, early = START, START - timedelta(days=1)
    with queue.session() as session:
        events: list[Any] = [
            usage(number, call_id=f"u{number}", created_at=early if number % 2 else late)
            for number in range(101, 107)
        ]
        events += [
            estimation(
                number, call_id=f"e{number}", timestamp=early if number % 2 else late, predicted_output_tokens=60 * number, selected_budget=200 * number,
                actual_output_tokens=100 * number, truncated=number == 3, budget_source="conformal",
            )
            for number in range(1, 9)
        ]  # fmt: skip
        store(session, *events)


@dataclass
class Seen:
    """What a page said on its console, and asked of whom."""

    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


@contextmanager
def opened(chromium: Browser, served: Served, **more: Any) -> Iterator[tuple[Page, Seen]]:
    context = chromium.new_context(
        **{"viewport": {"width": WIDE, "height": 900}, "base_url": served.url, **more}
    )
    context.set_default_timeout(30_000)
    expect.set_options(timeout=20_000)
    page, seen = context.new_page(), Seen()
    page.on(
        "console",
        lambda said: seen.complaints.append(said.text) if said.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith((served.url, "data:")) else seen.elsewhere.append(asked.url))  # fmt: skip
    try:
        yield page, seen
    finally:
        context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_accessible_quiet_and_fits_a_telephone(chromium: Browser, served: Served, theme: Any):
    with opened(chromium, served, color_scheme=theme, reduced_motion="reduce") as (page, seen):
        for address in PAGES:
            page.set_viewport_size({"width": WIDE, "height": 900})
            page.goto(address)
            if address == "/ui/telemetry":
                expect(page.locator(".chart canvas")).to_have_count(3)
            for summary in page.locator("main details > summary").all():
                summary.click()
            violations = Axe().run(page, options=RULES[theme]).response["violations"]
            assert not violations, (
                address,
                [(each["id"], each["nodes"][0]["target"]) for each in violations],
            )
            page.set_viewport_size({"width": NARROW, "height": 800})
            beyond = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert beyond <= 0, address
    assert seen == Seen()


def test_a_phase_changes_by_itself_and_what_was_opened_stays_open(chromium: Browser, served: Served):
    with opened(chromium, served) as (page, seen):
        page.goto(f"{PHASE}?attempt=1")
        expect(page.locator("#stream-state")).to_have_text("live")
        output = page.locator(".check details").last
        output.locator("summary").click()
        assert page.locator("#attempts tbody tr").count() == 1
        claim = served.queue.claim(phase_id="p1", lease_seconds=3600.0)
        expect(page.locator("#attempts tbody tr")).to_have_count(2)
        expect(page.locator("#head .state").first).to_have_text("executing")
        expect(output).to_have_attribute("open", "")
        expect(page.locator("#h-verdict")).to_contain_text("Attempt 1")
        served.queue.finish(
            claim,
            AttemptOutcome.FAILED,
            failure_kind=FailureKind.AUDIT_REJECTED,
            reason="no",
            retryable=False,
        )
        expect(page.locator("#head .state").first).to_have_text("failed")
        page.get_by_role("button", name="Requeue").click()
        expect(page.locator("#flash")).to_contain_text("requeued")
        expect(page.locator("#head .state").first).to_have_text("queued")
    assert seen == Seen()


def test_without_script_everything_is_there_and_can_be_done(chromium: Browser, served: Served):
    with opened(chromium, served, java_script_enabled=False) as (page, _):
        page.goto("/ui/telemetry")
        page.locator("summary", has_text="As a table").first.click()
        expect(page.get_by_role("cell", name="300 or more")).to_be_visible()
        page.get_by_label("Run").fill("nothing-like-it")
        page.get_by_role("button", name="Filter").click()
        expect(page.get_by_role("heading", name="No model has been called like that yet")).to_be_visible()
        page.goto("/ui/workers")
        expect(page.get_by_role("heading", name="Leases that have ended")).to_be_visible()
        page.goto(PHASE)
        expect(page.locator("h1")).to_contain_text("A <b>helper</b>")
        page.get_by_role("button", name="Pause the run after it").click()
        expect(page.locator("#flash")).to_contain_text("pause when this phase has ended")
        page.get_by_role("button", name="Do not pause after it").click()
        expect(page.locator("#flash")).to_contain_text("will not pause")
        page.goto("/ui/since?since=2h")
        expect(page.locator("#digest")).to_contain_text("Needs you")
        page.get_by_role("button", name="I have seen this").click()
        expect(page.locator("#flash")).to_contain_text("Seen.")
        assert "The last 24 hours" not in page.locator("main").inner_text()


def test_a_chart_that_gets_no_data_says_so_and_leads_to_the_table(chromium: Browser, served: Served):
    with opened(chromium, served) as (page, _):
        page.route("**/data.json*", lambda route: route.abort())
        page.goto("/ui/telemetry")
        expect(page.locator("#chart-cost")).to_contain_text("the table has it")
        assert page.locator("figure table").count() == 3


def test_the_api_is_read_and_tried_without_any_other_host(chromium: Browser, served: Served):
    with opened(chromium, served) as (page, seen):
        page.set_default_timeout(60_000)  # a megabyte and a half of script
        page.goto("/docs")
        page.locator("#operations-tag-identity").click()
        operation = page.locator("#operations-identity-get_identity")
        operation.locator(".opblock-summary-control").click()
        operation.get_by_role("button", name="Try it out").click()
        operation.get_by_role("button", name="Execute").click()
        status = operation.locator(".live-responses-table .response-col_status").last
        expect(status).to_contain_text("200", timeout=60_000)
    assert seen == Seen()
