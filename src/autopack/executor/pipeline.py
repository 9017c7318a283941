"""The life of one phase, from its claim to its outcome: a straight story."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import anyio

from autopack.client import AutopackClient
from autopack.clock import Clock
from autopack.domain import audit, edits, gate, policy
from autopack.domain.changes import Change
from autopack.domain.failures import Action as FailureAction
from autopack.domain.failures import action
from autopack.domain.gate import Decision, Verdict
from autopack.domain.messages import Role
from autopack.domain.phases import ApprovedPlan, AttemptOutcome, Claim, FailureKind, Outcome
from autopack.domain.policy import Action, Violation
from autopack.domain.testing import ChecksVerdict
from autopack.executor.auditor import Auditor
from autopack.executor.builder import Builder, with_model
from autopack.executor.checking import Checked, Checking
from autopack.executor.failure import PhaseFailed
from autopack.executor.ground import Ground, check_branch, find_base, read_ground
from autopack.executor.ledger import Ledger
from autopack.executor.prompt import MAX_DIFF_CHARS
from autopack.executor.proposal import PlanRefused, Proposal, apply_plan
from autopack.executor.record import Record, diff_hash
from autopack.llm.base import LLM
from autopack.llm.pricing import TABLE_ONLY, Prices
from autopack.workspace.git import BaseMoved, GitWorkspace
from autopack.workspace.trees import EditNotApplicable

MAX_CHANGE_BYTES = 128 * 1024 * 1024  # policy allows 50 files of 1 MiB, before and after
_NOT_RUN = ChecksVerdict(passed=False, reasons=("the checks were not run",))

Step = Callable[[str], None]


class PhaseRunner(Protocol):
    """What the worker needs of a pipeline; a benchmark brings one that does nothing."""

    async def run(self, claim: Claim, step: Step) -> Outcome: ...


class RunCancelled(Exception):
    """A person cancelled the run before the work was committed."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What an attempt has made: a proposal as a tree on the ground's base, judged as edits but not yet checked."""

    ground: Ground
    proposal: Proposal
    tree: str
    changes: tuple[Change, ...]
    diff: str
    violations: tuple[Violation, ...]
    """What the rules find in the tree."""
    planned: tuple[Violation, ...] = ()
    """What they find in the plan alone."""

    @property
    def findings(self) -> tuple[Violation, ...]:
        return (*self.violations, *self.planned)


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    client: AutopackClient
    git: GitWorkspace
    builder: Builder
    auditor: Auditor
    checking: Checking
    clock: Clock
    choose: Callable[[Role, Claim], LLM | None] = lambda _role, _claim: None
    """A model that overrides the builder's or the auditor's own for this claim."""
    has_stronger: Callable[[Claim], bool] = lambda _claim: False
    """Whether the ladder of models has a step above the builder that this claim gets."""
    dual_auditor: bool | None = None
    """What the person asked for; None leaves it to the phase and the policy."""
    redact: Callable[[str], str] = lambda text: text
    lease_seconds: float = 60.0
    prices: Prices = TABLE_ONLY
    # One phase at a time is put on the branch: a moved base means that the checks run again.
    _branch: anyio.Lock = field(default_factory=anyio.Lock)

    async def run(self, claim: Claim, step: Step) -> Outcome:
        """The attempt's outcome. Errors of the environment and of the queue are raised, not judged."""
        started, timings = self.clock.monotonic(), dict[str, float]()

        def timed(name: str) -> None:
            timings[name] = round(self.clock.monotonic() - started, 4)
            step(name)

        record = Record(redact=self.redact)
        try:
            outcome = await self._run(claim, record, timed)
        except RunCancelled as cancelled:
            outcome = record.outcome(AttemptOutcome.CANCELLED, reason=str(cancelled))
        except PhaseFailed as failure:
            stronger = action(failure.kind) is FailureAction.ESCALATE_MODEL and self.has_stronger(claim)
            outcome = record.outcome(
                AttemptOutcome.FAILED, failure_kind=failure.kind, reason=failure.reason,
                retryable=failure.retryable or stronger,
            )  # fmt: skip
        return replace(outcome, timings=timings)

    async def _run(self, claim: Claim, record: Record, step: Step) -> Outcome:
        run = claim.run
        dead = await self.git.find_commit(run.run_id, claim.dead_attempts, run.base_commit)
        if dead is not None:
            step("recovered")
            return await self._done(claim, _recovered(record, dead))
        ground = await read_ground(self.git, await find_base(self.git, claim))
        record.stands_on(ground)
        ledger = Ledger(
            client=self.client, claim=claim, clock=self.clock, base=ground.base, redact=self.redact, prices=self.prices
        )  # fmt: skip
        step("building")
        work = await self._made(claim, ground, await self._proposal(claim, ledger, ground, record), record)
        checked = await self._checked(claim, work, record, step)
        changed = _changed_since_approval(claim.approved, work, checked)
        if changed:
            record.void_reason = f"changed since it was approved: {', '.join(changed)}"
        if not work.changes:
            return await self._no_op(claim, work, checked, record)
        verdict = await self._verdict(claim, ledger, work, checked, record, step)
        if verdict.decision is Decision.BLOCKED:
            raise PhaseFailed.blocked(verdict)
        if verdict.decision is Decision.NEEDS_REVIEW:
            return record.outcome(
                AttemptOutcome.NEEDS_APPROVAL, reason="; ".join(verdict.reasons),
                approval=record.approval(work.diff, checked.checks_hash, ground),
            )  # fmt: skip
        commit = await self._commit(claim, work, checked, record, step)
        step("committed")
        return await self._done(claim, record.outcome(AttemptOutcome.COMPLETE, result_commit=commit))

    async def _done(self, claim: Claim, outcome: Outcome) -> Outcome:
        """With the commits that it holds: of phases that end side by side, the last on the branch is the run's head."""
        known = claim.run.head_commit or claim.run.base_commit
        assert known is not None
        assert outcome.result_commit is not None
        return replace(outcome, holds=await self.git.held(outcome.result_commit, known))

    # The edits

    async def _proposal(self, claim: Claim, ledger: Ledger, ground: Ground, record: Record) -> Proposal:
        """What the builder answers, or what a person approved. The decision about a refused plan is kept with it."""
        try:
            proposal = await self._proposed(claim, ledger, ground, record)
        except PlanRefused as refused:
            record.proposes(refused.plan)
            record.judged = audit.decide(
                checks=_NOT_RUN, reviews=(), violations=refused.violations, missing=(), policy=ground.policy
            )
            raise
        record.proposes(proposal.plan)
        return proposal

    async def _proposed(self, claim: Claim, ledger: Ledger, ground: Ground, record: Record) -> Proposal:
        if claim.approved is not None:
            plan = edits.from_json(claim.approved.plan)
            record.proposes(plan)
            return await self._reapplied(claim, plan, ground)
        builder = with_model(self.builder, self.choose(Role.BUILDER, claim))
        question = await builder.question(claim, ground)
        record.inputs_hash = question.inputs_hash
        if question.inputs_hash in claim.failed_inputs:
            raise PhaseFailed(
                FailureKind.REPEATED_INPUTS,
                "base, prompt, model and gate are those of an attempt that failed: nothing else can come of them",
                retryable=False,
            )
        return await builder.build(claim, ledger, ground, question)

    async def _reapplied(self, claim: Claim, plan: edits.EditPlan, ground: Ground) -> Proposal:
        """A plan that was made on another base."""
        try:
            return await apply_plan(self.git, plan, phase=claim.phase, ground=ground, seen=None)
        except PlanRefused:
            raise
        except PhaseFailed as failure:
            raise PhaseFailed(
                FailureKind.BASE_MOVED, f"changed by another phase meanwhile: {failure.reason}"
            ) from failure

    async def _made(self, claim: Claim, ground: Ground, proposal: Proposal, record: Record) -> Work:
        """The proposal as a tree, judged once more as what really differs between two trees."""
        try:
            tree = await self.git.result_tree(ground.base, proposal.changes)
        except EditNotApplicable as error:
            raise PhaseFailed(FailureKind.POLICY_VIOLATION, str(error), retryable=False) from error
        await record.makes(self.git, ground.base, tree)
        changes = await self.git.changes(ground.base, tree, MAX_CHANGE_BYTES)
        if strangers := {change.path for change in changes} - {change.path for change in proposal.changes}:
            told = f"the tree changed outside the plan: {', '.join(sorted(strangers))}"
            raise PhaseFailed(FailureKind.INTERNAL_ERROR, told)
        diff = await self.git.diff(ground.base, tree, MAX_CHANGE_BYTES)
        record.shows(diff)
        phase, ignored = claim.phase, ground.ignored(change.path for change in changes)
        found = policy.check_changes(
            changes, phase.scope, ground.policy, ground.modes, phase.task_category, ignored=ignored
        )
        violations = tuple(found)
        if any(violation.action is Action.REFUSE for violation in violations):
            record.judged = audit.decide(
                checks=_NOT_RUN, reviews=(), violations=violations, missing=(), policy=ground.policy
            )
            raise PhaseFailed.blocked(record.judged.verdict)
        return Work(
            ground=ground, proposal=proposal, tree=tree, changes=tuple(changes), diff=diff, violations=violations,
            planned=_only_planned(proposal.violations, violations, changes),
        )  # fmt: skip

    # The judgement

    async def _checked(self, claim: Claim, work: Work, record: Record, step: Step) -> Checked:
        """Green checks, or PhaseFailed."""
        step("checking")
        judge = partial(
            self.checking.judge, claim, base=work.ground.base, tree=work.tree, changes=work.changes,
            settings=work.ground.checks, step=step,
        )  # fmt: skip
        checked = await judge(trusted=False)
        approved = claim.approved is not None and claim.approved.diff_hash == diff_hash(work.diff)
        if approved and checked.verdict.passed and checked.report.evidence.get("frozen"):
            # What a person approved goes in whole, so it must be green whole too; the report that they saw stays.
            whole = await judge(trusted=True)
            checked = checked if whole.verdict.passed else whole
        record.check_report = checked.report.to_json()
        if not checked.verdict.passed:
            record.judged = audit.decide(
                checks=checked.verdict,
                reviews=(),
                violations=work.violations,
                others=work.planned,
                missing=(),
                policy=work.ground.policy,
            )
            raise PhaseFailed.blocked(record.judged.verdict, told=checked.report.summary())
        return checked

    async def _verdict(
        self, claim: Claim, ledger: Ledger, work: Work, checked: Checked, record: Record, step: Step
    ) -> Verdict:
        """The gate's word. What a person approved was audited before, and is not asked about again."""
        phase, ground = claim.phase, work.ground
        if claim.approved is not None and record.void_reason is None:
            record.approval_id = claim.approved.approval_id
        else:
            step("auditing")
            auditor = replace(self.auditor, llm=self.choose(Role.AUDITOR, claim) or self.auditor.llm)
            dual = gate.dual_wanted(phase, ground.policy, self.dual_auditor)
            record.auditors = 2 if dual else 1
            record.reviews = await auditor.reviews(
                phase,
                ledger,
                diff=work.diff,
                checks=checked.report.summary(),
                findings=work.findings,
                dual=dual,
            )
        return await self._decided(claim, work, checked, record)

    async def _decided(self, claim: Claim, work: Work, checked: Checked, record: Record) -> Verdict:
        """The gate's verdict on this work, by the reviews that there are or the approval that holds."""
        missing = policy.missing_deliverables(claim.phase.scope, await self.git.list_tree(work.tree))
        others = (*work.planned, *(() if record.approval_id else _unseen(work.diff)))
        record.judged = audit.decide(
            checks=checked.verdict, reviews=record.reviews, violations=work.violations, others=others, missing=missing,
            policy=work.ground.policy, auditors=record.auditors, approval_id=record.approval_id,
        )  # fmt: skip
        return record.judged.verdict

    # The branch

    async def _commit(self, claim: Claim, work: Work, checked: Checked, record: Record, step: Step) -> str:
        """Puts the work on the branch. Where that moved meanwhile, the edits are made and checked anew on its head."""
        phase = claim.phase
        async with self._branch:
            while True:
                head = await self.git.branch_head(phase.run_id)
                head = await check_branch(self.git, phase.run_id, head, work.ground.base)
                if head != work.ground.base:
                    dead = await self.git.find_commit(
                        phase.run_id, claim.dead_attempts, claim.run.base_commit
                    )
                    if dead is not None:
                        return dead
                    work = await self._rebased(claim, work, checked, head, record, step)
                # A worker that was cut off from the queue learns here that the phase is another's.
                renewed = await self.client.renew(claim.attempt_id, claim.lease_token, self.lease_seconds)
                if renewed.cancelled:
                    raise RunCancelled("the run was cancelled before this was committed")
                try:
                    return await self._put(claim, work)
                except BaseMoved:
                    continue

    async def _put(self, claim: Claim, work: Work) -> str:
        phase = claim.phase
        trailers = {
            "Autopack-Run": phase.run_id,
            "Autopack-Phase": phase.phase_id,
            "Autopack-Attempt": claim.attempt_id,
        }
        message = f"{phase.phase_id}: {phase.name}\n\n{work.proposal.plan.summary}"
        return await self.git.commit(
            phase.run_id, tree=work.tree, parent=work.ground.base, message=message, trailers=trailers, at=self.clock.now()
        )  # fmt: skip

    async def _rebased(
        self, claim: Claim, work: Work, checked: Checked, head: str, record: Record, step: Step
    ) -> Work:
        """The same edits on the branch's new head: there they must keep every rule, be green, and pass the gate again.

        The record tells of the old base until all of that is so.
        """
        await self._refuse_overlap(work, head)
        ground = await read_ground(self.git, head)
        there = replace(record)
        there.stands_on(ground)
        proposal = await self._reapplied(claim, work.proposal.plan, ground)
        moved = await self._made(claim, ground, proposal, there)
        if claim.approved is not None and (differing := _differing(claim.approved, moved)):
            raise _moved([f"{what} is another one" for what in differing])
        again = await self._checked(claim, moved, there, step)
        if unasked := [ask for ask in again.verdict.asks if ask not in checked.verdict.asks]:
            raise _moved(unasked)
        verdict = await self._decided(claim, moved, again, there)
        if verdict.decision is not Decision.OK:
            raise _moved(verdict.reasons)
        record.take(there)
        return moved

    async def _no_op(self, claim: Claim, work: Work, checked: Checked, record: Record) -> Outcome:
        """Nothing was to be changed, which is right where the deliverables exist and the checks are green."""
        if await self.git.branch_head(claim.phase.run_id) != work.ground.base:
            raise PhaseFailed(
                FailureKind.BASE_MOVED, "nothing was to be changed, but the branch is somewhere else now"
            )
        missing = policy.missing_deliverables(claim.phase.scope, work.ground.entries)
        record.judged = audit.decide(
            checks=checked.verdict,
            reviews=(),
            violations=(),
            missing=missing,
            policy=work.ground.policy,
            changed=False,
        )
        if record.judged.verdict.decision is not Decision.OK:
            raise PhaseFailed.blocked(record.judged.verdict)
        return record.outcome(AttemptOutcome.NO_OP)

    async def _refuse_overlap(self, work: Work, head: str) -> None:
        """A file that was written whole, moved or deleted would lose what somebody else changed in it since."""
        moved = {path for path, _ in await self.git.changed_paths(work.ground.base, head)}
        whole = {
            path
            for edit in work.proposal.plan.files
            if not edit.blocks or edit.moved_to
            for path in (edit.path, edit.moved_to)
        }
        if overlap := sorted(moved & whole):
            raise PhaseFailed(
                FailureKind.BASE_MOVED, f"changed by another phase meanwhile: {', '.join(overlap)}"
            )


def _moved(reasons: Sequence[str]) -> PhaseFailed:
    return PhaseFailed(FailureKind.BASE_MOVED, f"on the branch's new head: {'; '.join(reasons)}")


def _only_planned(
    planned: Sequence[Violation], found: Sequence[Violation], changes: Sequence[Change]
) -> tuple[Violation, ...]:
    """Plan and tree are judged by the same rules: what both break is told once, and what stays as it is not at all."""
    told = {(each.rule, each.path) for each in found}
    paths = {"", *(change.path for change in changes)}
    return tuple(each for each in planned if (each.rule, each.path) not in told and each.path in paths)


def _unseen(diff: str) -> list[Violation]:
    if len(diff) <= MAX_DIFF_CHARS:
        return []
    told = f"the diff has {len(diff)} characters, and the auditor saw the first {MAX_DIFF_CHARS}"
    return [Violation(rule="too long to audit whole", path="", reason=told, action=Action.ASK)]


def _changed_since_approval(approved: ApprovedPlan | None, work: Work, checked: Checked) -> list[str]:
    """An approval is good for exactly what the person saw."""
    if approved is None:
        return []
    changed = ["the base"] if approved.base_commit != work.ground.base else []
    report = approved.checks_hash
    return [
        *changed,
        *_differing(approved, work),
        *(["the check report"] if report not in (None, checked.checks_hash) else []),
    ]


def _differing(approved: ApprovedPlan, work: Work) -> list[str]:
    seen_and_now = {
        "the diff": (approved.diff_hash, diff_hash(work.diff)),
        "the policy": (approved.policy_hash, work.ground.policy.hash),
    }
    return [what for what, (seen, now) in seen_and_now.items() if seen is not None and seen != now]


def _recovered(record: Record, commit: str) -> Outcome:
    reason = "an attempt whose worker died had already passed the gate and committed this"
    verdict = {"decision": Decision.OK.value, "reasons": [reason]}
    return replace(record.outcome(AttemptOutcome.COMPLETE, result_commit=commit), verdict=verdict)
