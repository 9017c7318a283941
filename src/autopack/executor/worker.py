"""Drains a run: claims what is due, runs it, finishes it, until nothing is due or nothing can move."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import count

import anyio

from autopack.client import AutopackClient
from autopack.clock import Clock
from autopack.domain.phases import (
    AttemptOutcome,
    Claim,
    Idle,
    IdleReason,
    Outcome,
    Phase,
    PhaseState,
)
from autopack.errors import (
    AutopackError,
    InvalidInput,
    LeaseLost,
    ModelNotReady,
    WorkspaceRefused,
)
from autopack.executor.attempt import AttemptRunner
from autopack.executor.failure import without_report
from autopack.executor.lease import ASK_SECONDS, Leases
from autopack.executor.liveness import is_dead
from autopack.executor.pipeline import PhaseRunner
from autopack.executor.slots import Slots
from autopack.schemas import ClaimAnswer, ClaimBody, FinishAnswer

log = logging.getLogger(__name__)
POLL_SECONDS = 1.0
LOOK_SECONDS = 2.0
"""A drain that waits for a later moment looks up so often: a person may have cancelled the run, or queued other phases."""
LONGEST_WAIT = timedelta(seconds=90)
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
    """Something to show: `kind` is claimed, step, finished, waiting, batch, recovered or note."""

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


class Worker:
    """One per process; every batch and every phase of the drain uses the same client and pipeline."""

    def __init__(
        self, client: AutopackClient, runner: PhaseRunner, *, name: str, clock: Clock, lease_seconds: float = 60.0,
        base_commit: str | None = None, report: Callable[[Progress], None] = lambda _: None,
        redact: Callable[[str], str] = lambda text: text, ask_seconds: float = ASK_SECONDS,
    ) -> None:  # fmt: skip
        self._client = client
        self._attempts = AttemptRunner(client, runner, redact=redact)
        self._leases = Leases(
            client, lease_seconds=lease_seconds, ask_seconds=ask_seconds, on_concurrency=self._resize
        )
        self._slots: Slots | None = None
        self._name = name
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._base_commit = base_commit
        self._report = report
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
            async with anyio.create_task_group() as group:
                # Of one named phase there is no second to take, whatever the run should have.
                self._slots = Slots(
                    group, partial(self._slot_or_stop, batch), default=request.concurrency,
                    is_fixed=request.phase_id is not None,
                )  # fmt: skip
        self._slots = None
        if self._error is not None:
            raise self._error

    def _resize(self, concurrency: int | None) -> None:
        if self._slots is not None:
            self._slots.resize(concurrency)

    async def _slot_or_stop(self, batch: _Batch, slots: Slots) -> None:
        """What one phase finds wrong with the environment ends the drain, but not the calls that others have paid for."""
        try:
            with one_error():
                await self._slot(batch, slots)
        except (ModelNotReady, WorkspaceRefused) as error:
            self._error = self._error or error
            self.stop(str(error))

    async def _slot(self, batch: _Batch, slots: Slots) -> None:
        answer: ClaimAnswer | None = None
        while True:
            if answer is None:
                if self._stop is not None or slots.are_too_many or not batch.take():
                    return
                answer = await self._claim(batch.request)
            if answer.claim is not None and self._stop is not None:
                await self._attempts.give_back(answer.claim, "the drain was told to stop")
                return
            if answer.claim is not None:
                batch.drained.idle = None  # where another slot found nothing to do, there is more by now
                slots.resize(answer.claim.run.concurrency)
                slots.refill()
                answer = await self._run_and_finish(answer.claim, batch, slots)
                if (idle := _end_of_one(batch)) is None:
                    continue
            else:
                idle = answer.idle
                batch.give_back()
            assert idle is not None
            if not await self._wait(idle, batch.request):
                batch.drained.idle = idle
                return
            answer = None

    async def _claim(self, request: Request) -> ClaimAnswer:
        """Shielded: a claim whose answer nobody awaits would lie there until its lease ends."""
        with anyio.CancelScope(shield=True):
            return await self._client.claim(self._claim_body(request))
        raise AssertionError("unreachable")

    async def _run_and_finish(self, claim: Claim, batch: _Batch, slots: Slots) -> ClaimAnswer | None:
        """The answer to the next claim, when the batch has room for one."""
        self._report(
            Progress(
                kind="claimed",
                phase_id=claim.phase.phase_id,
                detail=f"attempt {claim.number}",
                phase=claim.phase,
            )
        )
        lease = self._leases.open(claim)
        try:
            outcome = await self._attempts.run(claim, lease, partial(self._step, claim))
        finally:
            self._leases.close(lease)
        if outcome is None:
            return None
        following = self._following(outcome, batch, slots)
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

    def _following(self, outcome: Outcome, batch: _Batch, slots: Slots) -> ClaimBody | None:
        """The next claim, to go along with the end of this attempt; None when this end decides whether there is one."""
        request = batch.request
        may_be_last = request.phase_id is not None or (
            request.stop_on_first_failure and outcome.outcome is AttemptOutcome.FAILED
        )
        if self._stop is not None or may_be_last or slots.are_too_many or not batch.take():
            return None
        return self._claim_body(request)

    def _finished(self, claim: Claim, outcome: Outcome, phase: Phase, batch: _Batch) -> None:
        batch.drained.outcomes.append((phase.phase_id, outcome.outcome))
        batch.drained.phases[phase.phase_id] = phase
        detail = f"{phase.state}{_why(outcome, phase)}"
        self._report(Progress(kind="finished", phase_id=phase.phase_id, detail=detail, phase=phase))
        if batch.request.stop_on_first_failure and phase.state is PhaseState.FAILED:
            self.stop(f"phase {phase.phase_id} failed, and --stop-on-first-failure was given")

    async def _wait(self, idle: Idle, request: Request) -> bool:
        """Whether asking again is worth it, after the wait; False when the drain has nothing left to do."""
        if idle.reason not in _WAITED_FOR:
            return False
        left = idle.until - self._clock.now() if idle.until else timedelta(0)
        if idle.reason is IdleReason.NOT_BEFORE and left > LONGEST_WAIT:
            return False
        if idle.reason is IdleReason.EXECUTING:
            await self._resume_dead_workers(request.run_id)
        self._report(Progress(kind="waiting", detail=idle.detail))
        with anyio.move_on_after(_pause_seconds(idle, left.total_seconds(), request)):
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


def _pause_seconds(idle: Idle, left: float, request: Request) -> float:
    if idle.reason is IdleReason.EXECUTING:
        return POLL_SECONDS
    # A phase that was named is claimed whenever it is asked for, due or not.
    most = LOOK_SECONDS if request.phase_id is None else left
    return max(0.01, min(left, most))


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
