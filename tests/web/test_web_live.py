"""What a stream sends: what has changed, once, and after a break what was missed."""

import anyio
import pytest
from markupsafe import Markup

from autopack.web.live import Part, Shown, fragments, stream_url
from autopack.web.pulse import MOST_STREAMS, Pulse
from tests.support import phase, plan
from tests.web.support_seat import HOSTILE, Seat, assert_harmless

pytestmark = pytest.mark.anyio


def shown(tiles: str, **rows: str) -> Shown:
    parts = [
        Part(id="tiles", html=Markup(tiles)),
        Part(id="rows", rows={id_: Markup(row) for id_, row in rows.items()}),
    ]
    return Shown(parts=parts, event_id=7)


def stream(seat: Seat, address: str, last_id: str = "") -> str:
    """All that a stream sends that may not stay."""
    headers = {"last-event-id": last_id} if last_id else {}
    answer = seat.client.get(address, headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    return answer.text


@pytest.fixture
def short_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autopack.web.pulse.MOST_STREAMS", 0)


def test_only_what_differs_is_sent():
    before = shown("<b>1</b>", a="<tr id=a>1</tr>", b="<tr id=b>1</tr>")
    assert fragments(before, shown("<b>1</b>", a="<tr id=a>1</tr>", b="<tr id=b>1</tr>")) == ""
    changed = fragments(before, shown("<b>1</b>", a="<tr id=a>1</tr>", b="<tr id=b>2</tr>"))
    assert changed == '<hx-partial hx-target="#rows" hx-swap="rows"><tr id=b>2</tr></hx-partial>'


def test_rows_that_come_and_go_are_sent_as_a_whole():
    before = shown("", a="<tr id=a>1</tr>")
    changed = fragments(before, shown("", a="<tr id=a>1</tr>", b="<tr id=b>1</tr>"))
    assert (
        changed
        == '<hx-partial hx-target="#rows" hx-swap="rowset"><tr id=a>1</tr><tr id=b>1</tr></hx-partial>'
    )


def test_what_a_page_shows_has_one_digest_however_it_was_read():
    assert shown("x", a="1").digest == shown("x", a="1").digest != shown("x", a="2").digest
    assert (
        stream_url("/ui/stream/x", shown("x"), q="a&b", state=None)
        == f"/ui/stream/x?q=a%26b&seen=7.{shown('x').digest}"
    )


def test_who_has_seen_it_all_is_sent_nothing_and_who_has_not_everything(seat: Seat, short_streams: None):
    seat.queue.create(plan("r1", [phase("p1"), phase("p2")]))
    all_of_it = stream(seat, "/ui/stream/runs/r1")
    assert "retry: 2000" in all_of_it
    seen = next(line for line in all_of_it.splitlines() if line.startswith("id: ")).removeprefix("id: ")
    assert "hx-partial" not in stream(seat, "/ui/stream/runs/r1", seen)
    assert "hx-partial" not in stream(seat, f"/ui/stream/runs/r1?seen={seen}")
    seat.queue.claim()
    missed = stream(seat, f"/ui/stream/runs/r1?seen={seen}", seen)
    assert "at work" in missed
    assert int(missed.split("id: ")[1].split(".")[0]) > int(seen.split(".")[0])
    assert "hx-partial" in stream(seat, "/ui/stream/runs/r1?seen=nonsense")


def test_text_from_outside_cannot_end_an_event_or_begin_a_fragment(seat: Seat, short_streams: None):
    seat.queue.create(plan("r1", goal=f"{HOSTILE}\r\n\r\nevent: x\ndata: <hx-partial hx-target='body'>"))
    for address in ("/ui/stream/runs", "/ui/stream/runs/r1"):
        told = stream(seat, address)
        assert "\nevent: x" not in told
        assert "<hx-partial hx-target='body'" not in told
        assert_harmless("\n".join(line.removeprefix("data: ") for line in told.splitlines()))


def test_a_stream_of_a_run_that_is_not_there_is_refused(seat: Seat):
    assert seat.client.get("/ui/stream/runs/nope").status_code == 404


async def test_a_browser_keeps_few_streams_and_others_keep_theirs():
    pulse = Pulse()
    streams = [pulse.stream_of("one browser") for _ in range(MOST_STREAMS + 1)]
    assert [each.__enter__() for each in streams] == [True] * MOST_STREAMS + [False]
    with pulse.stream_of("another") as may_stay:
        assert may_stay
    for each in streams:
        each.__exit__(None, None, None)
    with pulse.stream_of("one browser") as may_come_back:
        assert may_come_back


async def test_a_change_wakes_everybody_and_the_servers_end_too():
    pulse = Pulse()
    told: list[bool] = []

    async def wait() -> None:
        told.append(await pulse.changed(pulse.version))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            pulse.version += 1
            pulse.wake()
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            pulse.closing.set()
    assert told == [True, True, False]
    assert pulse.closing.is_set()
