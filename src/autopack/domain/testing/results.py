"""What one command said: how it ended and, where its runner tells, what became of each test."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from autopack.domain.testing.counted import Counted


class TestOutcome(StrEnum):
    """What became of one test. A test that was expected to fail and passed has passed."""

    __test__ = False  # the name is not for pytest

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"
    XFAILED = "xfailed"
    UNCOLLECTED = "uncollected"
    """A whole module that could not be imported: none of its tests is known."""


RED = frozenset({TestOutcome.FAILED, TestOutcome.ERROR, TestOutcome.UNCOLLECTED})
RAN = frozenset({TestOutcome.PASSED, TestOutcome.XFAILED}) | RED
WORST_FIRST = (
    TestOutcome.UNCOLLECTED,
    TestOutcome.ERROR,
    TestOutcome.FAILED,
    TestOutcome.SKIPPED,
    TestOutcome.XFAILED,
    TestOutcome.PASSED,
)
"""One id may be told of twice (a test that fails, and its teardown as well): the worst counts."""


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """`test_id` is "class::name" as JUnit XML has them, or the module alone where it could not be collected."""

    __test__ = False

    test_id: str
    outcome: TestOutcome
    message: str = ""


class RunKind(StrEnum):
    """How one command ended. Only the first is green."""

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    COLLECTION_ERROR = "collection_error"
    NO_TESTS = "no_tests"
    USAGE_ERROR = "usage_error"
    INTERNAL_ERROR = "internal_error"
    INTERRUPTED = "interrupted"
    VOID = "void"
    """It cannot be believed, whatever it said."""


_PYTEST_EXITS = {
    0: RunKind.PASSED,
    1: RunKind.FAILED,
    2: RunKind.INTERRUPTED,
    3: RunKind.INTERNAL_ERROR,
    4: RunKind.USAGE_ERROR,
    5: RunKind.NO_TESTS,
}


def kind_of_pytest_exit(code: int) -> RunKind:
    """Codes beyond pytest's own (a plugin's, a crash) are failures."""
    return _PYTEST_EXITS.get(code, RunKind.FAILED)


@dataclass(frozen=True, kw_only=True)
class CommandRun:
    """`outcomes` is None where only the exit code is known; `reason` says in words why it is not green."""

    command: str
    kind: RunKind
    exit_code: int | None = None
    outcomes: Mapping[str, TestOutcome] | None = None
    reason: str = ""
    counted: Counted | None = None
    """How many tests it says it ran, where `outcomes` is None and it is green."""

    @property
    def passed(self) -> bool:
        return self.kind is RunKind.PASSED

    def to_json(self) -> dict[str, Any]:
        """Every id, by outcome: what a later run is compared with."""
        outcomes: dict[str, list[str]] | None = None
        if self.outcomes is not None:
            outcomes = {}
            for test_id, outcome in self.outcomes.items():
                outcomes.setdefault(outcome.value, []).append(test_id)
        return {
            "command": self.command,
            "kind": self.kind.value,
            "exit_code": self.exit_code,
            "reason": self.reason,
            "outcomes": outcomes,
            "counted": None if self.counted is None else [self.counted.passed, self.counted.skipped],
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "CommandRun":
        """Raises KeyError, TypeError or ValueError for what `to_json` did not write."""
        outcomes, counts = told["outcomes"], told.get("counted")
        if outcomes is not None:
            outcomes = {
                str(test_id): TestOutcome(outcome) for outcome, ids in outcomes.items() for test_id in ids
            }
        return cls(
            command=str(told["command"]), kind=RunKind(told["kind"]), exit_code=told["exit_code"],
            outcomes=outcomes, reason=str(told["reason"]),
            counted=None if counts is None else Counted(passed=int(counts[0]), skipped=int(counts[1])),
        )  # fmt: skip
