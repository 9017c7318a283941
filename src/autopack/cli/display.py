"""What a drain shows while it runs: a display on a terminal, plain lines elsewhere. All of it on stderr."""

import math
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from autopack.cli.board import Board, duration
from autopack.cli.common import say
from autopack.cli.tables import cost
from autopack.client import AutopackClient
from autopack.domain.phases import Run
from autopack.domain.visible import harmless
from autopack.executor.worker import Progress

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

_ROWS = 12  # slots that are shown; a display must fit a small window
_BAR = 20


@asynccontextmanager
async def open_display(client: AutopackClient, run: Run) -> AsyncIterator[Callable[[Progress], None]]:
    """A function that takes progress and returns at once; what is shown follows on its own."""
    board = Board(run=run)
    send, receive = anyio.create_memory_object_stream[Progress](math.inf)

    def report(progress: Progress) -> None:
        # The display may be gone with its terminal: the work goes on.
        with suppress(anyio.BrokenResourceError):
            send.send_nowait(progress)

    show = _on_terminal if _is_screen() else _as_lines
    async with anyio.create_task_group() as group:
        group.start_soon(show, client, board, receive)
        try:
            yield report
        finally:
            send.close()


def _is_screen() -> bool:
    """A terminal on which a line can be written again."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


async def _as_lines(
    client: AutopackClient, board: Board, receive: MemoryObjectReceiveStream[Progress]
) -> None:
    waiting = ""
    async with receive:
        async for progress in receive:
            board.take(progress)
            if progress.kind == "waiting":
                if progress.detail != waiting:
                    say(f"waiting: {progress.detail}")
                waiting = progress.detail
                continue
            waiting = ""
            text = f"{progress.phase_id}: " if progress.phase_id else ""
            if progress.kind == "finished":
                await board.refresh(client)
                say(f"{text}{progress.detail}  [{board.line()}]")
            elif progress.kind != "step":
                say(f"{text}{progress.kind} {progress.detail}")


async def _on_terminal(
    client: AutopackClient, board: Board, receive: MemoryObjectReceiveStream[Progress]
) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    live = Live(console=console, auto_refresh=False, transient=True, get_renderable=lambda: screen(board))
    # A terminal that went away takes its display along, and nothing else.
    with suppress(OSError):
        async with receive, anyio.create_task_group() as group:
            with live:
                group.start_soon(_tick, live)
                async for progress in receive:
                    board.take(progress)
                    if progress.kind == "finished":
                        await board.refresh(client)
                        text = f"{progress.phase_id}: {progress.detail}"
                        console.print(harmless(text), markup=False, highlight=False, soft_wrap=True)
                    elif progress.kind == "note":  # the next step would take its place
                        console.print(
                            harmless(progress.detail), markup=False, highlight=False, soft_wrap=True
                        )
                    live.refresh()
            group.cancel_scope.cancel()


async def _tick(live: "Live") -> None:
    """Time passes on the display, too."""
    while True:
        await anyio.sleep(1)
        live.refresh()


def screen(board: Board) -> "Group":
    """A few lines for any width and any console. Every text is plain: what a plan says is no markup."""
    from rich.console import Group
    from rich.text import Text

    full = round(_BAR * board.complete / max(board.total, 1))
    head = [
        f"{board.run.run_id}  {board.phases()}{board.left()}",
        f"[{'#' * full}{'.' * (_BAR - full)}]  {board.tokens()}{cost(board.run)}",
    ]
    now = time.monotonic()
    slots = [
        f"{phase_id}  {doing.step} ({doing.attempt}, {duration(now - doing.since)})"
        for phase_id, doing in list(board.doing.items())[:_ROWS]
    ]
    more = [f"and {len(board.doing) - _ROWS} more"] if len(board.doing) > _ROWS else []
    below = [*slots, *more] or [board.note]
    # The figures are worth a second line where the window is narrow, a slot's end is not.
    return Group(*map(Text, head), *(Text(harmless(line), no_wrap=True, overflow="crop") for line in below))
