"""GitWorkspace: reading a person's repository and building commits in it, by git objects only.

No checkout, index, HEAD or branch of the person's is touched; the one ref written is the run's own,
refs/heads/autopack/<run_id>. Whoever has that very branch checked out sees it move.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from autopack.domain.edits import EditPlan
from autopack.errors import Conflict, InvalidInput, WorkspaceRefused
from autopack.workspace.discovery import discover
from autopack.workspace.export import Exported, export_tree
from autopack.workspace.paths import to_bytes, to_text
from autopack.workspace.plumbing import Git, GitFailed, failure
from autopack.workspace.trees import TreeEntry, parse_listing, placements

ATTEMPT_TRAILER = "Autopack-Attempt"
_RUN_ID = re.compile(r"(?!.*\.\.)(?!.*\.lock$)[A-Za-z0-9_][A-Za-z0-9._-]{0,199}(?<!\.)")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class BaseMoved(Conflict):
    """The run's branch is no longer where the attempt began; it was left as it is."""

    code = "base_moved"


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
            "update-ref", "-m", "autopack: start", branch_ref(run_id), _object_id(commit), zero
        )
        if made.exit_code == 0:
            return commit
        head = await self.branch_head(run_id)
        if head is None:
            raise failure(("update-ref",), made)
        return head

    async def has_commit(self, commit: str) -> bool:
        output = await self.git.run("cat-file", "-t", _object_id(commit))
        return output.exit_code == 0 and output.stdout.strip() == b"commit"

    async def is_ancestor(self, commit: str, descendant: str) -> bool:
        """A commit is its own ancestor."""
        arguments = ("merge-base", "--is-ancestor", _object_id(commit), _object_id(descendant))
        output = await self.git.run(*arguments)
        if output.exit_code > 1 or output.exit_code < 0:
            raise failure(arguments, output)
        return output.exit_code == 0

    async def commit(
        self, run_id: str, *, tree: str, parent: str, message: str, trailers: Mapping[str, str], at: datetime
    ) -> str:
        """Puts `tree` on the run's branch if that is still at `parent`. The same call makes the same commit."""
        date = f"@{int(at.astimezone(UTC).timestamp())} +0000"
        oid = await self.git.ask(
            "commit-tree",
            *("--no-gpg-sign", "-p", _object_id(parent), "-F", "-", _object_id(tree)),
            stdin=full_message(message, trailers).encode("utf-8", "replace"),
            environment={"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date},
        )
        commit = oid.decode("ascii").strip()
        moved = await self.git.run(
            "update-ref", "-m", "autopack: commit", branch_ref(run_id), commit, _object_id(parent)
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
        """The newest commit on the run's branch, beyond `since`, that one of these attempts made."""
        if not attempt_ids or await self.branch_head(run_id) is None:
            return None
        wanted = f"%(trailers:key={ATTEMPT_TRAILER},valueonly,unfold,separator=%x1F)"
        listed = await self.git.ask(
            *("rev-list", "--topo-order", "--fixed-strings", f"--grep={ATTEMPT_TRAILER}:"),
            *(f"--format=%H%x00{wanted}", branch_ref(run_id)),
            *(() if since is None else ("^" + _object_id(since),)),
        )
        for line in to_text(listed).split("\n"):
            commit, found, values = line.partition("\0")
            if found and not set(attempt_ids).isdisjoint(values.split("\x1f")):
                return commit
        return None

    # Trees

    async def list_tree(self, treeish: str) -> dict[str, TreeEntry]:
        """Every file, link and submodule by its path; bytes that are not UTF-8 appear as surrogates."""
        if not treeish or treeish.startswith("-") or _CONTROLS.search(treeish):
            raise InvalidInput(f"{treeish!r} does not name a tree")
        return parse_listing(await self.git.ask("ls-tree", "-r", "-z", "-l", "--full-tree", treeish))

    async def read_blobs(self, oids: Iterable[str]) -> dict[str, bytes]:
        """The contents of all of them, through one process; use it for what fits in memory."""
        asked = list(dict.fromkeys(_object_id(oid) for oid in oids))
        if not asked:
            return {}
        answer = await self.git.ask("cat-file", "--batch", stdin="".join(f"{o}\n" for o in asked).encode())
        blobs, at = {}, 0
        for oid in asked:
            end = answer.index(b"\n", at)
            facts = answer[at:end].split()
            if len(facts) != 3 or facts[1] != b"blob":
                raise GitFailed(f"object {oid} is missing or not a file: check the repository with git fsck")
            at = end + 1 + int(facts[2])
            blobs[oid] = answer[end + 1 : at]
            at += 1
        return blobs

    async def result_tree(self, base: str, plan: EditPlan) -> str:
        """The tree of `base` with the plan's files in it, as objects; all of them or EditNotApplicable."""
        placed = placements(await self.list_tree(_object_id(base)), plan)
        if not placed:
            return await self._resolve(base, "tree")
        with _private_directory() as private:
            # git reads these copies of ours, never a file of the workspace.
            for number, placement in enumerate(placed):
                (private / str(number)).write_bytes(placement.content)
            names = "".join(f"{private / str(number)}\n" for number in range(len(placed)))
            oids = await self.git.ask(
                "hash-object", "-w", "--no-filters", "--stdin-paths", stdin=names.encode()
            )
            index = {"GIT_INDEX_FILE": str(private / "index")}
            await self.git.ask("read-tree", base, environment=index)
            lines = b"".join(
                f"{placement.mode} {oid}\t".encode() + to_bytes(placement.path) + b"\0"
                for placement, oid in zip(placed, oids.decode("ascii").split(), strict=True)
            )
            await self.git.ask("update-index", "-z", "--index-info", stdin=lines, environment=index)
            return (await self.git.ask("write-tree", environment=index)).decode("ascii").strip()

    async def changed_paths(self, base: str, tree: str) -> list[tuple[str, str]]:
        """(path, status) in git's order; status is A, D, M or T (the kind of file changed)."""
        listed = await self.git.ask(
            "diff-tree", "-r", "-z", "--name-status", "--no-renames", *_trees(base, tree)
        )
        fields = [to_text(field) for field in listed.split(b"\0")[:-1]]
        return list(zip(fields[1::2], fields[0::2], strict=True))

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


def _object_id(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text):
        raise InvalidInput(f"{text!r} is not a full object id")
    return text


def _trees(base: str, tree: str) -> tuple[str, str]:
    return _object_id(base), _object_id(tree)


@contextmanager
def _private_directory() -> Iterator[Path]:
    try:
        with TemporaryDirectory(prefix="autopack-index-") as name:
            yield Path(name)
    except OSError as error:
        raise WorkspaceRefused(f"No temporary files can be written: {error}") from error
