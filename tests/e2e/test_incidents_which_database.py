"""INCIDENTS D4 and D5: which database a relative URL or a `.env` means. One of them, or a refusal; never a new file."""

from pathlib import Path

import pytest

from autopack.clock import utc_now
from autopack.db.location import locate
from autopack.db.migrate import migrate
from tests.e2e.support_incidents import database_id, outcome, rows, seed, small_run, states
from tests.support import make_workspace, run_script

pytestmark = pytest.mark.slow


class Project:
    """A project with a database `queue.db` at its root, a subdirectory, and a directory that is not the project's."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.root = make_workspace(top / "project")
        self.below = self.root / "src" / "deep"
        self.elsewhere = top / "elsewhere"
        for directory in (self.below, self.elsewhere):
            directory.mkdir(parents=True)

    def migrate(self, name: str) -> Path:
        path = self.root / name
        migrate(locate(f"sqlite:///{path}", self.root), now=utc_now)
        return path

    def databases(self) -> set[str]:
        found = (path for path in self.top.rglob("*.db*") if not path.name.endswith("-journal"))
        return {str(path.relative_to(self.top)) for path in found}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_the_projects_own_database_is_found_from_below_and_refused_from_elsewhere(project: Project) -> None:
    path = project.migrate("autopack.db")
    for directory in (project.root, project.below):
        done = run_script("db_identity_check.py", cwd=directory, warm=True)
        assert done.returncode == 0, outcome(done)
        assert f"path: {path}" in done.stdout
        assert f"chosen_by: the default of the project in {project.root}" in done.stdout
    lost = run_script("create_telemetry_collection_run.py", cwd=project.elsewhere, warm=True)
    assert lost.returncode == 3, outcome(lost)
    assert (
        f"there is no database at {project.elsewhere / 'autopack.db'}. Run `autopack migrate`" in lost.stderr
    )
    assert project.databases() == {"project/autopack.db"}


def test_a_relative_url_of_the_dotenv_means_one_file_from_everywhere_in_the_project(project: Project) -> None:
    path = project.migrate("queue.db")
    (project.root / ".env").write_text("DATABASE_URL=sqlite:///queue.db\n", encoding="utf-8")
    for directory in (project.root, project.below):
        done = run_script("db_identity_check.py", cwd=directory, warm=True)
        assert done.returncode == 0, outcome(done)
        assert f"path: {path}" in done.stdout
        assert f"chosen_by: DATABASE_URL in {project.root / '.env'}" in done.stdout
    assert project.databases() == {"project/queue.db"}


def test_a_relative_url_of_the_environment_is_drained_where_its_file_is_and_refused_elsewhere(
    project: Project, tmp_path: Path
) -> None:
    path = project.migrate("queue.db")
    plan_file, cassette = small_run(tmp_path, 1, "true")
    seed(f"sqlite:///{path}", plan_file)
    env = {"DATABASE_URL": "sqlite:///queue.db", "AUTOPACK_REPLAY": str(cassette)}
    drain = ("drain_queued_phases.py", "--run-id", "r1", "--workspace", str(project.root))
    for directory in (project.below, project.elsewhere):
        refused = run_script(*drain, cwd=directory, env=env, warm=True)
        assert refused.returncode == 3, outcome(refused)
        assert f"there is no database at {directory / 'queue.db'}." in refused.stderr
        assert "DATABASE_URL in the environment" in refused.stderr
    drained = run_script(*drain, cwd=project.root, env=env)
    assert drained.returncode == 0, outcome(drained)
    assert f"database: sqlite:///{path} (DATABASE_URL in the environment)" in drained.stderr
    assert states(f"sqlite:///{path}", "r1") == {"p1": "COMPLETE"}
    assert project.databases() == {"project/queue.db"}


def test_the_environment_wins_over_the_dotenv_and_doctor_says_so(project: Project, tmp_path: Path) -> None:
    url = f"sqlite:///{project.migrate('queue.db')}"
    (project.root / ".env").write_text("DATABASE_URL=sqlite:///autopack.db\n", encoding="utf-8")
    plan_file, cassette = small_run(tmp_path, 1, "true")
    seed(url, plan_file)
    env = {"DATABASE_URL": url, "AUTOPACK_REPLAY": str(cassette)}

    doctor = run_script("autopack", "doctor", cwd=project.root, env=env)
    assert doctor.returncode == 0, outcome(doctor)
    assert f"{url} (DATABASE_URL in the environment)" in doctor.stdout
    assert f"overruled: DATABASE_URL in {project.root / '.env'} names another: " in doctor.stdout
    assert "DATABASE_URL in the environment wins" in doctor.stdout
    assert database_id(url) in doctor.stdout

    drained = run_script("drain_queued_phases.py", "--run-id", "r1", cwd=project.root, env=env)
    assert drained.returncode == 0, outcome(drained)
    assert f"note: DATABASE_URL in {project.root / '.env'} names another: " in drained.stderr
    assert project.databases() == {"project/queue.db"}


def test_the_database_of_an_overruled_dotenv_is_not_touched(project: Project, tmp_path: Path) -> None:
    url, other = (f"sqlite:///{project.migrate(name)}" for name in ("queue.db", "other.db"))
    (project.root / ".env").write_text("DATABASE_URL=sqlite:///other.db\n", encoding="utf-8")
    plan_file, cassette = small_run(tmp_path, 1, "true")
    for each in (url, other):
        seed(each, plan_file)
    before = (project.root / "other.db").read_bytes()
    env = {"DATABASE_URL": url, "AUTOPACK_REPLAY": str(cassette)}
    drained = run_script(
        "drain_one_phase.py", "--run-id", "r1", "--phase-id", "p1", cwd=project.root, env=env, warm=True
    )
    assert drained.returncode == 0, outcome(drained)
    assert states(url, "r1") == {"p1": "COMPLETE"}
    assert (project.root / "other.db").read_bytes() == before
    assert rows(other)["attempts"] == []


def test_a_password_in_an_overruled_dotenv_is_not_shown(project: Project) -> None:
    url = f"sqlite:///{project.migrate('queue.db')}"
    secret = "DATABASE_URL=postgresql://me:hunter2@db.example/queue\n"
    (project.root / ".env").write_text(secret, encoding="utf-8")
    for command in (("autopack", "doctor"), ("db_identity_check.py",)):
        done = run_script(*command, cwd=project.root, env={"DATABASE_URL": url}, warm=True)
        assert done.returncode == 0, outcome(done)
        assert "db.example/queue" in done.stdout
        assert "hunter2" not in done.stdout + done.stderr
