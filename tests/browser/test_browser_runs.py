"""Runs, a run and the inbox in a real browser, on a real server beside which the queue moves."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Route, expect

from autopack.db import approvals
from autopack.domain.phases import AttemptOutcome
from tests.browser.support_pages import is_live, is_wide, queue_at, violations, watched
from tests.db.support_queue import Queue
from tests.support import free_port, phase, plan, served

pytestmark = pytest.mark.slow
APPROVAL = {
    "reasons": ["Makefile: a person decides"], "plan": {"summary": "s", "files": []}, "diff": "+all:\n-none:\n",
    "diff_hash": "d" * 64, "base_commit": "b" * 40,
}  # fmt: skip
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@dataclass
class Office:
    queue: Queue
    database_url: str
    url: str
    directory: Path

    def request(self, run_id: str) -> str:
        """A new run, one phase of which waits for a person."""
        self.queue.create(plan(run_id, [phase("waits"), phase("next")]))
        self.queue.finish(
            self.queue.claim(run_id=run_id),
            AttemptOutcome.NEEDS_APPROVAL,
            reason="Makefile",
            approval=APPROVAL,
        )
        with self.queue.session() as session:
            (found,) = approvals.page(session, run_id=run_id, status="pending", now=self.queue.now)
        return found.approval_id

    def status(self, approval_id: str) -> str:
        with self.queue.session() as session:
            return approvals.get(session, approval_id, now=self.queue.now).status


@pytest.fixture(scope="module")
def office(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    directory = tmp_path_factory.mktemp("office")
    with queue_at(directory, migrated_file) as (queue, database_url):
        queue.create(
            plan(
                "busy",
                [phase(f"p{number}") for number in range(12)],
                token_cap=5000,
                goal="Do a dozen things.",
            )
        )
        queue.finish(
            queue.claim(run_id="busy"),
            AttemptOutcome.FAILED,
            failure_kind="checks_failed",
            reason="red",
            retryable=False,
        )
        queue.finish(queue.claim(run_id="busy"), result_commit="c" * 40, base_commit="b" * 40)
        queue.claim(run_id="busy")
        with served(database_url, cwd=directory, warm=True) as url:
            yield Office(queue, database_url, url, directory)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pages_are_accessible_and_fit_a_phone(
    office: Office, chromium: Browser, scheme: Literal["light", "dark"]
):
    office.request(f"asks-{scheme}")
    with watched(chromium, color_scheme=scheme, viewport={"width": 1280, "height": 900}) as page:
        for address in ("/ui/runs", "/ui/runs/busy", "/ui/approvals", "/ui/login"):
            page.goto(office.url + address)
            assert violations(page) == [], address
            page.set_viewport_size({"width": 390, "height": 800})
            assert not is_wide(page), address
            page.set_viewport_size({"width": 1280, "height": 900})


def test_what_changes_is_shown_while_somebody_types_into_the_filter(office: Office, chromium: Browser):
    office.queue.create(plan("typed-about"))
    with watched(chromium) as page:
        page.goto(f"{office.url}/ui/runs")
        is_live(page)
        field = page.locator("#q")
        field.press_sequentially("typed-ab")
        expect(page.locator("#runs tr")).to_have_count(1)
        page.wait_for_url("**q=typed-ab")
        is_live(page)
        field.press_sequentially("o")
        office.queue.claim(run_id="typed-about")
        expect(page.locator("#runs")).to_contain_text("1 executing")
        field.press_sequentially("ut")
        assert field.input_value() == "typed-about"
        expect(field).to_be_focused()


def test_a_run_is_followed_and_what_the_person_opened_and_chose_stays(office: Office, chromium: Browser):
    office.queue.create(plan("followed", [phase("a"), phase("b"), phase("c")]))
    first = office.queue.claim(run_id="followed")
    with watched(chromium) as page:
        page.goto(f"{office.url}/ui/runs/followed")
        is_live(page)
        page.locator("#settings summary").click()
        page.locator("#choose-1").check()
        expect(page.get_by_role("button", name="Skip 1 phase")).to_be_visible()
        page.locator("#choose-2").focus()
        office.queue.finish(first, result_commit="c" * 40, base_commit="b" * 40)
        office.queue.claim(run_id="followed")
        expect(page.locator("#phase-0")).to_contain_text("complete")
        expect(page.locator("#phase-1")).to_contain_text("at work")
        assert page.evaluate("document.activeElement.id") == "choose-2"
        expect(page.locator("#settings")).to_have_attribute("open", "")
        page.locator("#choose-2").check()
        page.get_by_role("button", name="Skip 1 phase").click()
        expect(page.locator("#flash")).to_contain_text("1 skipped")
        expect(page.locator("#phase-2")).to_contain_text("skipped")


def test_requests_are_decided_by_keyboard(office: Office, chromium: Browser):
    first, second = office.request("keys-1"), office.request("keys-2")
    with watched(chromium) as page:
        page.goto(f"{office.url}/ui/approvals?run=keys-1")
        tops = page.locator(f"#request-{first} pre.diff span").evaluate_all(
            "lines => lines.map(line => line.getBoundingClientRect().top)"
        )
        assert len(tops) > 1, "the diff has lines"
        assert tops == sorted(set(tops)), "and each is below the one before"
        page.locator("#by").fill("Ada")
        page.locator("#by").press("Escape")
        page.locator("h1").click()
        page.keyboard.press("j")
        expect(page.locator(f"#request-{first}")).to_be_focused()
        page.keyboard.press("a")
        expect(page.locator("#flash")).to_contain_text("approved")
        page.goto(f"{office.url}/ui/approvals?run=keys-2")
        expect(page.locator("#by")).to_have_value("Ada")
        page.keyboard.press("j")
        page.keyboard.press("r")
        page.keyboard.type("not this way")
        page.keyboard.press("Enter")
        expect(page.locator("#flash")).to_contain_text("rejected")
    assert (office.status(first), office.status(second)) == ("approved", "rejected")


def test_everything_works_with_script_off(office: Office, chromium: Browser):
    asked = office.request("plain")
    with watched(chromium, java_script_enabled=False) as page:
        page.goto(f"{office.url}/ui/runs")
        page.locator("#q").fill("plain")
        page.get_by_role("button", name="Filter").click()
        expect(page.locator("#runs tr")).to_have_count(1)
        page.locator("#runs").get_by_role("link", name="plain", exact=True).click()
        page.get_by_role("button", name="Pause").click()
        expect(page.locator("#flash")).to_contain_text("paused")
        page.get_by_role("button", name="Resume").click()
        expect(page.locator("#flash")).to_contain_text("goes on")
        page.locator("#choose-1").check()
        page.get_by_role("button", name="Skip chosen").click()
        expect(page.locator("#phase-1")).to_contain_text("skipped")
        page.goto(f"{office.url}/ui/approvals?run=plain")
        page.locator("#by").fill("Ada")
        page.get_by_role("button", name="Approve", exact=True).click()
        expect(page.locator("#flash")).to_contain_text("approved")
        page.goto(f"{office.url}/ui/runs/plain")
        page.locator("summary", has_text="Cancel the run").click()
        page.get_by_role("button", name="Yes, cancel the run").click()
        expect(page.locator("#flash")).to_contain_text("cancelled")
    assert office.status(asked) == "void"  # it was approved, and then the run was cancelled


def test_ten_tabs_are_all_live_and_none_blocks_another(office: Office, chromium: Browser):
    """A browser opens six connections to a server, and each tab would keep one."""
    office.queue.create(plan("tabs"))
    with watched(chromium) as page:
        tabs = [page, *(page.context.new_page() for _ in range(9))]
        for tab in tabs:
            tab.goto(f"{office.url}/ui/runs/tabs")
        for tab in tabs:
            is_live(tab)
        office.queue.claim(run_id="tabs")
        for tab in tabs:
            expect(tab.locator("#phase-0")).to_contain_text("at work", timeout=30_000)
        tabs[-1].goto(f"{office.url}/ui/approvals")
        expect(tabs[-1].locator("h1")).to_have_text("Approvals")


def test_a_page_outlives_its_server_and_catches_up(office: Office, chromium: Browser):
    office.queue.create(plan("outlived"))
    port = free_port()
    context = chromium.new_context()
    page = context.new_page()
    with served(office.database_url, cwd=office.directory, port=port, warm=True) as url:
        page.goto(f"{url}/ui/runs/outlived")
        is_live(page)
    expect(page.locator("#stream-state")).to_have_text("connection lost, trying again", timeout=30_000)
    office.queue.claim(run_id="outlived")
    expect(page.locator("#phase-0")).to_contain_text("queued")
    with served(office.database_url, cwd=office.directory, port=port, warm=True):
        is_live(page)
        expect(page.locator("#phase-0")).to_contain_text("at work", timeout=30_000)
        context.close()


def test_a_form_on_a_page_of_another_origin_changes_nothing(office: Office, chromium: Browser):
    office.queue.create(plan("aimed-at"))
    form = f'<form method="post" action="{office.url}/ui/runs/aimed-at/cancel"><button>Win a prize</button></form>'
    context = chromium.new_context()
    page = context.new_page()

    def lure(route: Route) -> None:
        route.fulfill(body=form, content_type="text/html")

    page.route("http://elsewhere.example/", lure)
    page.goto("http://elsewhere.example/")
    with page.expect_response("**/cancel") as answer:
        page.get_by_role("button").click()
    assert answer.value.status == 403
    expect(page.locator("main")).to_contain_text("another origin")
    page.goto(f"{office.url}/ui/runs/aimed-at")
    expect(page.locator("h1")).to_contain_text("queued")
    context.close()


def test_few_changes_in_five_hundred_phases_are_drawn_at_once(office: Office, chromium: Browser):
    """Not by the clock of a busy machine: all rows are the ones that were there, but for the two that changed."""
    office.queue.create(plan("many", [phase(f"p{number:03}") for number in range(500)]))
    with watched(chromium) as page:
        page.goto(f"{office.url}/ui/runs/many")
        is_live(page)
        page.evaluate(
            "() => document.querySelectorAll('#phases > tr').forEach((row) => { row.marked = true; })"
        )
        office.queue.claim(run_id="many")
        expect(page.locator("#phase-0")).to_contain_text("at work")
        kept = page.evaluate(
            "() => [...document.querySelectorAll('#phases > tr')].filter((row) => row.marked).length"
        )
        # With the tier's own row. Changed have the phase that was taken, and the first twenty, of which it was said that
        # nobody drains them.
        assert 501 - 21 <= kept < 501
