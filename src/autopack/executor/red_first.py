"""Whether new tests can fail: those that a phase was to deliver must not all pass without its change.

Test by test where the runner tells, by exit code where one of the commands is plainly a runner of tests. In each file
one new test must be red at the base; one that is green there as well may be a case that is to stay as it is. A phase of
category `tests` writes tests for what is there: they must pass, and assert something.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from autopack.domain.changes import Change
from autopack.domain.phases import FailureKind
from autopack.domain.policy import python_tests
from autopack.domain.testing import Finding, TestOutcome, holds_tests, in_file, runs_tests
from autopack.domain.testing.verdict import listed
from autopack.executor.baselines import Runs
from autopack.executor.case import Case
from autopack.executor.moved import Moves
from autopack.workspace.checks import CheckReport, CheckResult, Checks, Selection


@dataclass(frozen=True, kw_only=True)
class RedFirst:
    checks: Checks
    case: Case
    changes: Sequence[Change]
    """On the side of the tests."""
    notes: list[str]

    async def findings(self, head: CheckReport, baseline: Runs | None) -> list[Finding]:
        asked = [
            change
            for change in self.changes
            if change.path in self.case.deliverables and holds_tests(change.path) and change.after is not None
        ]
        told = [result for result in head.results if result.tests is not None]
        if self.case.category == "tests":
            return [each for change in asked if told for each in _of_tests(change, told)]
        return await self._red(head, told, asked, baseline)

    async def _red(
        self, head: CheckReport, told: Sequence[CheckResult], asked: Sequence[Change], baseline: Runs | None
    ) -> list[Finding]:
        new = [change.path for change in asked if change.before is None]
        by_test = [path for path in new if told and path.endswith(".py")]
        by_code = [path for path in new if path not in by_test]
        ids = {path: passed(told, path) for path in by_test}
        found = [_not_red(f"no check ran a test of {path} that passes") for path in by_test if not ids[path]]
        if found:
            return found
        for change in asked:
            if change.before is not None:
                ids[change.path] = _new_in(change.path, told, head, baseline)
        ids = self._without_moved(ids, told)
        if not ids and not (by_code and known_runners(head)):
            return []
        self.case.step("running the new tests without the change")
        before = await self._on_the_base([*ids, *by_code])
        return [*self._green_already(ids, before), *_no_runner_red(head, before, by_code)]

    def _without_moved(self, ids: Mapping[str, set[str]], told: Sequence[CheckResult]) -> dict[str, set[str]]:
        """What was renamed, or came from another file, passed before: nothing new is to be shown."""
        moves = Moves(self.changes)
        places = {test_id: result.directory for result in told for test_id in result.tests or {}}
        new = {
            path: {each for each in found if not moves.came_from(each, places[each])}
            for path, found in ids.items()
        }
        return {path: found for path, found in new.items() if found}

    async def _on_the_base(self, files: Sequence[str]) -> CheckReport:
        tests = [change for change in self.changes if change.after is not None]
        tree = await self.checks.git.result_tree(self.case.base, tests)
        job = replace(
            self.case.job(tree), modules=(), select=Selection(files=frozenset(files)), to_the_end=True
        )
        return await self.checks.run(job)

    def _green_already(self, ids: Mapping[str, set[str]], before: CheckReport) -> list[Finding]:
        found = []
        for path, new in ids.items():
            green = sorted(new & passed(before.results, path))
            if green and len(green) == len(new):
                found.append(_not_red(f"these new tests pass without the change: {listed(green)}"))
            elif green:
                self.notes.append(f"new, and green without the change as well: {listed(green)}")
        return found


def passed(results: Sequence[CheckResult], path: str) -> set[str]:
    """The tests of the file that pass."""
    return {
        test.test_id
        for result in results
        for test in (result.tests or {}).values()
        if test.outcome is TestOutcome.PASSED and in_file(test.test_id, path, result.directory)
    }


def _new_in(path: str, told: Sequence[CheckResult], head: CheckReport, baseline: Runs | None) -> set[str]:
    """Functions that a file of the base holds now and did not: not those whose mere cases have other names."""
    known = {
        test_id
        for result, run in zip(head.results, baseline or (), strict=False)
        for test_id in run.outcomes or {}
        if in_file(test_id, path, result.directory)
    }
    if not known or any("::" not in test_id for test_id in known):
        return set()  # the base does not say which tests the file holds
    functions = {test_id.partition("[")[0] for test_id in known}
    return {each for each in passed(told, path) if each.partition("[")[0] not in functions}


def _of_tests(change: Change, told: Sequence[CheckResult]) -> list[Finding]:
    """What a phase of category `tests` delivers: it runs, and it asserts something."""
    if not change.path.endswith(".py"):
        return []
    if not passed(told, change.path):
        return [
            Finding(kind=FailureKind.NO_TESTS, reason=f"no check ran a test of {change.path} that passes")
        ]
    if change.after is None or _asserts(change.after.content):
        return []
    return [Finding(kind=FailureKind.NO_TESTS, reason=f"no test of {change.path} asserts anything", ask=True)]


def _asserts(content: bytes) -> bool:
    try:
        held = python_tests.read(content.decode("utf-8-sig", "replace"))
    except SyntaxError:
        return True  # it ran, so that our Python is only older than the project's
    return any(function.assertions for function in held.functions.values())


def _no_runner_red(head: CheckReport, before: CheckReport, files: Collection[str]) -> list[Finding]:
    commands = known_runners(head)
    again = [result for result in before.results if result.command in commands]
    if not files or not again or any(not result.passed for result in again):
        return []
    return [
        _not_red(f"without the change, but with {', '.join(files)}, this passes: {listed(sorted(commands))}")
    ]


def known_runners(head: CheckReport) -> set[str]:
    """The commands that plainly run tests, and of which only the exit code is known."""
    return {result.command for result in head.results if result.tests is None and runs_tests(result.command)}


def _not_red(reason: str) -> Finding:
    return Finding(kind=FailureKind.NOT_RED_FIRST, reason=f"not red first: {reason}")
