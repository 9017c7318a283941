"""A run as it is watched: looked at again and again with a few short requests, whatever its length."""

import time
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from autopack.cli.tables import run_line
from autopack.client import AutopackClient
from autopack.clock import utc_now
from autopack.domain.lifecycle import DONE_STATES
from autopack.domain.looks.why import WORKER_GONE
from autopack.domain.looks.words import first_line
from autopack.domain.phases import Attempt, Event, Phase, Run, RunState
from autopack.executor.liveness import is_dead

_EVENTS_AT_ONCE = 1000
_ONE_BY_ONE = 20  # phases that are asked for singly, rather than all anew
_FORECAST_SECONDS = 10.0
_CODES = {RunState.DONE_SUCCESS: 0, RunState.DONE_FAILED_BUDGET_EXHAUSTED: 6}


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is other than at the look before. Of the run itself where `phase_id` is None."""

    at: datetime
    what: str
    """"state" or "step"."""
    phase_id: str | None
    before: str | None
    after: str | None
    attempt: int | None = None
    reason: str | None = None

    def line(self) -> str:
        told = self.after if self.what == "step" else f"{self.before} -> {self.after}"
        number = f" (try {self.attempt})" if self.attempt else ""
        reason = f": {self.reason}" if self.reason else ""
        return f"{self.at:%H:%M:%S}  {self.phase_id or 'the run'}  {told}{number}{reason}"

    def record(self) -> dict[str, Any]:
        return {"record": self.what, **{name: each for name, each in vars(self).items() if name != "what"}}


@dataclass(kw_only=True)
class Watched:
    run: Run
    phases: dict[str, Phase]
    open: dict[str, Attempt]
    last_event: int
    seconds_left: float | None = None
    _forecast_at: float | None = field(default=None)

    @classmethod
    async def of(cls, client: AutopackClient, run_id: str) -> "Watched":
        """The events come first: what happens while the rest is read is then seen at the next look."""
        run, last = await client.run(run_id), await client.last_event()
        found = cls(run=run, phases={}, open={}, last_event=last)
        await found._read_all(client)
        return found

    @property
    def has_ended(self) -> bool:
        return self.run.state in DONE_STATES

    @property
    def exit_code(self) -> int:
        """As a drain of the run would end now."""
        return _CODES.get(self.run.state, 1)

    @property
    def moves(self) -> bool:
        """Somebody works on it at this moment, as far as can be known from here."""
        now = utc_now()
        return any(each.lease_expires_at > now and not is_dead(each.worker) for each in self.open.values())

    def summary(self) -> str:
        return f"{self.run.run_id}  {run_line(self.run)}"

    async def look(self, client: AutopackClient) -> list[Change]:
        """What has changed since the last look."""
        before, phases, steps = self.run, self.phases, self._steps()
        self.phases = dict(phases)
        events = await client.events(before.run_id, after=self.last_event)
        if events:
            self.last_event = events[-1].event_id
            await self._read(client, events)
        elif self.open or before.state in (RunState.QUEUED, RunState.RUNNING):
            await self._read_run(client)
        return [*self._of_phases(phases), *self._of_steps(steps), *self._of_run(before)]

    async def forecast(self, client: AutopackClient) -> None:
        """Asked for seldom: it is made from the whole history."""
        now = time.monotonic()
        if self._forecast_at is None or now - self._forecast_at >= _FORECAST_SECONDS:
            self._forecast_at = now
            self.seconds_left = (await client.outlook(self.run.run_id)).seconds_left

    async def _read(self, client: AutopackClient, events: list[Event]) -> None:
        touched = {event.phase_id for event in events if event.phase_id is not None}
        # A run that is cancelled takes its phases along without a word about each.
        if len(touched) > _ONE_BY_ONE or any(event.kind == "run_state" for event in events):
            await self._read_all(client)
            return
        for phase_id in sorted(touched):
            self.phases[phase_id] = await client.phase(self.run.run_id, phase_id)
        await self._read_run(client)

    async def _read_all(self, client: AutopackClient) -> None:
        self.phases = {phase.phase_id: phase for phase in await client.phases(self.run.run_id)}
        await self._read_run(client)

    async def _read_run(self, client: AutopackClient) -> None:
        self.run = await client.run(self.run.run_id)
        found = await client.open_attempts(self.run.run_id)
        self.open = {
            each.phase_id: replace(each, step=WORKER_GONE) if is_dead(each.worker) else each for each in found
        }

    def _steps(self) -> dict[str, tuple[int, str | None]]:
        return {phase_id: (attempt.number, attempt.step) for phase_id, attempt in self.open.items()}

    def _of_phases(self, before: dict[str, Phase]) -> list[Change]:
        changes = []
        for phase_id, phase in self.phases.items():
            was = before[phase_id].state if phase_id in before else None
            if was != phase.state:
                attempt = self.open.get(phase_id)
                changes.append(
                    Change(
                        at=utc_now(), what="state", phase_id=phase_id, before=was, after=phase.state,
                        attempt=attempt.number if attempt else None, reason=_why(phase),
                    )
                )  # fmt: skip
        return changes

    def _of_steps(self, before: dict[str, tuple[int, str | None]]) -> list[Change]:
        return [
            Change(
                at=utc_now(), what="step", phase_id=phase_id, before=before.get(phase_id, (0, None))[1],
                after=first_line(attempt.step), attempt=attempt.number,
            )
            for phase_id, attempt in self.open.items()
            if attempt.step and (attempt.number, attempt.step) != before.get(phase_id)
        ]  # fmt: skip

    def _of_run(self, before: Run) -> list[Change]:
        if before.state == self.run.state:
            return []
        reason = first_line(self.run.state_reason) or None
        return [
            Change(
                at=utc_now(), what="state", phase_id=None, before=before.state, after=self.run.state, reason=reason
            )
        ]  # fmt: skip


def _why(phase: Phase) -> str | None:
    told = first_line(phase.failure_reason)
    if phase.failure_kind is None:
        return told or None
    return f"{phase.failure_kind}: {told}" if told else str(phase.failure_kind)
