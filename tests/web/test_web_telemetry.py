"""The telemetry page: figures, their tables, what the charts draw, and filters that live in the address."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from autopack.db import estimators
from autopack.domain.estimate import SHIPPED, Coefficients
from autopack.domain.estimators import NewVersion, version_name
from tests.db.support_queue import START
from tests.support_telemetry import estimation, store, usage
from tests.web.support_seat import HOSTILE, Seat, assert_harmless, seat_at, tags, text

PAGE = "/ui/telemetry"
DATA = "/ui/telemetry/data.json"


@pytest.fixture
def seat(sqlite_url: str, tmp_path: Path) -> Iterator[Seat]:
    with seat_at(sqlite_url, tmp_path) as made:
        yield made


@pytest.fixture
def told(seat: Seat) -> Seat:
    """Two days of calls: one of unknown cost, one answer that was cut."""
    late = START - timedelta(hours=1)
    early = late - timedelta(days=1)
    with seat.queue.session() as session:
        store(
            session, usage(1, created_at=early, cost_usd=1.5), usage(2, created_at=late, cost_usd=None, model="m2", run_id="r2"),
            usage(3, created_at=late, cost_usd=0.25, role="auditor"), usage(4, created_at=late, provider_mode="replay", cost_usd=0.0),
            estimation(1, timestamp=early, predicted_output_tokens=90, selected_budget=200, actual_output_tokens=100, budget_source="conformal"),
            estimation(2, timestamp=late, predicted_output_tokens=40, selected_budget=80, actual_output_tokens=80, truncated=True, model="m2", run_id="r2"),
            estimation(3, timestamp=late, provider_mode="replay", predicted_output_tokens=7, actual_output_tokens=7),
        )  # fmt: skip
    return seat


def test_without_a_call_it_says_how_to_collect_some(seat: Seat):
    read = text(seat.page(PAGE))
    assert "No model has been called yet" in read
    assert "autopack seed-telemetry" in read
    assert seat.answer(DATA).json()["cost"] == {"at": [], "usd": [], "unknown": []}


def test_where_there_are_only_recorded_answers_it_leads_to_them(seat: Seat):
    with seat.queue.session() as session:
        store(session, usage(1, provider_mode="replay", cost_usd=0.0))
    page = seat.page(PAGE)
    assert "1 calls were answered from a recording" in text(page)
    (link,) = [
        tag["href"] for name, tag in tags(page) if name == "a" and "mode=replay" in (tag.get("href") or "")
    ]
    assert link is not None
    assert "These are recorded answers" in text(seat.page(link))


def test_the_tables_tell_what_the_charts_draw(told: Seat):
    read = text(told.page(PAGE))
    assert "Cost $1.75 + 1 calls unknown" in read
    assert "Answers cut 50.0 % 1 of 2" in read
    assert "40 80 80 or more cut" in read
    assert "90 200 100 whole" in read
    assert "2025-12-31 1 1 (100.0 %) 0 – 5.0 %" in read
    data = told.answer(DATA).json()
    assert data["estimates"] == {"predicted": [40, 90], "whole": [None, 100], "cut": [80, None]}
    days = [int((START - timedelta(days=back)).timestamp()) for back in (2, 1)]
    assert data["truncation"] == {
        "at": days,
        "answers": [0, 1],
        "promised": [0, None],
        "target": [0.05, 0.05],
    }
    assert data["cost"] == {"at": days, "usd": [1.5, 0.25], "unknown": [0, 1]}


@pytest.mark.parametrize(
    ("query", "calls"),
    [
        ("run=r2", 1),
        ("model=m2", 1),
        ("model=openai:gpt-x", 2),
        ("since=3h", 2),
        ("since=2025-12-30", 3),
        ("run=r1&since=3h", 1),
    ],
)
def test_filters_are_in_the_address_and_hold_for_page_and_charts(told: Seat, query: str, calls: int):
    page = told.page(f"{PAGE}?{query}")
    assert f"Calls {calls} " in text(page)
    (source,) = [tag["data-source"] for _, tag in tags(page) if tag.get("data-source")]
    name, _, value = query.partition("&")[0].partition("=")
    assert f"{name}={value.replace(':', '%3A')}" in (source or "")
    drawn = told.answer(source or "").json()
    assert len(drawn["cost"]["at"]) == (2 if calls > 2 or query.startswith("model=openai") else 1)
    shown = {tag["name"]: tag.get("value") for name, tag in tags(page) if name == "input" and tag.get("name")}
    assert shown[name] == value


def test_within_three_days_it_tells_by_the_hour(told: Seat):
    assert "2025-12-31 23h" in text(told.page(f"{PAGE}?since=3h"))


def test_a_filter_that_cannot_be_is_refused_in_words(seat: Seat):
    assert "is no moment" in text(seat.page(f"{PAGE}?since=tomorrowish", 400))
    seat.answer(f"{PAGE}?mode=imagined", 422)
    seat.answer(f"{PAGE}?run=%00", 422)
    seat.answer(f"{PAGE}?run={'x' * 300}", 422)


def test_names_of_other_databases_are_only_ever_text(seat: Seat):
    with seat.queue.session() as session:
        store(session, usage(1, run_id=HOSTILE, model=HOSTILE, role=HOSTILE[:40]), estimation(1, model=HOSTILE, actual_output_tokens=5))  # fmt: skip
    page = seat.page(PAGE)
    assert_harmless(page)
    assert "<script>alert(1)</script>" in text(page)
    assert_harmless(seat.page(f"{PAGE}?run=<script>&model=\"'>"))


def test_a_versions_figures_stand_beside_those_of_the_version_before(seat: Seat):
    numbers = SHIPPED.to_json()
    coefficients = Coefficients.from_json({**numbers, "version": version_name(SHIPPED, "d" * 64)})
    before, after = (
        {"truncated": {"rate": rate}, "waste": waste} for rate, waste in ((0.02, 3.0), (0.04, 2.0))
    )
    metrics = {"target": 0.05, "present": before, "proposed": after, "events": {"used": 1200}}
    with seat.queue.session() as session:
        new = NewVersion(
            parent=SHIPPED.version,
            coefficients=coefficients,
            data_hash="d" * 64,
            metrics=json.loads(json.dumps(metrics)),
        )
        estimators.add(session, new, now=START)
    read = text(seat.page(PAGE))
    assert "answers cut 2.0 % 4.0 % within the target of 5.0 %" in read
    assert "tokens allowed for each that was needed 3 2 better" in read
    assert f"{coefficients.version} in force after {SHIPPED.version}, from 1,200 events" in read
    assert "Ships with Autopack" in read
