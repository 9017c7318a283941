"""What a check sees of this machine's programs: the tools on its PATH, and nothing of a home beside them."""

import os
from pathlib import Path

import pytest

from autopack.workspace.toolchains import tools


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Path:
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    return place


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def seen(
    *path: Path, workspace: Path, given: tuple[Path, ...] = (), unseen: tuple[Path, ...] = (), **homes: Path
):
    environment = {
        "PATH": os.pathsep.join(map(str, path)),
        **{name: str(each) for name, each in homes.items()},
    }
    return set(tools(environment, workspace=workspace, unseen=unseen, given=given))


def test_the_systems_own_need_no_mention(home: Path):
    assert seen(Path("/usr/bin"), Path("/bin"), Path("/usr/local/bin"), workspace=home / "w") == set()


def test_an_installation_is_seen_whole_and_a_folder_of_programs_alone(home: Path, tmp_path: Path):
    program(home / ".versions/3.11/bin/python3")
    (home / ".versions/3.11/lib").mkdir()
    program(home / ".cargo/bin/cargo")
    (home / ".cargo/credentials").write_text("secret")
    path = (home / ".versions/3.11/bin", home / ".cargo/bin", home / "not-there")
    assert seen(*path, workspace=home / "w") == {home / ".versions/3.11", home / ".cargo/bin"}


@pytest.mark.parametrize("whole", ["", ".local"])
def test_a_home_is_never_an_installation(whole: str, home: Path):
    program(home / whole / "bin/tool")
    (home / whole / "lib").mkdir()
    assert seen(home / whole / "bin", workspace=home / "w") == {home / whole / "bin"}


@pytest.mark.parametrize("mark", [".git", ".env", ".envrc"])
def test_a_project_with_a_bin_and_a_lib_is_no_installation(mark: str, home: Path, tmp_path: Path):
    program(tmp_path / "project/bin/tool")
    (tmp_path / "project/lib").mkdir()
    (tmp_path / "project" / mark).touch()
    assert seen(tmp_path / "project/bin", workspace=home / "w") == {tmp_path / "project/bin"}


def test_directly_below_the_home_only_an_environment_is_seen_whole(home: Path):
    for name, sure in (("project", "lib"), ("miniconda3", "conda-meta")):
        program(home / name / "bin/tool")
        (home / name / sure).mkdir()
    found = seen(home / "project/bin", home / "miniconda3/bin", workspace=home / "w")
    assert found == {home / "project/bin", home / "miniconda3"}


def test_what_holds_the_workspace_or_the_database_is_not_seen_whole(home: Path, tmp_path: Path):
    for name in ("one", "two", "three"):
        program(tmp_path / name / "bin/tool")
        (tmp_path / name / "lib").mkdir()
    path = tuple(tmp_path / name / "bin" for name in ("one", "two", "three"))
    found = seen(*path, workspace=tmp_path / "one/work", unseen=(tmp_path / "two/autopack.db",))
    assert found == {tmp_path / "one/bin", tmp_path / "two/bin", tmp_path / "three"}


def test_what_the_workspace_has_on_path_comes_with_the_tree_or_not_at_all(home: Path):
    program(home / "work/.venv/bin/python")
    (home / "work/.venv/lib").mkdir()
    assert seen(home / "work/.venv/bin", workspace=home / "work") == set()


def test_links_lead_to_the_installations_behind_them(home: Path):
    program(home / ".share/tools/ruff/bin/ruff")
    (home / ".share/tools/ruff/lib").mkdir()
    script = program(home / "scripts/one")
    (home / ".ssh").mkdir()
    folder = home / ".local/bin"
    folder.mkdir(parents=True)
    (folder / "ruff").symlink_to(home / ".share/tools/ruff/bin/ruff")
    (folder / "one").symlink_to(script)
    (folder / "directory").symlink_to(home / ".ssh")
    (folder / "dangling").symlink_to(home / "nowhere")
    assert seen(folder, workspace=home / "w") == {folder, home / ".share/tools/ruff", script}


def test_the_interpreter_of_a_given_environment_is_seen(home: Path):
    python = program(home / ".pythons/3.12/bin/python3.12")
    (home / ".pythons/3.12/lib").mkdir()
    (home / "w/.venv/bin").mkdir(parents=True)
    (home / "w/.venv/bin/python").symlink_to(python)
    found = seen(Path("/usr/bin"), workspace=home / "w", given=(home / "w/.venv",))
    assert home / ".pythons/3.12" in found


def test_tool_homes_are_seen_unless_they_are_the_home(home: Path):
    program(home / ".pyenv/versions/3/bin/python")
    assert seen(home / ".pyenv/shims", workspace=home / "w", PYENV_ROOT=home / ".pyenv") == {home / ".pyenv"}
    assert seen(Path("/usr/bin"), workspace=home / "w", PYENV_ROOT=home, RUSTUP_HOME=Path("/")) == set()


def test_a_folder_below_the_root_is_an_installation_only_for_sure(home: Path, monkeypatch):
    there = {"/opt/lib", "/env/lib", "/env/pyvenv.cfg", "/opt/bin", "/env/bin", "/opt", "/env"}
    monkeypatch.setattr(Path, "exists", lambda path: str(path) in there)
    monkeypatch.setattr(Path, "is_dir", lambda path: str(path) in there)
    assert seen(Path("/opt/bin"), Path("/env/bin"), workspace=home / "w") == {Path("/opt/bin"), Path("/env")}
