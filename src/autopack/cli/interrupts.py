"""Ctrl-C and SIGTERM while phases are drained: the first lets the phase that is executing end, the second gives it back."""

import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from autopack.cli.common import say

if TYPE_CHECKING:
    import anyio


async def until_interrupted(work: Callable[[], Awaitable[None]], stop: Callable[[str], None]) -> int | None:
    """Runs `work` to its end. Returns the signal that cut it short, None when nothing did.

    The first signal calls `stop` with its name, after which the work must end by itself; the second cancels it.
    """
    import anyio

    received: list[int] = []

    async def watch(scope: "anyio.CancelScope") -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                received.append(number)
                if len(received) > 1:
                    say("giving back what is executing")
                    scope.cancel()
                    return
                say("interrupted: the phase that is executing ends first; once more gives it back")
                stop(f"interrupted by {signal.Signals(number).name}")

    async with anyio.create_task_group() as group:
        group.start_soon(watch, group.cancel_scope)
        await work()
        group.cancel_scope.cancel()
    return received[0] if received else None
