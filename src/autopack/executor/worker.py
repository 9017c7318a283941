"""Drains a run: claims what is due, runs it, finishes it, until nothing is due or nothing can move."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

import anyio
from anyio.abc import TaskGroup

from autopack.client import AutopackClient
from autopack.clock import Clock
from autopack.domain.phases import (
    AttemptOutcome,
    Claim,
    FailureKind,
    Idle,
    IdleReason,
    Outcome,
    Phase,
    PhaseState,
)
from autopack.errors import (
    AutopackError,
    BudgetReached,
    InvalidInput,
    LeaseLost,
    ModelError,
    ModelNotReady,
    WorkspaceRefused,
)
from autopack.executor.failure import unanswered, without_report
from autopack.executor.liveness import is_dead
from autopack.executor.pipeline import PhaseRunner
from autopack.schemas import ClaimAnswer, ClaimBody, FinishAnswer

log = logging.getLogger(__name__)
POLL_SECONDS = 1.0
LONGEST_WAIT = timedelta(seconds=90)
FINISH_SECONDS = 15.0
_WAITED_FOR = frozenset({IdleReason.EXECUTING, IdleReason.NOT_BEFORE})


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to drain. With `phase_id`, exactly that phase; `force` past earlier tiers and dependencies."""

    run_id: str
    phase_id: str | None = None
    force: bool = False
    concurrency: int = 1
    batch_size: int | None = None
    max_batches: int | None = None
    stop_on_first_failure: bool = False


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Something to show: `kind` is claimed, step, finished, waiting, batch or recovered."""

    kind: str
    phase_id: str | None = None
    detail: str = ""
    phase: Phase | None = None


@dataclass(kw_only=True)
class Drained:
    """What a drain did. `idle` says why it ended; None when it was told to stop."""

    outcomes: list[tuple[str, AttemptOutcome]] = field(default_factory=list)
    phases: dict[str, Phase] = field(default_factory=dict)
    batches: int = 0
    idle: Idle | None = None
    stopped: str | None = None


@dataclass(kw_only=True)
class _Batch:
    """How many phases may still be claimed before the batch is over."""

    request: Request
    drained: Drained
    taken: int = 0

    def take(self) -> bool:
        if self.request.batch_size is not None and self.taken >= self.request.batch_size:
            return False
        self.taken += 1
        return True

    def give_back(self) -> None:
        self.taken -= 1


@dataclass(kw_only=True)
class _Lease:
    """What the renewals found out while the phase ran."""

    lost: bool = False
    cancelled: bool = False


class Worker:
    """One per process; every batch and every phase of the drain uses the same client and pipeline."""

    def __init__(
        self, client: AutopackClient, runner: PhaseRunner, *, name: str, clock: Clock, lease_seconds: float = 60.0,
        base_commit: str | None = None, report: Callable[[Progress], None] = lambda _: None,
        redact: Callable[[str], str] = lambda text: text,
    ) -> None:  # fmt: skip
        self._client = client
        self._runner = runner
        self._name = name
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._base_commit = base_commit
        self._report = report
        self._redact = redact
        self._stop: str | None = None
        self._error: AutopackError | None = None
        self._changed = anyio.Event()

    def stop(self, why: str) -> None:
        """No phase is claimed from now on; what is executing ends as it would."""
        self._stop = self._stop or why
        self._notify()

    @property
    def stopped(self) -> str | None:
        """Why it was told to stop; None when it was not."""
        return self._stop

    async def drain(self, request: Request, drained: Drained) -> None:
        """Fills `drained` as it goes, so that an interrupted drain can still say what it did.

        Raises what ends a drain at once: a database, API, workspace or model that is not as it must be.
        """
        await self._resume_dead_workers(request.run_id)
        for batch in count(1):
            await self._batch(request, drained)
            drained.batches = batch
            if drained.idle is not None or self._stop is not None:
                break
            self._report(Progress(kind="batch", detail=f"batch {batch} done"))
            if request.max_batches is not None and batch >= request.max_batches:
                drained.stopped = f"{batch} batches were asked for, and are done"
                break

    async def _resume_dead_workers(self, run_id: str) -> None:
        for attempt in await self._client.open_attempts(run_id):
            if is_dead(attempt.worker) and await self._client.report_lost(attempt.attempt_id, attempt.worker):
                detail = f"attempt {attempt.number}: its worker is gone"
                self._report(Progress(kind="recovered", phase_id=attempt.phase_id, detail=detail))

    async def _batch(self, request: Request, drained: Drained) -> None:
        batch = _Batch(request=request, drained=drained)
        with one_error():
            async with anyio.create_task_group() as slots:
                for _ in range(max(1, request.concurrency)):
                    slots.start_soon(self._slot_or_stop, batch)
        if self._error is not None:
            raise self._error

    async def _slot_or_stop(self, batch: _Batch) -> None:
        """What one phase finds wrong with the environment ends the drain, but not the calls that others have paid for."""
        try:
            with one_error():
                await self._slot(batch)
        except (ModelNotReady, WorkspaceRefused) as error:
            self._error = self._error or error
            self.stop(str(error))

    async def _slot(self, batch: _Batch) -> None:
        answer: ClaimAnswer | None = None
        while True:
            if answer is None:
                if self._stop is not None or not batch.take():
                    return
                answer = await self._claim(batch.request)
            if answer.claim is not None and self._stop is not None:
                await self._give_back(answer.claim, "the drain was told to stop")
                return
            if answer.claim is not None:
                answer = await self._run_and_finish(answer.claim, batch)
                if (idle := _end_of_one(batch)) is None:
                    continue
            else:
                idle = answer.idle
                batch.give_back()
            assert idle is not None
            if not await self._wait(idle, batch.request.run_id):
                batch.drained.idle = idle
                return
            answer = None

    async def _claim(self, request: Request) -> ClaimAnswer:
        """Shielded: a claim whose answer nobody awaits would lie there until its lease ends."""
        with anyio.CancelScope(shield=True):
            return await self._client.claim(self._claim_body(request))
        raise AssertionError("unreachable")

    async def _run_and_finish(self, claim: Claim, batch: _Batch) -> ClaimAnswer | None:
        """The answer to the next claim, when the batch has room for one."""
        self._report(
            Progress(
                kind="claimed",
                phase_id=claim.phase.phase_id,
                detail=f"attempt {claim.number}",
                phase=claim.phase,
            )
        )
        outcome = await self._run(claim)
        if outcome is None:
            return None
        following = self._following(outcome, batch)
        try:
            with anyio.CancelScope(
                shield=True
            ):  # an outcome that was reached is reported, whoever presses Ctrl-C
                answer = await self._finish(claim, outcome, following)
        except LeaseLost:
            log.warning("lease lost before the end was reported", extra={"phase_id": claim.phase.phase_id})
            if following is not None:
                batch.give_back()
            return None
        finally:
            self._notify()
        self._finished(claim, outcome, answer.phase, batch)
        return answer.next

    async def _finish(self, claim: Claim, outcome: Outcome, following: ClaimBody | None) -> FinishAnswer:
        """A report that the queue does not take must not keep the attempt from ending, nor end what others have paid for."""
        try:
            return await self._client.finish(claim.attempt_id, claim.lease_token, outcome, following)
        except InvalidInput as error:
            log.exception("the report was refused", extra={"phase_id": claim.phase.phase_id})
            return await self._client.finish(
                claim.attempt_id, claim.lease_token, without_report(outcome, error), following
            )

    def _following(self, outcome: Outcome, batch: _Batch) -> ClaimBody | None:
        """The next claim, to go along with the end of this attempt; None when this end decides whether there is one."""
        request = batch.request
        may_be_last = request.phase_id is not None or (
            request.stop_on_first_failure and outcome.outcome is AttemptOutcome.FAILED
        )
        if self._stop is not None or may_be_last or not batch.take():
            return None
        return self._claim_body(request)

    def _finished(self, claim: Claim, outcome: Outcome, phase: Phase, batch: _Batch) -> None:
        batch.drained.outcomes.append((phase.phase_id, outcome.outcome))
        batch.drained.phases[phase.phase_id] = phase
        detail = f"{phase.state}{_why(outcome, phase)}"
        self._report(Progress(kind="finished", phase_id=phase.phase_id, detail=detail, phase=phase))
        if batch.request.stop_on_first_failure and phase.state is PhaseState.FAILED:
            self.stop(f"phase {phase.phase_id} failed, and --stop-on-first-failure was given")

    async def _run(self, claim: Claim) -> Outcome | None:
        """The outcome of one attempt; None when the phase is no longer ours."""
        lease = _Lease()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._keep_alive, claim, lease, group)
                outcome = await self._judged(claim, lease)
                group.cancel_scope.cancel()
                return outcome
        except* LeaseLost:
            log.warning("lease lost", extra={"run_id": claim.phase.run_id, "phase_id": claim.phase.phase_id})
        if lease.cancelled:
            return Outcome(outcome=AttemptOutcome.CANCELLED, reason="the run was cancelled")
        return None

    async def _judged(self, claim: Claim, lease: _Lease) -> Outcome:
        """Runs the phase. What is wrong with the environment gives the phase back and goes on up."""
        try:
            return await self._runner.run(claim, lambda step: self._step(claim, step))
        except BudgetReached as error:
            return await self._out_of_budget(claim, error)
        except ModelError as error:
            return unanswered(error, self._redact)
        except AutopackError as error:
            return await self._stopped_by(claim, error)
        except anyio.get_cancelled_exc_class():
            if not (lease.lost or lease.cancelled):
                await self._give_back(claim, "interrupted")
            raise
        except Exception as error:
            log.exception("phase failed unexpectedly", extra={"phase_id": claim.phase.phase_id})
            reason = self._redact(f"{type(error).__name__}: {error}")
            return Outcome(
                outcome=AttemptOutcome.FAILED, failure_kind=FailureKind.INTERNAL_ERROR, reason=reason
            )

    async def _stopped_by(self, claim: Claim, error: AutopackError) -> Outcome:
        """Raises what ends the drain, once the phase is given back."""
        if isinstance(error, InvalidInput):
            # Something of this phase that the queue cannot hold: no other phase has to do with it.
            log.error("what the phase brought was refused", exc_info=error)
            return Outcome(
                outcome=AttemptOutcome.FAILED, failure_kind=FailureKind.INTERNAL_ERROR, reason=self._redact(str(error))
            )  # fmt: skip
        if not isinstance(error, LeaseLost):
            await self._give_back(claim, str(error))
        raise error

    async def _out_of_budget(self, claim: Claim, error: BudgetReached) -> Outcome:
        """The phase waits: for a person where the run was paused, else for calls of other phases to give back what they held."""
        paused = await self._client.report_budget(claim.attempt_id, claim.lease_token, str(error))
        return Outcome(
            outcome=AttemptOutcome.DEFERRED, failure_kind=FailureKind.BUDGET, reason=str(error),
            retry_after_seconds=None if paused else POLL_SECONDS,
        )  # fmt: skip

    async def _give_back(self, claim: Claim, reason: str) -> None:
        """The try is not counted. Shielded: a phase that is left behind would wait for its lease to end."""
        outcome = Outcome(
            outcome=AttemptOutcome.INTERRUPTED, failure_kind=FailureKind.INTERRUPTED, reason=reason
        )
        with anyio.move_on_after(FINISH_SECONDS, shield=True), suppress(AutopackError):
            await self._client.finish(claim.attempt_id, claim.lease_token, outcome)

    async def _keep_alive(self, claim: Claim, lease: _Lease, group: TaskGroup) -> None:
        ends = anyio.current_time() + self._lease_seconds
        while True:
            await anyio.sleep(self._lease_seconds / 3)
            started = anyio.current_time()
            answer = None
            try:
                # Cut off from the queue for longer than the lease, the phase is another's: the work stops.
                with anyio.move_on_after(ends - started):
                    answer = await self._client.renew(
                        claim.attempt_id, claim.lease_token, self._lease_seconds
                    )
                if answer is None:
                    raise LeaseLost(f"the lease of attempt {claim.attempt_id} could not be renewed in time")
            except LeaseLost:
                lease.lost = True
                raise
            ends = started + self._lease_seconds
            if answer.cancelled:
                lease.cancelled = True
                group.cancel_scope.cancel()

    async def _wait(self, idle: Idle, run_id: str) -> bool:
        """Whether asking again is worth it, after the wait; False when the drain has nothing left to do."""
        if idle.reason not in _WAITED_FOR:
            return False
        left = idle.until - self._clock.now() if idle.until else timedelta(0)
        if idle.reason is IdleReason.NOT_BEFORE and left > LONGEST_WAIT:
            return False
        if idle.reason is IdleReason.EXECUTING:
            await self._resume_dead_workers(run_id)
        self._report(Progress(kind="waiting", detail=idle.detail))
        seconds = POLL_SECONDS if idle.reason is IdleReason.EXECUTING else max(0.01, left.total_seconds())
        with anyio.move_on_after(seconds):
            await self._changed.wait()
        return True

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _step(self, claim: Claim, step: str) -> None:
        log.info("step", extra={"run_id": claim.phase.run_id, "phase_id": claim.phase.phase_id, "step": step})
        self._report(Progress(kind="step", phase_id=claim.phase.phase_id, detail=step))

    def _claim_body(self, request: Request) -> ClaimBody:
        return ClaimBody(
            run_id=request.run_id, phase_id=request.phase_id, force=request.force, worker=self._name,
            lease_token=self._clock.new_id(), lease_seconds=self._lease_seconds, base_commit=self._base_commit,
        )  # fmt: skip


_END_OF_ONE = {
    PhaseState.COMPLETE: IdleReason.DONE,
    PhaseState.SKIPPED: IdleReason.DONE,
    PhaseState.FAILED: IdleReason.FAILED,
    PhaseState.GATE: IdleReason.APPROVAL,
    PhaseState.CANCELLED: IdleReason.CANCELLED,
}


def _end_of_one(batch: _Batch) -> Idle | None:
    """Where exactly one phase was asked for: why there is no more of it to do, or to do now."""
    phase = batch.drained.phases.get(batch.request.phase_id or "")
    if phase is None:
        return None
    if phase.state in _END_OF_ONE:
        return Idle(reason=_END_OF_ONE[phase.state], detail=f"phase {phase.phase_id} is {phase.state}")
    if phase.not_before is not None:
        return Idle(
            reason=IdleReason.NOT_BEFORE,
            detail=f"phase {phase.phase_id} is due later",
            until=phase.not_before,
        )
    return None


@contextmanager
def one_error() -> Iterator[None]:
    """Of several tasks that failed at once, the first says why the drain ends."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from group


def _why(outcome: Outcome, phase: Phase) -> str:
    """Why the try failed; or the phase, where that says more (the same failure once too often)."""
    kind, reason = outcome.failure_kind, outcome.reason
    if phase.state is PhaseState.FAILED:
        kind, reason = phase.failure_kind or kind, phase.failure_reason or reason
    return f" ({kind}: {_first_line(reason)})" if kind else ""


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n", 1)[0][:200]
