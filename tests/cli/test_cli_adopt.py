"""An earlier database through the command: adopted, looked at, and drained to its end."""

import json
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.db.support_earlier import a_call, a_phase, a_run, a_scope, assert_nothing_is_lost, make_earlier
from tests.db.support_left import state_of, write_journal, write_log, write_mark
from tests.support import auditor_answer, builder_answer, done_record, git, write_cassette


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A run that was called failed with a phase in GATE, and one whose state is in lower case."""
    rows: dict[str, list[dict[str, Any]]] = {
        "runs": [
            a_run("gated", "DONE_FAILED_REQUIRES_HUMAN_REVIEW", token_cap=1, max_duration_minutes=60, started_at="2025-12-01 08:00:00"),
        ],
        "tiers": [{"id": 1, "tier_id": "T1", "run_id": "gated", "tier_index": 0, "name": "First"}],
        "phases": [
            a_phase("gated", "p0", "COMPLETE"), a_phase("gated", "p1", "GATE", scope=a_scope(), builder_attempts=5),
            a_phase("gated", "p2", "queued", scope=None, phase_index=1),
        ],
        "llm_usage_events": [a_call("gated", 22_000), a_call("gone", 704)],
    }  # fmt: skip
    return make_earlier(tmp_path / "old.db", rows)


def test_what_was_left_of_an_adopted_run_is_drained(shell, earlier: Path, tmp_path: Path, monkeypatch):
    # Calls of the earlier system are no asks of this one.
    lines = [*(builder_answer(phase_id, ask=1) for phase_id in ("p1", "p2")), auditor_answer(ask=1)]
    monkeypatch.setenv("AUTOPACK_REPLAY", str(write_cassette(tmp_path / "first.jsonl", lines)))
    ended = shell("migrate", "--adopt", earlier)
    assert ended.code == 0, ended.err
    assert "phases               3        3          0" in ended.out
    assert "phases: 1 state 'GATE' became QUEUED" in ended.out
    assert "Tokens: 22,704, of which the split is unknown in 2 rows" in ended.out
    url = f"sqlite:///{tmp_path / 'old.adopted.db'}"
    assert f"set DATABASE_URL={url}" in ended.out

    shown = json.loads(shell("run", "show", "gated", "--json", "--database-url", url).out)
    assert "adopted: the earlier database calls it DONE_FAILED_REQUIRES_HUMAN_REVIEW" in json.dumps(shown)
    assert json.loads(shell("identity", "--json", "--database-url", url).out)["phases"] == {"COMPLETE": 1, "QUEUED": 2}  # fmt: skip
    assert "22000 tokens\n" in shell("run", "list", "--database-url", url).out
    drained = shell("drain", "--run-id", "gated", "--json", "--database-url", url)
    assert drained.code == 0, drained.err
    record = done_record(drained.out)
    assert (record["run"]["state"], record["run"]["phase_counts"]) == ("DONE_SUCCESS", {"COMPLETE": 3})
    assert [each["phase_id"] for each in record["attempts"]] == ["p1", "p2"]
    assert git(tmp_path / "workspace", "show", "autopack/gated:out/p2.txt") == "done"
    assert_nothing_is_lost(earlier, tmp_path / "old.adopted.db")
    shown = shell("phase", "show", "gated", "p1", "--database-url", url).out
    assert (
        "  call builder: answered, 22000 in and out\n  call builder 1: answered, 100 in, 50 out of" in shown
    )


def test_migrating_an_earlier_database_makes_the_copy_once_and_says_how_to_use_it(shell, earlier: Path):
    before = earlier.read_bytes()
    first, again = (shell("migrate", "--json", "--database-url", f"sqlite:///{earlier}") for _ in range(2))
    assert (first.code, again.code) == (0, 0), first.err + again.err
    told = json.loads(first.out)
    assert (told["was_there"], json.loads(again.out)) == (False, told | {"was_there": True})
    assert (told["total_tokens"], told["url"]) == (22_704, f"sqlite:///{earlier.with_name('old.adopted.db')}")
    assert {each["table"]: each["carried"] for each in told["tables"]} == {"runs": 1, "tiers": 1, "phases": 3, "llm_usage_events": 2}  # fmt: skip
    assert earlier.read_bytes() == before
    refused = shell("run", "list", "--database-url", f"sqlite:///{earlier}")
    assert (refused.code, f"`autopack migrate --adopt {earlier}`" in refused.err) == (3, True)


def test_wrong_options_are_told_apart(shell, earlier: Path):
    both = shell("migrate", "--adopt", earlier, "--database-url", "sqlite:///x.db")
    assert (both.code, "exclude each other" in both.err) == (2, True)
    url = shell("migrate", "--adopt", f"sqlite:///{earlier}")
    assert (url.code, "--adopt takes the path of a file, not a URL" in url.err) == (2, True)
    alone = shell("migrate", "--into", "copy.db")
    assert (alone.code, "name that FILE as well" in alone.err) == (2, True)
    missing = shell("migrate", "--adopt", earlier.with_name("none.db"), "--into", earlier.parent / "nowhere" / "copy.db")  # fmt: skip
    assert (missing.code, "there is no file" in missing.err) == (3, True)


# What is not ours


def notes(path: Path) -> Path:
    """Another program's."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE llm_usage_events (id INTEGER PRIMARY KEY, role)")
    return path


@pytest.mark.parametrize("leave", [write_log, write_journal, write_mark])
@pytest.mark.parametrize("whose", ["earlier", "another's"])
def test_no_command_changes_a_database_that_is_not_ours_nor_what_a_dead_process_left_beside_it(shell, earlier: Path, tmp_path: Path, sqlite_url: str, whose: str, leave):  # fmt: skip
    directory = tmp_path / "theirs"
    directory.mkdir()
    path = earlier.rename(directory / "w.db") if whose == "earlier" else notes(directory / "w.db")
    leave(path)
    before, url = state_of(directory), f"sqlite:///{path}"
    commands = [
        ("run", "list", "--database-url", url), ("drain", "--run-id", "gated", "--database-url", url), ("identity", "--database-url", url),
        ("telemetry", "merge", sqlite_url, "--into", url), ("telemetry", "merge", path, "--into", sqlite_url),
        ("doctor", "--database-url", url), *([("migrate", "--database-url", url)] if whose == "another's" else []),
    ]  # fmt: skip
    for command in commands:
        ended = shell(*command)
        assert (ended.code, state_of(directory)) == (3, before), (command, ended.err)


# What a person has to do first


def test_a_run_whose_queued_phases_are_behind_a_failed_one_says_so_and_goes_on_when_that_is_settled(shell, tmp_path: Path, monkeypatch):  # fmt: skip
    lines = [*(builder_answer(phase_id) for phase_id in ("p1", "p2")), auditor_answer()]
    monkeypatch.setenv("AUTOPACK_REPLAY", str(write_cassette(tmp_path / "first.jsonl", lines)))
    tiers = [{"id": n, "tier_id": f"T{n}", "run_id": run, "tier_index": n, "name": "t"} for n, run in enumerate(["a", "a", "b", "b"])]  # fmt: skip
    rows: dict[str, list[dict[str, Any]]] = {
        "runs": [a_run("a", "PHASE_EXECUTION"), a_run("b", "DONE_FAILED_ENVIRONMENT")],
        "tiers": tiers,
        "phases": [
            a_phase(run, phase_id, state, tier_id=tier, phase_index=tier)
            for run, first in (("a", 0), ("b", 2))
            for phase_id, state, tier in (("p1", "FAILED", first), ("p2", "QUEUED", first + 1))
        ],
    }  # fmt: skip
    original = make_earlier(tmp_path / "held.db", rows)
    told = shell("migrate", "--adopt", original)
    assert "In 2 runs nothing can be claimed" in told.out
    assert "`autopack phase requeue RUN PHASE`" in told.out
    url = f"sqlite:///{tmp_path / 'held.adopted.db'}"
    shown = {
        run: json.loads(shell("run", "show", run, "--json", "--database-url", url).out)["run"] for run in "ab"
    }
    assert [shown[run]["state"] for run in "ab"] == [
        "DONE_FAILED_REQUIRES_HUMAN_REVIEW",
        "DONE_FAILED_ENVIRONMENT",
    ]
    assert "held back by what failed in an earlier tier" in shown["a"]["state_reason"]
    assert shell("phase", "requeue", "a", "p1", "--database-url", url).code == 0
    assert shell("phase", "skip", "b", "p1", "--database-url", url).code == 0
    for run, counts in (("a", {"COMPLETE": 2}), ("b", {"COMPLETE": 1, "SKIPPED": 1})):
        drained = shell("drain", "--run-id", run, "--json", "--database-url", url)
        assert drained.code == 0, drained.err
        record = done_record(drained.out)["run"]
        assert (record["state"], record["phase_counts"]) == ("DONE_SUCCESS", counts)


@pytest.mark.parametrize(("name", "works"), [("it's 100% #1", True), ("why?", False)])
def test_the_url_that_is_told_leads_to_the_copy_or_there_is_none(
    shell, earlier: Path, name: str, works: bool
):
    directory = earlier.parent / name
    directory.mkdir()
    original = earlier.rename(directory / "old.db")
    told = json.loads(shell("migrate", "--adopt", original, "--json").out)
    said = shell("migrate", "--adopt", original).out
    if works:
        assert shell("run", "show", "gated", "--database-url", told["url"]).code == 0
        assert f"set DATABASE_URL={shlex.quote(told['url'])}" in said
    else:
        assert told["url"] is None
        assert "no database URL can name" in said
