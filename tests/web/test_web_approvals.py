"""The inbox: what waits is shown with its diff, and a person's word is taken once, with a reason where one is needed."""

from autopack.domain.phases import AttemptOutcome
from tests.db.support_queue import Queue
from tests.support import phase, plan
from tests.web.support_seat import Seat, tags, text

DIFF = "diff --git a/Makefile b/Makefile\n+all:\n-none:\n"


def wait_in_gate(queue: Queue, run_id: str = "r1", **approval: object) -> None:
    asked = {
        "reasons": ["Makefile: a person decides"], "plan": {"summary": "s", "files": []}, "diff": DIFF, "diff_hash": "d" * 64,
        "base_commit": "b" * 40, **approval,
    }  # fmt: skip
    queue.finish(queue.claim(run_id=run_id), AttemptOutcome.NEEDS_APPROVAL, reason="Makefile", approval=asked)


def pending(seat: Seat, status: str = "pending") -> list[str]:
    return [each["approval_id"] for each in seat.client.get("/approvals", params={"status": status}).json()]


def two_waiting(seat: Seat) -> list[str]:
    seat.queue.create(plan("r1", [phase("p1"), phase("p2")]))
    wait_in_gate(seat.queue)
    seat.queue.tick(minutes=1)
    wait_in_gate(seat.queue)
    return pending(seat)


def test_an_empty_inbox_says_so(seat: Seat):
    assert "Nothing waits for you" in text(seat.page("/ui/approvals"))


def test_a_request_shows_its_reasons_its_diff_by_classes_and_the_commands(seat: Seat):
    first, _ = two_waiting(seat)
    page = seat.page("/ui/approvals?run=r1")
    assert '<span class="added">+all:</span>' in page
    assert '<span class="taken">-none:</span>' in page
    assert f"autopack approvals approve {first}" in text(page)
    assert "2 pending" in text(page)
    alone = seat.page(f"/ui/approvals/{first}")
    assert "p1" in text(alone)
    assert alone.count('name="approve"') == 1


def test_the_overdue_are_first_and_marked(seat: Seat):
    seat.queue.create(plan("r1", [phase("p1"), phase("p2")]))
    wait_in_gate(seat.queue)
    wait_in_gate(seat.queue, timeout_minutes=1)
    seat.queue.tick(minutes=5)
    page = seat.page("/ui/approvals")
    assert page.index("overdue") < page.index("p1")


def test_one_is_approved_by_its_button_and_by_whom_is_remembered(seat: Seat):
    first, second = two_waiting(seat)
    answer = seat.post("/ui/approvals/decide", approve=first, by="Ada Lovelace", back="/ui/approvals?run=r1")
    assert answer.headers["location"] == "/ui/approvals?run=r1&done=approved&n=1"
    assert pending(seat) == [second]
    assert seat.queue.phase("p1").state == "QUEUED"
    assert 'value="Ada Lovelace"' in seat.page("/ui/approvals")
    decided = seat.client.get(f"/approvals/{first}").json()
    assert (decided["responded_by"], decided["response_method"][:9]) == ("Ada Lovelace", "127.0.0.1")


def test_to_reject_takes_a_reason(seat: Seat):
    first, second = two_waiting(seat)
    refused = seat.post("/ui/approvals/decide", reject=first, **{f"reason-{first}": "  "})
    assert refused.status_code == 422
    assert "say why" in text(refused.text)
    assert pending(seat) == [first, second]
    seat.post(
        "/ui/approvals/decide",
        reject=first,
        **{f"reason-{first}": "not this way", f"reason-{second}": "another's"},
    )
    assert pending(seat) == [second]
    assert "not this way" in (seat.queue.phase("p1").failure_reason or "")


def test_several_are_decided_at_once_each_by_itself(seat: Seat):
    first, second = two_waiting(seat)
    seat.post("/ui/approvals/decide", approve=first)
    answer = seat.client.post(
        "/ui/approvals/decide",
        data={"do": "reject", "reason": "no", "request": [first, second]},
        follow_redirects=False,
    )
    assert answer.headers["location"] == "/ui/approvals?done=rejected&n=1&refused=1"
    assert seat.queue.phase("p1").state == "QUEUED"
    assert seat.queue.phase("p2").state == "FAILED"
    assert (
        seat.post("/ui/approvals/decide", do="reject", reason="x")
        .headers["location"]
        .endswith("done=nothing")
    )


def test_what_was_decided_before_is_refused_in_words(seat: Seat):
    first, _ = two_waiting(seat)
    seat.post("/ui/approvals/decide", approve=first, by="Ada")
    late = seat.post("/ui/approvals/decide", reject=first, **{f"reason-{first}": "no"})
    assert late.status_code == 409
    assert "Ada decided" in text(late.text)
    assert seat.post("/ui/approvals/decide", approve="0" * 32).status_code == 404


def test_enter_in_a_field_decides_nothing_by_accident(seat: Seat):
    """A browser presses the form's first button that is not disabled, or none where the first one is."""
    two_waiting(seat)
    page = seat.page("/ui/approvals").split('id="region"')[1]
    first = next(each for tag, each in tags(page) if tag == "button")
    assert "disabled" in first
