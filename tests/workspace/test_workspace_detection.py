"""Which commands check a project that names none."""

import pytest

from autopack.domain.changes import Change, File
from autopack.workspace.checks import CheckSettings, open_checks
from autopack.workspace.checks.deciding import deciding_paths
from autopack.workspace.checks.detection import detect
from autopack.workspace.git import GitWorkspace
from autopack.workspace.sandbox import Sandbox, SandboxLevel

PYTEST = "python3 -m pytest -q"
NPM = '{"scripts": {"test": "node --test"}}'


@pytest.mark.parametrize(
    ("paths", "contents", "works", "commands"),
    [
        (["tests/test_a.py"], {}, True, (PYTEST,)),
        (["tests/test_a.py"], {"pyproject.toml": "[tool.pytest.ini_options]\n"}, False, (PYTEST,)),
        (["tests/test_a.py"], {"pytest.ini": ""}, False, (PYTEST,)),
        (["tests/test_a.py"], {"setup.cfg": "[tool:pytest]\n"}, False, (PYTEST,)),
        (["tests/test_a.py"], {"tox.ini": "[pytest]\n"}, False, (PYTEST,)),
        (["tests/test_a.py"], {"tox.ini": "no [ ini", "pyproject.toml": "no toml"}, False, ("python3 -m unittest discover -s tests",)),
        (["tests/test_a.py", "tests/__init__.py"], {}, False, ("python3 -m unittest discover",)),
        (["test_a.py"], {}, False, ("python3 -m unittest discover",)),
        (["src/a.py", "tests/data.json"], {"pytest.ini": ""}, True, ()),
        (["package.json"], {"package.json": NPM}, False, ("npm test",)),
        (["tests/test_a.py"], {"package.json": NPM, "Makefile": "test:\n"}, True, (PYTEST, "npm test")),
        ([], {"package.json": '{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}'}, False, ()),
        ([], {"package.json": "[1]"}, False, ()),
        ([], {"package.json": '{"scripts": 1}'}, False, ()),
        ([], {"package.json": "{"}, False, ()),
        ([], {"Makefile": "all:\n\ttrue\ntest: all\n\ttrue\n"}, False, ("make test",)),
        ([], {"Makefile": "tested:\n\ttrue\ntest := x\n"}, False, ()),
        (["a_test.go"], {"go.mod": "module a\n", "Makefile": "test:\n"}, False, ("go test ./...",)),
        (["src/lib.rs"], {"Cargo.toml": ""}, False, ("cargo test",)),
        (["sub/a_test.go", "sub/go.mod"], {}, False, ()),
        ([], {}, True, ()),
    ],
)  # fmt: skip
def test_only_what_is_plainly_there_is_run(paths, contents, works, commands):
    assert detect([*paths, *contents], contents, pytest_works=works) == commands


@pytest.mark.anyio
async def test_whether_pytest_can_be_imported_is_tried_where_checks_run(repository):
    """With a `pytest` of the tree's own making: a machine's python3 may have none."""
    repository.write("tests/test_a.py", "")
    first = repository.commit_all()
    git = await GitWorkspace.open(repository.path)
    async with open_checks(git, Sandbox(level=SandboxLevel.LIMITS)) as checks:
        fails = CheckSettings(env={"PYTHONPATH": "without"})
        shadow = Change(path="without/pytest.py", before=None, after=File(content=b"raise ImportError\n"))
        tree = await git.result_tree(first, [shadow])
        assert await checks.detect(tree, fails, tree) == ("python3 -m unittest discover -s tests",)
        works = CheckSettings(env={"PYTHONPATH": "with"})
        there = Change(path="with/pytest.py", before=None, after=File(content=b""))
        tree = await git.result_tree(first, [there])
        assert await checks.detect(tree, works, tree) == (PYTEST,)


@pytest.mark.anyio
async def test_what_the_bases_files_name_for_its_checks(repository):
    repository.write("Makefile", "include build/a.mk\ntest: app.c\n\tpython3 run_tests.py\n")
    repository.write("build/a.mk", "include build/b.mk\n")
    repository.write("build/b.mk", "lint:\n\tsh scripts/lint.sh src\n")
    repository.write("tests/conftest.py", "pytest_plugins = ['support.plug']\n")
    repository.write("conftest.py", "")
    base = repository.commit_all()
    git = await GitWorkspace.open(repository.path)
    plugin = {"support/plug.py", "support/plug/__init__.py", "support/plug/__main__.py"}
    built = {"run_tests.py", "build/a.mk", "build/b.mk", "scripts/lint.sh"}
    assert await deciding_paths(git, base, ["make test"]) == plugin | built
    assert await deciding_paths(git, base, ["pytest -q"]) == plugin
