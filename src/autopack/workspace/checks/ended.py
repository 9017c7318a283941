"""What a command's end says where its tests are not told of one by one."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from autopack.domain.testing import RunKind, TestResult, decides_how_tests_run, holds_tests, runs_tests
from autopack.domain.testing.counted import counted, ran_unittest
from autopack.workspace.checks.report import CheckResult
from autopack.workspace.checks.sentinel import is_pytest
from autopack.workspace.process import ProcessResult

_UNITTEST_FOUND_NONE = 5
_SETTINGS = (
    "*.cfg",
    "*.ini",
    "*.toml",
    "*.conf",
    ".*rc",
    ".*rc.*",
    ".*ignore",
    ".flake8",
    "*config*.json",
    "*.config.*",
)
_SAYS_NOTHING = (RunKind.VOID, RunKind.TIMED_OUT)
_UNITTEST = re.compile(r"-m\s+unittest\b[^>|]*$")  # nothing of what it prints goes elsewhere


def by_exit_code(command: str, ended: ProcessResult) -> CheckResult:
    if ended.timed_out:
        return result_of(command, ended, RunKind.TIMED_OUT, reason=how(ended))
    if ended.exit_code == 0:
        return _green(command, ended)
    if _UNITTEST.search(command) and ended.exit_code == _UNITTEST_FOUND_NONE:
        return result_of(command, ended, RunKind.NO_TESTS, reason="no test ran")
    return result_of(command, ended, RunKind.FAILED, reason=how(ended))


def _green(command: str, ended: ProcessResult) -> CheckResult:
    """unittest says how many tests it ran; without that word it did not come to its end."""
    if _UNITTEST.search(command):
        # Before Python 3.12 unittest is content with nothing.
        if "\nRan 0 tests in " in f"\n{ended.output}":
            return result_of(command, ended, RunKind.NO_TESTS, reason="no test ran")
        if not ran_unittest(ended.output):
            why = "the run is void: unittest did not say how many tests it ran, and that all is well"
            return result_of(command, ended, RunKind.VOID, reason=why)
    return result_of(command, ended, RunKind.PASSED)


def result_of(
    command: str, ended: ProcessResult, kind: RunKind, *, reason: str = "", tests: Mapping[str, TestResult] | None = None
) -> CheckResult:  # fmt: skip
    by_count = kind is RunKind.PASSED and tests is None
    return CheckResult(
        command=command, kind=kind, exit_code=ended.exit_code, signal=ended.signal, timed_out=ended.timed_out,
        duration_seconds=ended.duration_seconds, output=ended.output, survivors=ended.survivors,
        tests=tests, reason=reason, counted=counted(ended.output) if by_count else None,
    )  # fmt: skip


def note(result: CheckResult) -> str:
    """For a reader: what a green command that runs tests does not tell."""
    if result.tests is not None or not result.passed or not runs_tests(result.command):
        return ""
    return (
        f"{result.command} says nothing of single tests: it counts by its exit code and by how many it names"
    )


def unless_altered(result: CheckResult, altered: Sequence[str]) -> CheckResult:
    """A run of tests that rewrote the project's own tests, or what decides how they run, says nothing of them.

    Other commands may, as formatters do: what they wrote is undone before the next one.
    """
    if result.kind in _SAYS_NOTHING or not _ran_tests(result):
        return result
    rewritten = [path for path in altered if holds_tests(path) or decides_how_tests_run(path)]
    if not rewritten:
        return result
    why = f"the run is void: while it ran, files that decide what is tested were changed: {', '.join(rewritten[:5])}"
    return replace(result, kind=RunKind.VOID, reason=why)


def left_by(result: CheckResult) -> Callable[[str], bool]:
    """Whether a file that a command made is there for the next one: what it built is, but code that ran as a test
    of itself is not to leave settings for the linter that comes after it."""
    return _is_no_setting if _ran_tests(result) else lambda _path: True


def _is_no_setting(path: str) -> bool:
    name = path.rpartition("/")[2].casefold()
    return not (decides_how_tests_run(path) or any(fnmatchcase(name, each) for each in _SETTINGS))


def _ran_tests(result: CheckResult) -> bool:
    return result.tests is not None or is_pytest(result.command) or runs_tests(result.command)


def how(ended: ProcessResult) -> str:
    if ended.over_limit:
        return f"it was stopped: {ended.over_limit}"
    if ended.timed_out:
        return f"it was stopped at its time limit, after {ended.duration_seconds:.1f} s"
    if ended.signal is not None:
        return f"it was ended by signal {ended.signal}"
    return "it was stopped" if ended.exit_code is None else f"exit code {ended.exit_code}"
