"""From what was found to the checks' whole word to the gate.

| found in a command                                    | kind             |
|-------------------------------------------------------|------------------|
| it cannot be believed                                 | checks_void      |
| it was stopped at its time limit                      | checks_timed_out |
| a module can no longer be imported                    | collection_error |
| a test fails that did not fail at the base            | checks_failed    |
| a test that ran at the base is gone                   | tests_vanished   |
| a test that ran at the base is skipped, or xfails     | tests_skipped    |
| no test ran at all                                    | no_tests         |
| red for any other reason, at the base as well or not  | checks_failed    |

A test that failed at the base already does not block. A command that only has an exit code and is red at base and
head blocks all the same: what the change did to it cannot be told apart.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from autopack.domain.phases import FailureKind
from autopack.domain.testing.compare import Comparison
from autopack.domain.testing.results import CommandRun, RunKind

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
) -> list[Finding]:
    """See the table above. `excused` tests may vanish or be skipped if a person agrees; `trusted`: one has."""
    if head.kind is RunKind.VOID:
        return [Finding(kind=FailureKind.CHECKS_VOID, reason=f"{head.command}: {head.reason}")]
    if head.kind is RunKind.TIMED_OUT:
        return [Finding(kind=FailureKind.CHECKS_TIMED_OUT, reason=f"{head.command}: {head.reason}")]
    if head.outcomes is None:
        return _by_exit_code(head, baseline)
    found = [*_broken(comparison), *([] if trusted else _hidden(comparison, excused))]
    if not head.outcomes:
        found.append(Finding(kind=FailureKind.NO_TESTS, reason=f"{head.command}: no test ran"))
    elif head.reason and not found:
        found.append(_red(head, baseline))
    return found


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
        return []
    if head.kind is RunKind.NO_TESTS:
        return [Finding(kind=FailureKind.NO_TESTS, reason=f"{head.command}: no test ran")]
    return [_red(head, baseline)]


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
