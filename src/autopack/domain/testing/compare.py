"""Two runs of the same command, test by test: what a change did to the tests."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from autopack.domain.testing.results import RAN, RED, TestOutcome


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Test ids, sorted. Only `already_failing`, `fixed`, `flaky` and `moved` let a change pass."""

    newly_failing: tuple[str, ...] = ()
    uncollected: tuple[str, ...] = ()
    """Modules that can no longer be imported."""
    already_failing: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    flaky: tuple[str, ...] = ()
    """They failed, and passed when they were run again: `without_flaky` moves them here."""
    vanished: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    """They are gone, and the same tests pass under other names: `without_moved` moves them here."""
    newly_skipped: tuple[str, ...] = ()
    newly_xfailed: tuple[str, ...] = ()

    def without_flaky(self, flaky: Iterable[str]) -> "Comparison":
        known = frozenset(flaky)
        return replace(
            self,
            newly_failing=tuple(each for each in self.newly_failing if each not in known),
            flaky=tuple(each for each in self.newly_failing if each in known),
        )

    def without_moved(self, moved: Mapping[str, str]) -> "Comparison":
        """By the old name, the new one: which may fail only where the old one did."""
        new = frozenset(moved.values())
        still = tuple(each for each in self.newly_failing if each in new)
        return replace(
            self,
            newly_failing=tuple(each for each in self.newly_failing if each not in new),
            already_failing=_sorted((*self.already_failing, *still)),
            vanished=tuple(each for each in self.vanished if each not in moved),
            moved=tuple(each for each in self.vanished if each in moved),
        )


def compare(baseline: Mapping[str, TestOutcome], head: Mapping[str, TestOutcome]) -> Comparison:
    """What ran at the base must have run at the head: a test that is gone, or looks away, is no test that passes."""
    uncollected = {each for each, outcome in head.items() if outcome is TestOutcome.UNCOLLECTED}
    skipped_modules = {
        each for each, outcome in head.items() if outcome is TestOutcome.SKIPPED and _is_module(each)
    }
    gone = {each for each, outcome in baseline.items() if outcome in RAN and each not in head}
    gone -= {each for each in gone if _is_module(each) and any(_within(other, {each}) for other in head)}
    hidden = {each for each in gone if _within(each, skipped_modules)}
    newly = {each for each, outcome in head.items() if outcome in RED and baseline.get(each) not in RED}
    return Comparison(
        newly_failing=_sorted(newly - uncollected),
        uncollected=_sorted(newly & uncollected),
        already_failing=_sorted(
            each for each, outcome in head.items() if outcome in RED and baseline.get(each) in RED
        ),
        fixed=_sorted(
            each
            for each, outcome in head.items()
            if outcome is TestOutcome.PASSED and baseline.get(each) in RED
        ),
        vanished=_sorted(each for each in gone - hidden if not _within(each, uncollected)),
        newly_skipped=_sorted({*hidden, *_became(TestOutcome.SKIPPED, baseline, head)}),
        newly_xfailed=_sorted(_became(TestOutcome.XFAILED, baseline, head)),
    )


def _became(
    outcome: TestOutcome, baseline: Mapping[str, TestOutcome], head: Mapping[str, TestOutcome]
) -> set[str]:
    return {
        each
        for each, now in head.items()
        if now is outcome and baseline.get(each) in RAN and baseline[each] is not outcome
    }


def _is_module(test_id: str) -> bool:
    return "::" not in test_id


def _within(test_id: str, modules: set[str]) -> bool:
    """Whether the test is in one of these modules: `tests.test_a.TestX::test_y` is in `tests.test_a`."""
    parts = test_id.split("::", 1)[0].split(".")
    return any(".".join(parts[:depth]) in modules for depth in range(1, len(parts) + 1))


def _sorted(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(ids))
