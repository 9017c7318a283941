"""SIGKILL of a drain at every step of a phase's life, and what the next drain makes of it."""

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, func, select, text

from autopack.clock import utc_now
from autopack.db import runs
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.db.tables import Base
from autopack.schemas import PlanBody
from tests.e2e.support_crash import BEFORE_THE_COMMIT, POINTS
from tests.support import (
    ROOT,
    auditor_answer,
    builder_answer,
    clean_environment,
    git,
    phase,
    plan,
    run_script,
    write_cassette,
)

pytestmark = pytest.mark.slow

IDS = ("p1", "p2", "p3")
VICTIM = "p2"
IN_FLIGHT = {"builder asked": "builder", "builder answered": "builder", "auditor asked": "auditor"}
Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A run of three phases on a workspace, and the drains of it."""

    url: str
    workspace: Path
    log: Path
    output: Path
    drains: subprocess.Popen[str]

    def drain(self, point: str | None = None, **more: Any) -> int:
        """How the process of this drain ended: its exit code, or minus the signal."""
        config = {
            "database_url": self.url, "workspace": str(self.workspace), "log": str(self.log), "run_id": "r1",
            "output": str(self.output), "point": point, **more,
        }  # fmt: skip
        assert self.drains.stdin is not None
        assert self.drains.stdout is not None
        self.drains.stdin.write(json.dumps(config) + "\n")
        self.drains.stdin.flush()
        return int(self.drains.stdout.readline())

    def kill(self, point: str, **more: Any) -> None:
        ended = self.drain(point, **{"victim": VICTIM, **more})
        assert ended == -signal.SIGKILL, self.output.read_text()

    def resume(self, **more: Any) -> None:
        ended = self.drain(**more)
        assert ended == 0, self.output.read_text()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        engine = create_engine(locate(self.url, ROOT).url)
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()

    def rows(self, table: str, order: str = "id") -> Rows:
        with self.connection() as connection:
            columns = Base.metadata.tables[table].c
            return [
                dict(row) for row in connection.execute(select(*columns).order_by(text(order))).mappings()
            ]

    def counts(self) -> dict[str, int]:
        with self.connection() as connection:
            return {
                name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for name, table in Base.metadata.tables.items()
            }

    def requests(self, what: str = "asked") -> Counter[tuple[str, str]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return Counter((line["phase_id"], line["role"]) for line in lines if line["what"] == what)

    def commits(self) -> list[str]:
        """The phases of the commits on the run's branch, oldest first."""
        form = "--format=%(trailers:key=Autopack-Phase,valueonly,separator=)"
        return git(self.workspace, "log", "--reverse", form, "main..autopack/r1").split()


@pytest.fixture(scope="module")
def drains() -> Iterator[subprocess.Popen[str]]:
    """Starts the processes of drains."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.support_crash"], cwd=ROOT, env=clean_environment(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def make_scene(drains: subprocess.Popen[str], workspace: Path, tmp_path: Path) -> Callable[..., Scene]:
    def make(url: str, **changes: Any) -> Scene:
        phases = []
        for each in IDS:
            path = f"out/{each}.txt"
            scope = {"paths": [path], "deliverables": [path], "checks": [f"test -s {path}"]}
            phases.append(phase(each, scope=scope, **changes))
        body = PlanBody.model_validate(plan("r1", phases, token_cap=10_000_000))
        with open_database(locate(url, ROOT)) as database, database.transaction() as session:
            runs.create(session, body.to_domain(), actor="test", now=utc_now())
        return Scene(
            url=url,
            workspace=workspace,
            log=tmp_path / "requests.jsonl",
            output=tmp_path / "output",
            drains=drains,
        )

    return make


@pytest.fixture
def scene(sqlite_url: str, make_scene: Callable[..., Scene]) -> Scene:
    return make_scene(sqlite_url)


def assert_whole(scene: Scene) -> None:
    """Every phase done once, every commit there once, nothing set aside any more."""
    assert {row["phase_id"]: row["state"] for row in scene.rows("phases")} == dict.fromkeys(IDS, "COMPLETE")
    ends = Counter((row["phase_id"], row["outcome"]) for row in scene.rows("attempts", "claimed_at"))
    assert all(ends[each, "COMPLETE"] == 1 for each in IDS), ends
    assert all(outcome in ("COMPLETE", "LOST") for _, outcome in ends), ends
    assert sorted(scene.commits()) == sorted(IDS)
    files = git(scene.workspace, "ls-tree", "-r", "--name-only", "autopack/r1").split()
    assert files == ["README.md", *(f"out/{each}.txt" for each in IDS)]
    (run,) = scene.rows("runs")
    assert run["state"] == "DONE_SUCCESS"
    assert (run["tokens_reserved"], run["cost_reserved_usd"]) == (0, 0)
    answered = [row for row in scene.rows("llm_usage_events") if row["status"] == "answered"]
    assert run["tokens_used"] == sum(row["input_tokens"] + row["output_tokens"] for row in answered)
    assert run["cost_usd"] == sum(row["cost_usd"] for row in answered)
    assert len(answered) == 2 * len(IDS), "an answer of each role for each phase, and no more"
    assert len(scene.rows("llm_responses", "call_id")) == len(answered)
    assert git(scene.workspace, "status", "--porcelain") == ""


def assert_asked_once_but(scene: Scene, lost: tuple[str, str] | None) -> None:
    """Requests that reached the model, over all drains."""
    expected = Counter({(each, role): 1 for each in IDS for role in ("builder", "auditor")})
    if lost is not None:
        expected[lost] += 1
    assert scene.requests() == expected


def kill_and_resume(scene: Scene, point: str) -> None:
    scene.kill(point)
    before, now = scene.counts(), utc_now()
    scene.resume()
    assert (utc_now() - now).total_seconds() < 30, "a lease of 60 seconds was waited for"
    after = scene.counts()
    assert {name: (before[name], after[name]) for name in after if after[name] < before[name]} == {}


def assert_recovered(scene: Scene, point: str) -> None:
    assert_whole(scene)
    role = IN_FLIGHT.get(point)
    assert_asked_once_but(scene, (VICTIM, role) if role else None)
    abandoned = [row for row in scene.rows("llm_usage_events") if row["status"] == "abandoned"]
    assert [(row["phase_id"], row["role"]) for row in abandoned] == ([(VICTIM, role)] if role else [])
    assert all(row["usage_source"] == "missing" and row["input_tokens"] is None for row in abandoned)
    (run,) = scene.rows("runs")
    assert run["calls_of_unknown_usage"] == len(abandoned)
    assert run["head_commit"] == git(scene.workspace, "rev-parse", "autopack/r1")
    tries = {each: [r for r in scene.rows("attempts", "number") if r["phase_id"] == each] for each in IDS}
    struck = {"finished": None, "finished and claimed": "p3"}.get(point, VICTIM)
    for phase_id, found in tries.items():
        outcomes = ["LOST", "COMPLETE"] if phase_id == struck else ["COMPLETE"]
        assert [row["outcome"] for row in found] == outcomes, phase_id
        if phase_id == struck:
            assert found[0]["failure_kind"] == "worker_lost"
            assert found[1]["claimed_at"] < found[0]["lease_expires_at"], "resumed before the lease ran out"


@pytest.mark.parametrize("point", POINTS)
def test_a_drain_that_is_killed_is_resumed_at_once_without_losing_or_repeating_anything(
    scene: Scene, point: str
) -> None:
    kill_and_resume(scene, point)
    assert_recovered(scene, point)
    successes = Counter(
        (r["phase_id"], r["success"]) for r in scene.rows("token_estimation_v2_events", "event_id")
    )
    assert successes == Counter({(each, True): 1 for each in IDS})


@pytest.mark.postgres
@pytest.mark.parametrize("point", ["builder asked", "builder settled", "committed"])
def test_a_drain_on_postgresql_that_is_killed_is_resumed_likewise(
    postgres_url: str, make_scene: Callable[..., Scene], point: str
) -> None:
    scene = make_scene(postgres_url)
    kill_and_resume(scene, point)
    assert_recovered(scene, point)


@pytest.mark.parametrize("point", ["builder settled", "committed"])
def test_the_real_script_resumes_what_a_killed_drain_left(scene: Scene, tmp_path: Path, point: str) -> None:
    """The killed drain's answer is taken from the journal: the script's cassette has none for it."""
    scene.kill(point)
    lines = [builder_answer("p3"), auditor_answer("p2"), auditor_answer("p3")]
    cassette = write_cassette(tmp_path / "cassette.jsonl", lines)
    resumed = run_script(
        "drain_queued_phases.py", "--run-id", "r1", "--database-url", scene.url, "--workspace", str(scene.workspace),
        cwd=tmp_path, env={"AUTOPACK_REPLAY": str(cassette)}, timeout=50, warm=True,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "its worker is gone" in resumed.stderr
    assert_whole(scene)


def test_several_phases_at_once_are_all_resumed_after_a_kill(scene: Scene) -> None:
    scene.kill("committed", victim=None, nth=2, concurrency=3)
    scene.resume(concurrency=3)
    assert_whole(scene)
    unanswered = Counter(
        (r["phase_id"], r["role"]) for r in scene.rows("llm_usage_events") if r["status"] == "abandoned"
    )
    assert all(count <= 1 + unanswered[which] for which, count in scene.requests().items())


def test_a_drain_that_is_killed_again_and_again_still_ends_with_every_phase_once(
    sqlite_url: str, make_scene: Callable[..., Scene]
) -> None:
    scene = make_scene(sqlite_url, max_attempts=10)
    for point in ("builder settled", "applied", "committed"):
        scene.kill(point)
    scene.resume()
    assert_whole(scene)
    assert_asked_once_but(scene, None)


def killing_points(seed: int) -> list[str]:
    """Two, in the order in which a phase passes them: an answer that was settled is not asked for again."""
    return sorted(random.Random(seed).sample(BEFORE_THE_COMMIT, 2), key=BEFORE_THE_COMMIT.index)


@pytest.mark.parametrize("seed", [4])
def test_a_phase_that_kills_its_worker_each_time_runs_out_of_attempts_and_is_failed(
    sqlite_url: str, make_scene: Callable[..., Scene], tmp_path: Path, seed: int
) -> None:
    scene = make_scene(sqlite_url, max_attempts=2)
    for point in killing_points(seed):
        scene.kill(point)
    lines = [builder_answer("p3"), auditor_answer("p3")]
    ended = run_script(
        "drain_queued_phases.py", "--run-id", "r1", "--database-url", scene.url, "--workspace", str(scene.workspace),
        cwd=tmp_path, env={"AUTOPACK_REPLAY": str(write_cassette(tmp_path / "c.jsonl", lines))}, timeout=50, warm=True,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "failed: p2" in ended.stdout
    assert "its worker is gone" in ended.stderr
    states = {row["phase_id"]: (row["state"], row["failure_kind"]) for row in scene.rows("phases")}
    assert states == {"p1": ("COMPLETE", None), "p2": ("FAILED", "worker_lost"), "p3": ("COMPLETE", None)}
    (run,) = scene.rows("runs")
    assert run["state"] == "DONE_FAILED_REQUIRES_HUMAN_REVIEW"
    assert run["tokens_reserved"] == 0
    assert scene.commits() == ["p1", "p3"]
