"""The rules, one function each: what a touch breaks, whether a plan or a tree says so. Pure."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from autopack.domain.changes import EXECUTABLE, REGULAR, SUBMODULE, SYMLINK
from autopack.domain.phases import Scope
from autopack.domain.policy import contents, paths, rules
from autopack.domain.policy.lookalikes import skeleton
from autopack.domain.policy.rules import Rule
from autopack.domain.policy.settings import Policy
from autopack.domain.policy.touches import Deed, Touch, Tree


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A rule that is broken. `about` ends the rule's name where it needs a word more; `why` is for a reader only."""

    rule: Rule
    path: str
    about: str = ""
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """All that one touch is judged by."""

    touches: Sequence[Touch]
    scope: Scope
    policy: Policy
    base: Tree
    ignored: Collection[str] = ()
    seen: Mapping[str, str] | None = None
    oids: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def vacated(self) -> frozenset[str]:
        return frozenset(touch.path for touch in self.touches if not touch.is_there_after)

    @cached_property
    def arriving(self) -> Mapping[str, str]:
        """By folded name, the first name under which it is written (directories too)."""
        found: dict[str, str] = {}
        for touch in self.touches:
            if touch.is_there_after:
                for name in paths.prefixes(touch.path):
                    found.setdefault(paths.fold(name), name)
        return found

    @cached_property
    def nested(self) -> frozenset[str]:
        """Directories that git would take for a repository: it runs the hooks that lie in one."""
        names = {*self.base.modes, *self.base.directories, *self.arriving.values()}
        heads = (name.rpartition("/")[0] for name in names if name.endswith("/HEAD"))
        parts = ("config", "objects", "refs", "hooks")
        return frozenset(top for top in heads if sum(f"{top}/{part}" in names for part in parts) > 1)


def findings(touch: Touch, case: Case) -> list[Finding]:
    """Of a path that is not safe to look at any further, only that."""
    if rule := paths.unsafe(touch.path):
        return [Finding(rule=rule, path=touch.path)]
    return [finding for judge in _TABLE for finding in judge(touch, case)]


def _protected(touch: Touch, case: Case) -> Iterator[Finding]:
    if found := paths.protection(touch.path):
        rule, about = found
        yield Finding(rule=rule, path=touch.path, about=about)
    if entry := paths.named(touch.path, case.policy.frozen):
        yield Finding(rule=rules.FROZEN, path=touch.path, why=f"frozen = {entry!r}")
    if entry := paths.named(touch.path, case.policy.protected):
        yield Finding(rule=rules.PROTECTED_BY_POLICY, path=touch.path, why=f"protected = {entry!r}")


def _placement(touch: Touch, case: Case) -> Iterator[Finding]:
    names = paths.prefixes(touch.path)
    if any(name in case.nested for name in names[:-1]):
        yield Finding(rule=rules.NESTED_REPOSITORY, path=touch.path)
    for parent in names[:-1]:
        mode = case.base.modes.get(parent)
        if mode == SUBMODULE:
            yield Finding(rule=rules.NESTED_REPOSITORY, path=touch.path, why=f"{parent} is a submodule")
        elif mode is not None and not (mode not in _LINKS and parent in case.vacated):
            # A file used as a directory: an export that follows names would write through what stands there.
            what = "a symlink" if mode == SYMLINK else "a file, and is used as a directory"
            yield Finding(rule=rules.LINK_IN_PATH, path=touch.path, why=f"{parent} is {what}")
    if rule := _target(touch, case):
        yield Finding(rule=rule, path=touch.path)


_LINKS = (SYMLINK, SUBMODULE)
_REGULAR = (REGULAR, EXECUTABLE, "100664")


def _target(touch: Touch, case: Case) -> Rule | None:
    mode = case.base.modes.get(touch.path)
    if mode == SYMLINK:
        return rules.TARGET_IS_LINK
    if mode == SUBMODULE:
        return rules.TARGET_IS_SUBMODULE
    if touch.path in case.base.directories:
        below = (path for path in case.base.modes if path.startswith(f"{touch.path}/"))
        return None if all(path in case.vacated for path in below) else rules.NOT_A_FILE
    return rules.NOT_A_FILE if mode is not None and mode not in _REGULAR else None


def _clashes(touch: Touch, case: Case) -> Iterator[Finding]:
    if not touch.is_there_after:
        return
    for name in paths.prefixes(touch.path):
        if case.base.holds(name):
            continue
        twin = case.base.folded.get(paths.fold(name))
        if twin in case.vacated:
            yield Finding(rule=rules.CASE_RENAME, path=touch.path, why=f"it was {twin}")
        elif twin is not None:
            yield Finding(rule=rules.CLASH, path=touch.path, about=twin)
        elif (other := case.arriving.get(paths.fold(name), name)) != name:
            yield Finding(rule=rules.TWO_BY_CASE, path=touch.path, why=f"the other is {other}")
        else:
            continue
        return


def _lookalikes(touch: Touch, case: Case) -> Iterator[Finding]:
    if not touch.is_there_after or case.base.holds(touch.path):
        return
    plain = skeleton(touch.path)
    if not touch.path.isascii() and (paths.unsafe(plain) or paths.protection(plain) or paths.asked(plain)):
        yield Finding(rule=rules.LOOKS_PROTECTED, path=touch.path, why=f"it reads as {plain}")
    for name in paths.prefixes(touch.path):
        plain = skeleton(name)
        twin = case.base.skeletons.get(plain) or (None if name.isascii() else case.base.folded.get(plain))
        if twin is not None and not case.base.holds(name) and paths.fold(twin) != paths.fold(name):
            yield Finding(rule=rules.LOOKS_EXISTING, path=touch.path, why=f"it reads as {twin}")
            return


def _modes(touch: Touch, _: Case) -> Iterator[Finding]:
    mode = touch.mode
    if mode is None or mode == touch.mode_before:
        return
    if mode in _LINKS:
        yield Finding(rule=rules.LINK_MODE if mode == SYMLINK else rules.SUBMODULE_MODE, path=touch.path)
    elif mode not in (REGULAR, EXECUTABLE):
        yield Finding(rule=rules.MODE, path=touch.path, why=mode)
    elif EXECUTABLE in (mode, touch.mode_before):
        yield Finding(
            rule=rules.EXECUTABLE_BIT, path=touch.path, why="set" if mode == EXECUTABLE else "removed"
        )


def _moves(touch: Touch, case: Case) -> Iterator[Finding]:
    if touch.deed is Deed.ARRIVE and touch.path in case.base.modes and touch.path not in case.vacated:
        yield Finding(rule=rules.MOVE_TARGET, path=touch.path)


def _in_scope(touch: Touch, case: Case) -> Iterator[Finding]:
    scope, directories = case.scope, case.base.directories
    writable = _nearest(touch.path, (*scope.paths, *scope.deliverables), directories)
    if not writable and (scope.paths or scope.deliverables):
        yield Finding(rule=rules.OUTSIDE_SCOPE, path=touch.path)
    elif _nearest(touch.path, scope.read_only_context, directories) > writable:
        yield Finding(rule=rules.READ_ONLY, path=touch.path)


def _nearest(path: str, entries: Sequence[str], directories: Collection[str]) -> int:
    """How much of the path the most exact entry names; 0 where none does. An exact entry counts more than a prefix.

    A directory of the base is meant with all below it, also where its name is written without the slash.
    """
    prefixes = [f"{entry}/" if entry in directories else entry for entry in entries]
    lengths = [len(prefix) for prefix in prefixes if prefix.endswith("/") and path.startswith(prefix)]
    return len(path) + 1 if path in entries else max(lengths, default=0)


def _base_was_seen(touch: Touch, case: Case) -> Iterator[Finding]:
    if case.seen is None or touch.path not in case.base.modes:
        return
    shown = case.seen.get(touch.path)
    if shown is None:
        if touch.whole:
            yield Finding(rule=rules.NOT_SEEN, path=touch.path)
    elif shown != case.oids.get(touch.path) and (touch.whole or not touch.is_there_after):
        # Blocks are no whole file: they say themselves what they replace, and are refused where it is not there.
        yield Finding(rule=rules.STALE, path=touch.path)


def _contents(touch: Touch, case: Case) -> Iterator[Finding]:
    if touch.after is None or touch.mode in _LINKS:
        return
    for rule in contents.problems(touch.before, touch.after, case.policy.max_file_bytes):
        why = (
            f"{len(touch.after)} bytes; at most {case.policy.max_file_bytes}"
            if rule is rules.TOO_LARGE
            else ""
        )
        yield Finding(rule=rule, path=touch.path, why=why)


def _asks(touch: Touch, case: Case) -> Iterator[Finding]:
    path = touch.path
    rule = paths.asked(path)
    if rule and not (rule is rules.LOCK_FILE and path in (*case.scope.paths, *case.scope.deliverables)):
        yield Finding(rule=rule, path=path)
    if entry := paths.named(path, case.policy.ask):
        yield Finding(rule=rules.ASKED_BY_POLICY, path=path, why=f"ask = {entry!r}")
    if path in case.ignored and touch.is_there_after and not case.base.holds(path):
        yield Finding(rule=rules.IGNORED, path=path)
    if touch.deed is Deed.DELETE:
        yield Finding(rule=rules.DELETES_FILE, path=path)
    elif touch.before and touch.after is not None and contents.loses_half(touch.before, touch.after):
        yield Finding(rule=rules.DELETES_HALF, path=path)


_TABLE: tuple[Callable[[Touch, Case], Iterator[Finding]], ...] = (
    _protected, _placement, _clashes, _modes, _moves, _lookalikes, _in_scope, _base_was_seen, _contents, _asks,
)  # fmt: skip
"""In this order: of several refusals of one path, the first is the one that is told."""


def of_the_whole(case: Case) -> list[list[Finding]]:
    """What is wrong with the set of files as one."""
    named = Counter(touch.path for touch in case.touches if touch.deed is not Deed.LEAVE)
    found = [[Finding(rule=rules.NAMED_TWICE, path=path)] for path, times in named.items() if times > 1]
    if len(named) > case.policy.max_files:
        why = f"{len(named)} files; at most {case.policy.max_files}"
        found.append([Finding(rule=rules.TOO_MANY, path="", why=why)])
    return found


def many_lines(case: Case) -> list[list[Finding]]:
    stay = [touch for touch in case.touches if touch.deed is not Deed.LEAVE]
    lost = sum(contents.lines_deleted(touch.before or b"", touch.after or b"") for touch in stay)
    if lost <= case.policy.max_deleted_lines:
        return []
    why = f"{lost} lines; at most {case.policy.max_deleted_lines} unasked"
    return [[Finding(rule=rules.DELETES_LINES, path="", why=why)]]
