"""Who holds which phase. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A try that is under way. `expired`: its worker did not renew in time, and any claim of the run takes it back."""

    run_id: str
    phase_id: str
    attempt_id: str
    number: int
    step: str | None
    claimed_at: datetime
    lease_expires_at: datetime
    expired: bool


@dataclass(frozen=True, kw_only=True)
class WorkerLook:
    worker: str
    leases: tuple[Lease, ...]


def by_worker(found: Iterable[tuple[str, Lease]]) -> list[WorkerLook]:
    """Of (worker, lease) in order of the workers."""
    return [
        WorkerLook(worker=worker, leases=tuple(lease for _, lease in rows))
        for worker, rows in groupby(found, key=lambda each: each[0])
    ]
