"""A drain that kills itself: the real worker over fakes that send SIGKILL to their own process at one named point.

`python -m tests.e2e.support_crash` reads drains from its input, one JSON object a line, and forks a process for each, so
that the imports are paid for once; it answers how each process ended. Without "point" a drain is a plain one.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import anyio
import anyio.lowlevel
import httpx

from autopack.api.app import create_app
from autopack.bootstrap.local import open_chosen
from autopack.cli.drain import judge
from autopack.client import AutopackClient
from autopack.clock import Clock
from autopack.domain.calls import CallResult
from autopack.domain.changes import Change
from autopack.domain.messages import CallLabel, Completion, Message, ProviderMode, Role, Tool, Usage
from autopack.domain.phases import Claim, Outcome
from autopack.executor.auditor import Auditor
from autopack.executor.builder import Builder
from autopack.executor.checking import open_checking
from autopack.executor.liveness import worker_name
from autopack.executor.pipeline import Pipeline, Step
from autopack.executor.worker import Drained, Request, Worker
from autopack.schemas import ClaimBody, FinishAnswer
from autopack.settings import DatabaseChoice
from autopack.workspace.git import GitWorkspace
from autopack.workspace.sandbox import SandboxMode, open_sandbox
from tests.support import ROOT, auditor_answer, builder_answer

BEFORE_THE_COMMIT = (
    "claimed",
    "builder asked",
    "builder answered",
    "builder settled",
    "applied",
    "auditor asked",
    "auditor settled",
)
COST_USD = 0.25
POINTS = (*BEFORE_THE_COMMIT, "committed", "finishing", "finished", "finished and claimed")


class Knife:
    """Kills this process at the `nth` passing of `point` by the phase `victim` (any phase, when it is None)."""

    def __init__(self, point: str | None, victim: str | None, nth: int = 1) -> None:
        self._point = point
        self._victim = victim
        self._left = nth
        self.phase_id = ""
        self.role = ""

    def pass_by(self, point: str) -> None:
        if point != self._point or self._victim not in (None, self.phase_id):
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def cuts(self, point: str) -> bool:
        return point == self._point and self._victim in (None, self.phase_id)


class ScriptedLLM:
    """Answers by role and phase; every request is a line of the log, on disk before it is answered."""

    model = (
        "openai:replay"  # the name that the replay transport has, so that either finds the other's answers
    )
    provider = "openai"
    provider_mode = ProviderMode.LIVE

    def __init__(self, log: Path, knife: Knife) -> None:
        self._log = log
        self._knife = knife

    async def complete(
        self, messages: Sequence[Message], *, max_tokens: int, label: CallLabel, tool: Tool | None = None
    ) -> Completion:
        self._knife.role = label.role
        self._write("asked", label)
        self._knife.pass_by(f"{label.role} asked")
        await anyio.lowlevel.checkpoint()
        line = (
            builder_answer(label.phase_id) if label.role is Role.BUILDER else auditor_answer(label.phase_id)
        )
        self._write("answered", label)
        return Completion(
            text=line["text"], finish_reason="stop", usage=Usage(**line["usage"]), model="replay", provider=self.provider,
            provider_mode=self.provider_mode, cost_usd=COST_USD, cost_source="provider",
        )  # fmt: skip

    async def aclose(self) -> None:
        pass

    def _write(self, what: str, label: CallLabel) -> None:
        append(self._log, {"what": what, "role": label.role, "phase_id": label.phase_id, "pid": os.getpid()})


class KillingClient(AutopackClient):
    def __init__(self, http: httpx.AsyncClient, knife: Knife) -> None:
        super().__init__(http)
        self._knife = knife

    async def settle(self, call_id: str, lease_token: str, result: CallResult) -> None:
        self._knife.pass_by(f"{self._knife.role} answered")
        await super().settle(call_id, lease_token, result)
        self._knife.pass_by(f"{self._knife.role} settled")

    async def finish(
        self, attempt_id: str, lease_token: str, outcome: Outcome, claim_next: ClaimBody | None = None
    ) -> FinishAnswer:
        self._knife.pass_by("finishing")
        following = None if self._knife.cuts("finished") else claim_next
        answer = await super().finish(attempt_id, lease_token, outcome, following)
        self._knife.pass_by("finished")
        self._knife.pass_by("finished and claimed")
        return answer


@dataclass(frozen=True, kw_only=True)
class KillingGit(GitWorkspace):
    knife: Knife

    async def result_tree(self, base: str, changes: Sequence[Change]) -> str:
        tree = await super().result_tree(base, changes)
        self.knife.pass_by("applied")
        return tree

    async def commit(self, run_id: str, **what: Any) -> str:
        commit = await super().commit(run_id, **what)
        self.knife.pass_by("committed")
        return commit


@dataclass(frozen=True, kw_only=True)
class KillingPipeline:
    pipeline: Pipeline
    knife: Knife

    async def run(self, claim: Claim, step: Step) -> Outcome:
        self.knife.phase_id = claim.phase.phase_id
        self.knife.pass_by("claimed")
        return await self.pipeline.run(claim, step)


async def drain(config: dict[str, Any]) -> dict[str, Any]:
    knife = Knife(config.get("point"), config.get("victim"), config.get("nth", 1))
    llm = ScriptedLLM(Path(config["log"]), knife)
    choice = DatabaseChoice(url=config["database_url"], rule="the test's", directory=ROOT)
    opened = await GitWorkspace.open(Path(config["workspace"]))
    git = KillingGit(root=opened.root, git_dir=opened.git_dir, git=opened.git, knife=knife)
    with open_chosen(choice, one_session=True) as database:
        app = create_app(lambda: nullcontext(database))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://autopack") as http,
        ):
            client = KillingClient(http, knife)
            await client.connect()
            run = await client.run(config["run_id"])
            sandbox = await open_sandbox(SandboxMode.LIMITS)
            async with open_checking(git, sandbox, client) as checking:
                pipeline = Pipeline(
                    client=client, git=git, builder=Builder(llm=llm, git=git), auditor=Auditor(llm=llm), checking=checking,
                    clock=Clock(),
                )  # fmt: skip
                worker = Worker(
                    client, KillingPipeline(pipeline=pipeline, knife=knife), name=worker_name(), clock=Clock(),
                    base_commit=run.base_commit or await git.head_commit(),
                )  # fmt: skip
                drained = Drained()
                request = Request(run_id=run.run_id, concurrency=config.get("concurrency", 1))
                await worker.drain(request, drained)
            code, reason = judge(await client.run(run.run_id), drained, request, None)
            return {"exit_code": code, "reason": reason, "outcomes": drained.outcomes}


def append(path: Path, record: dict[str, Any]) -> None:
    """One line, whole and on disk, whoever else appends."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, json.dumps(record, default=_json).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _json(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def serve() -> None:
    for line in sys.stdin:
        config = json.loads(line)
        child = os.fork()
        if child == 0:
            _run_and_exit(config)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _run_and_exit(config: dict[str, Any]) -> NoReturn:
    """One drain in this process; what it says goes to the file "output"."""
    output = os.open(config["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    code = 70
    try:
        done = anyio.run(drain, config)
        os.write(1, json.dumps(done, default=_json).encode())
        code = int(done["exit_code"])
    except BaseException:  # noqa: BLE001 - a fork may end in no other way than by os._exit
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve()
