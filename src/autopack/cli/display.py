"""What a drain shows while it runs: a display on a terminal, plain lines elsewhere. All of it on stderr."""

import math
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from autopack.cli.common import say
from autopack.cli.tables import cost
from autopack.client import AutopackClient
from autopack.domain.phases import PhaseState, Run
from autopack.errors import AutopackError
from autopack.executor.worker import Progress, Request

_OPEN = (PhaseState.QUEUED, PhaseState.EXECUTING)


@dataclass(kw_only=True)
class Board:
    """The run as it is shown: counts, tokens and cost come from the queue, not from our own sums."""

    run: Run
    request: Request
    started: float = field(default_factory=time.monotonic)
    finished: int = 0
    doing: dict[str, str] = field(default_factory=dict)

    def line(self) -> str:
        counts = self.run.phase_counts
        total = sum(counts.values())
        waiting = counts.get(PhaseState.GATE, 0)
        done = total - waiting - sum(counts.get(state, 0) for state in _OPEN)
        cap = f"/{self.run.token_cap}" if self.run.token_cap else ""
        failed = f", {counts[PhaseState.FAILED]} failed" if counts.get(PhaseState.FAILED) else ""
        failed += f", {waiting} waiting for you" if waiting else ""
        return (
            f"{done}/{total} phases{failed}, {self.run.tokens_used}{cap} tokens{cost(self.run)}{self._left()}"
        )

    def _left(self) -> str:
        open_phases = sum(self.run.phase_counts.get(state, 0) for state in _OPEN)
        if not self.finished or not open_phases:
            return ""
        seconds = (time.monotonic() - self.started) / self.finished * open_phases
        return (
            f", about {math.ceil(seconds)} s left"
            if seconds < 90
            else f", about {math.ceil(seconds / 60)} min left"
        )


@asynccontextmanager
async def open_display(
    client: AutopackClient, run: Run, request: Request
) -> AsyncIterator[Callable[[Progress], None]]:
    """A function that takes progress and returns at once; what is shown follows on its own."""
    board = Board(run=run, request=request)
    send, receive = anyio.create_memory_object_stream[Progress](math.inf)
    show = _on_terminal if sys.stderr.isatty() else _as_lines
    async with anyio.create_task_group() as group:
        group.start_soon(show, client, board, receive)
        try:
            yield send.send_nowait
        finally:
            send.close()


async def _as_lines(
    client: AutopackClient, board: Board, receive: MemoryObjectReceiveStream[Progress]
) -> None:
    waiting = ""
    async with receive:
        async for progress in receive:
            if progress.kind == "waiting":
                if progress.detail != waiting:
                    say(f"waiting: {progress.detail}")
                waiting = progress.detail
                continue
            waiting = ""
            await _refresh(client, board, progress)
            text = f"{progress.phase_id}: " if progress.phase_id else ""
            tail = f"  [{board.line()}]" if progress.kind == "finished" else ""
            if progress.kind != "step":
                say(
                    f"{text}{'' if progress.kind == 'finished' else progress.kind + ' '}{progress.detail}{tail}"
                )


async def _on_terminal(
    client: AutopackClient, board: Board, receive: MemoryObjectReceiveStream[Progress]
) -> None:
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("starting") as status:
        async with receive:
            async for progress in receive:
                await _refresh(client, board, progress)
                if progress.kind == "finished":
                    console.print(f"{progress.phase_id}: {progress.detail}", markup=False, highlight=False)
                now = "; ".join(f"{phase} {step}" for phase, step in board.doing.items())
                status.update(_plain(f"{board.line()}  {now or progress.detail}"))


def _plain(text: str) -> str:
    """Text of a plan is no markup."""
    return text.replace("[", r"\[")


async def _refresh(client: AutopackClient, board: Board, progress: Progress) -> None:
    if progress.phase_id is not None and progress.kind in ("claimed", "step"):
        board.doing[progress.phase_id] = progress.detail
    if progress.kind == "finished":
        board.finished += 1
        board.doing.pop(progress.phase_id or "", None)
        try:
            board.run = await client.run(board.run.run_id)
        except AutopackError:
            return  # the drain itself will say what is wrong; the display only shows what it knows
