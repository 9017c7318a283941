"""Every past decision of a run, made again from the trees in git and the policy at its base."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from autopack.client import AutopackClient
from autopack.domain import edits
from autopack.domain.audit import (
    Difference,
    Record,
    is_done,
    is_recovery,
    recompute,
    undecided,
    unjudgeable,
)
from autopack.domain.changes import Change
from autopack.domain.phases import Approval, Attempt, AttemptOutcome, Phase
from autopack.errors import InvalidInput, WorkspaceRefused
from autopack.executor.ground import read_ground
from autopack.executor.pipeline import MAX_CHANGE_BYTES
from autopack.executor.record import diff_hash
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
    approvals = await client.approvals(run_id=run_id)
    for phase in await client.phases(run_id):
        attempts = await client.attempts(run_id, phase.phase_id)
        for attempt in attempts:
            if attempt.outcome is not None:
                yield await _Audit(git=git, phase=phase, attempts=attempts, approvals=approvals).of(attempt)


@dataclass(frozen=True, kw_only=True)
class _Audit:
    git: GitWorkspace
    phase: Phase
    attempts: Sequence[Attempt]
    """All of the phase."""
    approvals: Sequence[Approval]
    """All of the run."""

    async def of(self, attempt: Attempt) -> Audited:
        if attempt.outcome is AttemptOutcome.COMPLETE and is_recovery(attempt.verdict):
            return await self._recovered(attempt)
        if is_done(attempt.outcome) and _is_of_old(attempt):
            return self._skipped(
                attempt, "it is from before decisions were stored with their policy and tree"
            )
        if attempt.verdict is None or attempt.base_commit is None:
            return self._undecided(attempt, "nothing was judged")
        if not await self.git.has_commit(attempt.base_commit):
            return self._skipped(attempt, f"its base {attempt.base_commit} is not in this repository")
        found = await self._of_commit(attempt)
        return self._differing(attempt, found) if found else await self._again(attempt, attempt.base_commit)

    async def _again(self, attempt: Attempt, base: str) -> Audited:
        try:
            changes = await self._changes(attempt)
        except WorkspaceRefused:
            # The tree of work that changed nothing is its base's, which is here.
            if attempt.outcome is AttemptOutcome.NO_OP:
                return self._undecided(attempt, f"there is no tree {attempt.result_tree}")
            return self._skipped(attempt, "git has thrown its tree away since")
        record = await self._record(attempt, base, changes)
        if reason := unjudgeable(record):
            return self._undecided(attempt, reason)
        try:
            return self._differing(attempt, recompute(record))
        except InvalidInput as error:
            return self._undecided(attempt, str(error))

    async def _record(self, attempt: Attempt, base: str, changes: tuple[Change, ...] | None) -> Record:
        ground = await read_ground(self.git, base)
        plan = edits.from_json(attempt.plan) if attempt.plan else None
        paths = {*(plan.paths if plan else ()), *(change.path for change in changes or ())}
        return Record(
            attempt_id=attempt.attempt_id, outcome=attempt.outcome, policy_hash=attempt.policy_hash,
            verdict=attempt.verdict, review=attempt.review, scope=self.phase.scope, category=self.phase.task_category,
            policy=ground.policy, base=ground.modes, changes=changes, plan=plan, ignored=tuple(ground.ignored(paths)),
            approvals=await self._approved(attempt, base),
        )  # fmt: skip

    async def _changes(self, attempt: Attempt) -> tuple[Change, ...] | None:
        if attempt.result_tree is None or attempt.base_commit is None:
            return None
        return await self.git.changes(attempt.base_commit, attempt.result_tree, MAX_CHANGE_BYTES)

    async def _approved(self, attempt: Attempt, base: str) -> frozenset[str]:
        """The request that the verdict names, if a person approved it, and the diff was this one."""
        named = (attempt.verdict or {}).get("approval_id")
        good = ("approved", "used") if is_done(attempt.outcome) else ("approved", "used", "void")
        request = next((each for each in self.approvals if each.approval_id == named), None)
        if request is None or request.phase_id != self.phase.phase_id:
            return frozenset()
        if request.status not in good or request.responded_by is None or attempt.result_tree is None:
            return frozenset()
        diff = await self.git.diff(base, attempt.result_tree, MAX_CHANGE_BYTES)
        return frozenset({request.approval_id} if diff_hash(diff) == request.diff_hash else ())

    async def _of_commit(self, attempt: Attempt) -> list[Difference]:
        """What was committed must be the tree that was judged, and be on the run's branch where that is here."""
        commit = attempt.result_commit
        if commit is None:
            complete = attempt.outcome is AttemptOutcome.COMPLETE
            return (
                [Difference(field="result_commit", stored=None, now="complete without a commit")]
                if complete
                else []
            )
        if not await self._is_on_branch(commit):
            return [Difference(field="result_commit", stored=commit, now="not on the run's branch")]
        if not await self.git.has_commit(commit) or await self._is_anothers(attempt, commit):
            return []
        tree = await self.git.tree_of(commit)
        if tree == attempt.result_tree:
            return []
        return [Difference(field="committed tree", stored=attempt.result_tree, now=tree)]

    async def _is_on_branch(self, commit: str) -> bool:
        """True as well where there is no branch to tell."""
        head = await self.git.branch_head(self.phase.run_id)
        if head is None:
            return True
        return await self.git.has_commit(commit) and await self.git.is_ancestor(commit, head)

    async def _is_anothers(self, attempt: Attempt, commit: str) -> bool:
        """Whether an earlier attempt made the commit: its worker died before it could say so."""
        earlier = {each.attempt_id for each in self.attempts if each.number < attempt.number}
        return await self.git.attempt_of(commit) in earlier

    async def _recovered(self, attempt: Attempt) -> Audited:
        commit = attempt.result_commit
        if commit is None or not await self._is_on_branch(commit):
            return self._undecided(attempt, "what it recovered is not on the run's branch")
        if not await self.git.has_commit(commit):
            return self._skipped(attempt, f"its commit {commit} is not in this repository")
        if not await self._is_anothers(attempt, commit):
            return self._undecided(attempt, f"no earlier attempt made the commit {commit}")
        return self._skipped(
            attempt, "an earlier attempt, whose worker died, made its commit; what it was judged by is lost"
        )

    def _undecided(self, attempt: Attempt, reason: str) -> Audited:
        """Nothing to make again: a finding where the work is called done all the same."""
        if is_done(attempt.outcome):
            return self._differing(attempt, [undecided(reason)])
        return self._skipped(attempt, reason)

    def _differing(self, attempt: Attempt, found: Sequence[Difference]) -> Audited:
        return Audited(phase_id=attempt.phase_id, number=attempt.number, differences=tuple(found))

    def _skipped(self, attempt: Attempt, reason: str) -> Audited:
        return Audited(phase_id=attempt.phase_id, number=attempt.number, skipped=reason)


def _is_of_old(attempt: Attempt) -> bool:
    """Made before the database had these columns, none of which a later attempt that is done leaves empty."""
    since = (
        attempt.policy_hash,
        attempt.result_tree,
        attempt.plan,
        attempt.plan_hash,
        attempt.inputs_hash,
        attempt.changes,
    )
    return attempt.verdict is not None and all(each is None for each in since)
