"""From what was found to the checks' whole word to the gate.

| found in a command                                    | kind             |
|-------------------------------------------------------|------------------|
| it cannot be believed                                 | checks_void      |
| it was stopped at its time limit                      | checks_timed_out |
| a module can no longer be imported                    | collection_error |
| a test fails that did not fail at the base            | checks_failed    |
| a test that ran at the base is gone                   | tests_vanished   |
| a test that ran at the base is skipped, or xfails     | tests_skipped    |
| a test that the phase itself names fails              | checks_failed    |
| no test ran at all, or none passes                    | no_tests         |
| red for any other reason, at the base as well or not  | checks_failed    |

A test that failed at the base already does not block, as long as any other passes. A command that only has an exit
code and is red at base and head blocks all the same: what the change did to it cannot be told apart.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from autopack.domain.phases import FailureKind
from autopack.domain.testing.compare import Comparison
from autopack.domain.testing.counted import Counted
from autopack.domain.testing.results import RED, CommandRun, RunKind, TestOutcome

_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class ChecksVerdict:
    """The checks' whole word to the gate.

    `reasons` say why they do not pass; `asks` what a person must decide although they pass.
    """

    passed: bool
    failure_kind: FailureKind | None = None
    reasons: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that the checks brought to light. `ask`: it does not block, a person decides."""

    kind: FailureKind
    reason: str
    ask: bool = False


def verdict_of(findings: Sequence[Finding]) -> ChecksVerdict:
    """What blocks decides, in the order it was found; what only asks is heard where nothing blocks."""
    blocking = [finding for finding in findings if not finding.ask]
    asks = tuple(finding.reason for finding in findings if finding.ask)
    if not blocking:
        return ChecksVerdict(passed=True, asks=asks)
    return ChecksVerdict(
        passed=False,
        failure_kind=blocking[0].kind,
        reasons=tuple(finding.reason for finding in blocking),
        asks=asks,
    )


def judge_command(
    head: CommandRun,
    baseline: CommandRun | None,
    comparison: Comparison,
    *,
    excused: Collection[str] = (),
    trusted: bool = False,
    named: bool = False,
) -> list[Finding]:
    """See the table above. `excused` tests may vanish or be skipped if a person agrees; `trusted`: one has.

    `named`: the phase itself singles out these tests, so that they must pass whatever they did before.
    """
    if head.kind is RunKind.VOID:
        return [Finding(kind=FailureKind.CHECKS_VOID, reason=f"{head.command}: {head.reason}")]
    if head.kind is RunKind.TIMED_OUT:
        return [Finding(kind=FailureKind.CHECKS_TIMED_OUT, reason=f"{head.command}: {head.reason}")]
    if head.outcomes is None:
        return [] if trusted and head.passed else _by_exit_code(head, baseline)
    found = [*_broken(comparison), *([] if trusted else _hidden(comparison, excused))]
    if named and comparison.already_failing:
        reason = f"named by the phase itself, and still failing: {listed(comparison.already_failing)}"
        found.append(Finding(kind=FailureKind.CHECKS_FAILED, reason=reason))
    if any(not finding.ask for finding in found):
        return found
    if why := _says_nothing(head.outcomes, comparison, baseline):
        return [*found, Finding(kind=FailureKind.NO_TESTS, reason=f"{head.command}: {why}")]
    return [*found, _red(head, baseline)] if head.reason else found


def _says_nothing(
    outcomes: Mapping[str, TestOutcome], comparison: Comparison, baseline: CommandRun | None
) -> str:
    """Why these tests tell nothing of the work; empty where one of them passes, or fails as it is expected to."""
    good = {TestOutcome.PASSED, TestOutcome.XFAILED}
    if comparison.flaky or good.intersection(outcomes.values()):
        return ""
    if not outcomes:
        return "no test ran"
    if set(outcomes.values()) == {TestOutcome.SKIPPED}:
        return "every test is skipped"
    before = ", at the base neither" if baseline is not None else ""
    hint = "is what the tests need installed? See [checks] keep and setup of autopack.toml"
    return f"nothing passes{before} ({hint}): {listed(sorted(each for each in outcomes if outcomes[each] in RED))}"


def _broken(comparison: Comparison) -> list[Finding]:
    found = []
    if comparison.uncollected:
        reason = f"cannot be imported by the test runner: {listed(comparison.uncollected)}"
        found.append(Finding(kind=FailureKind.COLLECTION_ERROR, reason=reason))
    if comparison.newly_failing:
        reason = f"newly failing: {listed(comparison.newly_failing)}"
        found.append(Finding(kind=FailureKind.CHECKS_FAILED, reason=reason))
    return found


def _hidden(comparison: Comparison, excused: Collection[str]) -> list[Finding]:
    found = []
    for kind, what, ids in (
        (FailureKind.TESTS_VANISHED, "ran before the change and did not run now", comparison.vanished),
        (FailureKind.TESTS_SKIPPED, "ran before the change and is skipped now", comparison.newly_skipped),
        (FailureKind.TESTS_SKIPPED, "is now expected to fail", comparison.newly_xfailed),
    ):
        blocking = tuple(each for each in ids if each not in excused)
        asking = tuple(each for each in ids if each in excused)
        if blocking:
            found.append(Finding(kind=kind, reason=f"{what}: {listed(blocking)}"))
        if asking:
            found.append(Finding(kind=kind, reason=f"{what}: {listed(asking)}", ask=True))
    return found


def _by_exit_code(head: CommandRun, baseline: CommandRun | None) -> list[Finding]:
    if head.passed:
        return _fewer(head, baseline)
    if head.kind is RunKind.NO_TESTS:
        return [Finding(kind=FailureKind.NO_TESTS, reason=f"{head.command}: no test ran")]
    return [_red(head, baseline)]


def _fewer(head: CommandRun, baseline: CommandRun | None) -> list[Finding]:
    """A runner that names no test says at least how many there were."""
    if baseline is None or not baseline.passed or baseline.counted is None:
        return []
    before, now = baseline.counted, head.counted or Counted(passed=0, skipped=0)
    told = f"{head.command}: at the base it told of {before.passed} tests that passed"
    if now.skipped > before.skipped and now.passed < before.passed:
        reason = f"{told} and {before.skipped} that were skipped, now of {now.passed} and {now.skipped}"
        return [Finding(kind=FailureKind.TESTS_SKIPPED, reason=reason)]
    if now.passed < before.passed:
        return [Finding(kind=FailureKind.TESTS_VANISHED, reason=f"{told}, now of {now.passed}")]
    return []


def _red(head: CommandRun, baseline: CommandRun | None) -> Finding:
    before = ""
    if baseline is not None:
        before = (
            "; it passes at the base"
            if baseline.passed
            else "; it is red at the base too, so what the change did to it cannot be told apart"
        )
    return Finding(kind=FailureKind.CHECKS_FAILED, reason=f"{head.command}: {head.reason}{before}")


def listed(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(ids[:_SHOWN]) + more
