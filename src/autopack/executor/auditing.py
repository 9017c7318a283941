"""Every past decision of a run, made again from the trees in git and the policy at its base."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from autopack.client import AutopackClient
from autopack.domain import edits
from autopack.domain.audit import Difference, Record, recompute, unjudgeable
from autopack.domain.changes import Change
from autopack.domain.phases import Attempt, Phase
from autopack.errors import WorkspaceRefused
from autopack.executor.ground import read_ground
from autopack.executor.pipeline import MAX_CHANGE_BYTES
from autopack.workspace.git import GitWorkspace


@dataclass(frozen=True, kw_only=True)
class Audited:
    """One attempt. `skipped` says why its decision cannot be made again; else `differences` is empty or the finding."""

    phase_id: str
    number: int
    differences: tuple[Difference, ...] = ()
    skipped: str | None = None


async def audit_run(client: AutopackClient, git: GitWorkspace, run_id: str) -> AsyncIterator[Audited]:
    """In the plan's order, every attempt that has ended. Raises WorkspaceRefused where git itself cannot answer."""
    approved = {each.approval_id for each in await client.approvals(run_id=run_id) if each.responded_by}
    for phase in await client.phases(run_id):
        for attempt in await client.attempts(run_id, phase.phase_id):
            if attempt.outcome is not None:
                yield await _audited(git, phase, attempt, frozenset(approved))


async def _audited(git: GitWorkspace, phase: Phase, attempt: Attempt, approved: frozenset[str]) -> Audited:
    told = Audited(phase_id=phase.phase_id, number=attempt.number)
    if attempt.verdict is None or attempt.base_commit is None:
        return _skipped(told, "nothing was judged")
    if not await git.has_commit(attempt.base_commit):
        return _skipped(told, f"its base {attempt.base_commit} is not in this repository")
    try:
        changes = await _changes(git, attempt)
    except WorkspaceRefused:
        return _skipped(told, "git has thrown its tree away since")
    ground = await read_ground(git, attempt.base_commit)
    plan = edits.from_json(attempt.plan) if attempt.plan else None
    paths = {*(plan.paths if plan else ()), *(change.path for change in changes or ())}
    record = Record(
        attempt_id=attempt.attempt_id, outcome=attempt.outcome, policy_hash=attempt.policy_hash, verdict=attempt.verdict,
        review=attempt.review, scope=phase.scope, category=phase.task_category, policy=ground.policy, base=ground.modes,
        changes=changes, plan=plan, ignored=tuple(ground.ignored(paths)), approvals=approved,
    )  # fmt: skip
    if reason := unjudgeable(record):
        return _skipped(told, reason)
    differences = [*await _of_commit(git, attempt), *recompute(record)]
    return Audited(phase_id=phase.phase_id, number=attempt.number, differences=tuple(differences))


async def _changes(git: GitWorkspace, attempt: Attempt) -> tuple[Change, ...] | None:
    if attempt.result_tree is None or attempt.base_commit is None:
        return None
    return await git.changes(attempt.base_commit, attempt.result_tree, MAX_CHANGE_BYTES)


async def _of_commit(git: GitWorkspace, attempt: Attempt) -> list[Difference]:
    """What was committed must be the tree that was judged."""
    if attempt.result_commit is None or not await git.has_commit(attempt.result_commit):
        return []
    tree = await git.tree_of(attempt.result_commit)
    return (
        []
        if tree == attempt.result_tree
        else [Difference(field="committed tree", stored=attempt.result_tree, now=tree)]
    )


def _skipped(told: Audited, reason: str) -> Audited:
    return Audited(phase_id=told.phase_id, number=told.number, skipped=reason)
