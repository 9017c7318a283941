"""What an attempt stands on: a commit of the run's branch, its files, and the rules that the workspace has there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from autopack.domain import edits
from autopack.domain.phases import Claim
from autopack.domain.policy import IGNORE_FILE, Policy, ignored_paths, load_policy
from autopack.errors import InvalidInput, WorkspaceRefused
from autopack.workspace.checks import CheckSettings, load_check_settings
from autopack.workspace.git import GitWorkspace
from autopack.workspace.trees import TreeEntry

_SETTINGS_FILE = "autopack.toml"
_LONGEST_IGNORE_FILE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Policy and checks are those of `base`: what a phase writes cannot change how it is judged."""

    base: str
    entries: Mapping[str, TreeEntry]
    policy: Policy
    checks: CheckSettings
    ignore_files: Mapping[str, str]
    """The texts of its .gitignore files, by path."""

    @cached_property
    def modes(self) -> dict[str, str]:
        return {path: entry.mode for path, entry in self.entries.items()}

    @cached_property
    def oids(self) -> dict[str, str]:
        return {path: entry.oid for path, entry in self.entries.items()}

    def ignored(self, paths: Iterable[str]) -> frozenset[str]:
        """Those of the paths that a new file would have against the project's .gitignore files."""
        return ignored_paths(paths, self.ignore_files)


async def read_ground(git: GitWorkspace, base: str) -> Ground:
    """Raises WorkspaceRefused where the workspace's autopack.toml at `base` cannot be followed."""
    entries = await git.list_tree(base)
    text = await settings_text(git, entries)
    try:
        rules, checks = load_policy(text), load_check_settings(text)
    except InvalidInput as error:
        raise WorkspaceRefused(f"at {base[:12]}: {error}") from error
    ignore_files = await _ignore_files(git, entries)
    return Ground(base=base, entries=entries, policy=rules, checks=checks, ignore_files=ignore_files)


async def _ignore_files(git: GitWorkspace, entries: Mapping[str, TreeEntry]) -> dict[str, str]:
    found = {
        path: entry.oid
        for path, entry in entries.items()
        if path.rpartition("/")[2] == IGNORE_FILE and entry.kind == "blob" and (entry.size or 0) <= _LONGEST_IGNORE_FILE
    }  # fmt: skip
    blobs = await git.read_blobs(found.values())
    return {path: blobs[oid].decode(errors="replace") for path, oid in found.items()}


async def settings_text(git: GitWorkspace, entries: Mapping[str, TreeEntry]) -> str | None:
    """The workspace's autopack.toml among these entries; None when it has none."""
    entry = entries.get(_SETTINGS_FILE)
    if entry is None or entry.kind != "blob":
        return None
    return (await git.read_blobs([entry.oid]))[entry.oid].decode(errors="replace")


async def find_base(git: GitWorkspace, claim: Claim) -> str:
    """Where the attempt begins: at the head of the run's branch, which is made where it does not exist yet.

    A try that takes the place of a dead one begins where that one did, so that it finds its answers again; one
    that applies an approved plan, where the person saw it, unless the same files, or the rules, have changed since.
    """
    run = claim.run
    if run.base_commit is None:
        raise WorkspaceRefused(f"run {run.run_id} has no base commit; claim it with one")
    head = await git.branch_head(run.run_id)
    if head is None and run.head_commit is None:
        head = await git.start_branch(run.run_id, run.base_commit)
    head = await check_branch(git, run.run_id, head, run.head_commit or run.base_commit)
    if claim.approved is not None:
        return await _approved_base(git, claim.approved.base_commit, claim.approved.plan, head)
    resumed = claim.resume_base
    if resumed and await git.has_commit(resumed) and await git.is_ancestor(resumed, head):
        return resumed
    return head


async def _approved_base(git: GitWorkspace, approved: str, plan: Mapping[str, object], head: str) -> str:
    if not await git.has_commit(approved) or not await git.is_ancestor(approved, head):
        return head
    moved = {path for path, _ in await git.changed_paths(approved, head)}
    return head if moved.intersection((*edits.from_json(plan).paths, _SETTINGS_FILE)) else approved


async def check_branch(git: GitWorkspace, run_id: str, head: str | None, known: str) -> str:
    """The branch's head. Raises WorkspaceRefused where it no longer holds the work that the database knows of."""
    if head is None:
        raise WorkspaceRefused(
            f"the branch autopack/{run_id} is gone, but the run's work ends at {known}. Put it back "
            f"(git branch autopack/{run_id} {known}), or name the workspace in which the run was started."
        )
    if head != known and (not await git.has_commit(known) or not await git.is_ancestor(known, head)):
        raise WorkspaceRefused(
            f"the branch autopack/{run_id} is at {head}, which does not hold {known}, the last commit of the run. "
            f"Put it back (git update-ref refs/heads/autopack/{run_id} {known}), or name the right workspace."
        )
    return head
