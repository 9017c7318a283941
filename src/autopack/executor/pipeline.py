"""The life of one phase, from its claim to its outcome: a straight story."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

import anyio

from autopack.client import AutopackClient
from autopack.clock import Clock
from autopack.domain import gate, policy
from autopack.domain.edits import EditPlan, FileEdit
from autopack.domain.gate import Decision, Review, Verdict
from autopack.domain.messages import Role
from autopack.domain.phases import AttemptOutcome, Claim, FailureKind, JsonObject, Outcome
from autopack.domain.policy import Action, Violation
from autopack.errors import InvalidInput, WorkspaceRefused
from autopack.executor.auditor import Auditor
from autopack.executor.builder import Builder, Built, judge_plan
from autopack.executor.failure import PhaseFailed
from autopack.executor.ledger import Ledger
from autopack.executor.prompt import MAX_DIFF_CHARS
from autopack.llm.base import LLM
from autopack.workspace.checks import CheckReport, CheckSettings, load_check_settings, run_checks
from autopack.workspace.git import BaseMoved, GitWorkspace
from autopack.workspace.process import Limits
from autopack.workspace.sandbox import SandboxLevel
from autopack.workspace.trees import EditNotApplicable, TreeEntry

MAX_DIFF_BYTES = 64 * 1024 * 1024  # policy allows 50 files of 1 MiB: an approval is bound to all of it
MAX_STORED_DIFF_CHARS = 200_000
_SETTINGS_FILE = "autopack.toml"

Step = Callable[[str], None]


class PhaseRunner(Protocol):
    """What the worker needs of a pipeline; a benchmark brings one that does nothing."""

    async def run(self, claim: Claim, step: Step) -> Outcome: ...


@dataclass(frozen=True, kw_only=True)
class Work:
    """What an attempt has made so far: a tree on a base, checked."""

    base: str
    tree: str
    changed: bool
    built: Built
    report: CheckReport


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    client: AutopackClient
    git: GitWorkspace
    builder: Builder
    auditor: Auditor
    clock: Clock
    level: SandboxLevel
    choose: Callable[[Role, Claim], LLM | None] = lambda _role, _claim: None
    """A model that overrides the builder's or the auditor's own for this claim."""
    lease_seconds: float = 60.0
    # One phase at a time is put on the branch: a moved base means that the checks run again.
    _branch: anyio.Lock = field(default_factory=anyio.Lock)

    async def run(self, claim: Claim, step: Step) -> Outcome:
        """The attempt's outcome. Errors of the environment and of the queue are raised, not judged."""
        started = self.clock.monotonic()
        timings: dict[str, float] = {}

        def timed(name: str) -> None:
            timings[name] = round(self.clock.monotonic() - started, 4)
            step(name)

        try:
            outcome = await self._run(claim, timed)
        except PhaseFailed as failure:
            outcome = Outcome(
                outcome=AttemptOutcome.FAILED, failure_kind=failure.kind, reason=failure.reason, retryable=failure.retryable,
                base_commit=failure.base_commit, check_report=failure.check_report,
            )  # fmt: skip
        return replace(outcome, timings=timings)

    async def _run(self, claim: Claim, step: Step) -> Outcome:
        run_id = claim.phase.run_id
        if (
            commit := await self.git.find_commit(run_id, claim.dead_attempts, claim.run.base_commit)
        ) is not None:
            step("recovered")
            return _recovered(commit)
        base = await self._base(claim)
        entries = await self.git.list_tree(base)
        ledger = Ledger(client=self.client, claim=claim, clock=self.clock, base=base)
        step("building")
        built = await self._plan(claim, ledger, entries)
        work = await self._checked(claim, base, built, step)
        if not work.report.passed:
            raise _red(work)
        if not work.changed:
            return self._no_op(claim, work, entries)
        diff = await self.git.diff(base, work.tree, MAX_DIFF_BYTES)
        review, verdict = await self._verdict(claim, ledger, work, diff, step)
        if verdict.decision is Decision.BLOCKED:
            return _blocked(work, review, verdict)
        if verdict.decision is Decision.NEEDS_REVIEW:
            return _needs_approval(work, review, verdict, diff)
        commit, work = await self._commit(claim, work, step)
        step("committed")
        return Outcome(
            outcome=AttemptOutcome.COMPLETE, base_commit=work.base, result_commit=commit,
            check_report=work.report.to_json(), review=_json(review), verdict=asdict(verdict),
        )  # fmt: skip

    async def _verdict(
        self, claim: Claim, ledger: Ledger, work: Work, diff: str, step: Step
    ) -> tuple[Review | None, Verdict]:
        """The gate's word. What a person approved was audited before, and is not asked about again."""
        if _is_approved(claim, diff):
            reasons = ("a person approved exactly this diff, and the checks are green",)
            return None, Verdict(decision=Decision.OK, reasons=reasons)
        step("auditing")
        auditor = replace(self.auditor, llm=self.choose(Role.AUDITOR, claim) or self.auditor.llm)
        review = await auditor.review(claim.phase, ledger, diff=diff, checks=work.report.summary())
        missing = policy.missing_deliverables(claim.phase.scope, await self.git.list_tree(work.tree))
        violations = list(work.built.violations)
        if len(diff) > MAX_DIFF_CHARS:
            unseen = f"the diff has {len(diff)} characters, and the auditor saw the first {MAX_DIFF_CHARS}"
            violations.append(
                Violation(rule="too long to audit whole", path="", reason=unseen, action=Action.ASK)
            )
        return review, gate.judge(checks_passed=True, review=review, missing=missing, violations=violations)

    async def _base(self, claim: Claim) -> str:
        """The head of the run's branch, which is made at the run's base where it does not exist yet.

        A try that takes the place of a dead one begins where that one did, so that it finds its answers again.
        """
        run = claim.run
        if run.base_commit is None:
            raise WorkspaceRefused(f"run {run.run_id} has no base commit; claim it with one")
        head = await self.git.branch_head(run.run_id)
        if head is None and run.head_commit is None:
            head = await self.git.start_branch(run.run_id, run.base_commit)
        head = await check_branch(self.git, run.run_id, head, run.head_commit or run.base_commit)
        resumed = claim.resume_base
        if resumed and await self.git.has_commit(resumed) and await self.git.is_ancestor(resumed, head):
            return resumed
        return head

    async def _plan(self, claim: Claim, ledger: Ledger, entries: dict[str, TreeEntry]) -> Built:
        if claim.approved is None:
            model = self.choose(Role.BUILDER, claim) or self.builder.llm
            return await replace(self.builder, llm=model).build(claim, ledger, entries)
        plan = EditPlan(
            files=tuple(FileEdit(**edit) for edit in claim.approved.plan["files"]), summary=claim.approved.plan["summary"]
        )  # fmt: skip
        return Built(plan=plan, violations=tuple(judge_plan(plan, claim.phase, entries)))

    async def _checked(self, claim: Claim, base: str, built: Built, step: Step) -> Work:
        try:
            tree = await self.git.result_tree(base, built.plan)
        except EditNotApplicable as error:
            raise PhaseFailed(FailureKind.POLICY_VIOLATION, str(error), retryable=False) from error
        changed = await self._changed(base, tree, built.plan)
        step("checking")
        settings = await self._settings(base)
        report = await run_checks(
            self.git, tree, claim.phase.scope.checks or settings.commands,
            limits=Limits(wall_seconds=settings.timeout_seconds), extra_environment=settings.env, level=self.level,
        )  # fmt: skip
        return Work(base=base, tree=tree, changed=changed, built=built, report=report)

    async def _changed(self, base: str, tree: str, plan: EditPlan) -> bool:
        """Whether the tree differs from the base. What differs was judged: anything else would be a fault of ours."""
        changed = [path for path, _ in await self.git.changed_paths(base, tree)]
        strangers = [path for path in changed if path not in plan.paths]
        if strangers:
            raise PhaseFailed(
                FailureKind.INTERNAL_ERROR, f"the tree changed outside the plan: {', '.join(strangers)}"
            )
        return bool(changed)

    async def _settings(self, base: str) -> CheckSettings:
        """`[checks]` of autopack.toml at the base: what a phase writes cannot change how it is checked."""
        try:
            return load_check_settings(await settings_text(self.git, base))
        except InvalidInput as error:
            raise WorkspaceRefused(f"at {base[:12]}: {error}") from error

    def _no_op(self, claim: Claim, work: Work, entries: Mapping[str, TreeEntry]) -> Outcome:
        if missing := policy.missing_deliverables(claim.phase.scope, entries):
            raise PhaseFailed(
                FailureKind.MISSING_DELIVERABLES, f"nothing changed, and missing: {', '.join(missing)}"
            )
        reasons = ("nothing was to be changed: the deliverables exist and the checks are green",)
        return Outcome(
            outcome=AttemptOutcome.NO_OP, base_commit=work.base, check_report=work.report.to_json(),
            verdict=asdict(Verdict(decision=Decision.OK, reasons=reasons)),
        )  # fmt: skip

    async def _commit(self, claim: Claim, work: Work, step: Step) -> tuple[str, Work]:
        """Puts the work on the branch. Where that moved meanwhile, the edits are made and checked anew on its head."""
        phase = claim.phase
        async with self._branch:
            while True:
                head = await self.git.branch_head(phase.run_id)
                head = await check_branch(self.git, phase.run_id, head, work.base)
                if head != work.base:
                    dead = await self.git.find_commit(
                        phase.run_id, claim.dead_attempts, claim.run.base_commit
                    )
                    if dead is not None:
                        return dead, work
                    await self._refuse_overlap(work, head)
                    work = await self._checked(claim, head, work.built, step)
                    if not work.report.passed:
                        raise _red(work)
                trailers = {
                    "Autopack-Run": phase.run_id,
                    "Autopack-Phase": phase.phase_id,
                    "Autopack-Attempt": claim.attempt_id,
                }
                message = f"{phase.phase_id}: {phase.name}\n\n{work.built.plan.summary}"
                # A worker that was cut off from the queue learns here that the phase is another's.
                await self.client.renew(claim.attempt_id, claim.lease_token, self.lease_seconds)
                try:
                    commit = await self.git.commit(
                        phase.run_id, tree=work.tree, parent=work.base, message=message, trailers=trailers, at=self.clock.now()
                    )  # fmt: skip
                except BaseMoved:
                    continue
                return commit, work

    async def _refuse_overlap(self, work: Work, head: str) -> None:
        """The files of the plan were written whole: one that somebody else changed since would lose that change."""
        moved = {path for path, _ in await self.git.changed_paths(work.base, head)}
        if overlap := sorted(moved.intersection(work.built.plan.paths)):
            raise PhaseFailed(
                FailureKind.BASE_MOVED, f"changed by another phase meanwhile: {', '.join(overlap)}"
            )


async def settings_text(git: GitWorkspace, base: str) -> str | None:
    """The workspace's autopack.toml at `base`; None when it has none."""
    entry = (await git.list_tree(base)).get(_SETTINGS_FILE)
    if entry is None or entry.kind != "blob":
        return None
    return (await git.read_blobs([entry.oid]))[entry.oid].decode(errors="replace")


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


def _red(work: Work) -> PhaseFailed:
    timed_out = any(result.timed_out for result in work.report.results)
    return PhaseFailed(
        FailureKind.CHECKS_TIMED_OUT if timed_out else FailureKind.CHECKS_FAILED,
        work.report.summary(),
        base_commit=work.base,
        check_report=work.report.to_json(),
    )


def _recovered(commit: str) -> Outcome:
    reasons = ("an attempt whose worker died had already passed the gate and committed this",)
    return Outcome(
        outcome=AttemptOutcome.COMPLETE, result_commit=commit, verdict=asdict(Verdict(decision=Decision.OK, reasons=reasons))
    )  # fmt: skip


def _json(review: Review | None) -> JsonObject | None:
    return None if review is None else asdict(review)


def _blocked(work: Work, review: Review | None, verdict: Verdict) -> Outcome:
    return Outcome(
        outcome=AttemptOutcome.FAILED, failure_kind=verdict.failure_kind, reason="; ".join(verdict.reasons),
        base_commit=work.base, check_report=work.report.to_json(), review=_json(review), verdict=asdict(verdict),
    )  # fmt: skip


def _bounded(diff: str) -> str:
    if len(diff) <= MAX_STORED_DIFF_CHARS:
        return diff
    return f"{diff[:MAX_STORED_DIFF_CHARS]}\n[cut: {len(diff)} characters in all; the plan is stored whole]\n"


def diff_hash(diff: str) -> str:
    return hashlib.sha256(diff.encode()).hexdigest()


def _is_approved(claim: Claim, diff: str) -> bool:
    """An approval is good for exactly the diff that the person saw."""
    return claim.approved is not None and claim.approved.diff_hash == diff_hash(diff)


def _needs_approval(work: Work, review: Review | None, verdict: Verdict, diff: str) -> Outcome:
    plan = {"summary": work.built.plan.summary, "files": [asdict(edit) for edit in work.built.plan.files]}
    request = {
        "reasons": list(verdict.reasons), "plan": plan, "diff": _bounded(diff), "diff_hash": diff_hash(diff), "base_commit": work.base,
    }  # fmt: skip
    return Outcome(
        outcome=AttemptOutcome.NEEDS_APPROVAL, reason="; ".join(verdict.reasons), base_commit=work.base,
        check_report=work.report.to_json(), review=_json(review), verdict=asdict(verdict), approval=request,
    )  # fmt: skip
