"""Whether the tests still say what they are for: what passed at the base passes without the work's own tests too."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from autopack.domain.changes import Change, inverse
from autopack.domain.phases import FailureKind
from autopack.domain.testing import (
    CommandRun,
    Finding,
    TestOutcome,
    decides_how_tests_run,
    frozen_paths,
    holds_tests,
    in_file,
    is_test_file,
    runs_tests,
)
from autopack.domain.testing.results import RED
from autopack.domain.testing.verdict import listed
from autopack.executor.baselines import Baselines, Runs
from autopack.executor.case import Case
from autopack.executor.red_first import RedFirst, known_runners
from autopack.executor.rerun import rerun
from autopack.workspace.checks import CheckReport, CheckResult, Checks, Job


@dataclass(frozen=True, kw_only=True)
class Integrity:
    """For work whose checks are green so far. What a person approved (`trusted`) is not looked at again."""

    checks: Checks
    baselines: Baselines
    case: Case
    tree: str
    """The work, as it was checked."""
    base_paths: frozenset[str]
    frozen: frozenset[str]
    notes: list[str]
    """Gets what a reader should know."""

    async def findings(self, head: CheckReport, baseline: Runs | None) -> list[Finding]:
        if self.case.trusted:
            return []
        changes = tuple(change for change in self._sides if not decides_how_tests_run(change.path))
        new = RedFirst(checks=self.checks, case=self.case, changes=changes, notes=self.notes)
        return [*await new.findings(head, baseline), *await self._old_tests(head, baseline)]

    @cached_property
    def _sides(self) -> tuple[Change, ...]:
        """What changed on the side of the tests and was not taken from the base already: new files as well."""
        directories = directories_of_tests(self.base_paths)
        return tuple(
            change
            for change in self.case.changes
            if change.path not in self.frozen and self._beside_tests(change, directories)
        )

    def _beside_tests(self, change: Change, directories: tuple[str, ...]) -> bool:
        if decides_how_tests_run(change.path):
            # Where a phase of another category was asked for such a file, a person decides about it anyway.
            decides = frozen_paths([change], category="", deliverables=())
            return self.case.category == "tests" and bool(decides)
        if holds_tests(change.path) or change.path.startswith(directories):
            return True
        new = change.before is None
        return is_test_file(change.path) and not (new and is_package_code(change.path, self.base_paths))

    async def _old_tests(self, head: CheckReport, baseline: Runs | None) -> list[Finding]:
        """The base's tests with everything beside them as it was there, on the new code.

        A changed test may have been adapted to wrong code; a new file beside the tests may stand in for it.
        """
        told = any(result.tests is not None for result in head.results)
        if (
            not self._sides
            or not (told or known_runners(head))
            or not any(map(is_test_file, self.base_paths))
        ):
            return []
        tree = await self.checks.git.result_tree(self.tree, inverse(self._sides))
        old = baseline if tree == await self.checks.git.result_tree(self.case.base, ()) else None
        if old is None:
            self.case.step("running the tests as they were before the change")
            report = await self.checks.run(replace(self._job(tree), to_the_end=True))
            old = tuple(result.run() for result in report.results)
        found: list[Finding] = []
        for number, (now, then) in enumerate(zip(head.results, old, strict=True)):
            before = baseline[number] if baseline else None
            if now.tests is None or then.outcomes is None:
                found += await self._by_exit_code(number, now, then, before)
            else:
                found += await self._by_test(number, now, then, before, tree)
        return found

    def _job(self, tree: str) -> Job:
        taken_back = {change.path for change in self._sides}
        job = self.case.job(tree)
        return replace(job, modules=tuple(path for path in job.modules if path not in taken_back))

    async def _by_exit_code(
        self, number: int, now: CheckResult, then: CommandRun, before: CommandRun | None
    ) -> list[Finding]:
        if then.passed or not await self._spoke(number, now, before):
            return []
        what = f"{then.command} ({then.reason})" if then.reason else then.command
        found = self._weakened(what, sorted(self._edited))
        # Without the runner's word it is not known what a new file is needed for.
        return [replace(found, ask=found.ask or (now.tests is None and not self._edited))]

    async def _spoke(self, number: int, now: CheckResult, before: CommandRun | None) -> bool:
        """Whether the command was worth something without the change, so that silence or red now is the change's."""
        if now.tests is not None:
            return before is None or before.outcomes is not None
        if not now.passed or not runs_tests(now.command):
            return False
        if before is None and not self._edited:
            case = self.case
            runs = await self.baselines.of(case.claim.run.run_id, case.base, case.commands, case.settings)
            before = runs[number]
        return bool(self._edited) or before is None or before.passed

    async def _by_test(
        self, number: int, now: CheckResult, then: CommandRun, before: CommandRun | None, tree: str
    ) -> list[Finding]:
        known, outcomes = (before and before.outcomes) or {}, then.outcomes or {}
        failing = lost(known, outcomes)
        if again := sorted(each for each in failing if outcomes.get(each) in RED):
            flaky, _ = await rerun(self.checks, self._job(tree), number, again)
            failing -= flaky
        failing |= {
            test_id
            for test_id, outcome in outcomes.items()
            if outcome in RED and self._passes_in_new_form(test_id, now, known)
        }
        by_file: dict[str, list[str]] = {}
        for test_id in sorted(failing):
            by_file.setdefault(file_of(test_id, self._edited, now.directory), []).append(test_id)
        return [self._weakened(listed(ids), [file]) for file, ids in sorted(by_file.items())]

    def _passes_in_new_form(self, test_id: str, now: CheckResult, known: Mapping[str, TestOutcome]) -> bool:
        """It was red at the base and is green now because its file was changed; or the base says nothing at all."""
        after = (now.tests or {}).get(test_id)
        if known.get(test_id) is TestOutcome.PASSED:
            return False  # see `lost`
        if after is not None and after.outcome is not TestOutcome.PASSED:
            return False
        if not known:
            return True
        return after is not None and bool(file_of(test_id, self._edited, now.directory))

    @property
    def _edited(self) -> frozenset[str]:
        return frozenset(change.path for change in self._sides if change.before is not None)

    def _weakened(self, what: str, files: Sequence[str]) -> Finding:
        """A person decides about tests that the phase was asked to change; not about what only new files cure."""
        changed = [file for file in files if file in self._edited]
        changed = changed or sorted(change.path for change in self._sides)
        if self._edited.isdisjoint(changed):
            reason = f"without the new {', '.join(changed)}, this fails on the new code: {what}"
            return Finding(kind=FailureKind.CHECKS_FAILED, reason=reason)
        reason = f"with {', '.join(changed)} as at the base, this fails on the new code: {what}"
        return Finding(kind=FailureKind.TESTS_WEAKENED, reason=reason, ask=self._may_change(changed))

    def _may_change(self, paths: Sequence[str]) -> bool:
        case = self.case
        return case.category == "tests" or all(
            path in case.deliverables or path in case.removable for path in paths
        )


def lost(known: Mapping[str, TestOutcome], then: Mapping[str, TestOutcome]) -> set[str]:
    """Tests that passed and do not pass then: red, skipped or not there at all."""
    by_function: dict[str, list[str]] = {}
    for test_id in then:
        by_function.setdefault(test_id.partition("[")[0], []).append(test_id)
    found = set()
    for test_id, outcome in known.items():
        if outcome is TestOutcome.PASSED and then.get(test_id) is not TestOutcome.PASSED:
            # The names of cases may be made anew in every run, or come from the code under test.
            cases = by_function.get(test_id.partition("[")[0], []) if test_id not in then else []
            if "[" not in test_id or not cases or any(then[each] is not TestOutcome.PASSED for each in cases):
                found.add(test_id)
    return found


def directories_of_tests(paths: Collection[str]) -> tuple[str, ...]:
    """With a slash at the end: those, below the top, whose modules are all tests, whatever their name."""
    modules: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        directory, _, name = path.rpartition("/")
        known = name in ("__init__.py", "conftest.py")
        if directory and not known:
            modules.setdefault((directory, name.rpartition(".")[2]), []).append(path)
    return tuple(f"{directory}/" for (directory, _), held in modules.items() if all(map(holds_tests, held)))


def is_package_code(path: str, base_paths: Collection[str]) -> bool:
    """Below `package/testing/`, which only sounds like tests: the package is one at the base, and no test is there."""
    parts = path.split("/")[:-1]
    for depth in range(1, len(parts)):
        directory = "/".join(parts[: depth + 1])
        if is_test_file(f"{directory}/x"):
            inside = (each for each in base_paths if each.startswith(f"{directory}/"))
            return f"{'/'.join(parts[:depth])}/__init__.py" in base_paths and not any(
                map(holds_tests, inside)
            )
    return False


def file_of(test_id: str, files: Collection[str], directory: str) -> str:
    """Empty where none of them holds it: a helper that they share may be why it fails."""
    return next((path for path in sorted(files) if in_file(test_id, path, directory)), "")
