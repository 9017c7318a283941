import os
from dataclasses import dataclass, field

import pytest

from autopack.domain.messages import CallLabel, Message, Role, Tool

PREFIXES = ("AUTOPACK_", "OPENAI_", "ANTHROPIC_")


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_model_settings(monkeypatch):
    for name in list(os.environ):
        if name.startswith(PREFIXES):
            monkeypatch.delenv(name)


@dataclass
class Sleeper:
    """Sleeps without sleeping."""

    waits: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)


@pytest.fixture
def sleeper():
    return Sleeper()


@pytest.fixture
def question():
    return [Message(author="system", text="You build."), Message(author="user", text="Write a helper.")]


@pytest.fixture
def label():
    return CallLabel(role=Role.BUILDER, run_id="run-ü", phase_id="p1", ask=1)


@pytest.fixture
def verdict_tool():
    schema = {"type": "object", "properties": {"approved": {"type": "boolean"}}, "required": ["approved"]}
    return Tool(name="give_verdict", description="Say what you think of the change.", schema=schema)
