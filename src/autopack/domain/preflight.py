"""What can be said of phases before any of them is drained: their order, their paths, what the policy makes of them. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from graphlib import TopologicalSorter
from itertools import combinations, islice

from autopack.domain.edits import EditPlan, FileEdit
from autopack.domain.phases import Phase
from autopack.domain.policy import Action, Policy, check_plan, ignored_paths
from autopack.domain.policy.paths import prefixes

_SHOWN = 20
_COUNTED = 1000
_COMPARED = 100_000  # where phases share all their paths, nobody reads on, and pairs are many
_PROBE = "autopack-preflight.txt"


class Level(StrEnum):
    """Only a problem keeps a drain from what it is to do."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


_LEVELS = list(Level)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`about` is one word of what was looked at; `do` is what to do about it, empty where nothing need be done."""

    level: Level
    about: str
    text: str
    do: str = ""
    phases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Graph:
    """`longest_chain` are phases that can only follow one another; `at_once` could be drained side by side."""

    phases: int
    tiers: int
    longest_chain: tuple[str, ...]
    at_once: int


@dataclass(frozen=True, kw_only=True)
class Base:
    """The tree that the work begins on."""

    modes: Mapping[str, str]
    ignore_files: Mapping[str, str]

    @cached_property
    def directories(self) -> frozenset[str]:
        return frozenset(name for path in self.modes for name in prefixes(path)[:-1])

    def matches(self, path: str) -> bool:
        plain = path.rstrip("/")
        return plain in self.directories or (not path.endswith("/") and plain in self.modes)


def graph_of(phases: Sequence[Phase]) -> Graph:
    """Of the phases that are open: a tier begins when the one before it has ended."""
    lengths: dict[str, int] = {}
    previous: dict[str, str | None] = {}
    last: str | None = None
    at_once = 0
    tiers = _by_tier(phases)
    for inside in tiers:
        floor = lengths[last] if last is not None else 0
        for phase in _ordered(inside):
            wanted = [each for each in phase.depends_on if lengths.get(each, 0) > floor]
            longest = max(wanted, key=lengths.__getitem__, default=last)
            previous[phase.phase_id] = longest
            lengths[phase.phase_id] = 1 + (lengths[longest] if longest is not None else 0)
        last = max((phase.phase_id for phase in inside), key=lengths.__getitem__)
        at_once = max(at_once, *Counter(lengths[phase.phase_id] for phase in inside).values())
    chain = []
    while last is not None:
        chain.append(last)
        last = previous[last]
    return Graph(phases=len(phases), tiers=len(tiers), longest_chain=tuple(reversed(chain)), at_once=at_once)


def _by_tier(phases: Sequence[Phase]) -> list[list[Phase]]:
    tiers: dict[int, list[Phase]] = {}
    for phase in phases:
        tiers.setdefault(phase.tier_index, []).append(phase)
    return [tiers[index] for index in sorted(tiers)]


def _ordered(phases: Sequence[Phase]) -> Iterator[Phase]:
    """Each after those of them that it depends on. Plans have no cycles: they are refused."""
    by_id = {phase.phase_id: phase for phase in phases}
    sorter = TopologicalSorter(
        {phase.phase_id: [each for each in phase.depends_on if each in by_id] for phase in phases}
    )
    return (by_id[phase_id] for phase_id in sorter.static_order())


def overlaps(phases: Sequence[Phase]) -> list[Finding]:
    """Phases of one tier that no dependency orders and that may change the same files."""
    found = list(islice(_overlapping(phases), _COUNTED))
    if not found:
        return []
    told = ", ".join(f"{one} and {other}" for one, other in found[:_SHOWN])
    count = "many" if len(found) == _COUNTED else len(found) - _SHOWN
    more = f" and {count} more pairs" if len(found) > _SHOWN else ""
    return [
        Finding(
            level=Level.NOTE, about="overlap", phases=tuple(sorted({each for pair in found for each in pair})),
            text=f"may change the same files, and no dependency says which goes first: {told}{more}",
            do="one after the other nothing is lost; side by side, what was overtaken is built again on the other's work",
        )
    ]  # fmt: skip


def _overlapping(phases: Sequence[Phase]) -> Iterator[tuple[str, str]]:
    order = Order(phases)
    for inside in _by_tier(phases):
        for one, other in islice(_sharing(inside), _COMPARED):
            if not order.waits_for(one, other) and not order.waits_for(other, one):
                yield one, other


def _sharing(phases: Sequence[Phase]) -> Iterator[tuple[str, str]]:
    """Pairs whose paths meet: the same path, or a directory and what is below it. Each pair once."""
    seen: set[tuple[str, str]] = set()
    for named in _by_path(phases).values():
        for one, other in combinations(named, 2) if any(named.values()) else ():
            if (named[one] or named[other]) and (one, other) not in seen:
                seen.add((one, other))
                yield one, other


def _by_path(phases: Sequence[Phase]) -> dict[str, dict[str, bool]]:
    """At each path and each directory on the way to it, the phases that get there, and whether they name just that."""
    found: dict[str, dict[str, bool]] = {}
    for phase in phases:
        for path in {*phase.scope.paths, *phase.scope.deliverables}:
            plain = path.rstrip("/")
            for name in prefixes(plain):
                at = found.setdefault(name, {})
                at[phase.phase_id] = at.get(phase.phase_id, False) or name == plain
    return found


@dataclass(frozen=True)
class Order:
    """Which phase waits for which others."""

    phases: Sequence[Phase]

    @cached_property
    def _number(self) -> dict[str, int]:
        return {phase.phase_id: number for number, phase in enumerate(self.phases)}

    @cached_property
    def _above(self) -> dict[str, int]:
        """All that a phase depends on, directly or through others, as the bits of a number: thousands may stand in a row."""
        found: dict[str, int] = {}
        for phase in _ordered(self.phases):
            found[phase.phase_id] = 0
            for each in phase.depends_on:
                if each in found:
                    found[phase.phase_id] |= found[each] | 1 << self._number[each]
        return found

    def waits_for(self, phase_id: str, other: str) -> bool:
        return bool(self._above[phase_id] >> self._number[other] & 1)

    def made_before(self, phase: Phase) -> set[str]:
        """The deliverables that are there when it begins: of earlier tiers, and of what it waits for."""
        return {
            path
            for each in self.phases
            if each.tier_index < phase.tier_index or self.waits_for(phase.phase_id, each.phase_id)
            for path in each.scope.deliverables
        }


def scope_findings(phase: Phase, base: Base, made: Collection[str]) -> Iterator[Finding]:
    """`made` are the deliverables of phases that come before this one."""
    scope = phase.scope
    coming = {*made, *scope.deliverables}
    for path in scope.paths:
        if not base.matches(path) and not _holds(path, coming):
            yield _warning(
                phase, f"scope.paths names {path}, which matches nothing at the base",
                "check its spelling; a directory that is yet to be made is written with a slash at its end",
            )  # fmt: skip
    for path in scope.read_only_context:
        if not base.matches(path) and not _holds(path, made):
            yield _warning(phase, f"read_only_context names {path}, which is not there", "check its spelling")
    for path in scope.deliverables:
        if scope.paths and not any(_holds(each, [path]) for each in scope.paths):
            yield Finding(
                level=Level.NOTE, about="scope", phases=(phase.phase_id,),
                text=f"the deliverable {path} lies outside scope.paths; it may be written all the same",
            )  # fmt: skip
    if not scope.paths and not scope.deliverables:
        yield Finding(
            level=Level.NOTE, about="scope", phases=(phase.phase_id,),
            text="no paths and no deliverables: it may change every file that the policy allows",
            do="name scope.paths to keep it to its task",
        )  # fmt: skip


def _holds(entry: str, paths: Iterable[str]) -> bool:
    below = entry.rstrip("/") + "/"
    return any(path == entry or path.startswith(below) for path in paths)


def _warning(phase: Phase, text: str, do: str) -> Finding:
    return Finding(level=Level.WARNING, about="scope", text=text, do=do, phases=(phase.phase_id,))


def policy_findings(phase: Phase, base: Base, policy: Policy) -> Iterator[Finding]:
    """What the very rules that judge the work say of the paths that the phase names."""
    wanted = {path: path for path in phase.scope.deliverables}
    for entry in phase.scope.paths:
        below = entry.endswith("/") or entry in base.directories
        wanted.setdefault(f"{entry.rstrip('/')}/{_PROBE}" if below else entry, entry)
    ignored = ignored_paths(wanted, base.ignore_files)
    plan = EditPlan(files=tuple(FileEdit(path=path, content="x\n") for path in wanted))
    for violation in check_plan(plan, phase.scope, policy, base.modes, ignored=ignored):
        if violation.action is Action.ALLOW or violation.path not in wanted:
            continue
        entry = wanted[violation.path]
        told = violation.reason.replace(violation.path, entry)
        required = violation.path in phase.scope.deliverables
        if violation.action is Action.REFUSE:
            level = Level.PROBLEM if required else Level.WARNING
            yield Finding(
                level=level, about="policy", phases=(phase.phase_id,), text=f"an edit is refused: {told}",
                do="take the path out of the phase, or change [policy] in autopack.toml if that protects it",
            )  # fmt: skip
        else:
            yield Finding(
                level=Level.WARNING if required else Level.NOTE, about="policy", phases=(phase.phase_id,),
                text=f"an edit waits for a person: {told}",
                do="expect to approve it, or name the rule in [policy] auto_approve of autopack.toml",
            )  # fmt: skip


def worst(findings: Iterable[Finding]) -> Level:
    return max((finding.level for finding in findings), key=_LEVELS.index, default=Level.OK)


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda finding: -_LEVELS.index(finding.level)))
