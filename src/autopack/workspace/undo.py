"""Taking a commit back while later ones stay: per path, by objects, all of it or nothing."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autopack.errors import InvalidInput
from autopack.workspace.objects import (
    Difference,
    Entry,
    differences,
    list_tree,
    object_id,
    private_directory,
    read_blobs,
    write_tree,
)
from autopack.workspace.paths import to_text
from autopack.workspace.plumbing import Git, failure
from autopack.workspace.trees import EXECUTABLE, REGULAR, EditNotApplicable, TreeEntry, refuse_conflicts

UNDOES_TRAILER = "Autopack-Undoes"
PHASE_TRAILER = "Autopack-Phase"
_REGULAR_MODES = (REGULAR, EXECUTABLE)
_MARKER = 31  # longer than any that a file would hold
_MARKED = re.compile(rb"^<{31} .*?^>{31} [^\n]*$", re.M | re.S)


@dataclass(frozen=True, kw_only=True)
class LaterCommit:
    """A commit that builds on what was to be taken back; `phase_id` is empty for a person's own."""

    commit: str
    phase_id: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Conflicts:
    """Nothing was changed: what stands in the way, oldest first for each path."""

    paths: tuple[str, ...]
    later: tuple[LaterCommit, ...]


@dataclass(frozen=True, kw_only=True)
class _Later:
    """A commit after the one to be taken back."""

    commit: str
    parent: str
    phase_id: str
    undoes: str


@dataclass(frozen=True, kw_only=True)
class _Merged:
    """`hunks` are the parts that two sides changed; None where the files cannot be merged by lines at all."""

    content: bytes
    hunks: frozenset[bytes] | None


async def undone(git: Git, commit: str, head: str) -> str | None:
    """The commit that took `commit` back, unless that was taken back itself."""
    takers = {each.undoes: each.commit for each in await _later_commits(git, commit, head) if each.undoes}

    def is_undone(which: str) -> bool:
        return which in takers and not is_undone(takers[which])

    return takers[commit] if is_undone(commit) else None


async def take_back(git: Git, commit: str, head: str) -> str | Conflicts:
    """The tree of `head` without what `commit` did, as objects."""
    parent = await _only_parent(git, commit)
    done = await differences(git, parent, commit)
    now = await list_tree(git, head)
    contents: list[bytes] = []
    entries: dict[str, tuple[str, int | str] | None] = {}
    stuck: list[Difference] = []
    for each in done:
        taken = await _taken_back(git, each, _entry(now.get(each.path)))
        if taken is None:
            stuck.append(each)
        elif taken.content is not None:
            entries[each.path] = (taken.mode, len(contents))
            contents.append(taken.content)
        else:
            entries[each.path] = None if taken.entry is None else (taken.entry.mode, taken.entry.oid)
    stuck += _in_the_way(done, now, entries)
    if stuck:
        return await _conflicts(git, commit, head, stuck)
    return await write_tree(git, head, contents, entries)


@dataclass(frozen=True, kw_only=True)
class _Taken:
    """What a path becomes: an entry there is already, nothing, or new content of a mode."""

    entry: Entry | None = None
    content: bytes | None = None
    mode: str = REGULAR


async def _taken_back(git: Git, done: Difference, now: Entry | None) -> _Taken | None:
    """None where it cannot be: what was done is changed since."""
    before, after = done.before, done.after
    if now == after:
        return _Taken(entry=before)
    if now == before:
        return _Taken(entry=now)
    if before is None or after is None or now is None:
        return None
    if any(entry.mode not in _REGULAR_MODES for entry in (before, after, now)):
        return None
    mode = _merged_mode(before.mode, after.mode, now.mode)
    if after.oid in (before.oid, now.oid):
        return _Taken(entry=Entry(mode, now.oid if after.oid == before.oid else before.oid))
    merged = await _merge(git, ours=now.oid, base=after.oid, theirs=before.oid)
    if merged.hunks is None or merged.hunks:
        return None
    return _Taken(content=merged.content, mode=mode)


def _merged_mode(before: str, after: str, now: str) -> str:
    """There are two modes only: whoever changed it last is right, else it is taken back."""
    return before if now == after else now


def _entry(entry: TreeEntry | None) -> Entry | None:
    return None if entry is None else Entry(entry.mode, entry.oid)


def _in_the_way(
    done: Sequence[Difference], now: Mapping[str, TreeEntry], entries: Mapping[str, object | None]
) -> list[Difference]:
    """A file that would have to come back where there is a directory now, or below what is a file now."""
    stuck = []
    for each in done:
        if entries.get(each.path) is not None:
            try:
                others = {path: what for path, what in entries.items() if what is None}
                refuse_conflicts(now, {**others, each.path: entries[each.path]})
            except EditNotApplicable:
                stuck.append(each)
    return stuck


async def _merge(git: Git, *, ours: str, base: str, theirs: str) -> _Merged:
    """A three-way merge of files by `git merge-file`, on copies in a directory of ours."""
    blobs = await read_blobs(git, (ours, base, theirs))
    arguments = (
        "merge-file",
        "-p",
        "-q",
        f"--marker-size={_MARKER}",
        "-L",
        "now",
        "-L",
        "done",
        "-L",
        "before",
    )
    with private_directory() as private:
        names = _copies(private, [blobs[ours], blobs[base], blobs[theirs]])
        output = await git.run(*arguments, *names)
    if output.exit_code < 0:
        raise failure(arguments, output)
    if output.exit_code > 127:  # not to be merged by lines: a binary file
        return _Merged(content=b"", hunks=None)
    hunks = frozenset(_MARKED.findall(output.stdout)) if output.exit_code else frozenset()
    return _Merged(content=output.stdout, hunks=hunks)


def _copies(private: Path, contents: Sequence[bytes]) -> list[str]:
    names = [private / str(number) for number in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        name.write_bytes(content)
    return [str(name) for name in names]


async def _conflicts(git: Git, commit: str, head: str, stuck: Sequence[Difference]) -> Conflicts:
    later = await _later_commits(git, commit, head)
    told: list[LaterCommit] = []
    for each in stuck:
        told += await _dependents(git, each, later)
    return Conflicts(paths=tuple(each.path for each in stuck), later=tuple(told))


async def _dependents(git: Git, done: Difference, later: Sequence[_Later]) -> list[LaterCommit]:
    """The later commits that changed the lines in question; where lines cannot be told, all that changed the path."""
    touching = [
        (each, found)
        for each in later
        for found in await differences(git, each.parent, each.commit)
        if found.path == done.path
        or found.path.startswith(f"{done.path}/")
        or done.path.startswith(f"{found.path}/")
    ]
    told = [each for each, found in touching if await _changed_the_lines(git, done, found)]
    chosen = told or [each for each, _ in touching]
    return [LaterCommit(commit=each.commit, phase_id=each.phase_id, path=done.path) for each in chosen]


async def _changed_the_lines(git: Git, done: Difference, found: Difference) -> bool:
    """Whether the part that cannot be merged is another one after the later commit than before it."""
    if done.before is None or done.after is None or found.before is None or found.after is None:
        return True
    merges = [
        await _merge(git, ours=now.oid, base=done.after.oid, theirs=done.before.oid)
        for now in (found.before, found.after)
    ]
    return merges[0].hunks is None or merges[0].hunks != merges[1].hunks


async def _only_parent(git: Git, commit: str) -> str:
    told = await git.ask("rev-list", "--parents", "--max-count=1", object_id(commit))
    _, *parents = told.decode("ascii").split()
    if len(parents) != 1:
        raise InvalidInput(f"{commit} has {len(parents)} parents; only a commit with one can be taken back")
    return parents[0]


async def _later_commits(git: Git, commit: str, head: str) -> list[_Later]:
    """Those on the branch after `commit`, oldest first, with what their trailers say."""
    trailers = [
        f"%(trailers:key={key},valueonly,unfold,separator=%x1F)" for key in (PHASE_TRAILER, UNDOES_TRAILER)
    ]
    listed = await git.ask(
        *(
            "rev-list",
            "--topo-order",
            "--reverse",
            "--first-parent",
            f"--format=%H%x00%P%x00{'%x00'.join(trailers)}",
        ),
        *(object_id(head), "^" + object_id(commit)),
    )
    found = []
    for line in to_text(listed).split("\n"):
        fields = line.split("\0")
        if len(fields) == 4:
            parent = fields[1].split()[0] if fields[1] else ""
            found.append(_Later(commit=fields[0], parent=parent, phase_id=fields[2], undoes=fields[3]))
    return found
