"""The leases of a worker: kept while their phases run, and the way on which it hears what a person changed."""

import logging
from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup

from autopack.client import AutopackClient
from autopack.domain.phases import Claim
from autopack.errors import AutopackError, DatabaseMismatch, DatabaseReplaced, LeaseLost
from autopack.schemas import RenewAnswer

log = logging.getLogger(__name__)
ASK_SECONDS = 1.0
"""How often a worker asks, however many leases it holds: a cancel is heard within two seconds."""
KEPT = 2 / 3
"""So much of a lease is left after each renewal, at the least."""


class Leases:
    """Those of one drain, which are all of one run: what one of them hears of the run is so for all."""

    def __init__(
        self, client: AutopackClient, *, lease_seconds: float, ask_seconds: float = ASK_SECONDS,
        on_concurrency: Callable[[int | None], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._client = client
        self.lease_seconds = lease_seconds
        self.pause_seconds = min(ask_seconds, lease_seconds / 3)
        self._on_concurrency = on_concurrency
        self._open: set[Lease] = set()
        self._asked_at = 0.0

    def open(self, claim: Claim) -> "Lease":
        lease = Lease(self, claim)
        self._open.add(lease)
        return lease

    def close(self, lease: "Lease") -> None:
        self._open.discard(lease)

    def is_known(self) -> bool:
        """Whether another lease has asked just now: a hundred phases at once need not ask a hundred times a second."""
        return anyio.current_time() - self._asked_at < self.pause_seconds / 2

    async def renew(self, claim: Claim, step: str | None) -> None:
        self._asked_at = anyio.current_time()
        answer = await self._client.renew(claim.attempt_id, claim.lease_token, self.lease_seconds, step)
        self._hear(answer)

    def _hear(self, answer: RenewAnswer) -> None:
        self._on_concurrency(answer.concurrency)
        if answer.cancelled:
            for lease in tuple(self._open):
                lease.cancel()


class Lease:
    """One claimed phase: `step` is what is being done. `lost` and `cancelled` say why its work was stopped."""

    def __init__(self, leases: Leases, claim: Claim) -> None:
        self._leases = leases
        self._claim = claim
        self._group: TaskGroup | None = None
        self._told: str | None = None
        self.step: str | None = None
        self.lost = False
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True
        if self._group is not None:
            self._group.cancel_scope.cancel()

    async def keep(self, group: TaskGroup) -> None:
        """Until it is cancelled with the work. Stops the work of `group` when the phase is no longer ours, or the run is over."""
        self._group = group
        if self.cancelled:
            group.cancel_scope.cancel()
        renewed = anyio.current_time()
        ends = renewed + self._leases.lease_seconds
        while True:
            await anyio.sleep(self._leases.pause_seconds)
            now = anyio.current_time()
            is_fresh = now - renewed < self._leases.lease_seconds / 3
            if is_fresh and self.step == self._told and self._leases.is_known():
                continue
            if await self._renew(ends - now):
                renewed, ends = now, max(ends, now + KEPT * self._leases.lease_seconds)

    async def _renew(self, left: float) -> bool:
        """False where the queue could not be asked: for `left` seconds the phase is ours all the same, and what was paid
        for goes on. Then it may be another's: the work stops."""
        step = self.step
        try:
            if left > 0:
                with anyio.move_on_after(left):
                    await self._leases.renew(self._claim, step)
                    self._told = step
                    return True
            raise LeaseLost(f"the lease of attempt {self._claim.attempt_id} could not be renewed in time")
        except LeaseLost:
            self.lost = True
            raise
        except (DatabaseMismatch, DatabaseReplaced):
            raise  # this queue does not know of the attempt any more
        except AutopackError as error:
            log.warning(
                "the lease was not renewed, asking again",
                extra={
                    "attempt_id": self._claim.attempt_id,
                    "error": str(error),
                    "seconds_left": round(left),
                },
            )
            return False
