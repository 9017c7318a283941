"""The list of runs, and the page of one run: what needs a person, what is being done, and what a person does about it."""

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autopack.db.pages import run_board
from autopack.domain.phases import AttemptOutcome
from autopack.errors import NotFound
from autopack.web.timeline import lines
from tests.db.support_queue import ON_BOTH, START, Queue
from tests.support import phase, plan
from tests.web.support_seat import HOSTILE, Seat, assert_harmless, tags, text

APPROVAL = {
    "reasons": ["Makefile: a person decides"], "plan": {"summary": "s", "files": []}, "diff": "+a\n", "diff_hash": "d" * 64,
    "base_commit": "b" * 40,
}  # fmt: skip


def fail(queue: Queue, **more: Any) -> None:
    claim = queue.claim(**more)
    queue.finish(
        claim, AttemptOutcome.FAILED, failure_kind="checks_failed", reason="1 test failed", retryable=False
    )


def events(seat: Seat, run_id: str = "r1") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = seat.client.get(f"/runs/{run_id}/events").json()
    return found


def test_without_a_run_the_page_says_how_to_make_one(seat: Seat):
    read = text(seat.page("/ui/runs"))
    assert "No run yet" in read
    assert "autopack demo" in read
    assert "autopack run create" in read


def test_runs_are_listed_the_newest_first_with_what_needs_a_person(seat: Seat):
    seat.queue.create(plan("old", [phase("p1"), phase("p2")]))
    fail(seat.queue, run_id="old")
    seat.queue.tick(minutes=1)
    seat.queue.create(plan("young"))
    page = seat.page("/ui/runs?state=open")
    assert [each["id"] for tag, each in tags(page) if tag == "tr" and "id" in each] == [
        "run-young",
        "run-old",
    ]
    assert "1 of 2 needs you : old (1)" in text(page)
    assert "0/2 complete, 1 failed" in text(page)


def test_open_runs_that_need_a_person_come_first_and_a_filter_keeps_the_order(seat: Seat):
    for run_id in ("old", "young"):
        seat.queue.create(plan(run_id, [phase("p1"), phase("p2"), phase("p3")]))
        seat.queue.tick(minutes=1)
    fail(seat.queue, run_id="old")

    def order(address: str) -> list[str | None]:
        return [each["id"] for tag, each in tags(seat.page(address)) if tag == "tr" and "id" in each]

    assert order("/ui/runs") == ["run-old", "run-young"]
    assert order("/ui/runs?state=open") == ["run-young", "run-old"]


def test_a_run_in_which_nobody_works_does_not_look_busy(seat: Seat):
    seat.queue.create(plan("r1"))
    seat.queue.claim()
    for address in ("/ui/runs", "/ui/runs/r1"):
        assert "state state-running" in seat.page(address)
    seat.queue.tick(seconds=61)
    for address in ("/ui/runs", "/ui/runs/r1"):
        page = seat.page(address)
        assert "state state-running" not in page
        assert "state state-still" in page


def test_the_filters_are_in_the_address(seat: Seat):
    for run_id in ("alpha", "beta"):
        seat.queue.create(plan(run_id))
    fail(seat.queue, run_id="beta")
    assert "alpha" not in text(seat.page("/ui/runs?state=needs-you"))
    found = seat.page("/ui/runs?q=ALP&state=open")
    assert "alpha" in text(found)
    assert "beta" not in text(found)
    assert 'value="ALP"' in found
    assert "No run is like that" in text(seat.page("/ui/runs?q=%25"))
    assert "beta" in text(seat.page("/ui/runs?state=&q=&after="))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("runs?state=FOO", "state 'FOO' is none of open, needs-you, "),
        ("runs?after=%3Cx%3E", "after '<x>' is no id of a run"),
        ("runs/r1?state=RUNNING", "state 'RUNNING' is none of QUEUED"),
        ("runs/r1?after=-1", "after '-1' is no place in a plan"),
        ("approvals?status=FOO", "status 'FOO' is none of pending"),
        ("approvals?run=a%20b", "run 'a b' is no id of a run"),
    ],
)
def test_a_wrong_filter_is_refused_in_words_and_not_left_out(seat: Seat, address: str, said: str):
    seat.queue.create(plan())
    for place in ("/ui/", "/ui/stream/"):
        answer = seat.client.get(place + address)
        assert answer.status_code == 400
        assert said in html.unescape(answer.text)


def test_more_runs_than_fit_are_on_the_next_page(seat: Seat):
    for number in range(103):
        seat.queue.create(plan(f"r{number:03}"))
        seat.queue.tick(seconds=1)
    first = seat.page("/ui/runs?state=open")
    assert "/ui/runs?state=open&amp;after=r003" in first
    second = seat.page("/ui/runs?state=open&after=r003")
    assert [each["id"] for tag, each in tags(second) if tag == "tr" and "id" in each] == [
        "run-r002",
        "run-r001",
        "run-r000",
    ]


def test_names_and_reasons_from_outside_stay_text(seat: Seat):
    seat.queue.create(plan("r1", [phase("p1", name=HOSTILE), phase("p2")], goal=HOSTILE))
    claim = seat.queue.claim()
    seat.queue.finish(
        claim, AttemptOutcome.FAILED, failure_kind="checks_failed", reason=HOSTILE, retryable=False
    )
    waiting = seat.queue.claim()
    reasons = [f'{HOSTILE}<hx-partial hx-target="body">']
    seat.queue.finish(
        waiting,
        AttemptOutcome.NEEDS_APPROVAL,
        reason=HOSTILE,
        approval={**APPROVAL, "reasons": reasons, "diff": HOSTILE},
    )
    for address in ("/ui/runs", "/ui/runs/r1", "/ui/approvals"):
        page = seat.page(address)
        assert_harmless(page)
        assert "<hx-partial" not in page
        assert "alert(1)" in text(page)


def test_a_run_says_why_nothing_moves_and_what_needs_a_person_first(seat: Seat):
    seat.queue.create(plan("r1", [phase("p1"), phase("p2"), phase("p3")], token_cap=1000))
    fail(seat.queue)
    waiting = seat.queue.claim()
    seat.queue.finish(waiting, AttemptOutcome.NEEDS_APPROVAL, reason="Makefile", approval=APPROVAL)
    page = seat.page("/ui/runs/r1")
    read = text(page)
    assert page.index("Needs you") < page.index('id="tiles"') < page.index('id="phases"')
    assert "Requeue 1 failed phase" in read
    assert "autopack phase requeue r1 --failed" in read
    assert "Makefile: a person decides" in read
    assert "p1 out" not in read
    assert "0 used of 1,000" in read


def test_only_what_is_complete_counts_as_done(seat: Seat):
    seat.queue.create(plan("r1", [phase("p1"), phase("p2")]))
    seat.queue.finish(seat.queue.claim())
    seat.post("/ui/runs/r1/phases", do="skip", phase="p2")
    assert "1/2 complete, 1 skipped" in text(seat.page("/ui/runs"))
    page = seat.page("/ui/runs/r1")
    assert "complete 1 of 2" in text(page)
    assert "skipped 1" in text(page)
    assert "tile-good" not in page


def test_time_is_left_only_of_what_moves(seat: Seat):
    seat.queue.create(plan("r1", [phase("p1"), phase("p2")]))
    claim = seat.queue.claim()
    seat.queue.tick(seconds=10)
    seat.queue.finish(claim)
    assert "time left – 10 s once it moves" in text(seat.page("/ui/runs/r1"))
    seat.queue.claim()
    assert "time left 10 s" in text(seat.page("/ui/runs/r1"))


def test_what_is_being_done_is_told_with_who_does_it(seat: Seat):
    seat.queue.create(plan("r1", [phase("p1")]))
    seat.queue.claim()
    assert "at work since 00:00:00 by w1" in text(seat.page("/ui/runs/r1"))


def test_phases_are_below_their_tiers_and_filtered_by_the_address(seat: Seat):
    tiers = [
        {"tier_id": "T1", "phases": [phase("a1"), phase("a2")]},
        {"tier_id": "T2", "phases": [phase("b1")]},
    ]
    seat.queue.create({**plan("r1"), "tiers": tiers})
    fail(seat.queue)
    rows = [each["id"] for tag, each in tags(seat.page("/ui/runs/r1")) if tag == "tr" and "id" in each]
    assert rows == ["tier-of-0", "phase-0", "phase-1", "tier-of-2", "phase-2"]
    filtered = seat.page("/ui/runs/r1?state=FAILED&q=A1")
    assert [each["id"] for tag, each in tags(filtered) if tag == "tr" and "id" in each] == [
        "tier-of-0",
        "phase-0",
    ]
    assert "No phase is like that" in text(seat.page("/ui/runs/r1?q=nothing"))


def test_a_thousand_phases_are_one_page_and_the_next_ones_another(seat: Seat):
    seat.queue.create(plan("r1", [phase(f"p{number:04}") for number in range(1001)]))
    page = seat.page("/ui/runs/r1")
    assert page.count('<tr role="row" id="phase-') == 1000
    assert "after=999" in page
    assert seat.page("/ui/runs/r1?after=999").count('<tr role="row" id="phase-') == 1


def test_a_run_is_paused_resumed_and_cancelled_by_name(seat: Seat):
    seat.queue.create(plan("r1"))
    answer = seat.post("/ui/runs/r1/pause", by="Ada", reason="lunch", back="/ui/runs/r1?state=QUEUED")
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/runs/r1?state=QUEUED&done=paused")
    read = text(seat.page(answer.headers["location"]))
    assert "The run is paused: nothing more is claimed" in read
    assert "Resume" in read
    seat.post("/ui/runs/r1/resume")
    seat.post("/ui/runs/r1/cancel")
    actors = [event["actor"] for event in events(seat) if event["kind"] == "run_state"]
    assert all(actor.startswith("Ada (127.0.0.1 testclient") for actor in actors), actors
    refused = seat.post("/ui/runs/r1/pause")
    assert refused.status_code == 409
    assert "there is nothing to pause" in text(refused.text)


def test_what_failed_is_requeued_at_once_and_what_is_chosen_is_skipped(seat: Seat):
    seat.queue.create(plan("r1", [phase(f"p{number}") for number in range(4)]))
    fail(seat.queue)
    fail(seat.queue)
    for seen in ("1", "3", "all"):
        late = seat.post("/ui/runs/r1/phases", do="requeue", failed=seen)
        assert (late.status_code, "2 failed by now" in text(late.text)) == (409, True)
    assert 'name="failed" value="2"' in seat.page("/ui/runs/r1")
    answer = seat.post("/ui/runs/r1/phases", do="requeue", failed="2")
    assert answer.headers["location"] == "/ui/runs/r1?done=requeued&n=2"
    assert "2 requeued" in text(seat.page(answer.headers["location"]))
    seat.queue.claim()
    chosen = seat.client.post(
        "/ui/runs/r1/phases", data={"do": "skip", "phase": ["p0", "p2", "p9"]}, follow_redirects=False
    )
    assert chosen.headers["location"] == "/ui/runs/r1?done=skipped&n=1&refused=2"
    assert "2 could not be changed" in text(seat.page(chosen.headers["location"]))
    assert seat.queue.phase("p2").state == "SKIPPED"
    assert seat.post("/ui/runs/r1/phases", do="skip").headers["location"].endswith("done=nothing")
    assert seat.post("/ui/runs/r1/phases", do="burn", phase="p3").status_code == 422
    assert seat.post("/ui/runs/nope/phases", do="skip", phase="p3").status_code == 404


def test_a_run_stops_after_a_phase(seat: Seat):
    seat.queue.create(plan("r1"))
    seat.post("/ui/runs/r1/phases/p1/pause-after", pause="true")
    assert seat.queue.phase("p1").pause_after is True
    assert "stops after this" in text(seat.page("/ui/runs/r1"))
    seat.post("/ui/runs/r1/phases/p1/pause-after", pause="false")
    assert seat.queue.phase("p1").pause_after is False


def test_only_what_the_person_changed_is_changed(seat: Seat):
    seat.queue.create(plan("r1", token_cap=1000, cost_cap_usd=2.5))
    seen = {
        "was_token_cap": "1000",
        "was_cost_cap_usd": "2.5",
        "was_concurrency": "",
        "was_builder_model": "",
    }
    form = {"token_cap": "", "cost_cap_usd": "2.5", "concurrency": "3", "builder_model": "openai:m", **seen}
    assert seat.post("/ui/runs/r1/set", **form).headers["location"] == "/ui/runs/r1?done=changed"
    (changed,) = [event["detail"]["changes"] for event in events(seat) if event["kind"] == "run_changed"]
    assert changed == {
        "token_cap": [1000, None],
        "concurrency": [None, 3],
        "builder_model": [None, "openai:m"],
    }
    seat.post("/ui/runs/r1/phases/p1/pause-after", pause="true")
    told = text(seat.page("/ui/runs/r1")).partition("What happened last")[2]
    assert "token_cap: 1000 -> none" in told
    assert "the run pauses when this phase has ended" in told
    assert (
        seat.post("/ui/runs/r1/set", token_cap="", was_token_cap="").headers["location"].endswith("nothing")
    )


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [("token_cap", "many", "token cap is not a number"), ("cost_cap_usd", "nan", "cost cap usd is not"), ("token_cap", "1_0", "token cap is not"), ("token_cap", "\u0661", "token cap is not"), ("cost_cap_usd", "0.0000000001", "cost_cap_usd"), ("concurrency", "257", "concurrency"),
     ("builder_model", "gpt", "builder_model")],
)  # fmt: skip
def test_a_wrong_value_is_refused_in_words_and_nothing_is_changed(
    seat: Seat, field: str, value: str, said: str
):
    seat.queue.create(plan("r1"))
    refused = seat.post("/ui/runs/r1/set", **{field: value})
    assert refused.status_code == 422
    assert said in text(refused.text)
    assert [event["kind"] for event in events(seat)] == ["run_created"]


def test_every_button_names_the_command_that_does_the_same(seat: Seat):
    seat.queue.create(plan("r1", [phase("p1"), phase("p2")]))
    fail(seat.queue)
    buttons = [
        each for tag, each in tags(seat.page("/ui/runs/r1").split('id="region"')[1]) if tag == "button"
    ]
    unnamed = [each for each in buttons if not (each.get("title") or "").startswith("autopack ")]
    assert [each for each in unnamed if each.get("class") != "secondary"] == []
    assert len(unnamed) <= 1  # the filter's


# The reads behind the page, on both databases


@pytest.fixture
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Queue]:
    from autopack.db.identity import open_database
    from autopack.db.location import locate

    with open_database(
        locate(request.getfixturevalue(request.param), tmp_path), synchronous="OFF"
    ) as database:
        yield Queue(database)


@ON_BOTH
def test_the_board_reads_alike_on_both_databases(queue: Queue):
    from autopack.db.pages import inbox, pulse, runs

    queue.create(plan("r1", [phase("p1"), phase("p2"), phase("p3")]))
    fail(queue)
    queue.finish(queue.claim(), AttemptOutcome.NEEDS_APPROVAL, reason="Makefile", approval=APPROVAL)
    with queue.session() as session:
        before = pulse.beat(session)
    queue.claim()
    with queue.session() as session:
        after = pulse.beat(session)
        board = run_board.read(session, "r1", now=queue.now, state=None, text="", after=-1)
        (line,) = runs.lines(session, state="needs-you", text="R1", after=None, limit=9, now=queue.now)
        (request,) = inbox.requests(session, run_id="r1", status="pending", limit=9, now=queue.now)
        with pytest.raises(NotFound):
            run_board.read(session, "nope", now=queue.now, state=None, text="", after=-1)
    assert before != after
    assert [(each.phase_id, str(each.state)) for each in board.phases] == [
        ("p1", "FAILED"),
        ("p2", "GATE"),
        ("p3", "EXECUTING"),
    ]
    assert (board.phases[1].request_id, board.phases[2].worker) == (request.approval_id, "w1")
    assert [each.outcome for each in board.tries] == ["FAILED", "NEEDS_APPROVAL", None]
    assert (line.needs_you, inbox_count(queue)) == (2, 1)


def inbox_count(queue: Queue) -> int:
    from autopack.db.pages import inbox

    with queue.session() as session:
        return inbox.pending_count(session)


def test_bars_of_the_timeline_share_one_scale():
    from datetime import timedelta

    tries = [
        run_board.Try(phase_id="a", number=1, outcome="FAILED", claimed_at=START, finished_at=START + timedelta(seconds=10)),
        run_board.Try(phase_id="b", number=1, outcome=None, claimed_at=START + timedelta(seconds=10), finished_at=None),
        run_board.Try(phase_id="a", number=2, outcome="COMPLETE", claimed_at=START + timedelta(seconds=15), finished_at=START + timedelta(seconds=20)),
    ]  # fmt: skip
    first, second = lines(tries, START + timedelta(seconds=20))
    assert (first.phase_id, second.phase_id) == ("b", "a")
    assert [(bar.x, bar.width, bar.kind) for bar in second.bars] == [
        (0.0, 500.0, "failed"),
        (750.0, 250.0, "complete"),
    ]
    assert (first.bars[0].x, first.bars[0].width) == (500.0, 500.0)
    assert lines([], START) == []
