import hashlib
import os
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


PLAIN = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Person",
    "GIT_AUTHOR_EMAIL": "person@example.org",
    "GIT_COMMITTER_NAME": "Person",
    "GIT_COMMITTER_EMAIL": "person@example.org",
}


class Repository:
    """A person's repository, made with ordinary git."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.path, env=PLAIN, capture_output=True, check=True)
        return done.stdout.decode().strip()

    def write(self, name: str, content: str | bytes, mode: int = 0o644) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        file.chmod(mode)

    def commit_all(self, message: str = "work") -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def fingerprint(self) -> dict[str, str]:
        """Everything of the person's: the files, the index, HEAD and every ref but ours."""
        found = {}
        for file in sorted(self.path.rglob("*")):
            name = str(file.relative_to(self.path))
            if name.startswith((".git/objects", ".git/logs")) or "autopack" in name or not file.is_file():
                continue
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest() + str(file.stat().st_mtime_ns)
        return found


@pytest.fixture
def repository_at() -> type[Repository]:
    return Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    path = tmp_path / "project"
    path.mkdir()
    made = Repository(path)
    made.git("init", "-q", "-b", "main")
    made.write("README.md", "hello\n")
    made.write("src/app.py", "print('hi')\n")
    made.write("bin/tool", "#!/bin/sh\n", 0o755)
    made.commit_all("first")
    return made
