"""Telling a flaky test from a broken one, by running it again.

A test that newly fails runs once more on the work, alone with its like. Fails it again, it is broken. Passes it, the
whole command runs on the work once more: alone, a test may pass that every other one breaks. Passes it there too, it
is flaky. If not, the whole command runs on the base: only what fails there as well was never to be relied on, and is
flaky too. What was seen is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from autopack.domain.phases import JsonObject
from autopack.domain.testing import TestOutcome
from autopack.domain.testing.results import RED
from autopack.workspace.checks import Checks, Job, Selection
from autopack.workspace.checks.sentinel import EVERYTHING

_ALL = "all tests"
MOST = 50
"""More than that do not fail by chance."""


async def rerun(
    checks: Checks, job: Job, number: int, failed: Sequence[str]
) -> tuple[frozenset[str], JsonObject]:
    """Which of the tests of that command are flaky, and the evidence: test, and what each run said of it."""
    if len(failed) > MOST:
        return frozenset(), {"left_out": f"{len(failed)} tests: not run again"}
    seen: JsonObject = {}
    again = await _run(checks, job, number, failed, "work", seen)
    passed = [each for each in failed if again.get(each) is TestOutcome.PASSED]
    whole = await _run(checks, job, number, passed, f"work, {_ALL}", seen)
    unsure = [each for each in passed if whole.get(each) is not TestOutcome.PASSED]
    if not unsure:
        return frozenset(passed), seen
    base = await checks.git.result_tree(job.base, ())
    at_base = await _run(checks, replace(job, tree=base, modules=()), number, unsure, f"base, {_ALL}", seen)
    broken = {each for each in unsure if at_base.get(each) not in RED}
    return frozenset(passed) - broken, seen


async def _run(
    checks: Checks, job: Job, number: int, ids: Sequence[str], where: str, seen: JsonObject
) -> Mapping[str, TestOutcome]:
    """The commands before it run as well: one may build what it tests."""
    if not ids:
        return {}
    select = EVERYTHING if where.endswith(_ALL) else Selection(ids=frozenset(ids))
    only = replace(job, commands=job.commands[: number + 1], select=select, to_the_end=True)
    result = (await checks.run(only)).results[number]
    outcomes = result.run().outcomes or {}
    seen[where] = {each: outcomes[each].value if each in outcomes else "did not run" for each in ids}
    return outcomes
