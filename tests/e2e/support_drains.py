"""Lean drains: the real worker in-process, with a runner that does nothing but write down which phase it ran.

`python -m tests.e2e.support_drains DATABASE_URL LOG N` forks N processes, so that the imports are paid for once. They begin
together, and each prints how it ended as a line of JSON.
"""

import json
import multiprocessing
import os
import sys
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import anyio

from autopack.bootstrap import Connection, open_client
from autopack.clock import Clock
from autopack.domain.phases import AttemptOutcome, Claim, Outcome
from autopack.executor.liveness import worker_name
from autopack.executor.pipeline import Step
from autopack.executor.worker import Drained, Request, Worker
from autopack.settings import DatabaseChoice, Settings
from tests.support import ROOT


@dataclass(frozen=True, kw_only=True)
class RecordingRunner:
    log: Path

    async def run(self, claim: Claim, step: Step) -> Outcome:
        line = json.dumps({"phase_id": claim.phase.phase_id, "number": claim.number, "pid": os.getpid()})
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode() + b"\n")
        finally:
            os.close(descriptor)
        return Outcome(outcome=AttemptOutcome.COMPLETE, result_commit="c" * 40)


async def drain(database_url: str, log: Path, start: Barrier) -> dict[str, Any]:
    choice = DatabaseChoice(url=database_url, rule="the test's", directory=ROOT)
    async with open_client(Connection(api_url=None, choice=choice), Settings()) as client:
        worker = Worker(
            client, RecordingRunner(log=log), name=worker_name(), clock=Clock(), base_commit="b" * 40
        )
        start.wait(60)  # nothing else runs in this loop yet
        drained = Drained()
        await worker.drain(Request(run_id="r1"), drained)
        run = await client.run("r1")
        idle = drained.idle
        return {
            "outcomes": len(drained.outcomes), "idle": idle and idle.reason, "detail": idle and idle.detail,
            "state": run.state, "phases": run.phase_counts,
        }  # fmt: skip


def drain_and_tell(database_url: str, log: Path, start: Barrier) -> None:
    ended = anyio.run(drain, database_url, log, start)
    os.write(1, json.dumps(ended).encode() + b"\n")


def main(database_url: str, log: str, drains: str) -> int:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(int(drains))
    children = [
        context.Process(target=drain_and_tell, args=(database_url, Path(log), start))
        for _ in range(int(drains))
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return max(abs(child.exitcode or 0) for child in children)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
