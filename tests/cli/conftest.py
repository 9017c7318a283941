"""A person's shell: a workspace, a database, and the command in this very process."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from autopack.cli import main
from tests.support import auditor_answer, builder_answer, make_workspace, write_cassette


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def shell(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Runs `autopack ARGUMENTS` in the workspace, on the database of this test, with recorded answers for p1 to p3."""
    workspace = make_workspace(tmp_path / "workspace")
    lines = [builder_answer(f"p{n}") for n in (1, 2, 3)] + [auditor_answer()]
    monkeypatch.setenv("AUTOPACK_REPLAY", str(write_cassette(tmp_path / "cassette.jsonl", lines)))
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    monkeypatch.chdir(workspace)

    def run(*arguments: str | Path) -> Ended:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert "Traceback" not in said.err, said.err
        return Ended(code, said.out, said.err)

    return run


@pytest.fixture
def seed(shell: Callable[..., Ended], tmp_path: Path) -> Callable[[Any], Ended]:
    """Creates a run from a plan given as a value."""

    def create(value: Any) -> Ended:
        path = tmp_path / f"{value['run_id']}.yaml"
        path.write_text(yaml.safe_dump(value), encoding="utf-8")
        ended = shell("run", "create", path)
        assert ended.code == 0, ended.err
        return ended

    return create
