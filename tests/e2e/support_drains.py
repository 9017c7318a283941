"""A lean drain: the real worker in-process, with a runner that does nothing but write down which phase it ran.

`python -m tests.e2e.support_drains DATABASE_URL LOG` says "ready", and begins when a line comes in. It prints how it ended.
"""

import json
import os
import sys
from dataclasses import dataclass
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


async def drain(database_url: str, log: Path) -> dict[str, Any]:
    choice = DatabaseChoice(url=database_url, rule="the test's", directory=ROOT)
    async with open_client(Connection(api_url=None, choice=choice), Settings()) as client:
        worker = Worker(
            client, RecordingRunner(log=log), name=worker_name(), clock=Clock(), base_commit="b" * 40
        )
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        drained = Drained()
        await worker.drain(Request(run_id="r1"), drained)
        run = await client.run("r1")
        idle = drained.idle
        return {
            "outcomes": len(drained.outcomes), "idle": idle and idle.reason, "detail": idle and idle.detail,
            "state": run.state, "phases": run.phase_counts,
        }  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(json.dumps(anyio.run(drain, sys.argv[1], Path(sys.argv[2]))) + "\n")
