"""Eight processes, heavy-tailed usage: at no moment is more used and set aside than a cap allows."""

import json
import multiprocessing
import os
import random
import traceback
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from autopack.db import calls, daily
from autopack.db.caps import nanos
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.db.tables import DailyUsageRow, LlmUsageEventRow, RunRow
from autopack.domain import money
from autopack.domain.messages import Usage
from autopack.domain.phases import Claim
from autopack.errors import BudgetReached, DatabaseBusy
from tests.db.support_queue import START, Queue
from tests.support import phase, plan

PROCESSES, MOST_CALLS, REFUSED_IN_A_ROW = 8, 14, 2
TOKEN_CAP, COST_CAP, TODAY = 20_000, 0.2, "2026-01-01"
Held = tuple[int, int]
"""Tokens and nano-dollars, used and set aside together."""


def spend(queue: Queue, claim: Claim, seed: int) -> dict[str, list[Held]]:
    """Calls until a cap refuses several in a row. Returns what the run and the day held each time it had just grown."""
    chance = random.Random(seed)
    seen: dict[str, list[Held]] = {"run": [], "day": []}
    refused = 0
    for number in range(MOST_CALLS):
        tokens = min(TOKEN_CAP // 2, int(300 * chance.paretovariate(1.1)))
        cost = tokens * 1e-5 * chance.choice([0.9, 1.1])
        request = queue.request(
            call_id=f"{seed}-{number}", request_key=f"{seed}-{number}", reserve_tokens=tokens, reserve_cost_usd=cost
        )  # fmt: skip
        try:
            with queue.session() as session:
                calls.reserve(session, claim.attempt_id, claim.lease_token, request, now=queue.now)
                seen["run"].append(_held(_run(session, claim.phase.run_id)))
                seen["day"].append(_held(_today(session)))
        except DatabaseBusy:
            continue  # a call gave room back just then; the client asks again
        except BudgetReached:
            refused += 1
            if refused == REFUSED_IN_A_ROW:
                break
            continue
        refused = 0
        share = min(1.0, 0.1 * chance.paretovariate(1.0))
        used = Usage(input_tokens=int(tokens * share), output_tokens=0)
        queue.settle(claim, request.call_id, usage=used, cost_usd=cost * share)
    return seen


def _run(session: Session, run_id: str) -> RunRow:
    return session.get_one(RunRow, run_id, populate_existing=True)


def _today(session: Session) -> DailyUsageRow:
    return session.get_one(DailyUsageRow, TODAY, populate_existing=True)


def _held(row: RunRow | DailyUsageRow) -> Held:
    """As it is now: the row is ours until this transaction ends."""
    cost = money.nanos(row.cost_usd) + money.nanos(row.cost_reserved_usd)
    return row.tokens_used + row.tokens_reserved, cost


def in_own_process(url: str, directory: Path, claim: Claim, seed: int, start: Any) -> None:
    try:
        with open_database(locate(url, directory), synchronous="OFF") as database:
            start.wait(60)
            (directory / f"{seed}.json").write_text(json.dumps(spend(Queue(database), claim, seed)))
    except BaseException:  # noqa: BLE001 - shown by the test: a process's error would be lost
        (directory / f"{seed}.failed").write_text(traceback.format_exc())
        os._exit(1)


def race(url: str, directory: Path, claims: list[Claim]) -> dict[str, list[Held]]:
    """What was held of each run and of the day, whenever it had grown."""
    # Forked: eight fresh interpreters would cost more than the race. No database is open meanwhile.
    fork = multiprocessing.get_context("fork")
    start = fork.Barrier(PROCESSES)
    workers = [
        fork.Process(target=in_own_process, args=(url, directory, claim, seed, start))
        for seed, claim in enumerate(claims)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [path.read_text() for path in directory.glob("*.failed")] == []
    assert [worker.exitcode for worker in workers] == [0] * PROCESSES
    held: dict[str, list[Held]] = {"day": []}
    for seed, claim in enumerate(claims):
        seen = json.loads((directory / f"{seed}.json").read_text())
        held.setdefault(claim.phase.run_id, []).extend(map(tuple, seen["run"]))
        held["day"].extend(map(tuple, seen["day"]))
    return held


def prepare(url: str, directory: Path, runs: dict[str, dict[str, Any]], **of_day: Any) -> list[Claim]:
    """A claim for each process; the runs share them evenly."""
    each = PROCESSES // len(runs)
    with open_database(locate(url, directory), synchronous="OFF") as database:
        queue = Queue(database)
        for run_id, caps in runs.items():
            queue.create(plan(run_id, phases=[phase(f"p{number}") for number in range(each)], **caps))
        with queue.session() as session:
            caps = {"token_cap": None, "cost_cap_usd": None} | of_day
            daily.set_caps(session, **caps, actor="Ann", now=START)
        return [queue.claim(run_id=run_id) for run_id in runs for _ in range(each)]


def reconcile(url: str, directory: Path, reservations: int) -> None:
    """What is used is the sum of the events, and nothing is set aside for anybody."""
    table = LlmUsageEventRow
    sums = select(func.count(), func.sum(table.total_tokens), func.sum(nanos(table.cost_usd)))
    with open_database(locate(url, directory)) as database, database.transaction() as session:
        assert session.scalar(select(func.count()).select_from(table)) == reservations
        _, tokens, cost = session.execute(sums).one()
        assert _held(_today(session)) == (tokens, cost)
        for run in session.scalars(select(RunRow)):
            _, tokens, cost = session.execute(sums.where(table.run_id == run.id)).one()
            assert (run.tokens_used, money.nanos(run.cost_usd)) == (tokens, cost)
            assert (run.tokens_reserved, run.cost_reserved_usd) == (0, 0.0)


def test_eight_processes_never_spend_more_than_the_caps_of_their_runs(
    database_url: str, tmp_path: Path
) -> None:
    runs = {"tokens": {"token_cap": TOKEN_CAP}, "cost": {"cost_cap_usd": COST_CAP}}
    held = race(database_url, tmp_path, prepare(database_url, tmp_path, runs))
    assert TOKEN_CAP / 2 < max(tokens for tokens, _ in held["tokens"]) <= TOKEN_CAP, "and came near to it"
    assert money.nanos(COST_CAP) / 2 < max(cost for _, cost in held["cost"]) <= money.nanos(COST_CAP)
    reconcile(database_url, tmp_path, len(held["day"]))


@pytest.mark.parametrize("cap", [{"token_cap": TOKEN_CAP}, {"cost_cap_usd": COST_CAP}], ids=str)
def test_eight_processes_of_several_runs_never_spend_more_than_the_cap_of_the_day(
    database_url: str, tmp_path: Path, cap: dict[str, Any]
) -> None:
    held = race(database_url, tmp_path, prepare(database_url, tmp_path, {"r1": {}, "r2": {}}, **cap))
    most, allowed = (
        (max(tokens for tokens, _ in held["day"]), TOKEN_CAP)
        if "token_cap" in cap
        else (max(cost for _, cost in held["day"]), money.nanos(COST_CAP))
    )
    assert allowed / 2 < most <= allowed
    reconcile(database_url, tmp_path, len(held["day"]))
