"""INCIDENTS D1: the four tries of incident A. The run survives each of them, and no table ever loses a row."""

from pathlib import Path

import pytest

from tests.e2e.support_incidents import Growth, is_warm, outcome, query, small_run, states
from tests.support import TELEMETRY_RUN, auditor_answer, builder_answer, git, run_script, write_cassette

pytestmark = pytest.mark.slow

P1, P2 = "telemetry-p1-string-util", "telemetry-p2-number-util"


@pytest.fixture
def growth(database_url: str) -> Growth:
    return Growth(database_url)


class Story:
    """Commands one after the other, each followed by a look at everything that may not get lost."""

    def __init__(self, growth: Growth, workspace: Path) -> None:
        self.growth, self.workspace = growth, workspace

    def run(self, script: str, *arguments: str, exits: int = 0) -> str:
        done = run_script(
            script,
            *arguments,
            cwd=self.workspace,
            env={"DATABASE_URL": self.growth.url},
            warm=is_warm(self.growth.url),
        )
        assert done.returncode == exits, outcome(done)
        self.growth.check()
        assert len(states(self.growth.url, TELEMETRY_RUN)) == 10
        return done.stdout + done.stderr

    def one(self, phase_id: str, *more: str, exits: int = 0) -> str:
        return self.run(
            "drain_one_phase.py", "--run-id", TELEMETRY_RUN, "--phase-id", phase_id, *more, exits=exits
        )

    def seed(self) -> str:
        return self.run("create_telemetry_collection_run.py", "--run-id", TELEMETRY_RUN)

    def state(self, phase_id: str) -> str:
        return states(self.growth.url, TELEMETRY_RUN)[phase_id]

    def queued(self) -> str:
        return self.run(
            "drain_queued_phases.py", "--run-id", TELEMETRY_RUN, "--batch-size", "10", "--concurrency", "2", "--in-process"
        )  # fmt: skip


def test_the_four_tries_of_incident_a_leave_ten_complete_phases(growth: Growth, workspace: Path) -> None:
    story = Story(growth, workspace)
    story.seed()
    assert set(states(growth.url, TELEMETRY_RUN).values()) == {"QUEUED"}

    story.one(P1)
    assert story.state(P1) == "COMPLETE"
    story.one(P2, "--force")
    assert story.state(P2) == "COMPLETE"

    story.queued()
    assert set(states(growth.url, TELEMETRY_RUN).values()) == {"COMPLETE"}
    everything = growth.seen

    told = story.one(P1, "--force", exits=3)
    assert (
        f"phase {P1} of run {TELEMETRY_RUN} is COMPLETE; only QUEUED and FAILED phases can be drained" in told
    )
    assert "already there" in story.seed()
    assert "DONE_SUCCESS" in story.queued()

    assert growth.seen == everything
    branch = f"autopack/{TELEMETRY_RUN}"
    subjects = git(workspace, "log", "--format=%s", f"main..{branch}").splitlines()
    assert len(subjects) == 10
    assert sorted(subject.partition(":")[0] for subject in subjects) == sorted(
        states(growth.url, TELEMETRY_RUN)
    )
    assert query(growth.url, "SELECT count(*) FROM attempts WHERE outcome = 'COMPLETE'") == [(10,)]


def test_a_forced_drain_of_a_failed_phase_adds_an_attempt_and_keeps_the_failed_one(
    sqlite_url: str, workspace: Path, tmp_path: Path
) -> None:
    growth = Growth(sqlite_url)
    plan_file, cassette = small_run(tmp_path, 1, "grep -q right out/p1.txt", max_attempts=1)
    write_cassette(
        cassette, [builder_answer("p1", "wrong\n", ask=1), builder_answer("p1", "right\n", ask=2), auditor_answer()]
    )  # fmt: skip
    env = {"DATABASE_URL": growth.url, "AUTOPACK_REPLAY": str(cassette)}
    one = ("drain_one_phase.py", "--run-id", "r1", "--phase-id", "p1")
    assert (
        run_script("autopack", "run", "create", str(plan_file), cwd=workspace, env=env, warm=True).returncode
        == 0
    )
    growth.check()

    failed = run_script(*one, cwd=workspace, env=env, warm=True)
    assert failed.returncode == 1, outcome(failed)
    growth.check()
    forced = run_script(*one, "--force", cwd=workspace, env=env, warm=True)
    assert forced.returncode == 0, outcome(forced)
    growth.check()

    tries = query(growth.url, "SELECT number, outcome, failure_kind FROM attempts ORDER BY number")
    assert tries == [(1, "FAILED", "checks_failed"), (2, "COMPLETE", None)]
    assert states(growth.url, "r1") == {"p1": "COMPLETE"}
