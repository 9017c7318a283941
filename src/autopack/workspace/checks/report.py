"""What the checks said, in the sizes that a database, a prompt and an auditor can take."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from autopack.domain.phases import JsonObject
from autopack.domain.testing import ChecksVerdict, CommandRun, RunKind, TestOutcome, TestResult
from autopack.domain.testing.counted import Counted

_STORED_BYTES = 16 * 1024
_SUMMARY_CHARACTERS = 4000
_STORED_TESTS = 200
_STORED_ID = 400


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One command. `tests` is None where only its exit code is known; `reason` says why it is not green."""

    command: str
    kind: RunKind
    exit_code: int | None
    signal: int | None
    timed_out: bool
    duration_seconds: float
    output: str
    survivors: int
    tests: Mapping[str, TestResult] | None = None
    reason: str = ""
    directory: str = ""
    """Where in the tree its tests are named from."""
    counted: Counted | None = None
    """How many tests it says it ran, where it is green and tells of none by name."""

    @property
    def passed(self) -> bool:
        return self.kind is RunKind.PASSED

    def run(self) -> CommandRun:
        outcomes = None if self.tests is None else {each: test.outcome for each, test in self.tests.items()}
        return CommandRun(
            command=self.command, kind=self.kind, exit_code=self.exit_code, outcomes=outcomes, reason=self.reason,
            counted=self.counted,
        )  # fmt: skip

    def to_json(self) -> JsonObject:
        told = {name: value for name, value in asdict(self).items() if name not in ("tests", "output")}
        return {
            **told,
            "passed": self.passed,
            "output": bounded(self.output, _STORED_BYTES),
            **self._counts(),
        }

    def _counts(self) -> JsonObject:
        """How many tests ended how, and which did not pass: the others are only counted."""
        if self.tests is None:
            return {}
        notable = [test for test in self.tests.values() if test.outcome is not TestOutcome.PASSED]
        return {
            "tests": dict(Counter(test.outcome.value for test in self.tests.values())),
            "not_passed": {_short(test.test_id): test.outcome.value for test in notable[:_STORED_TESTS]},
            "not_passed_left_out": max(0, len(notable) - _STORED_TESTS),
        }


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """The commands that were run, and what was made of them. No command at all passes.

    `verdict` is there once the checks were judged against the base; without it each command must be green.
    """

    results: tuple[CheckResult, ...]
    level: str
    skipped_links: tuple[str, ...] = ()
    """Symlinks of the tree that lead outside and were therefore not there."""
    verdict: ChecksVerdict | None = None
    notes: tuple[str, ...] = ()
    """What a reader should know although it decided nothing."""
    evidence: JsonObject = field(default_factory=dict)
    """Comparisons with the base, tests that were run again, files that were taken from the base."""

    @property
    def passed(self) -> bool:
        if self.verdict is not None:
            return self.verdict.passed
        return all(result.passed for result in self.results)

    def to_json(self) -> JsonObject:
        """For the database: plain values, each output bounded to 16 KiB."""
        verdict = {} if self.verdict is None else {"verdict": asdict(self.verdict)}
        return {
            "passed": self.passed,
            "level": self.level,
            "results": [result.to_json() for result in self.results],
            "skipped_links": [_short(name) for name in self.skipped_links[:_STORED_TESTS]],
            "notes": list(self.notes),
            "evidence": self.evidence,
            **verdict,
        }

    def summary(self) -> str:
        """For the next prompt and the auditor: what failed, how, and the last of what it said."""
        lines = [] if self.verdict is None else [*self.verdict.reasons, *self.verdict.asks]
        told = "".join(f"{line}\n" for line in (*lines, *self.notes))
        if self.passed:
            return f"{self._all_passed()}\n{told}".strip()
        failed = next((result for result in self.results if not result.passed), None)
        if failed is None:
            return told
        end = failed.output[-_SUMMARY_CHARACTERS:]
        how = failed.reason or "a test failed"
        return f"{told}A check failed: {how}.\nCommand: {failed.command}\nIts output ended with:\n{end}"

    def _all_passed(self) -> str:
        if not self.results:
            return "No checks were run."
        red = sum(1 for result in self.results if not result.passed)
        if red:
            return f"No check is worse than at the base; {red} of {len(self.results)} were red there already."
        return f"All {len(self.results)} checks passed."


def bounded(output: str, longest: int) -> str:
    data = output.encode("utf-8", "replace")
    if len(data) <= longest:
        return output
    half = longest // 2 - 40
    head, tail = data[:half].decode("utf-8", "ignore"), data[-half:].decode("utf-8", "ignore")
    return f"{head}\n[... {len(data) - 2 * half} bytes left out ...]\n{tail}"


def _short(name: str) -> str:
    return name.encode("utf-8", "replace").decode()[:_STORED_ID]
