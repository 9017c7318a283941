"""How what a doctor finds is judged."""

from datetime import UTC, datetime, timedelta

import pytest

from autopack.domain.caps import Account, DailyAccount, day_ends
from autopack.domain.doctor import (
    Fault,
    Level,
    Line,
    Orphans,
    UnderWay,
    bad,
    is_well,
    judge_attempts,
    judge_clock,
    judge_daily,
    judge_disk,
    judge_dotenv,
    judge_orphans,
    note,
    ok,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = "2026-01-01"


def test_only_what_is_bad_is_in_the_way():
    assert is_well([ok("a", "x"), note("b", "x")])
    assert not is_well([ok("a", "x"), bad("b", "x")])


@pytest.mark.parametrize(("free", "level"), [(0, "bad"), (200 * 2**20, "note"), (2**30, "ok")])
def test_a_disk(free: int, level: str):
    assert judge_disk("disk", free, "here").level == level


@pytest.mark.parametrize(
    ("apart", "both", "level"),
    [(29, True, "ok"), (31, True, "bad"), (-31, True, "bad"), (31, False, "bad"), (-9999, False, "ok")],
)
def test_a_clock_may_be_off_by_half_a_minute_and_an_event_may_be_old(apart: int, both: bool, level: str):
    moments = {"theirs": NOW + timedelta(seconds=apart), "nobody's": None}
    found = judge_clock(NOW, moments, both_ways={"theirs"} if both else set())
    assert found.level == level
    if found.level is Level.BAD:
        assert f"theirs is {abs(apart)} s {'ahead' if apart > 0 else 'behind'}" in found.detail


def daily(**account: float) -> DailyAccount:
    return DailyAccount(day=DAY, ends_at=day_ends(DAY), account=Account(**account))  # type: ignore[arg-type]


def test_daily_caps():
    assert judge_daily(daily(tokens_used=5)).detail == "none"
    assert judge_daily(daily(token_cap=10, tokens_used=9)).level is Level.OK
    assert judge_daily(daily(cost_cap_usd=1.0, cost_usd=0.5)).level is Level.OK
    for gone in (
        daily(token_cap=10, tokens_used=10),
        daily(cost_cap_usd=1.0, cost_usd=1.0),
        daily(token_cap=0),
    ):
        found = judge_daily(gone)
        assert (found.level, "no live call fits any more" in found.detail) == (Level.NOTE, True)


def dotenv(*lines: tuple[str, str | None], mode: int = 0o100600, **environment: str) -> list[str]:
    found = judge_dotenv(
        ".env", [Line(name=name, value=value) for name, value in lines], environment, mode=mode
    )
    assert all("s3cret" not in f"{each.detail}{each.fix}" for each in found)
    assert all(each.level is not Level.BAD for each in found)
    return [each.detail for each in found if each.level is Level.NOTE]


def test_a_dotenv_that_misleads_is_told():
    assert dotenv(("DATABASE_URL", "sqlite:///a.db"), ("OTHER", "x")) == []
    assert dotenv(("DATABASE_URL", "a"), ("DATABASE_URL", "b")) == [
        ".env names DATABASE_URL 2 times; the last one counts"
    ]
    [told] = dotenv(("AUTOPACK_MODEL", "openai:x"))
    assert told == ".env names AUTOPACK_MODEL, which is not read from there, and the environment has none"
    [told] = dotenv(("OPENAI_API_KEY", "s3cret"), OPENAI_API_KEY="s3cret-2")
    assert told.endswith("the environment has another value, which counts")
    [told] = dotenv(("OPENAI_API_KEY", "s3cret"), OPENAI_API_KEY="s3cret")
    assert told.endswith("the environment has the same value, which counts")


@pytest.mark.parametrize(
    ("line", "is_secret"),
    [
        (("SOME_API_KEY", "s3cret"), True), (("GITHUB_TOKEN", "s3cret"), True), (("SOME_API_KEY", ""), False),
        (("DATABASE_URL", "postgresql://me:s3cret@db/q"), True), (("DATABASE_URL", "sqlite:///a.db"), False),
        (("MONKEY", "x"), False),
    ],
)  # fmt: skip
def test_a_dotenv_with_secrets_is_for_its_owner_only(line: tuple[str, str], is_secret: bool):
    assert dotenv(line) == []
    told = dotenv(line, mode=0o100644)
    assert told == (
        [".env holds secrets and may be read by others than its owner (mode 644)"] if is_secret else []
    )


def test_rows_that_contradict_each_other_are_bad_whatever_kind_they_are():
    assert [each.level for each in judge_orphans([])] == [Level.OK]
    for fault in Fault:
        [found] = judge_orphans([Orphans(fault=fault, number=7, examples=("r1 p1", "r1 p2"))])
        assert found.level is Level.BAD
        assert found.fix
        assert found.detail.endswith("r1 p1, r1 p2, ...")
    assert (
        judge_orphans([Orphans(fault=fault, number=0, examples=()) for fault in Fault])[0].level is Level.OK
    )


def test_attempts_of_the_dead_and_of_leases_that_ran_out_are_told_apart_from_live_ones():
    def attempt(phase_id: str, *, expired: bool = False, dead: bool = False) -> UnderWay:
        return UnderWay(run_id="r1", phase_id=phase_id, worker="w", expired=expired, dead=dead)

    assert judge_attempts([])[0].detail == "none under way"
    assert judge_attempts([attempt("p1")])[0].level is Level.OK
    gone, late = judge_attempts([attempt("p1", dead=True), attempt("p2", expired=True), attempt("p3")])
    assert gone.detail == "r1 p1 is held by a worker that is gone"
    assert late.detail == "r1 p2 is held by a lease that ran out"
    assert late.fix is not None
    assert "autopack drain --run-id r1" in late.fix
