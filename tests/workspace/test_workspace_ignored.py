"""Ignore files are read as git reads them: compared with git itself."""

import subprocess
import time
from pathlib import Path

import pytest

from autopack.domain.policy.ignored import ignored_paths
from tests.workspace.conftest import PLAIN

FILES = {
    ".gitignore": r"""
# a remark
*.log
!keep.log
build/
/root.txt
docs/*.tmp
**/cache
deep/**/x.bin
all/**
[ab].c
[!ab].d
\#file
\!bang
trailingBLANKS
sp\ ace
?.q
a*b*c
!important/
node_modules
/only/here/
""".replace("BLANKS", "   "),
    "src/.gitignore": "*.gen\n!/kept.gen\n*.log\n/local\n",
}
PATHS = [
    "x.log", "keep.log", "a/keep.log", "a/x.log", "src/keep.log", "build/x", "a/build/x", "build", "root.txt", "a/root.txt",
    "docs/a.tmp", "docs/b/a.tmp", "cache", "a/cache", "a/cache/x", "deep/x.bin", "deep/a/b/x.bin", "all/x", "all/y/z", "all",
    "a.c", "c.c", "a.d", "c.d", "#file", "!bang", "trailing", "sp ace", "z.q", "zz.q", "aXbXc", "a/b/c", "abc", "important/x.log",
    "node_modules/x/y", "a/node_modules/b", "only/here/x", "a/only/here/x", "src/a.gen", "src/kept.gen", "src/b/kept.gen",
    "src/local", "src/b/local", "plain.py", "src/plain.py", "a.genx",
]  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], env=PLAIN, check=True)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_same_paths_are_ignored_as_by_git(project: Path):
    asked = subprocess.run(
        ["git", "check-ignore", "--no-index", "-z", "--stdin"], cwd=project, env=PLAIN, input="\0".join(PATHS).encode(),
        capture_output=True, check=True,
    )  # fmt: skip
    by_git = set(asked.stdout.decode().split("\0")) - {""}
    assert len(by_git) > 25
    assert ignored_paths(PATHS, FILES) == by_git


@pytest.mark.parametrize("text", ["[z-a]\n", "[\n", "\\\n", "!\n", "/\n", "\0\n", "***/***\n"])
def test_an_odd_pattern_is_no_error(text: str):
    assert ignored_paths(["src/app.py"], {".gitignore": text}) in (frozenset(), frozenset({"src/app.py"}))


def test_many_stars_take_no_time():
    text = "*a*a*a*a*a*a*a*a*a*a*b\n" + "**/a/" * 20 + "b\n"
    path = "/".join(["a" * 200] * 5) + "/" + "/".join(["a"] * 100)
    started = time.process_time()
    assert ignored_paths([path], {".gitignore": text}) == frozenset()
    assert time.process_time() - started < 1
