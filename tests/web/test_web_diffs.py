"""A diff on a page: what each line does, and all that is in it."""

from autopack.web import diffs
from tests.db.support_queue import Queue
from tests.support import phase, plan
from tests.web.support_seat import Seat, text
from tests.web.test_web_approvals import pending, wait_in_gate

HEAD = "diff --git a/q.sql b/q.sql\nindex 1..2 100644\n--- a/q.sql\n+++ b/q.sql\n"


def kinds(diff: str) -> list[str]:
    return [kind for kind, _ in diffs.lines(diff, "x")]


def test_a_line_is_a_header_by_its_place_and_not_by_its_looks():
    diff = f"{HEAD}@@ -1,2 +1,2 @@\n--- x\n+++ y\n+index\n{HEAD}@@ -1 +1 @@\n-a"
    assert kinds(diff) == [*["file"] * 4, "hunk", "taken", "added", "added", *["file"] * 4, "hunk", "taken"]
    assert kinds("--- a\n+++ b\n@@ -0,0 +1 @@\n+++ c") == ["file", "file", "hunk", "added"]
    assert kinds("diff --git a/b b/b\nold mode 100644\nnew mode 100755\n+all:") == [*["file"] * 3, "added"]


def test_what_is_not_seen_or_turns_the_order_round_is_written_out():
    assert diffs.lines("+is_admin\u200b = \u202enimda\x1b[2K", "x") == [
        ("added", "+is_admin\\u200b = \\u202enimda\\x1b[2K")
    ]


def wait_with(queue: Queue, lines: int) -> None:
    queue.create(plan("r1", [phase("p1")]))
    wait_in_gate(queue, diff="diff --git a/x b/x\n@@ -0,0 +1 @@\n" + "+\u202ex\n" * lines)


def test_beside_the_button_it_is_said_how_much_is_not_shown(seat: Seat):
    wait_with(seat.queue, diffs.MOST_LINES - 1)
    (request,) = pending(seat)
    for address, left in (("/ui/approvals", diffs.MOST_LINES + 1 - 600), (f"/ui/approvals/{request}", 1)):
        page = seat.page(address)
        read = text(page)
        assert f"{left} of its lines" in read
        assert f"`autopack approvals show {request}` shows all" in read
        assert "git diff" not in read
        assert page.index("of its lines") < page.index("data-approve")
        assert "\u202e" not in page


def test_a_diff_that_is_shown_whole_leaves_nothing_out(seat: Seat):
    wait_with(seat.queue, 700)
    (request,) = pending(seat)
    assert "of its lines" not in text(seat.page(f"/ui/approvals/{request}"))
