"""Small projects whose checks are run for real, with the Python and the pytest of these tests."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from autopack.workspace.checks import CheckResult, Checks, CheckSettings, Job, open_checks
from autopack.workspace.git import GitWorkspace
from autopack.workspace.process import Limits
from autopack.workspace.sandbox import Sandbox, SandboxLevel

PYTEST = f"{sys.executable} -m pytest -q"
# The plugins of these tests are none of the project's, and take longer to load than it takes to run.
SETTINGS = CheckSettings(env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, limits=Limits(wall_seconds=60))
CALC = "def add(a, b):\n    return a + b\n"
TESTS = """
from calc import add

def test_right():
    assert add(1, 2) == 3

def test_wrong():
    assert add(1, 2) == 4
"""


@asynccontextmanager
async def opened(
    repository, files: Mapping[str, str], level=SandboxLevel.LIMITS
) -> AsyncIterator[tuple[Checks, str]]:
    """The checks of a project that holds exactly these files, and its commit."""
    repository.git("rm", "-rq", "--ignore-unmatch", ".")
    for name, content in files.items():
        repository.write(name, content)
    commit = repository.commit_all()
    async with open_checks(await GitWorkspace.open(repository.path), Sandbox(level=level)) as checks:
        yield checks, commit


async def run_one(repository, files: Mapping[str, str], command: str = PYTEST, **more) -> CheckResult:
    given = {"settings": SETTINGS, **more}
    async with opened(repository, files) as (checks, commit):
        report = await checks.run(Job(tree=commit, base=commit, commands=(command,), **given))
        return report.results[0]


def outcomes(result: CheckResult) -> dict[str, str]:
    return {each: test.outcome.value for each, test in (result.tests or {}).items()}
