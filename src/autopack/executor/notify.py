"""Tells a person what happens in a run that is drained: in the background, in order, and never in the drain's way.

It follows the run's events from where they stood when it began, so it also hears what other workers and people did. Each
event is told once to each channel, if what it says still holds when it is its turn. A drain that is killed tells nothing
more: what is complete is the digest, which is made from the same events.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import anyio

from autopack.client import AutopackClient
from autopack.clock import Clock
from autopack.domain.looks.why import Why
from autopack.domain.looks.words import command, first_line
from autopack.domain.notices import (
    Happening,
    Notice,
    calls_for_a_notice,
    envelope,
    notice_id,
    notice_of,
)
from autopack.domain.phases import Event, JsonObject, Run
from autopack.errors import AutopackError

_EVENTS_AT_ONCE = 1000


class Channel(Protocol):
    """A way to tell somebody. `send` answers why it was not told, in a line, and raises nothing."""

    @property
    def name(self) -> str: ...

    async def send(self, told: JsonObject) -> str | None: ...


class Notifier:
    """`say` takes a line of talk."""

    def __init__(
        self, client: AutopackClient, channels: Sequence[Channel], *, say: Callable[[str], None], clock: Clock
    ) -> None:
        self._client = client
        self._channels = channels
        self._say = say
        self._clock = clock
        self._seen: dict[str, int] = {}
        """Of each run that there may be something left to tell of, the last event that has had its turn."""
        self._run_id: str | None = None
        self._waiting = 0
        self._one_at_a_time = anyio.Lock()
        self._woken = anyio.Event()

    async def follow(self, run_id: str) -> None:
        """Tells of this run from now on; of the one before, what has happened until now."""
        if run_id not in self._seen:
            self._seen[run_id] = await self._client.last_event()
        self._run_id = run_id
        self.see()

    def see(self) -> None:
        """Something may have happened. Returns at once."""
        self._woken.set()

    async def listen(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._woken.wait()
            self._woken = anyio.Event()
            await self._look()

    async def catch_up(self, seconds: float, *, ended_by: AutopackError | None = None) -> None:
        """The rest, and what ended the drain if something did; for so long, that no channel keeps a drain from ending."""
        with anyio.move_on_after(seconds) as limit:
            await self._look()
            if ended_by is not None and self._run_id is not None:
                await tell(self._channels, self._ended(self._run_id, ended_by), self._said)
        if limit.cancelled_caught:
            self._say(
                f"notify: no longer waited for; at least {max(1, self._waiting)} not told within {seconds:g} s"
            )

    async def _look(self) -> None:
        async with self._one_at_a_time:
            try:
                for run_id in list(self._seen):
                    while await self._tell_page(run_id):
                        pass
                    if run_id != self._run_id:
                        del self._seen[run_id]
            except AutopackError as error:
                self._say(f"notify: what happened cannot be read now: {first_line(str(error))}")

    async def _tell_page(self, run_id: str) -> bool:
        """Whether there may be more."""
        page = await self._client.events(run_id, after=self._seen[run_id])
        wanted = [event for event in page if calls_for_a_notice(event)]
        for number, event in enumerate(wanted):
            self._waiting = len(wanted) - number
            notice = await self._notice(event)
            self._seen[run_id] = event.event_id  # it has its turn now, whatever comes of it
            if notice is not None:
                await tell(self._channels, notice, self._said)
        self._waiting = 0
        if page:
            self._seen[run_id] = page[-1].event_id
        return len(page) >= _EVENTS_AT_ONCE

    async def _notice(self, event: Event) -> Notice | None:
        assert event.run_id is not None
        run: Run = await self._client.run(event.run_id)
        phase = None if event.phase_id is None else await self._client.phase(event.run_id, event.phase_id)
        why: Why = await self._client.why(event.run_id)
        return notice_of(event, self._client.database_id, run, phase, why)

    def _ended(self, run_id: str, error: AutopackError) -> Notice:
        return Notice(
            notice_id=notice_id(self._client.database_id, self._clock.new_id()), happening=Happening.NEEDS_ME,
            at=self._clock.now(), database_id=self._client.database_id,
            text=f"run {run_id}: its drain ended, and nothing goes on by itself: {error}",
            do=(command("why", run_id), command("drain", "--run-id", run_id)),
        )  # fmt: skip

    def _said(self, channel: str, notice: Notice, fault: str | None) -> None:
        if fault is not None:
            self._say(f"notify: {notice.happening} was not told by the {channel}: {fault}")


async def tell(
    channels: Sequence[Channel], notice: Notice, said: Callable[[str, Notice, str | None], None]
) -> None:
    """Through all channels at once; `said` hears what came of each."""
    told = envelope(notice)

    async def through(channel: Channel) -> None:
        said(channel.name, notice, await channel.send(told))

    async with anyio.create_task_group() as group:
        for channel in channels:
            group.start_soon(through, channel)
