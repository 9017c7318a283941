"""One look at the database a second for all open pages of the process, and the word to each of them that something changed."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.to_thread

from autopack.db.engine import Database
from autopack.db.pages.pulse import Beat, beat
from autopack.errors import AutopackError

log = logging.getLogger(__name__)
BEAT_SECONDS = 1.0
MOST_STREAMS = 4
"""That one browser may keep open. It has six connections to a host, and needs some for everything else."""


class Closing:
    """Set once, by who stops the server: open streams end at once."""

    def __init__(self, pulse: "Pulse") -> None:
        self._pulse = pulse
        self._is_set = False

    def set(self) -> None:
        self._is_set = True
        self._pulse.wake()

    def is_set(self) -> bool:
        return self._is_set


class Pulse:
    """Belongs to one event loop: everything but the look itself happens there."""

    def __init__(self) -> None:
        self.version = 0
        """Grows when something changed, or when the database could not be asked: the page's own read then says why."""
        self.closing = Closing(self)
        self.reading = anyio.Lock()
        self.kept: dict[str, Any] = {}
        """What pages showed since the last change, by their address."""
        self._woken = anyio.Event()
        self._wanted = anyio.Event()
        self._streams: Counter[str] = Counter()

    @contextmanager
    def stream_of(self, browser: str) -> Iterator[bool]:
        """While inside, somebody looks. Yields whether this browser may keep the stream open."""
        self._streams[browser] += 1
        self._wanted.set()
        try:
            yield self._streams[browser] <= MOST_STREAMS
        finally:
            self._streams[browser] -= 1
            self._streams += Counter()  # forgets those that are at zero

    async def changed(self, version: int) -> bool:
        """Waits for something newer than `version`. False where the server stops instead."""
        while self.version == version and not self.closing.is_set():
            await self._woken.wait()
        return not self.closing.is_set()

    def wake(self) -> None:
        self._woken.set()
        self._woken = anyio.Event()

    async def run(self, database: Database) -> None:
        """Looks once a second, as long as a stream is open."""
        last: Beat | None = None
        while True:
            if not self._streams.total():
                self._wanted = anyio.Event()
                await self._wanted.wait()
            seen = await anyio.to_thread.run_sync(_look, database, abandon_on_cancel=True)
            if seen is None or seen != last:
                last = seen
                self.version += 1
                self.kept = {}
                self.wake()
            await anyio.sleep(BEAT_SECONDS)


def _look(database: Database) -> Beat | None:
    try:
        with database.transaction() as session:
            return beat(session)
    except AutopackError as error:
        log.warning("the database could not be asked what has changed: %s", error)
        return None
