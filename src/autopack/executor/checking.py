"""What a phase's work is worth by the project's own checks: a straight story.

1. Which commands; which changed files decide how tests run and are therefore taken from the base.
2. The commands run on the tree that results. Where that cannot be believed, nothing else matters.
3. The same on the base, once for all phases that are built on it, and compared test by test.
4. What newly fails runs again, alone, to tell a flaky test from a broken one.
5. New tests that were asked for must fail without the change (red first).
6. The base's tests must pass on the new code as they were, and with nothing new beside them.

To keep costs low, the base is only run where a command tells of tests, or where one is red, and never where it holds
no test at all: a command that only has an exit code and is green needs no comparison.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace

from autopack.domain.changes import Change, inverse
from autopack.domain.phases import Claim, JsonObject
from autopack.domain.testing import (
    ChecksVerdict,
    CommandRun,
    Comparison,
    Finding,
    RunKind,
    TestOutcome,
    compare,
    decides_how_tests_run,
    frozen_paths,
    in_file,
    is_test_file,
    judge_command,
    runs_tests,
    verdict_of,
)
from autopack.executor.baselines import Baselines, BaselineStore, Runs
from autopack.executor.case import Case, Step
from autopack.executor.integrity import Integrity
from autopack.executor.moved import Moves
from autopack.executor.rerun import rerun
from autopack.workspace.checks import CheckReport, Checks, CheckSettings, open_checks
from autopack.workspace.checks.deciding import deciding_paths
from autopack.workspace.git import GitWorkspace
from autopack.workspace.sandbox import Sandbox

_STORED_IDS = 100
_UNBELIEVABLE = (RunKind.VOID, RunKind.TIMED_OUT)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """`checks_hash` is over commands, how they ended, and every test's outcome: no times, no output, no chance."""

    report: CheckReport
    verdict: ChecksVerdict
    checks_hash: str


@dataclass(frozen=True, kw_only=True)
class Checking:
    """Lives as long as a drain."""

    checks: Checks
    baselines: Baselines

    async def judge(
        self, claim: Claim, *, base: str, tree: str, changes: Sequence[Change], settings: CheckSettings,
        trusted: bool, step: Step,
    ) -> Checked:  # fmt: skip
        """`trusted`: a person approved exactly these changes, so that they are taken as they are, tests and all."""
        commands = claim.phase.scope.checks or await self._default_commands(base, tree, settings)
        case = Case(
            claim=claim, base=base, tree=tree, changes=tuple(changes), settings=settings, commands=tuple(commands),
            trusted=trusted, step=step,
        )  # fmt: skip
        frozen = frozen_paths(
            changes,
            category=case.category,
            deliverables=case.deliverables,
            trusted=trusted,
            commands=commands,
            own=claim.phase.scope.checks,
            named=await deciding_paths(self.checks.git, base, commands),
        )
        checked = await self._judge(case, frozen)
        asked_for = [path for path in frozen if path in case.deliverables]
        if checked.verdict.passed:
            return await self._with_its_programs(case, checked, frozen)
        return await self._with_its_own(case, checked, frozen, asked_for) if asked_for else checked

    async def _default_commands(self, base: str, tree: str, settings: CheckSettings) -> tuple[str, ...]:
        """Of autopack.toml at the base, else what is plainly there: at the base, else in the work itself."""
        if settings.commands:
            return settings.commands
        found = await self.checks.detect(base, settings, base)
        return found or await self.checks.detect(tree, settings, base)

    async def _with_its_programs(self, case: Case, checked: Checked, frozen: Sequence[str]) -> Checked:
        """A program that a check runs may be the work itself: then it must be green as it is, too."""
        others = [path for path in frozen if decides_how_tests_run(path)]
        if len(others) == len(frozen):
            return checked
        case.step("checking with its own programs")
        own = await self._judge(case, others)
        return checked if own.verdict.passed else own

    async def _with_its_own(
        self, case: Case, checked: Checked, frozen: Sequence[str], asked_for: Sequence[str]
    ) -> Checked:
        """A phase that was asked for a Makefile cannot be green without it: with it, a person decides."""
        case.step("checking with its own configuration")
        others = [path for path in frozen if path not in asked_for]
        own = await self._judge(case, others)
        if not own.verdict.passed:
            return checked
        ask = f"the checks are green only with its own {', '.join(asked_for)}, which decides how tests run"
        verdict = replace(own.verdict, asks=(*own.verdict.asks, ask))
        return replace(own, verdict=verdict, report=replace(own.report, verdict=verdict))

    async def _judge(self, case: Case, frozen: Sequence[str]) -> Checked:
        tree = await self._tree_with_base_files(case, frozen)
        head = await self.checks.run(case.job(tree))
        runs = tuple(result.run() for result in head.results)
        notes = [f"taken from the base, because it decides how tests run: {path}" for path in frozen]
        if any(run.kind in _UNBELIEVABLE for run in runs):
            return _checked(head, runs, [_first_unbelievable(runs)], notes, {"frozen": list(frozen)})
        baseline = await self._baseline(case, runs, notes)
        comparisons, evidence = await self._compared(case, tree, head, baseline)
        findings = _of_commands(case, head, baseline, comparisons)
        if not any(not finding.ask for finding in findings):
            integrity = Integrity(
                checks=self.checks, baselines=self.baselines, case=case, tree=tree, frozen=frozenset(frozen), notes=notes,
                base_paths=frozenset(await self.checks.git.list_tree(case.base)),
            )  # fmt: skip
            findings += await integrity.findings(head, baseline)
        notes += _uncollected(runs, comparisons)
        seen = tuple(without_flaky(run, each) for run, each in zip(runs, comparisons, strict=True))
        if tree == case.tree:
            self.baselines.remember(tree, case.commands, case.settings, seen)
        return _checked(head, seen, findings, notes, {**evidence, "frozen": list(frozen)})

    async def _tree_with_base_files(self, case: Case, frozen: Sequence[str]) -> str:
        """The work's tree, but for the files that are the base's here; a new one is not there at all."""
        taken_back = [change for change in case.changes if change.path in frozen]
        return await self.checks.git.result_tree(case.tree, inverse(taken_back)) if taken_back else case.tree

    async def _baseline(self, case: Case, runs: Runs, notes: list[str]) -> Runs | None:
        """What the checks say of the base; None where nothing is to be compared."""
        if all(run.passed and run.outcomes is None and not _tells_of_tests(run) for run in runs):
            return None
        if not any(is_test_file(path) for path in await self.checks.git.list_tree(case.base)):
            notes.append("the base has no tests: there is nothing to compare with")
            return None
        case.step("checking the base")
        baseline = await self.baselines.of(case.claim.run.run_id, case.base, case.commands, case.settings)
        notes.extend(
            f"{run.command} says nothing of the base: {run.reason}"
            for run in baseline
            if run.kind in _UNBELIEVABLE
        )
        return baseline

    async def _compared(
        self, case: Case, tree: str, head: CheckReport, baseline: Runs | None
    ) -> tuple[list[Comparison], JsonObject]:
        """Command by command. What newly fails is run again, alone, before it counts."""
        comparisons, evidence = [], []
        moves = Moves(case.changes)
        for number, result in enumerate(head.results):
            known = (baseline[number].outcomes if baseline else None) or {}
            now = result.run().outcomes or {}
            comparison = compare(known, now)
            moved = moves.moved(comparison.vanished, known, now, result.directory)
            comparison = comparison.without_moved(moved)
            again: JsonObject = {}
            if comparison.newly_failing:
                case.step("running again what failed")
                flaky, again = await rerun(self.checks, case.job(tree), number, comparison.newly_failing)
                comparison = comparison.without_flaky(flaky)
            comparisons.append(comparison)
            told = {name: list(ids[:_STORED_IDS]) for name, ids in asdict(comparison).items() if ids}
            evidence.append({**told, **({"run_again": again} if again else {})})
        return comparisons, {"comparisons": evidence}


@asynccontextmanager
async def open_checking(git: GitWorkspace, sandbox: Sandbox, store: BaselineStore) -> AsyncIterator[Checking]:
    """For as long as a drain lasts: exports, set-ups and baselines are used again."""
    async with open_checks(git, sandbox) as checks:
        yield Checking(checks=checks, baselines=Baselines(checks=checks, store=store))


def _of_commands(
    case: Case, head: CheckReport, baseline: Runs | None, comparisons: Sequence[Comparison]
) -> list[Finding]:
    found: list[Finding] = []
    for number, (result, comparison) in enumerate(zip(head.results, comparisons, strict=True)):
        before = baseline[number] if baseline else None
        excused = _excused(case, comparison, result.directory)
        found += judge_command(
            result.run(), before, comparison, excused=excused, trusted=case.trusted, named=result.command in case.acceptance
        )  # fmt: skip
    return found


def _excused(case: Case, comparison: Comparison, directory: str) -> frozenset[str]:
    """Whether these may go, a person decides: of files that were deleted, or that a `tests` phase was to write."""
    gone = _in(case.removable, comparison.vanished, directory)
    if case.category != "tests":
        return gone
    hidden = (*comparison.vanished, *comparison.newly_skipped, *comparison.newly_xfailed)
    return gone | _in(case.deliverables, hidden, directory)


def _in(files: Collection[str], test_ids: Sequence[str], directory: str) -> frozenset[str]:
    return frozenset(each for each in test_ids if any(in_file(each, path, directory) for path in files))


def _uncollected(runs: Runs, comparisons: Sequence[Comparison]) -> list[str]:
    """Modules that nobody can import say nothing of the work."""
    return [
        f"cannot be imported by the test runner, at the base neither: {test_id}"
        for run, comparison in zip(runs, comparisons, strict=True)
        for test_id in comparison.already_failing
        if (run.outcomes or {}).get(test_id) is TestOutcome.UNCOLLECTED
    ]


def _tells_of_tests(run: CommandRun) -> bool:
    return run.counted is not None or runs_tests(run.command)


def _first_unbelievable(runs: Runs) -> Finding:
    run = next(run for run in runs if run.kind in _UNBELIEVABLE)
    return judge_command(run, None, Comparison())[0]


def without_flaky(run: CommandRun, comparison: Comparison) -> CommandRun:
    """As a base, a tree owes what its flaky tests say on a good day."""
    if run.outcomes is None:
        return run
    return replace(run, outcomes={**run.outcomes, **dict.fromkeys(comparison.flaky, TestOutcome.PASSED)})


def _checked(
    head: CheckReport, runs: Runs, findings: Sequence[Finding], notes: Sequence[str], evidence: JsonObject
) -> Checked:
    verdict = verdict_of(findings)
    flaky = [each for told in evidence.get("comparisons", []) for each in told.get("flaky", [])]
    said = [*head.notes, *notes, *(f"flaky (failed, then passed when run again): {each}" for each in flaky)]
    report = replace(head, verdict=verdict, notes=tuple(said), evidence=evidence)
    return Checked(report=report, verdict=verdict, checks_hash=hash_of(runs))


def hash_of(runs: Runs) -> str:
    facts = [[run.command, *_ended(run)] for run in runs]
    return hashlib.sha256(json.dumps(facts).encode("utf-8", "surrogatepass")).hexdigest()


def _ended(run: CommandRun) -> list[object]:
    """How it ended is told by its tests, where there are any: a flaky one changes the exit code."""
    if run.outcomes is None:
        return [run.kind, run.exit_code]
    return [sorted(run.outcomes.items()), run.reason]
