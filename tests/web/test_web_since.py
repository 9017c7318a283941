"""Since you left, and who is at work: what needs a person first, from the moment at which somebody looked last."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from autopack.domain.messages import ProviderMode
from autopack.domain.phases import AttemptOutcome, FailureKind
from tests.db.support_queue import START
from tests.support import phase, plan
from tests.web.support_seat import HOSTILE, Seat, assert_harmless, seat_at, tags, text

SINCE, WORKERS = "/ui/since", "/ui/workers"
OVER = {"failure_kind": FailureKind.POLICY_VIOLATION, "retryable": False}


@pytest.fixture
def seat(sqlite_url: str, tmp_path: Path) -> Iterator[Seat]:
    with seat_at(sqlite_url, tmp_path) as made:
        yield made


def failed_phase(seat: Seat, reason: str = "protected file") -> None:
    seat.queue.create(plan("r1", [phase("p1"), phase("p2")]))
    seat.queue.finish(seat.queue.claim(), AttemptOutcome.FAILED, reason=reason, **OVER)


def test_with_nothing_in_the_database_nothing_needs_anybody(seat: Seat):
    read = text(seat.page(SINCE))
    assert "nothing needs you; 0 phases complete, 0 failed" in read
    assert "The last 24 hours." in read


def test_what_needs_a_person_is_told_first_with_the_commands(seat: Seat):
    failed_phase(seat)
    seat.queue.tick(minutes=5)
    page = seat.page(SINCE)
    read = text(page)
    assert read.index("Needs you") < read.index("Phases complete") < read.index("What people did")
    assert "autopack phase requeue r1 p1" in read
    assert "policy violation protected file" in read
    assert "/ui/runs/r1/phases/p1" in [tag.get("href") for _, tag in tags(page)]


def test_who_has_seen_it_begins_at_what_was_shown_and_not_at_the_click(seat: Seat):
    failed_phase(seat)
    page = seat.page(SINCE)
    (shown,) = [
        tag["value"]
        for name, tag in tags(page)
        if name == "input" and tag.get("name") == "until" and tag.get("type") == "hidden"
    ]
    assert shown == START.isoformat()
    seat.queue.tick(hours=1)
    seat.queue.finish(seat.queue.claim(), AttemptOutcome.COMPLETE)  # while the person was reading
    answer = seat.post(f"{SINCE}/seen", until=str(shown))
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/since?done=seen")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    seat.queue.tick(minutes=1)
    read = text(seat.page(SINCE))
    assert "1 phase complete" in read
    assert "2026-01-01 00:00 to 2026-01-01 01:01" in read
    assert "The last 24 hours." not in read


def test_what_was_replayed_is_told_beside_what_was_paid(seat: Seat):
    seat.queue.create(plan("r1"))
    claim = seat.queue.claim()
    for mode, cost in ((ProviderMode.LIVE, 0.25), (ProviderMode.REPLAY, None)):
        made = seat.queue.reserve(claim, provider_mode=mode, request_key=seat.queue.new_id("k") * 2)
        seat.queue.settle(claim, made.call_id, cost_usd=cost)
    seat.queue.tick(seconds=1)
    read = text(seat.page(SINCE))
    assert "Tokens 42 and 42 replayed Cost $0.25" in read
    assert "USD" not in read


def test_the_time_may_be_named_in_the_address(seat: Seat):
    failed_phase(seat)
    seat.queue.tick(hours=10)
    assert "0 failed" in text(seat.page(f"{SINCE}?since=8h"))
    assert "1 failed" in text(seat.page(f"{SINCE}?since=12h"))
    read = text(seat.page(f"{SINCE}?since=12h&until=9h"))
    assert "2025-12-31 22:00 to 2026-01-01 01:00" in read
    assert "autopack report --since 2025-12-31T22:00:00Z" in read


@pytest.mark.parametrize(
    ("query", "status", "why"),
    [("since=soon", 400, "is no moment"), ("since=2030-01-01", 422, "still to come"), ("since=1h&until=2h", 422, "is not after since"), (f"since={'9' * 50}", 422, "since")],
)  # fmt: skip
def test_a_time_in_which_nothing_can_be_is_refused_in_words(seat: Seat, query: str, status: int, why: str):
    assert why in text(seat.page(f"{SINCE}?{query}", status))


@pytest.mark.parametrize("odd", ["yes", "2030-01-01T00:00:00+00:00", "", "<script>"])
def test_a_cookie_that_is_no_moment_of_the_past_is_as_none(seat: Seat, odd: str):
    seat.client.cookies.set("autopack_seen", odd)
    assert "The last 24 hours." in text(seat.page(SINCE))


def test_what_is_seen_cannot_lie_in_the_future_and_must_be_a_moment(seat: Seat):
    late = (START + timedelta(days=3)).isoformat()
    assert (
        f"autopack_seen={START.isoformat()};" in seat.post(f"{SINCE}/seen", until=late).headers["set-cookie"]
    )
    assert seat.post(f"{SINCE}/seen", until="x").status_code == 400


def test_reasons_and_goals_are_only_ever_text(seat: Seat):
    seat.queue.create(plan("r1", [phase("p1")], goal=HOSTILE))
    seat.queue.finish(seat.queue.claim(), AttemptOutcome.FAILED, reason=HOSTILE, **OVER)
    seat.queue.tick(minutes=1)
    page = seat.page(SINCE)
    assert_harmless(page)
    assert text(page).count("<script>alert(1)</script>") >= 2


def test_nobody_at_work_says_how_to_begin(seat: Seat):
    read = text(seat.page(WORKERS))
    assert "Nobody is at work" in read
    assert "autopack drain --run-id RUN" in read


def test_leases_are_told_by_worker_and_one_that_ended_with_what_to_do(seat: Seat):
    seat.queue.create(plan("r1", [phase("p1"), phase("p2"), phase("p3")]))
    seat.queue.claim(worker="vm|b|ns|77|1", lease_seconds=600.0)
    seat.queue.claim(worker="vm|b|ns|77|1", lease_seconds=600.0)
    seat.queue.claim(worker="dead|b|ns|5|1", lease_seconds=10.0)
    assert "ended" not in text(seat.page(WORKERS)).split("Worker Phase")[1]
    seat.queue.tick(minutes=1)
    page = seat.page(WORKERS)
    read = text(page)
    assert "2 workers hold 3 leases; 1 ended" in read
    assert "autopack drain --run-id r1" in read
    assert "process 77 on vm" in read
    assert "ended 00:00:10" in read
    assert read.count("until 00:10:00") == 2
    assert "/ui/runs/r1/phases/p1?attempt=1" in [tag.get("href") for _, tag in tags(page)]


def test_of_very_many_leases_the_first_are_shown(seat: Seat, monkeypatch):
    monkeypatch.setattr("autopack.web.workers.MOST", 1)
    seat.queue.create(plan("r1", [phase("p1"), phase("p2"), phase("p3")]))
    for worker in ("a", HOSTILE[:30]):
        seat.queue.claim(worker=worker)
    page = seat.page(WORKERS)
    assert "2+ leases" in text(page)
    assert_harmless(page)
