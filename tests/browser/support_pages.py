"""A server of its own process with its pages, a queue that the test changes beside it, and a browser that keeps its eyes open."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from autopack.clock import utc_now
from autopack.db.identity import open_database
from autopack.db.location import locate
from tests.db.support_queue import Queue

expect.set_options(timeout=30_000)  # a machine under load is slow, not wrong


@contextmanager
def queue_at(directory: Path, migrated_file: Path) -> Iterator[tuple[Queue, str]]:
    """Another process than the server's changes it, as a drain would."""
    path = directory / "autopack.db"
    shutil.copy(migrated_file, path)
    url = f"sqlite:///{path}"
    with open_database(locate(url, directory), synchronous="OFF") as database:
        yield Queue(database, now=utc_now()), url


@contextmanager
def watched(browser: Browser, **options: object) -> Iterator[Page]:
    """A page of its own context. What it logs as an error (a refusal of its policy too), and what it asks of others, fails the test."""
    context = browser.new_context(locale="en-GB", timezone_id="UTC", **options)  # type: ignore[arg-type]
    context.set_default_timeout(30_000)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda told: wrong.append(told.text) if told.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda asked: (
            wrong.append(asked.url) if not asked.url.startswith(("http://127.0.0.1:", "data:")) else None
        ),
    )
    yield page
    context.close()
    assert wrong == []


def is_live(page: Page) -> None:
    expect(page.locator("#stream-state")).to_have_text("live", timeout=30_000)


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {[node['target'] for node in each['nodes'][:3]]}" for each in found]


def is_wide(page: Page) -> bool:
    """Whether the page itself scrolls sideways."""
    wide: bool = page.evaluate("() => document.documentElement.scrollWidth > innerWidth")
    return wide
