"""Whether the tests still say what they are for: new ones can fail, and changed ones are not merely made to pass."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from autopack.domain.changes import Change, inverse
from autopack.domain.phases import FailureKind
from autopack.domain.testing import (
    Finding,
    RunKind,
    TestOutcome,
    TestResult,
    decides_how_tests_run,
    holds_tests,
    in_file,
    is_test_file,
    runs_tests,
)
from autopack.domain.testing.results import RED
from autopack.domain.testing.verdict import listed
from autopack.executor.baselines import Runs
from autopack.executor.case import Case
from autopack.workspace.checks import CheckReport, CheckResult, Checks, Selection


@dataclass(frozen=True, kw_only=True)
class Integrity:
    """For work whose checks are green so far. What a person approved (`trusted`) is not looked at again."""

    checks: Checks
    case: Case
    tree: str
    """The work, as it was checked."""
    frozen: frozenset[str]

    async def findings(self, head: CheckReport, baseline: Runs | None) -> list[Finding]:
        if self.case.trusted:
            return []
        return [*await self._red_first(head), *await self._old_tests(head, baseline)]

    # New tests

    async def _red_first(self, head: CheckReport) -> list[Finding]:
        """The new test files that the phase was to deliver, on the base: without the change they must fail.

        Test by test where the runner tells. Where only exit codes are known, one of the commands that are plainly
        runners of tests must be red. A `tests` phase writes tests for what is there: nothing is asked of it.
        """
        new = [change.path for change in self._test_changes() if change.before is None]
        asked = [path for path in new if path in self.case.deliverables and holds_tests(path)]
        if self.case.category == "tests" or not asked:
            return []
        told = [result for result in head.results if result.tests is not None]
        by_test = [path for path in asked if told and path.endswith(".py")]
        by_code = [path for path in asked if path not in by_test]
        found = [
            _not_red(f"no check ran a test of {path} that passes")
            for path in by_test
            if not _passed(told, {path})
        ]
        if found or not (by_test or _runners(head)):
            return found
        self.case.step("running the new tests without the change")
        before = await self._on_the_base(asked)
        return [*_green_already(told, before, by_test), *_no_runner_red(head, before, by_code)]

    async def _on_the_base(self, files: Sequence[str]) -> CheckReport:
        tests = [change for change in self._test_changes() if change.after is not None]
        tree = await self.checks.git.result_tree(self.case.base, tests)
        job = replace(
            self.case.job(tree), modules=(), select=Selection(files=frozenset(files)), to_the_end=True
        )
        return await self.checks.run(job)

    # Changed tests

    async def _old_tests(self, head: CheckReport, baseline: Runs | None) -> list[Finding]:
        """The changed test files as they were at the base, on the new code."""
        edited = [change for change in self._test_changes() if change.before is not None]
        runners = any(result.tests is not None for result in head.results) or _runners(head)
        if not edited or not runners:
            return []
        self.case.step("running the tests as they were before the change")
        tree = await self.checks.git.result_tree(self.tree, inverse(edited))
        paths = frozenset(change.path for change in edited)
        # A helper that tests share may be why any of them passes.
        files = paths if all(map(holds_tests, paths)) else None
        job = replace(self.case.job(tree), select=Selection(files=files), to_the_end=True)
        old = await self.checks.run(job)
        found: list[Finding] = []
        for number, (now, then) in enumerate(zip(head.results, old.results, strict=True)):
            known = (baseline[number].outcomes if baseline else None) or {}
            found += self._only_in_new_form(now, then, known, paths)
        return found

    def _only_in_new_form(
        self, now: CheckResult, then: CheckResult, known: Mapping[str, TestOutcome], edited: Collection[str]
    ) -> list[Finding]:
        if then.kind is RunKind.VOID or (now.tests is None and not runs_tests(now.command)):
            return []
        if now.tests is None or then.tests is None:
            red = now.passed and not then.passed
            return [self._weakened(then.command, sorted(edited), edited)] if red else []
        failing = [test for test in then.tests.values() if test.outcome in RED and _counts(test, now, known)]
        by_file: dict[str, list[str]] = {}
        for test in failing:
            by_file.setdefault(_file_of(test.test_id, edited, then.directory), []).append(test.test_id)
        return [self._weakened(listed(ids), [file], edited) for file, ids in sorted(by_file.items())]

    def _weakened(self, what: str, files: Sequence[str], edited: Collection[str]) -> Finding:
        """A person decides about tests that the phase was asked to change."""
        changed = [file for file in files if file in edited] or sorted(edited)
        owned = self.case.category == "tests" or all(file in self.case.deliverables for file in changed)
        reason = f"with {', '.join(changed)} as at the base, this fails on the new code: {what}"
        return Finding(kind=FailureKind.TESTS_WEAKENED, reason=reason, ask=owned)

    def _test_changes(self) -> list[Change]:
        return [
            change
            for change in self.case.changes
            if is_test_file(change.path)
            and change.path not in self.frozen
            and not decides_how_tests_run(change.path)
        ]


def _counts(test: TestResult, now: CheckResult, known: Mapping[str, TestOutcome]) -> bool:
    """It passed before the change, or passes in its new form."""
    after = (now.tests or {}).get(test.test_id)
    return known.get(test.test_id, TestOutcome.PASSED) is TestOutcome.PASSED or (
        after is not None and after.outcome is TestOutcome.PASSED
    )


def _file_of(test_id: str, files: Collection[str], directory: str) -> str:
    """Empty where none of them holds it: a helper that they share may be why it fails."""
    return next((path for path in sorted(files) if in_file(test_id, path, directory)), "")


def _passed(results: Sequence[CheckResult], files: Collection[str]) -> set[str]:
    return {
        test.test_id
        for result in results
        for test in (result.tests or {}).values()
        if test.outcome is TestOutcome.PASSED and _file_of(test.test_id, files, result.directory)
    }


def _green_already(told: Sequence[CheckResult], before: CheckReport, files: Sequence[str]) -> list[Finding]:
    ids = sorted(_passed(told, set(files)) & _passed(before.results, set(files)))
    return [_not_red(f"these new tests pass without the change: {listed(ids)}")] if ids else []


def _no_runner_red(head: CheckReport, before: CheckReport, files: Sequence[str]) -> list[Finding]:
    commands = _runners(head)
    again = [result for result in before.results if result.command in commands]
    if not files or not again or any(not result.passed for result in again):
        return []
    return [
        _not_red(f"without the change, but with {', '.join(files)}, this passes: {listed(sorted(commands))}")
    ]


def _runners(head: CheckReport) -> set[str]:
    return {result.command for result in head.results if result.tests is None and runs_tests(result.command)}


def _not_red(reason: str) -> Finding:
    return Finding(kind=FailureKind.NOT_RED_FIRST, reason=f"not red first: {reason}")
