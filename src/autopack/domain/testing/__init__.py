"""What the checks of a project said, test by test, and what that means for a phase. Pure."""

from autopack.domain.testing.compare import Comparison, compare
from autopack.domain.testing.paths import (
    decides_how_tests_run,
    frozen_paths,
    holds_tests,
    in_file,
    is_test_file,
    names_tests,
    runs_tests,
)
from autopack.domain.testing.results import (
    CommandRun,
    RunKind,
    TestOutcome,
    TestResult,
    kind_of_pytest_exit,
)
from autopack.domain.testing.verdict import ChecksVerdict, Finding, judge_command, verdict_of

__all__ = [
    "ChecksVerdict",
    "CommandRun",
    "Comparison",
    "Finding",
    "RunKind",
    "TestOutcome",
    "TestResult",
    "compare",
    "decides_how_tests_run",
    "frozen_paths",
    "holds_tests",
    "in_file",
    "is_test_file",
    "judge_command",
    "kind_of_pytest_exit",
    "names_tests",
    "runs_tests",
    "verdict_of",
]
