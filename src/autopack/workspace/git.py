"""GitWorkspace: reading a person's repository and building commits in it, by git objects only.

No checkout, index, HEAD or branch of the person's is touched; the one ref written is the run's own,
refs/heads/autopack/<run_id>. Whoever has that very branch checked out sees it move.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autopack.domain.changes import SUBMODULE, Change, File
from autopack.errors import Conflict, InvalidInput
from autopack.workspace import objects
from autopack.workspace.discovery import discover
from autopack.workspace.export import Exported, export_tree
from autopack.workspace.objects import Entry, object_id
from autopack.workspace.paths import to_text
from autopack.workspace.plumbing import Git, failure
from autopack.workspace.trees import TreeEntry, placements
from autopack.workspace.undo import UNDOES_TRAILER, Conflicts, take_back, undone

ATTEMPT_TRAILER = "Autopack-Attempt"
_RUN_ID = re.compile(r"(?!.*\.\.)(?!.*\.lock$)[A-Za-z0-9_][A-Za-z0-9._-]{0,199}(?<!\.)")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


_TRIES = 10  # at an undo, while others put their work on the branch


class BaseMoved(Conflict):
    """The run's branch is no longer where the attempt began; it was left as it is."""

    code = "base_moved"


class ChangesTooLarge(InvalidInput):
    """The changed files hold more bytes than may be read into memory."""

    code = "changes_too_large"


@dataclass(frozen=True, kw_only=True)
class GitWorkspace:
    """Opened once per repository; every method is a git process or a few."""

    root: Path
    git_dir: Path
    git: Git

    @classmethod
    async def open(cls, path: Path) -> "GitWorkspace":
        """The repository around `path`, or WorkspaceRefused with what to do about it."""
        git, root, git_dir = await discover(path)
        return cls(root=root, git_dir=git_dir, git=git)

    # Commits and the run's branch

    async def head_commit(self) -> str:
        return await self._resolve("HEAD", "commit")

    async def branch_head(self, run_id: str) -> str | None:
        output = await self.git.run("rev-parse", "--verify", "--quiet", branch_ref(run_id) + "^{commit}")
        return output.stdout.decode("ascii").strip() if output.exit_code == 0 else None

    async def start_branch(self, run_id: str, commit: str) -> str:
        """Makes the run's branch at `commit` unless it exists; answers its head either way."""
        zero = "0" * len(commit)
        made = await self.git.run(
            "update-ref", "-m", "autopack: start", branch_ref(run_id), object_id(commit), zero
        )
        if made.exit_code == 0:
            return commit
        head = await self.branch_head(run_id)
        if head is None:
            raise failure(("update-ref",), made)
        return head

    async def tree_of(self, commit: str) -> str:
        return await self._resolve(object_id(commit), "tree")

    async def has_commit(self, commit: str) -> bool:
        output = await self.git.run("cat-file", "-t", object_id(commit))
        return output.exit_code == 0 and output.stdout.strip() == b"commit"

    async def is_ancestor(self, commit: str, descendant: str) -> bool:
        """A commit is its own ancestor."""
        arguments = ("merge-base", "--is-ancestor", object_id(commit), object_id(descendant))
        output = await self.git.run(*arguments)
        if output.exit_code > 1 or output.exit_code < 0:
            raise failure(arguments, output)
        return output.exit_code == 0

    async def held(self, commit: str, known: str) -> tuple[str, ...]:
        """`known` and what `commit` holds above it, newest first; nothing where `commit` does not hold `known`."""
        if not await self.has_commit(known) or not await self.is_ancestor(known, commit):
            return ()
        told = await self.git.ask("rev-list", f"{object_id(known)}..{object_id(commit)}")
        return (known, *to_text(told).split())

    async def commit(
        self, run_id: str, *, tree: str, parent: str, message: str, trailers: Mapping[str, str], at: datetime
    ) -> str:
        """Puts `tree` on the run's branch if that is still at `parent`. The same call makes the same commit."""
        date = f"@{int(at.astimezone(UTC).timestamp())} +0000"
        oid = await self.git.ask(
            "commit-tree",
            *("--no-gpg-sign", "-p", object_id(parent), "-F", "-", object_id(tree)),
            stdin=full_message(message, trailers).encode("utf-8", "replace"),
            environment={"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date},
        )
        commit = oid.decode("ascii").strip()
        moved = await self.git.run(
            "update-ref", "-m", "autopack: commit", branch_ref(run_id), commit, object_id(parent)
        )
        if moved.exit_code == 0:
            return commit
        head = await self.branch_head(run_id)
        if head == commit:
            return commit
        if head != parent:
            raise BaseMoved(f"{branch_ref(run_id)} is at {head or 'no commit'}, not at {parent}: build again")
        raise failure(("update-ref",), moved)

    async def find_commit(self, run_id: str, attempt_ids: Collection[str], since: str | None) -> str | None:
        """The newest commit on the run's branch, beyond `since`, that one of these attempts made and that stands."""
        if not attempt_ids or (head := await self.branch_head(run_id)) is None:
            return None
        wanted = f"%(trailers:key={ATTEMPT_TRAILER},valueonly,unfold,separator=%x1F)"
        listed = await self.git.ask(
            *("rev-list", "--topo-order", "--fixed-strings", f"--grep={ATTEMPT_TRAILER}:"),
            *(f"--format=%H%x00{wanted}", branch_ref(run_id)),
            *(() if since is None else ("^" + object_id(since),)),
        )
        for line in to_text(listed).split("\n"):
            commit, found, values = line.partition("\0")
            ours = found and not set(attempt_ids).isdisjoint(values.split("\x1f"))
            if ours and await undone(self.git, commit, head) is None:
                return commit
        return None

    async def attempt_of(self, commit: str) -> str | None:
        """The attempt that made the commit, by its trailer; None where it names none."""
        wanted = f"--format=%(trailers:key={ATTEMPT_TRAILER},valueonly,unfold,separator=%x1F)"
        told = await self.git.ask("log", "-1", "--no-show-signature", wanted, object_id(commit))
        return to_text(told).strip() or None

    async def undo(
        self, run_id: str, commit: str, *, message: str, trailers: Mapping[str, str], at: datetime
    ) -> str | Conflicts:
        """Takes back what `commit`, which is on the run's branch, did: a new commit there, and its id.

        What later commits changed elsewhere stays. Where they changed the same lines nothing is done, and they are told.
        A commit that was taken back already is not taken back again: the answer is the commit that did.
        """
        for _ in range(_TRIES):
            head = await self.branch_head(run_id)
            if head is None or not await self.has_commit(commit) or not await self.is_ancestor(commit, head):
                raise InvalidInput(f"{commit} is not on the branch autopack/{run_id}")
            if (already := await undone(self.git, commit, head)) is not None:
                return already
            taken = await take_back(self.git, commit, head)
            if isinstance(taken, Conflicts):
                return taken
            named = {**trailers, UNDOES_TRAILER: commit}
            try:
                return await self.commit(
                    run_id, tree=taken, parent=head, message=message, trailers=named, at=at
                )
            except BaseMoved:
                continue
        raise BaseMoved(f"{branch_ref(run_id)} moved {_TRIES} times while {commit} was taken back: try again")

    # Trees

    async def list_tree(self, treeish: str) -> dict[str, TreeEntry]:
        """Every file, link and submodule by its path; bytes that are not UTF-8 appear as surrogates."""
        return await objects.list_tree(self.git, treeish)

    async def read_blobs(self, oids: Iterable[str]) -> dict[str, bytes]:
        """The contents of all of them, through one process; use it for what fits in memory."""
        return await objects.read_blobs(self.git, oids)

    async def read_files(self, treeish: str, paths: Iterable[str]) -> dict[str, File]:
        """Those of the paths that exist there as a file, link or submodule."""
        entries = await self.list_tree(treeish)
        found = {path: entries[path] for path in paths if path in entries}
        blobs = await self.read_blobs(entry.oid for entry in found.values() if entry.kind == "blob")
        return {path: File(content=blobs.get(e.oid, b""), mode=e.mode) for path, e in found.items()}

    async def result_tree(self, base: str, changes: Sequence[Change]) -> str:
        """The tree of `base` with the changes in it, as objects; all of them or EditNotApplicable."""
        placed = placements(await self.list_tree(object_id(base)), changes)
        if not placed:
            return await self._resolve(base, "tree")
        contents = [after.content for after in placed.values() if after is not None]
        numbers = iter(range(len(contents)))
        entries = {path: None if a is None else (a.mode, next(numbers)) for path, a in placed.items()}
        return await objects.write_tree(self.git, base, contents, entries)

    async def changes(self, base: str, tree: str, max_bytes: int) -> tuple[Change, ...]:
        """What really differs, read from the trees alone: links and submodules too. Raises ChangesTooLarge."""
        found = await objects.differences(self.git, base, tree)
        wanted = [e.oid for each in found for e in (each.before, each.after) if e and e.mode != SUBMODULE]
        size = await objects.total_size(self.git, wanted)
        if size > max_bytes:
            raise ChangesTooLarge(f"the changed files hold {size} bytes; at most {max_bytes} are read")
        blobs = await self.read_blobs(wanted)

        def file(entry: Entry | None) -> File | None:
            return None if entry is None else File(content=blobs.get(entry.oid, b""), mode=entry.mode)

        return tuple(Change(path=d.path, before=file(d.before), after=file(d.after)) for d in found)

    async def stored_changes(self, base: str, tree: str) -> list[dict[str, Any]]:
        """The same by object ids, as JSON: what an attempt keeps of its work; read backwards, the inverse."""
        found = await objects.differences(self.git, base, tree)
        return [{"path": d.path, "before": _stored(d.before), "after": _stored(d.after)} for d in found]

    async def changed_paths(self, base: str, tree: str) -> list[tuple[str, str]]:
        """(path, status) in git's order; status is A, D, M or T (the kind of file changed)."""
        return [(each.path, each.status) for each in await objects.differences(self.git, base, tree)]

    async def diff(self, base: str, tree: str, max_bytes: int) -> str:
        """A patch for reading; a note ends it where it was cut."""
        # --text: an attribute such as `*.py -diff` must not hide what changed.
        shown = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--no-relative", "--text")
        arguments = ("diff-tree", "-r", "-p", *shown, "-O/dev/null", *_trees(base, tree))
        output = await self.git.run(*arguments, max_bytes=max_bytes)
        if output.exit_code != 0:
            raise failure(arguments, output)
        text = output.stdout.decode("utf-8", "replace")
        return (
            f"{text}\n[the diff is longer than {max_bytes} bytes and was cut here]\n" if output.cut else text
        )

    async def export(self, tree: str, directory: Path) -> Exported:
        """Writes exactly that tree into `directory`, which must not exist yet: no filter, no .git."""
        return await export_tree(self.git, await self.list_tree(tree), directory)

    async def _resolve(self, name: str, kind: str) -> str:
        return (await self.git.ask("rev-parse", "--verify", f"{name}^{{{kind}}}")).decode("ascii").strip()


def branch_ref(run_id: str) -> str:
    if not _RUN_ID.fullmatch(run_id):
        raise InvalidInput(f"run id {run_id!r} cannot be part of a branch name")
    return f"refs/heads/autopack/{run_id}"


def full_message(message: str, trailers: Mapping[str, str]) -> str:
    """The trailers are the last paragraph, alone, so that no line of the message can pass for one."""
    body = _CONTROLS.sub("", message.replace("\r\n", "\n")).strip() or "Autopack"
    body = re.sub(
        r"^#", " #", body, flags=re.M
    )  # git takes a line of scissors for the end of the message, trailers and all
    for key in trailers:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", key):
            raise InvalidInput(f"{key!r} cannot be the name of a trailer")
    lines = [f"{key}: {' '.join(_CONTROLS.sub(' ', value).split())}" for key, value in trailers.items()]
    return "\n\n".join([body, "\n".join(lines)]).strip() + "\n"


def _stored(entry: Entry | None) -> dict[str, str] | None:
    return None if entry is None else {"mode": entry.mode, "oid": entry.oid}


def _trees(base: str, tree: str) -> tuple[str, str]:
    return object_id(base), object_id(tree)
