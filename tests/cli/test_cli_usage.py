"""`autopack usage` and `autopack budget`: what a person reads, and what a wrong word is answered."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.orm import Session

from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.db.tables import LlmUsageEventRow
from tests.cli.conftest import Ended
from tests.support import plan

Shell = Callable[..., Ended]


@contextmanager
def database(url: str, tmp_path: Path) -> Iterator[Session]:
    with open_database(locate(url, tmp_path)) as opened, opened.transaction() as session:
        yield session


def call(call_id: str, **more: Any) -> dict[str, Any]:
    values = {
        "call_id": call_id, "run_id": "old", "phase_id": "p1", "role": "builder", "status": "answered", "provider": "openai",
        "model": "openai:m", "provider_mode": "live", "reserved_tokens": 0, "origin": "merged", "retries": 0,
        "usage_source": "provider", "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    return values | more


def test_usage_tells_the_unknown_from_nothing(shell: Shell, sqlite_url: str, tmp_path: Path) -> None:
    assert shell("usage").out == "no model calls\n"
    with database(sqlite_url, tmp_path) as session:
        for row in (
            call("c1", input_tokens=1000, output_tokens=20, total_tokens=1020, cost_usd=0.00000012),
            call("c2", status="failed", usage_source="missing"),
            call("c3", total_tokens=7, model="n", role="auditor"),
        ):
            session.execute(insert(LlmUsageEventRow), row)
    head, first, second, total, *notes = shell("usage", "--by", "model").out.splitlines()
    assert head.split("  ")[0] == "provider"
    figures = [each.strip() for each in first.split("  ") if each]
    assert figures == [
        "openai", "m", "live", "2", "1", "0", "1000 + 1 unknown", "unknown", "20 + 1 unknown", "unknown", "1020 + 1 unknown",
        "0.00000012 + 1 unknown",
    ]  # fmt: skip
    assert second.split()[-7:] == ["0", "unknown", "unknown", "unknown", "unknown", "7", "unknown"]
    assert total.split()[:3] == ["total", "live", "3"]
    assert "1027 + 1 unknown" in total
    assert notes[0].startswith("7 of the live tokens are known as a total only")
    assert json.loads(shell("usage", "--by", "day", "--json").out)["rows"][0]["day"] == "2026-01-01"
    assert shell("usage", "--since", "2026-01-02").out == "no model calls\n"
    assert shell("usage", "--role", "auditor").out.splitlines()[2].split()[:3] == ["total", "live", "1"]


def test_what_was_replayed_is_no_spend(shell: Shell, seed: Callable[[Any], Ended]) -> None:
    seed(plan())
    assert shell("drain", "--run-id", "r1").code == 0
    told = json.loads(shell("usage", "--json").out)
    (only,) = told["totals"]
    assert (only["provider_mode"], only["calls"], only["cost"]) == (
        "replay",
        2,
        {"known_usd": 0.0, "unknown_calls": 0},
    )
    shown = json.loads(shell("run", "show", "r1", "--json").out)["run"]
    assert only["total_tokens"]["known"] == shown["tokens_used"] == 250
    assert "0 used, 0 set aside" in shell("budget", "show").out, "nor of the day"


def test_daily_caps_are_set_one_by_one_and_taken_away(shell: Shell) -> None:
    assert "tokens: 0 used, 0 set aside, no cap" in shell("budget", "show").out
    assert "cap 5000" in shell("budget", "set", "--daily-tokens", "5000", "--by", "Ann").out
    both = shell("budget", "set", "--daily-cost-usd", "0.25").out
    assert "tokens: 0 used, 0 set aside, cap 5000" in both
    assert "USD: 0 used, 0 set aside, cap 0.25" in both
    left = json.loads(shell("budget", "set", "--daily-tokens", "none", "--json").out)["account"]
    assert (left["token_cap"], left["cost_cap_usd"]) == (None, 0.25)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["budget", "set"], "name what to set"),
        (["budget", "set", "--daily-tokens", "1.5"], "--daily-tokens '1.5' is no number above 0"),
        (["budget", "set", "--daily-tokens", "9" * 20], "beyond 63 bits"),
        (["budget", "set", "--daily-cost-usd", "inf"], "--daily-cost-usd 'inf' is no number above 0"),
        (["budget", "set", "--daily-cost-usd", "1", "--by", ""], "by"),
        (["usage", "--since", "soon"], "--since 'soon' is no moment"),
        (["usage", "--since", "2026-02-01", "--until", "2026-01-01"], "nothing lies between"),
        (["usage", "--by", "week"], "week"),
        (["usage", "--run-id", ""], "run_id"),
    ],
)  # fmt: skip
def test_a_wrong_word_is_said_and_changes_nothing(shell: Shell, arguments: list[str], said: str) -> None:
    ended = shell(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert "no cap" in shell("budget", "show").out


def test_a_wrong_price_file_ends_a_drain_before_anything_is_claimed(
    shell: Shell, seed: Callable[[Any], Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(plan())
    prices = tmp_path / "prices.toml"
    prices.write_text(
        '[[price]]\nprovider = "openai"\nmodel = "m"\ninput_usd_per_million = 1\n', encoding="utf-8"
    )
    monkeypatch.setenv("AUTOPACK_PRICES", str(prices))
    ended = shell("drain", "--run-id", "r1")
    assert (ended.code, "prices.toml, price 1: output_usd_per_million is missing" in ended.err) == (2, True)
    assert json.loads(shell("run", "show", "r1", "--json").out)["run"]["phase_counts"] == {"QUEUED": 1}
