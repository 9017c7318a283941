"""Setting up names what is missing, and what to install."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT


def make_venv(path: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(ROOT / "scripts" / "make_venv.sh"), "venv"], cwd=cwd, env={"PATH": path, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def program(directory: Path, name: str, text: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    (directory / name).chmod(0o755)


def test_without_git_it_says_how_to_install_git(tmp_path: Path) -> None:
    program(tmp_path / "bin", "python3", "exit 0")
    done = make_venv(str(tmp_path / "bin"), tmp_path)
    assert done.returncode == 3
    assert "needs git" in done.stderr
    assert "apt-get install git" in done.stderr


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ("exit 1", "Python 3.11 or newer"),  # too old: the version test fails
        ('case "$2" in *ensurepip*) exit 1;; *) exit 0;; esac', "python3-venv"),
    ],
)
def test_an_old_python_or_one_without_venv_is_named(tmp_path: Path, python: str, words: str) -> None:
    program(tmp_path / "bin", "git", "exit 0")
    program(tmp_path / "bin", "python3", python)
    done = make_venv(str(tmp_path / "bin"), tmp_path)
    assert done.returncode == 3
    assert words in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_named_python_goes_first(tmp_path: Path) -> None:
    program(tmp_path / "bin", "git", "exit 0")
    program(tmp_path / "bin", "mine", f'case "$1" in -m) echo "$3" > {tmp_path}/made;; esac')
    done = make_venv(str(tmp_path / "bin"), tmp_path, PYTHON="mine")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made").read_text(encoding="utf-8").strip() == "venv"


def test_the_locks_hold_a_hash_for_everything() -> None:
    for name in ("run.lock", "build.lock", "dev.lock"):
        lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
        pinned = [
            number for number, line in enumerate(lines) if "==" in line and not line.startswith((" ", "#"))
        ]
        assert pinned, name
        assert all("--hash=sha256:" in lines[number + 1] for number in pinned), name
        assert not any("://" in line for line in lines), f"{name} names a host"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
