"""Several drains at once on one run: each phase is executed once, and no drain leaves before the run is done."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select

from autopack.clock import utc_now
from autopack.db import runs
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.db.tables import AttemptRow, Base, PhaseRow, RunRow
from autopack.schemas import PlanBody
from tests.support import (
    ROOT,
    auditor_answer,
    builder_answer,
    clean_environment,
    done_record,
    git,
    phase,
    plan,
    start_warm,
    write_cassette,
)

pytestmark = pytest.mark.slow

PHASES = 200
TIERS = 4


def seed(url: str, wanted: dict[str, Any]) -> None:
    with open_database(locate(url, ROOT)) as database, database.transaction() as session:
        runs.create(session, PlanBody.model_validate(wanted).to_domain(), actor="test", now=utc_now())


def rows(url: str, table: type[Base]) -> list[dict[str, Any]]:
    engine = create_engine(locate(url, ROOT).url)
    try:
        with engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(*table.__table__.c)).mappings()]
    finally:
        engine.dispose()


def big_plan() -> dict[str, Any]:
    """Four tiers; every fifth phase depends on the one before it, so that drains also meet what is not due yet."""
    ids = [f"p{number:03}" for number in range(PHASES)]
    tiers = []
    for tier in range(TIERS):
        mine = ids[tier * PHASES // TIERS : (tier + 1) * PHASES // TIERS]
        phases = [
            phase(each, depends_on=[mine[place - 1]] if place % 5 == 4 else [])
            for place, each in enumerate(mine)
        ]
        tiers.append({"tier_id": f"T{tier}", "phases": phases})
    return plan("r1") | {"tiers": tiers}


def drain_together(url: str, log: Path, drains: int) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.support_drains", url, str(log), str(drains)], cwd=ROOT, env=clean_environment(),
        capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("drains", [2, 8])
def test_200_phases_are_each_executed_once_however_many_drains_there_are(
    database_url: str, tmp_path: Path, drains: int
) -> None:
    seed(database_url, big_plan())
    log = tmp_path / "executed.jsonl"
    ended = drain_together(database_url, log, drains)

    executed = [json.loads(line) for line in log.read_text().splitlines()]
    assert Counter(line["phase_id"] for line in executed) == Counter(
        row["phase_id"] for row in rows(database_url, PhaseRow)
    )
    assert len(executed) == PHASES
    tries = rows(database_url, AttemptRow)
    assert Counter((row["phase_id"], row["number"]) for row in tries) == Counter(
        (line["phase_id"], 1) for line in executed
    )
    assert {row["outcome"] for row in tries} == {"COMPLETE"}
    assert {row["state"] for row in rows(database_url, PhaseRow)} == {"COMPLETE"}
    assert [row["state"] for row in rows(database_url, RunRow)] == ["DONE_SUCCESS"]
    assert len(ended) == drains
    assert sum(each["outcomes"] for each in ended) == PHASES
    assert len({line["pid"] for line in executed}) > 1, "one drain did it all: nothing was shown"
    # No drain says "done", or goes, while there is work: neither under another's hands nor in a later tier.
    for each in ended:
        assert (each["idle"], each["phases"]) == ("done", {"COMPLETE": PHASES}), each


def test_two_real_drains_build_one_linear_history_in_one_workspace(
    database_url: str, workspace: Path, tmp_path: Path
) -> None:
    ids = [f"p{number}" for number in range(8)]
    seed(database_url, plan("r1", [phase(each, checks=[f"test -s out/{each}.txt"]) for each in ids]))
    cassette = write_cassette(
        tmp_path / "cassette.jsonl", [auditor_answer(), *(builder_answer(each) for each in ids)]
    )
    drains = [
        start_warm(
            "drain_queued_phases.py", "--run-id", "r1", "--database-url", database_url, "--workspace", str(workspace),
            "--concurrency", "2", "--json", cwd=tmp_path, env={"AUTOPACK_REPLAY": str(cassette)},
        )
        for _ in range(2)
    ]  # fmt: skip
    ended = []
    for drain in drains:
        out, err = drain.communicate(timeout=120)
        assert drain.returncode == 0, out + err
        ended.append(done_record(out))

    assert {row["phase_id"]: row["state"] for row in rows(database_url, PhaseRow)} == dict.fromkeys(
        ids, "COMPLETE"
    )
    assert Counter(row["phase_id"] for row in rows(database_url, AttemptRow)) == Counter(ids)
    assert sorted(one["phase_id"] for each in ended for one in each["attempts"]) == ids
    history = git(workspace, "log", "--reverse", "--format=%H %P", "main..autopack/r1").splitlines()
    parents = [line.split()[1:] for line in history]
    assert [[git(workspace, "rev-parse", "main")], *([line.split()[0]] for line in history[:-1])] == parents
    for number, line in enumerate(history, start=1):
        tree = git(workspace, "ls-tree", "-r", "--name-only", line.split()[0], "out/").split()
        assert len(tree) == number, "a commit lost a file of an earlier one"
    assert tree == [f"out/{each}.txt" for each in ids]
    of_phases = git(
        workspace, "log", "--format=%(trailers:key=Autopack-Phase,valueonly,separator=)", "main..autopack/r1"
    ).split()
    assert sorted(of_phases) == ids
    commits = {row["phase_id"]: row["result_commit"] for row in rows(database_url, PhaseRow)}
    assert sorted(commits.values()) == sorted(line.split()[0] for line in history)
    (run,) = rows(database_url, RunRow)
    assert run["state"] == "DONE_SUCCESS"
    assert run["tokens_reserved"] == 0
    assert run["head_commit"] == git(workspace, "rev-parse", "autopack/r1"), "whoever finished last"
