"""An earlier database through the command: adopted, looked at, and drained to its end."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.db.support_earlier import a_call, a_phase, a_run, a_scope, assert_nothing_is_lost, make_earlier
from tests.support import auditor_answer, builder_answer, git, write_cassette


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
    drained = shell("drain", "--run-id", "gated", "--json", "--database-url", url)
    assert drained.code == 0, drained.err
    record = json.loads(drained.out)
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
    alone = shell("migrate", "--into", "copy.db")
    assert (alone.code, "name that FILE as well" in alone.err) == (2, True)
    assert shell("migrate", "--adopt", earlier.with_name("none.db")).code == 3
