"""From the text of a builder's answer to edits that may be applied, or to what the model is told about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anyio import to_thread

from autopack.domain import edits, policy
from autopack.domain.changes import Change
from autopack.domain.edits import (
    EditPlan,
    EmptyPlan,
    MalformedEdit,
    MixedFormats,
    ProseOnly,
    Refused,
    WrongPaths,
)
from autopack.domain.phases import FailureKind, Phase
from autopack.domain.policy import Action, Violation
from autopack.executor.failure import PhaseFailed
from autopack.executor.ground import Ground
from autopack.workspace.git import GitWorkspace

_KINDS: Mapping[type[MalformedEdit], FailureKind] = {
    ProseOnly: FailureKind.PROSE_ONLY,
    MixedFormats: FailureKind.MIXED_FORMATS,
    EmptyPlan: FailureKind.EMPTY_FILES,
    WrongPaths: FailureKind.WRONG_PATHS,
}


class BlocksRefused(PhaseFailed):
    """Some blocks do not fit the files; `kept` is the rest of the plan, and only the others are asked for again."""

    def __init__(self, kind: FailureKind, refused: tuple[Refused, ...], kept: EditPlan) -> None:
        super().__init__(kind, edits.describe_refused(refused), retryable=False)
        self.refused = refused
        self.kept = kept


class PlanRefused(PhaseFailed):
    """The plan breaks rules; the decision is kept with the plan, so that it can be made again."""

    def __init__(self, plan: EditPlan, violations: Sequence[Violation]) -> None:
        kind = policy.refusal_kind(violations) or FailureKind.POLICY_VIOLATION
        refused = [violation.reason for violation in violations if violation.action is Action.REFUSE]
        super().__init__(kind, "; ".join(refused), retryable=False)
        self.plan = plan
        self.violations = tuple(violations)


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A plan that keeps every rule for plans, and what it makes of the base's files."""

    plan: EditPlan
    changes: tuple[Change, ...]
    violations: tuple[Violation, ...] = ()
    """Only those that ask a person; what is refused never gets this far."""


async def read_proposal(
    git: GitWorkspace, text: str, *, phase: Phase, ground: Ground, seen: Mapping[str, str], kept: EditPlan | None
) -> Proposal:  # fmt: skip
    """`seen`: the blobs that the model was shown, by path. Raises PhaseFailed, whose text the model is told."""
    try:
        plan = edits.parse(text)
    except MalformedEdit as error:
        kind = _KINDS.get(type(error), FailureKind.MALFORMED_ANSWER)
        raise PhaseFailed(kind, str(error), retryable=False) from error
    if kept is not None:
        plan = edits.merged(kept, plan)
    return await apply_plan(git, plan, phase=phase, ground=ground, seen=seen)


async def apply_plan(
    git: GitWorkspace, plan: EditPlan, *, phase: Phase, ground: Ground, seen: Mapping[str, str] | None
) -> Proposal:
    """The plan on the ground's files. `seen` None: what the model saw is not known, and not judged."""
    violations = _judged(plan, phase, ground, seen)
    files = await git.read_files(ground.base, plan.paths)
    # In a thread: an answer that is made to be slow must not keep the lease from being renewed.
    applied = await to_thread.run_sync(edits.apply, plan, files, ground.entries)
    if applied.refused:
        wrong = all(each.wrong_path for each in applied.refused)
        kind = FailureKind.WRONG_PATHS if wrong else FailureKind.EDIT_NOT_APPLICABLE
        raise BlocksRefused(kind, applied.refused, edits.without_refused(plan, applied.refused))
    afterwards = dict.fromkeys(ground.entries) | {change.path: change for change in applied.changes}
    there = [path for path, change in afterwards.items() if change is None or change.after is not None]
    if missing := policy.missing_deliverables(phase.scope, dict.fromkeys(there)):
        reason = "these deliverables would not exist: " + ", ".join(missing)
        raise PhaseFailed(FailureKind.MISSING_DELIVERABLES, reason, retryable=False)
    return Proposal(plan=plan, changes=applied.changes, violations=violations)


def _judged(
    plan: EditPlan, phase: Phase, ground: Ground, seen: Mapping[str, str] | None
) -> tuple[Violation, ...]:
    """The violations that ask a person. Raises PhaseFailed for what is refused."""
    found = policy.check_plan(
        plan, phase.scope, ground.policy, ground.modes, seen=seen, base_oids=ground.oids, ignored=ground.ignored(plan.paths)
    )  # fmt: skip
    if any(violation.action is Action.REFUSE for violation in found):
        raise PlanRefused(plan, found)
    return tuple(found)
