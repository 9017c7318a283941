"""`autopack preflight`: a plan or a run tried out, from a person's shell; nothing is written, nothing is left behind."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import git, make_workspace, phase, plan, start_warm


def records(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def written(path: Path, *phases: Any, **more: Any) -> Path:
    path.write_text(yaml.safe_dump(plan(phases=phases, **more)), encoding="utf-8")
    return path


def test_a_plan_needs_no_database(shell, tmp_path: Path, monkeypatch):
    nowhere = tmp_path / "nowhere.db"
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{nowhere}")
    path = written(tmp_path / "plan.yaml", phase("p1", checks=["test -f README.md"]))
    ended = shell("preflight", path)
    assert ended.code == 0, ended.err
    assert "run r1 on " in ended.out
    assert "ok       checks: test -f README.md: green at the base" in ended.out
    assert ended.out.splitlines()[-1].startswith("ready: ")
    assert "checking the base: test -f README.md" in ended.err
    assert not nowhere.exists()


def test_a_run_is_tried_without_a_change_of_its_database(shell, seed, tmp_path: Path):
    seed(
        plan(
            phases=[phase("p1", checks=["true"]), phase("p2", checks=["false"], depends_on=["p1"])],
            token_cap=10,
        )
    )
    database = tmp_path / "autopack.db"
    before = database.read_bytes()
    ended = shell("preflight", "r1", "--json")
    launch, done = records(ended.out)
    assert (launch["record"], launch["command"], launch["subject"]) == ("launch", "preflight", "r1")
    assert (done["record"], done["ready"], done["exit_code"], ended.code) == ("done", False, 3, 3)
    assert done["graph"] == {"phases": 2, "tiers": 1, "longest_chain": ["p1", "p2"], "at_once": 1}
    assert [(each["command"], each["green"]) for each in done["checks"]] == [("true", True), ("false", False)]
    assert [each["level"] for each in done["findings"]][:2] == ["problem", "warning"]
    assert done["findings"][0]["about"] == "caps"
    assert done["estimate"]["basis"] == "by what earlier calls of this database needed"
    assert database.read_bytes() == before
    assert git(Path.cwd(), "branch", "--list", "autopack/*") == ""


def test_only_what_waits_is_tried_and_the_branch_of_the_run_is_the_base(shell, seed):
    seed(
        plan(
            phases=[
                phase("p1", checks=["false"]),
                phase("p2", checks=["test -f out/p1.txt"], depends_on=["p1"]),
            ]
        )
    )
    workspace = Path.cwd()
    git(workspace, "checkout", "-q", "-b", "autopack/r1")
    (workspace / "out").mkdir()
    (workspace / "out" / "p1.txt").write_text("made\n")
    git(workspace, "add", ".")
    git(workspace, "commit", "-q", "-m", "p1")
    git(workspace, "checkout", "-q", "main")
    assert shell("phase", "skip", "r1", "p1").code == 0
    *_, done = records(shell("preflight", "r1", "--json").out)
    assert done["base_commit"] == git(workspace, "rev-parse", "autopack/r1")
    assert [(each["command"], each["green"], each["phases"]) for each in done["checks"]] == [
        ("test -f out/p1.txt", True, ["p2"])
    ]


def test_a_model_that_cannot_be_called_is_a_problem(shell, tmp_path: Path, monkeypatch):
    monkeypatch.delenv("AUTOPACK_REPLAY")
    monkeypatch.setenv("AUTOPACK_MODEL", "openai:any")
    ended = shell("preflight", written(tmp_path / "plan.yaml", phase("p1", checks=["true"])))
    assert ended.code == 3
    assert "problem  model: openai:any needs a key: set OPENAI_API_KEY" in ended.out
    assert "green at the base" in ended.out


@pytest.mark.parametrize(
    ("subject", "options", "code", "words"),
    [
        ("nothing", (), 3, "there is no run nothing"),
        ("nothing.yaml", (), 2, "there is no plan nothing.yaml"),
        ("a b", (), 2, "cannot be an id"),
        ("README.md", (), 2, "holds no plan"),
        ("README.md", ("--format", "toml"), 2, "run_id: Field required"),
    ],
)
def test_what_is_neither_plan_nor_run_is_said(
    shell, subject: str, options: tuple[str, ...], code: int, words: str
):
    ended = shell("preflight", subject, *options)
    assert (ended.code, ended.out) == (code, "")
    assert words in ended.err


@pytest.mark.parametrize("table", ["[checks]\nkept = []\n", "[models]\nkept = []\n"])
def test_a_workspace_that_cannot_be_followed_is_refused(shell, tmp_path: Path, table: str):
    path = written(tmp_path / "plan.yaml", phase("p1"))
    wrong = make_workspace(tmp_path / "wrong", {"autopack.toml": table})
    ended = shell("preflight", path, "--workspace", wrong, "--json")
    _, done = records(ended.out)
    assert (ended.code, done["exit_code"], done["error"]["code"]) == (3, 3, "workspace_refused")
    assert "kept is not known" in ended.err


def test_one_that_is_killed_leaves_nothing_to_the_next(shell, tmp_path: Path, monkeypatch):
    """SIGTERM is cleaned up after at once; after SIGKILL, whoever comes next does."""
    scratch, checking = tmp_path / "scratch", tmp_path / "checking"
    scratch.mkdir()
    os.mkfifo(checking)
    path = written(tmp_path / "plan.yaml", phase("p1", checks=[f"echo > {checking}; exec sleep 600"]))
    for number, code, is_left in ((signal.SIGTERM, 143, False), (signal.SIGKILL, -9, True)):
        arguments = ("preflight", str(path), "--sandbox", "limits")
        process = start_warm("autopack", *arguments, cwd=Path.cwd(), env={"TMPDIR": str(scratch)})
        checking.read_text()  # waits until the check runs
        process.send_signal(number)
        assert process.wait(30) == code
        assert any(scratch.iterdir()) == is_left
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    assert shell("preflight", written(path, phase("p1", checks=["true"]))).code == 0
    assert not any(scratch.iterdir())
