"""A whole drain without a model: a scripted one, a real git repository, the real API over a real database."""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autopack.bootstrap import Connection, open_client
from autopack.client import AutopackClient
from autopack.clock import Clock
from autopack.domain.messages import (
    CallLabel,
    Completion,
    Message,
    ProviderMode,
    Role,
    Tool,
    Usage,
    request_key,
)
from autopack.domain.phases import Attempt, Phase
from autopack.executor.auditor import Auditor
from autopack.executor.builder import Builder
from autopack.executor.checking import open_checking
from autopack.executor.lease import ASK_SECONDS
from autopack.executor.pipeline import Pipeline
from autopack.executor.worker import Drained, Progress, Request, Worker
from autopack.schemas import ActorBody, PlanBody
from autopack.settings import DatabaseChoice, Settings
from autopack.workspace.git import GitWorkspace
from autopack.workspace.sandbox import Sandbox, SandboxLevel
from tests.support import git, plan

Answer = str | Completion | Exception | Callable[[], Awaitable[Any]]
APPROVED = json.dumps({"approved": True, "issues": [], "notes": ""})


@dataclass(frozen=True, kw_only=True)
class Asked:
    messages: tuple[Message, ...]
    max_tokens: int
    label: CallLabel
    tool: Tool | None

    @property
    def text(self) -> str:
        return "\n".join(message.text for message in self.messages)

    @property
    def key(self) -> str:
        return request_key(ScriptedLLM.model, self.messages, self.tool)


@dataclass
class ScriptedLLM:
    """The same methods as `llm.base.LLM`. Answers in order, by role; an auditor without a script approves."""

    model = "openai:scripted"
    provider = "openai"
    provider_mode = ProviderMode.REPLAY
    script: dict[Role, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    asked: list[Asked] = field(default_factory=list)

    def will(self, role: Role, *answers: Answer) -> None:
        self.script[role].extend(answers)

    async def complete(
        self, messages: Sequence[Message], *, max_tokens: int, label: CallLabel, tool: Tool | None = None
    ) -> Completion:
        self.asked.append(Asked(messages=tuple(messages), max_tokens=max_tokens, label=label, tool=tool))
        waiting = self.script[label.role]
        if not waiting and label.role is Role.BUILDER:
            raise AssertionError(f"the builder was asked once too often: {self.asked[-1].text}")
        answer = waiting.pop(0) if waiting else APPROVED
        if callable(answer):
            answer = await answer()
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Completion) else completion(answer)

    async def aclose(self) -> None:
        return None


def completion(text: str = "", **more: Any) -> Completion:
    values = {
        "finish_reason": "stop",
        "usage": Usage(input_tokens=10, output_tokens=5),
        "cost_usd": 0.0,
        **more,
    }
    return Completion(
        text=text, model="scripted", provider="openai", provider_mode=ProviderMode.REPLAY, origin="synthetic", **values
    )  # fmt: skip


def files(contents: Mapping[str, str] | None = None, /, **more: Any) -> str:
    """A builder's answer in JSON."""
    edits = [{"path": path, "content": content} for path, content in (contents or {}).items()]
    return json.dumps({"summary": "as asked", "files": edits, **more})


def review(*, approved: bool = True, issues: Sequence[Any] = (), notes: str = "") -> dict[str, Any]:
    return {"approved": approved, "issues": list(issues), "notes": notes}


def major(message: str) -> dict[str, str]:
    return {"severity": "major", "message": message}


@dataclass(kw_only=True)
class Stage:
    client: AutopackClient
    workspace: Path
    llm: ScriptedLLM = field(default_factory=ScriptedLLM)
    progress: list[Progress] = field(default_factory=list)
    sandbox: Sandbox = field(default_factory=lambda: Sandbox(level=SandboxLevel.LIMITS))

    async def create(self, *phases: Mapping[str, Any], run_id: str = "r1", **more: Any) -> None:
        await self.client.create_run(PlanBody.model_validate(plan(run_id, phases, **more)))

    async def drain(
        self,
        run_id: str = "r1",
        *,
        telemetry: bool = True,
        choose: Callable[..., Any] = lambda *_: None,
        instead: Mapping[str, Any] | None = None,
        wrap: Callable[[Pipeline], Any] = lambda pipeline: pipeline,
        ask_seconds: float = ASK_SECONDS,
        **request: Any,
    ) -> Drained:
        """One drain as `bootstrap.worker.open_worker` sets it up, but for the model."""
        workspace = await GitWorkspace.open(self.workspace)
        async with open_checking(workspace, self.sandbox, self.client) as checking:
            pipeline = Pipeline(
                client=self.client, git=workspace, builder=Builder(llm=self.llm, git=workspace, telemetry=telemetry),
                auditor=Auditor(llm=self.llm), checking=checking, clock=Clock(), choose=choose,
            )  # fmt: skip
            run = await self.client.run(run_id)
            worker = Worker(
                self.client, wrap(replace(pipeline, **(instead or {}))), name="test", clock=Clock(), report=self.progress.append,
                base_commit=run.base_commit or await workspace.head_commit(), ask_seconds=ask_seconds,
            )  # fmt: skip
            drained = Drained()
            await worker.drain(Request(run_id=run_id, **request), drained)
            return drained

    async def phase(self, phase_id: str = "p1", run_id: str = "r1") -> Phase:
        return await self.client.phase(run_id, phase_id)

    async def attempts(self, phase_id: str = "p1") -> list[Attempt]:
        return await self.client.attempts("r1", phase_id)

    async def approve(self, action: str = "approve") -> None:
        (request,) = await self.client.approvals(run_id="r1", status="pending")
        await self.client.decide(request.approval_id, action, ActorBody(by="Ada"))

    def asked(self, role: Role) -> list[Asked]:
        return [asked for asked in self.llm.asked if asked.label.role is role]

    @property
    def built(self) -> list[Asked]:
        return self.asked(Role.BUILDER)

    @property
    def audited(self) -> list[Asked]:
        return self.asked(Role.AUDITOR)

    def steps(self, phase_id: str = "p1") -> list[str]:
        return [each.detail for each in self.progress if each.kind == "step" and each.phase_id == phase_id]

    def content(self, path: str, run_id: str = "r1") -> str:
        """A file at the head of the run's branch."""
        return git(self.workspace, "show", f"autopack/{run_id}:{path}")

    def head(self, run_id: str = "r1") -> str:
        return git(self.workspace, "rev-parse", f"autopack/{run_id}")

    def push(self, path: str, content: str, *, run_id: str = "r1") -> str:
        """Somebody else's commit on the run's branch, by plumbing: no checkout moves."""
        parent = self.head(run_id)
        index = self.workspace / ".git" / "other-index"
        blob = self.workspace / ".git" / "other-blob"
        blob.write_text(content, encoding="utf-8")
        oid = git(self.workspace, "hash-object", "-w", str(blob))
        with_index = ["-c", "core.bare=false"]
        tree = _tree_with(self.workspace, index, parent, path, oid)
        commit = git(self.workspace, *with_index, "commit-tree", tree, "-p", parent, "-m", f"other: {path}")
        git(self.workspace, "update-ref", f"refs/heads/autopack/{run_id}", commit, parent)
        return commit


def _tree_with(workspace: Path, index: Path, parent: str, path: str, oid: str) -> str:
    import os
    import subprocess

    def run(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=workspace, env={**os.environ, "GIT_INDEX_FILE": str(index)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    run("read-tree", parent)
    run("update-index", "--add", "--cacheinfo", f"100644,{oid},{path}")
    return run("write-tree")


@asynccontextmanager
async def staged(database_url: str, workspace: Path) -> AsyncIterator[Stage]:
    choice = DatabaseChoice(url=database_url, rule="the test's", directory=workspace)
    async with open_client(Connection(api_url=None, choice=choice), Settings()) as client:
        yield Stage(client=client, workspace=workspace)
