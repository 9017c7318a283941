"""`autopack init`: a file that Autopack can follow, in a repository that it can build on, and never over another."""

import json
import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from autopack.domain.models import load_model_table
from autopack.domain.policy import Policy, load_policy
from autopack.workspace.checks import load_check_settings
from autopack.workspace.checks.settings import _KNOWN, _LIMITS
from tests.support import git, make_workspace

LOADERS = (load_policy, load_check_settings, load_model_table)


@pytest.fixture
def repository(shell, tmp_path: Path, monkeypatch) -> Path:
    files = {"tests/test_a.py": "def test_a(): pass\n", "pytest.ini": "[pytest]\n", "sub/x": "x\n"}
    made = make_workspace(tmp_path / "repository", files)
    monkeypatch.chdir(made)
    return made


def test_the_checks_that_were_found_are_written_down(shell, repository: Path):
    (repository / ".venv").mkdir()
    ended = shell("init", "sub", "--json")
    told = json.loads(ended.out)
    written = repository / "autopack.toml"
    assert told["file"] == str(written)
    assert (told["checks"], told["keep"]) == (["python3 -m pytest -q"], [".venv"])
    settings = load_check_settings(written.read_text())
    assert (settings.commands, settings.keep) == (("python3 -m pytest -q",), (".venv",))
    assert load_policy(written.read_text()) == Policy()
    assert told["gitignore"] == ["autopack.db", "autopack.db-*", "autopack.db.backup-*"]
    assert git(repository, "status", "--short") == "?? autopack.toml"


def test_where_nothing_is_found_the_file_says_how(shell, tmp_path: Path, monkeypatch):
    made = make_workspace(tmp_path / "other", {".gitignore": "*.db\n"})
    ended = shell("init", made)
    assert "checks: none were found" in ended.out
    assert ".gitignore" not in ended.err
    assert load_check_settings((made / "autopack.toml").read_text()).commands == ()


def test_every_setting_is_shown_and_every_example_can_be_followed(shell, repository: Path):
    assert shell("init").code == 0
    text = re.sub(r"^# (?=\[|[a-z_]+ = )", "", (repository / "autopack.toml").read_text(), flags=re.MULTILINE)
    for load in LOADERS:
        load(text)
    table = tomllib.loads(text)
    assert set(table["policy"]) == {field.name for field in fields(Policy)}
    assert set(table["checks"]) == set(_KNOWN)
    assert set(table["checks"]["limits"]) == set(_LIMITS) - {"seconds"}
    assert set(table["models"]) == {"ladder", "category", "attempt", "format", "output_limit"}


def test_what_is_there_is_left_as_it_is(shell, repository: Path):
    file = repository / "autopack.toml"
    file.write_text("[checks]\ncommand = []\n")
    ended = shell("init")
    assert (ended.code, ended.out, file.read_text()) == (3, "", "[checks]\ncommand = []\n")
    assert "command is not known" in ended.err
    assert "not committed yet" in ended.err
    file.unlink()
    file.symlink_to("nowhere")
    assert shell("init").code == 3
    assert not (repository / "nowhere").exists()


def test_a_file_that_is_only_missing_in_the_checkout_is_not_written_anew(shell, repository: Path):
    shell("init")
    git(repository, "add", "autopack.toml")
    git(repository, "commit", "-q", "-m", "settings")
    (repository / "autopack.toml").unlink()
    ended = shell("init")
    assert (ended.code, "git checkout -- autopack.toml" in ended.err) == (3, True)


def test_what_cannot_be_built_on_is_refused(shell, tmp_path: Path):
    (tmp_path / "plain").mkdir()
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    bare = tmp_path / "bare"
    git(make_workspace(tmp_path / "full"), "clone", "-q", "--bare", ".", str(bare))
    for place, words in (
        (tmp_path / "plain", "is not in a git repository"),
        (empty, "has no commit to build on"),
        (bare, "is a bare repository"),
        (tmp_path / "nowhere", "does not exist"),
    ):
        ended = shell("init", place)
        assert (ended.code, ended.out) == (3, ""), place
        assert words in ended.err, place
        assert not (place / "autopack.toml").exists()
