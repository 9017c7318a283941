"""Words for people: moments, spans, commands, and no character that a terminal would obey."""

from datetime import UTC, datetime, timedelta

import pytest

from autopack.domain.looks import progress, words
from autopack.domain.looks.outlook import rounds
from autopack.domain.looks.stops import needed_dollars, needed_tokens, person
from autopack.domain.moments import moment
from autopack.errors import UsageError

NOW = datetime(2026, 3, 1, 14, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("8h", NOW - timedelta(hours=8)),
        ("yesterday 18:00", datetime(2026, 2, 28, 18, 0, tzinfo=UTC)),
        ("Yesterday", datetime(2026, 2, 28, tzinfo=UTC)),
        ("today 09:30", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
        ("2026-02-01T10:00:00+02:00", datetime(2026, 2, 1, 8, 0, tzinfo=UTC)),
    ],
)
def test_moments_as_people_write_them(text: str, meant: datetime) -> None:
    assert moment("--since", text, NOW) == meant


@pytest.mark.parametrize(
    "text", ["", "8", "-8h", "yesterday at six", "yesterday 25:00", "tomorrow", "9999999w"]
)
def test_what_is_no_moment_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="--since"):
        moment("--since", text, NOW)


def test_spans_and_moments_are_as_short_as_they_can_be() -> None:
    seconds = (0, 89, 90, 5399, 5400, 7200, 48 * 3600)
    assert [words.span(timedelta(seconds=each)) for each in seconds] == [
        "0 s", "89 s", "1 min", "89 min", "1 h 30 min", "2 h", "2 days",
    ]  # fmt: skip
    assert words.span(timedelta(seconds=-5)) == "0 s"
    assert words.at(NOW, NOW) == "14:00 UTC"
    assert words.at(NOW - timedelta(days=1), NOW) == "14:00 on 2026-02-28 UTC"
    assert (words.count(1, "phase"), words.count(0, "phase"), words.count(2, "try")) == (
        "1 phase",
        "0 phases",
        "2 tries",
    )


def test_only_what_is_complete_is_done() -> None:
    assert progress.how_far({}) == "0/0 complete"
    counts = {
        "QUEUED": 2,
        "FAILED": 1,
        "SKIPPED": 1,
        "CANCELLED": 1,
        "GATE": 1,
        "EXECUTING": 1,
        "COMPLETE": 3,
    }
    assert (
        progress.how_far(counts)
        == "3/10 complete, 1 executing, 1 waiting for you, 1 failed, 1 skipped, 1 cancelled"
    )
    assert words.spoken("DONE_FAILED_POLICY_VIOLATION") == "failed policy violation"


@pytest.mark.parametrize(
    ("tiers", "waits_for", "lanes", "in_a_row"),
    [
        ({}, [], 4, 0),
        ({"a": 0, "b": 0, "c": 0}, [], 2, 2),
        ({"a": 0, "b": 1, "c": 2}, [], 8, 3),
        ({"a": 0, "b": 0, "c": 0, "d": 0}, [("b", "a"), ("c", "b"), ("d", "a")], 8, 3),
        ({"a": 0, "b": 0}, [("a", "done"), ("b", "done"), ("done", "a")], 2, 1),
        ({"a": 0, "b": 1}, [("b", "a")], 2, 2),
        ({"a": 0, "b": 0}, [("a", "b"), ("b", "a")], 1, 2),
    ],
)
def test_time_is_of_phases_that_must_follow_each_other(
    tiers: dict[str, int], waits_for: list[tuple[str, str]], lanes: int, in_a_row: int
) -> None:
    assert rounds(tiers, waits_for, lanes) == in_a_row


def test_no_character_that_a_terminal_would_obey_gets_through() -> None:
    assert words.first_line("\n\x1b]0;owned\x07 red\u202e txt\nmore") == "?]0;owned? red? txt"
    assert len(words.first_line("x" * 10_000)) == 200
    assert words.first_line(None) == ""
    assert words.command("why", "a b") == "autopack why 'a b'"


def test_a_cap_that_would_do_is_found_in_the_refusal() -> None:
    tokens = "the next call may take up to 9, so the cap would have to be 1209 or more"
    dollars = "so the cap would have to be 0.25 USD or more; no call under way can make room for it"
    assert (needed_tokens(tokens), needed_dollars(tokens)) == ("1209", None)
    assert (needed_tokens(dollars), needed_dollars(dollars)) == (None, "0.25")
    assert person("ann (10.0.0.1 cli)") == "ann"
