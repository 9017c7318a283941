"""The page of a phase: why it stands where it does, its attempts, and of one of them all that was kept."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autopack.domain.calls import Reservation
from autopack.domain.messages import ProviderMode, Usage
from autopack.domain.phases import AttemptOutcome, Claim, FailureKind
from tests.db.support_queue import failed
from tests.support import phase, plan
from tests.web.support_seat import HOSTILE, Seat, assert_harmless, seat_at, tags, text

P1 = "/ui/runs/r1/phases/p1"
APPROVAL = {
    "reasons": ["Makefile"], "plan": {"summary": "s", "files": []}, "diff": "+a\n", "diff_hash": "d" * 64,
    "base_commit": "b" * 40,
}  # fmt: skip
RED = {
    "passed": False, "level": "full", "notes": [], "evidence": {"comparisons": [{"newly_failing": ["tests.a::t"]}]},
    "results": [
        {"command": "pytest -q", "passed": False, "kind": "failed", "exit_code": 1, "duration_seconds": 2.5,
         "reason": "1 test failed", "output": "E  boom", "tests": {"failed": 1, "passed": 3200}, "not_passed": {"tests.a::t": "failed"}}
    ],
}  # fmt: skip


@pytest.fixture
def seat(sqlite_url: str, tmp_path: Path) -> Iterator[Seat]:
    with seat_at(sqlite_url, tmp_path) as made:
        yield made


def begun(seat: Seat, **more: Any) -> Claim:
    seat.queue.create(plan("r1", [phase("p1", **more)]))
    return seat.queue.claim()


def test_a_phase_that_nobody_has_taken_says_so_and_what_to_do(seat: Seat):
    seat.queue.create(plan("r1", [phase("p1", checks=["pytest -q"])]))
    page = seat.page(P1)
    read = text(page)
    assert "No worker has taken it yet." in read
    assert "autopack drain --run-id r1" in read
    assert "autopack drain-one --run-id r1 --phase-id p1" in read
    assert "pytest -q" in read
    assert "out/p1.txt" in read


def test_one_under_way_says_which_worker_does_what(seat: Seat):
    begun(seat)
    read = text(seat.page(P1))
    assert "Attempt 1" in read
    assert "executing" in read
    assert "its lease holds until 00:01:00" in read


def test_a_failed_attempt_tells_the_rule_the_tests_and_the_reason(seat: Seat):
    claim = begun(seat)
    verdict = {"decision": "blocked", "reasons": ["newly failing: tests.a::t"], "checks": {"passed": False}, "failure_kind": "checks_failed"}  # fmt: skip
    review = {
        "approved": False,
        "issues": [{"severity": "major", "message": "it is wrong", "path": "a.py", "line": 7}],
        "notes": "no",
    }
    seat.queue.finish(
        claim, AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED, reason="newly failing: tests.a::t",
        check_report=RED, verdict=verdict, review=review, diff="--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+new\n",
    )  # fmt: skip
    page = seat.page(P1)
    read = text(page)
    assert "the checks are red: checks failed" in read
    assert "1 failed, 3200 passed" in read
    assert "1 newly failing" in read
    assert "a.py:7 it is wrong" in read
    assert "E boom" in read
    kinds = [
        tag["class"]
        for name, tag in tags(page)
        if name == "span" and tag.get("class") in ("taken", "added", "hunk", "file")
    ]
    assert kinds == ["file", "file", "hunk", "taken", "added"]


def called(
    seat: Seat, claim: Claim, key: str, mode: ProviderMode = ProviderMode.LIVE, **result: Any
) -> Reservation:
    asked = seat.queue.reserve(claim, request_key=key * 64, provider_mode=mode)
    seat.queue.settle(claim, asked.call_id, **result)
    return asked


def test_calls_tell_their_tokens_and_what_is_unknown_or_was_replayed(seat: Seat):
    claim = begun(seat)
    used = Usage(
        input_tokens=1234, output_tokens=56, cache_read_input_tokens=1000, reasoning_output_tokens=40
    )
    called(seat, claim, "a", usage=used, cost_usd=0.5)
    called(seat, claim, "b", cost_usd=None, cost_source=None)
    called(seat, claim, "c", **failed("connection lost", paid=True))
    called(seat, claim, "d", mode=ProviderMode.REPLAY, cost_usd=0.0)
    seat.queue.reserve(claim, request_key="e" * 64)
    page = seat.page(P1)
    rows = [" ".join(row.split()) for row in page.split("<tr>") if "builder" in row]
    read = [text(row) for row in rows]
    assert len(read) == 5
    assert "stop 1,234 1,000 56 40 100 $0.50" in read[0]
    assert "unknown" in read[1]
    assert "connection lost unknown unknown unknown unknown" in read[2].replace("failed ", "")
    assert "replayed" in read[3]
    assert "nothing" in read[3]
    assert "under way – – – –" in read[4]


def test_an_earlier_attempt_may_be_opened_and_one_that_is_not_there_is_not(seat: Seat):
    seat.queue.finish(
        begun(seat), AttemptOutcome.FAILED, failure_kind=FailureKind.MALFORMED_ANSWER, reason="no files in it"
    )
    seat.queue.tick(hours=1)
    seat.queue.claim()
    assert "no files in it" in text(seat.page(f"{P1}?attempt=1")).split("what was decided")[1]
    assert "Attempt 2: what was decided" in text(seat.page(P1))
    assert "no attempt 9" in text(seat.page(f"{P1}?attempt=9", 404))
    assert "attempt" in text(seat.page(f"{P1}?attempt=nine", 422))


def test_a_phase_or_run_that_is_not_there_is_told_on_a_page(seat: Seat):
    begun(seat)
    for address in ("/ui/runs/r1/phases/p9", "/ui/runs/r9/phases/p1"):
        assert "Not here" in text(seat.page(address, 404))


def test_one_that_waits_for_a_person_leads_to_the_request(seat: Seat):
    seat.queue.finish(begun(seat), AttemptOutcome.NEEDS_APPROVAL, reason="Makefile", approval=APPROVAL)
    (link,) = [
        tag["href"]
        for name, tag in tags(seat.page(P1))
        if name == "a" and "#request-" in (tag.get("href") or "")
    ]
    assert link is not None
    assert link.partition("#request-")[2]


def test_every_button_does_what_it_says_and_leads_back(seat: Seat):
    claim = begun(seat)
    seat.queue.finish(
        claim, AttemptOutcome.FAILED, failure_kind=FailureKind.POLICY_VIOLATION, reason="no", retryable=False
    )
    page = seat.page(P1)
    assert _fields(page, "/ui/runs/r1/phases", "requeue") == {"do": "requeue", "phase": "p1", "back": P1}
    done = seat.post("/ui/runs/r1/phases", **_fields(page, "/ui/runs/r1/phases", "requeue"))
    assert (done.status_code, done.headers["location"].partition("?")[0]) == (303, P1)
    assert seat.queue.phase("p1").state == "QUEUED"
    page = seat.page(P1)
    seat.post(f"{P1}/pause-after", **_fields(page, f"{P1}/pause-after"))
    assert seat.queue.phase("p1").pause_after
    page = seat.page(P1)
    assert "the run pauses after it" in text(page)
    seat.post(f"{P1}/pause-after", **_fields(page, f"{P1}/pause-after"))
    assert not seat.queue.phase("p1").pause_after
    seat.post("/ui/runs/r1/phases", **_fields(page, "/ui/runs/r1/phases", "skip"))
    assert seat.queue.phase("p1").state == "SKIPPED"


def _fields(page: str, address: str, do: str | None = None) -> dict[str, str]:
    """The hidden fields of the page's form with that address."""
    for form in page.split("<form")[1:]:
        found = {
            str(tag["name"]): str(tag["value"])
            for name, tag in tags(f"<form{form.partition('</form>')[0]}")
            if name == "input" and tag.get("type") == "hidden"
        }
        if f'action="{address}"' in form and found.get("do") == do:
            return found
    raise AssertionError(f"there is no such form: {address} {do}")


def test_what_models_tests_and_plans_say_is_only_ever_text(seat: Seat):
    claim = begun(seat, name=HOSTILE, goal=HOSTILE)
    told = {
        "passed": False,
        "results": [
            {"command": HOSTILE, "output": HOSTILE, "reason": HOSTILE, "not_passed": {HOSTILE: "failed"}}
        ],
        "notes": [HOSTILE],
    }
    seat.queue.finish(
        claim, AttemptOutcome.FAILED, failure_kind=FailureKind.AUDIT_REJECTED, reason=HOSTILE, check_report=told,
        review={"approved": False, "issues": [{"severity": HOSTILE, "message": HOSTILE, "path": HOSTILE}], "notes": HOSTILE},
        verdict={"decision": "blocked", "reasons": [HOSTILE], "violations": [{"rule": HOSTILE, "path": HOSTILE, "action": HOSTILE, "reason": HOSTILE}]},
        diff=f"+{HOSTILE}\n</pre>{HOSTILE}\n",
    )  # fmt: skip
    page = seat.page(P1)
    assert_harmless(page)
    assert text(page).count("<script>alert(1)</script>") > 10


def test_the_tail_is_cut_on_the_server_and_more_may_be_asked_for(seat: Seat):
    claim = begun(seat)
    output = "\n".join(f"line {number}" for number in range(500))
    seat.queue.finish(
        claim, AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED, reason="red",
        check_report={"passed": False, "results": [{"command": "c", "output": output}]},
    )  # fmt: skip
    short, long = (seat.page(f"{P1}?tail={tail}") for tail in (20, 1000))
    assert short.count("from-checks") <= 20
    assert "show more" in text(short)
    assert long.count("from-checks") > 500
    assert "show more" not in text(long)
    seat.answer(f"{P1}?tail=100000", 422)
