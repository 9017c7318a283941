"""One attempt under its lease: what it came to, and what gives its phase back."""

import logging
from collections.abc import Callable
from contextlib import suppress

import anyio

from autopack.client import AutopackClient
from autopack.domain.phases import AttemptOutcome, Claim, FailureKind, Outcome
from autopack.errors import AutopackError, BudgetReached, InvalidInput, LeaseLost, ModelError
from autopack.executor.failure import unanswered
from autopack.executor.lease import Lease
from autopack.executor.ledger import NoRoom
from autopack.executor.pipeline import PhaseRunner, Step

log = logging.getLogger(__name__)
ROOM_SECONDS = 1.0
"""How soon a phase that found no room in a cap is tried again, while calls under way may still make some."""
FINISH_SECONDS = 15.0


class AttemptRunner:
    """Runs claims, each under its lease."""

    def __init__(
        self, client: AutopackClient, runner: PhaseRunner, *, redact: Callable[[str], str] = lambda text: text
    ) -> None:  # fmt: skip
        self._client = client
        self._runner = runner
        self._redact = redact

    async def run(self, claim: Claim, lease: Lease, tell: Step) -> Outcome | None:
        """The outcome of one attempt; None when the phase is no longer ours."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(lease.keep, group)
                outcome = await self._judged(claim, lease, tell)
                group.cancel_scope.cancel()
                return outcome
        except* LeaseLost:
            log.warning("lease lost", extra={"run_id": claim.phase.run_id, "phase_id": claim.phase.phase_id})
        if lease.cancelled:
            return Outcome(outcome=AttemptOutcome.CANCELLED, reason="the run was cancelled")
        return None

    async def give_back(self, claim: Claim, reason: str) -> None:
        """The try is not counted. Shielded: a phase that is left behind would wait for its lease to end."""
        outcome = Outcome(
            outcome=AttemptOutcome.INTERRUPTED, failure_kind=FailureKind.INTERRUPTED, reason=reason
        )
        with anyio.move_on_after(FINISH_SECONDS, shield=True), suppress(AutopackError):
            await self._client.finish(claim.attempt_id, claim.lease_token, outcome)

    async def _judged(self, claim: Claim, lease: Lease, tell: Step) -> Outcome:
        """Runs the phase. What is wrong with the environment gives the phase back and goes on up."""

        def step(what: str) -> None:
            lease.step = what
            tell(what)

        try:
            return await self._runner.run(claim, step)
        except BudgetReached as error:
            return await self._out_of_budget(claim, error)
        except ModelError as error:
            return unanswered(error, self._redact)
        except AutopackError as error:
            return await self._stopped_by(claim, error)
        except anyio.get_cancelled_exc_class():
            if not (lease.lost or lease.cancelled):
                await self.give_back(claim, "interrupted")
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
            await self.give_back(claim, str(error))
        raise error

    async def _out_of_budget(self, claim: Claim, error: BudgetReached) -> Outcome:
        """The phase waits: for a person where the run was paused, else for calls of other phases to give back what they held."""
        request = error.request if isinstance(error, NoRoom) else None
        paused = await self._client.report_budget(claim.attempt_id, claim.lease_token, str(error), request)
        return Outcome(
            outcome=AttemptOutcome.DEFERRED, failure_kind=FailureKind.BUDGET, reason=str(error),
            retry_after_seconds=None if paused else ROOM_SECONDS,
        )  # fmt: skip
