"""What a drain knows of its run while it works: how far it is, what is being done now, and about how long is left."""

import math
import time
from dataclasses import dataclass, field

from autopack.cli.tables import cost
from autopack.client import AutopackClient
from autopack.domain.looks import progress
from autopack.domain.phases import PhaseState, Run
from autopack.errors import AutopackError
from autopack.executor.worker import Progress

_OPEN = (PhaseState.QUEUED, PhaseState.EXECUTING)
OUTLOOK_SECONDS = 10.0
"""The estimator is asked again no sooner: its answer is made from the whole history."""


@dataclass(frozen=True, kw_only=True)
class Doing:
    """One slot: which try of its phase, the step it is at, and since when."""

    attempt: str
    step: str
    since: float


@dataclass(kw_only=True)
class Board:
    """Counts, tokens and cost come from the queue, not from our own sums: other drains may work on the run as well."""

    run: Run
    started: float = field(default_factory=time.monotonic)
    finished: int = 0
    doing: dict[str, Doing] = field(default_factory=dict)
    note: str = "starting"
    _ends_at: float | None = None
    _asked_at: float | None = None

    def take(self, said: Progress) -> None:
        """What the worker says it does."""
        self.note = f"{said.kind} {said.detail}".strip()
        phase_id, now = said.phase_id, time.monotonic()
        if phase_id is None:
            return
        if said.kind == "claimed":
            self.doing[phase_id] = Doing(attempt=said.detail, step="begins", since=now)
        elif said.kind == "step":
            attempt = self.doing[phase_id].attempt if phase_id in self.doing else ""
            self.doing[phase_id] = Doing(attempt=attempt, step=said.detail, since=now)
        elif said.kind == "finished":
            self.finished += 1
            self.doing.pop(phase_id, None)

    async def refresh(self, client: AutopackClient) -> None:
        """Asks the queue. Where it does not answer, the drain itself will say what is wrong; this shows what it knows."""
        try:
            self.run = await client.run(self.run.run_id)
            if self._asked_at is None or time.monotonic() - self._asked_at >= OUTLOOK_SECONDS:
                self._asked_at = time.monotonic()
                seconds = (await client.outlook(self.run.run_id)).seconds_left
                self._ends_at = None if seconds is None else self._asked_at + seconds
        except AutopackError:
            return

    def line(self) -> str:
        return f"{self.phases()}, {self.tokens()}{cost(self.run)}{self.left()}"

    def phases(self) -> str:
        return progress.how_far(self.run.phase_counts)

    def tokens(self) -> str:
        return f"{self.run.tokens_used}{f'/{self.run.token_cap}' if self.run.token_cap else ''} tokens"

    def left(self) -> str:
        """From the estimator; where it knows nothing yet, from what this drain has done so far. Of what stands still, nothing."""
        moves = self.doing or self.run.phase_counts.get(PhaseState.EXECUTING)
        if not self._open or not self.finished or not moves:
            return ""
        now = time.monotonic()
        seconds = (
            (now - self.started) / self.finished * self._open
            if self._ends_at is None
            else max(self._ends_at - now, 1)
        )
        return f", about {duration(seconds)} left"

    @property
    def total(self) -> int:
        return progress.total(self.run.phase_counts)

    @property
    def complete(self) -> int:
        return progress.complete(self.run.phase_counts)

    @property
    def _open(self) -> int:
        return sum(self.run.phase_counts.get(state, 0) for state in _OPEN)


def duration(seconds: float) -> str:
    """Rounded up, in the unit that a person would say."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
