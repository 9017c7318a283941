"""Tells a person what happens in a drain, through the channels of AUTOPACK_NOTIFY_*; and tries them out."""

import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autopack.cli.common import Json, result, result_json, say

if TYPE_CHECKING:
    import anyio

    from autopack.client import AutopackClient
    from autopack.domain.notices import Notice
    from autopack.errors import AutopackError
    from autopack.executor.notify import Notifier
    from autopack.executor.worker import Progress
    from autopack.settings import Settings

_WAITS = 2  # at the end of a drain, for so many time limits of one notice
_HURRIED_SECONDS = 2.0
_SEEN = ("finished", "recovered", "waiting")


@dataclass(kw_only=True)
class Telling:
    """`notifier` is None where nobody is to be told."""

    notifier: "Notifier | None" = None
    hurried: bool = False
    """A person at the terminal wants the drain to end."""

    async def follow(self, run_id: str) -> None:
        if self.notifier is not None:
            await self.notifier.follow(run_id)

    def beside(self, show: "Callable[[Progress], None]") -> "Callable[[Progress], None]":
        """Takes progress as `show` does, which comes first."""

        def both(progress: "Progress") -> None:
            show(progress)
            if self.notifier is not None and progress.kind in _SEEN:
                self.notifier.see()

        return both


@asynccontextmanager
async def telling(client: "AutopackClient", settings: "Settings") -> AsyncIterator[Telling]:
    """While the block runs; the rest is told when it has ended, also by an error of ours, and waited for within bounds.

    Raises UsageError for a channel that is named wrongly.
    """
    import anyio

    from autopack.bootstrap.notify import channels_of
    from autopack.clock import Clock
    from autopack.errors import AutopackError
    from autopack.executor.notify import Notifier
    from autopack.executor.worker import one_error

    channels = channels_of(settings)
    if not channels:
        yield Telling()
        return
    notifier = Notifier(client, channels, say=say, clock=Clock())
    told = Telling(notifier=notifier)
    most = _WAITS * settings.notify_timeout_seconds
    async with anyio.create_task_group() as group:
        group.start_soon(notifier.listen)
        try:
            with one_error():
                yield told
        except AutopackError as error:
            await _rest(notifier, most, error)
            raise
        await _rest(notifier, min(most, _HURRIED_SECONDS) if told.hurried else most)
        group.cancel_scope.cancel()


async def _rest(notifier: "Notifier", seconds: float, ended_by: "AutopackError | None" = None) -> None:
    """The drain is over: Ctrl-C now only ends the waiting, and changes nothing about how the drain ended."""
    import anyio

    async def watch(scope: "anyio.CancelScope") -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                say("notify: no longer waited for")
                scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(watch, group.cancel_scope)
        await notifier.catch_up(seconds, ended_by=ended_by)
        group.cancel_scope.cancel()


def notify_test(as_json: Json = False) -> int:
    """Send a test notice through AUTOPACK_NOTIFY_COMMAND and AUTOPACK_NOTIFY_URL, and say what came of it."""
    import anyio

    from autopack.bootstrap.notify import channels_of
    from autopack.errors import NotReady
    from autopack.settings import load_settings

    channels = channels_of(load_settings())
    if not channels:
        raise NotReady(
            "nobody is to be told: set AUTOPACK_NOTIFY_COMMAND, or AUTOPACK_NOTIFY_URL and AUTOPACK_NOTIFY_SECRET"
        )
    notice = _test_notice()
    came: list[dict[str, Any]] = []
    started = time.monotonic()

    def said(channel: str, _: "Notice", fault: str | None) -> None:
        seconds = round(time.monotonic() - started, 3)
        came.append({"channel": channel, "told": fault is None, "fault": fault, "seconds": seconds})

    async def send() -> None:
        from autopack.executor.notify import tell

        await tell(channels, notice, said)

    anyio.run(send)
    code = 0 if all(each["told"] for each in came) else NotReady.exit_code
    if as_json:
        result_json({"id": notice.notice_id, "exit_code": code, "channels": came})
    else:
        for each in came:
            result(f"{each['channel']}: {each['fault'] or 'told'} ({each['seconds']:.1f} s)")
    return code


def _test_notice() -> "Notice":
    from autopack.clock import Clock
    from autopack.domain.notices import Happening, Notice

    clock = Clock()
    return Notice(
        notice_id=clock.new_id(), happening=Happening.TEST, at=clock.now(), database_id=None,
        text="a test of Autopack's notices: nothing has happened", do=("autopack run list",),
    )  # fmt: skip
