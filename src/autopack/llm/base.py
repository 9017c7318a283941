"""What the rest of Autopack sees of a model."""

from collections.abc import Sequence
from typing import Protocol

from autopack.domain.messages import CallLabel, Completion, Message, ProviderMode, Tool
from autopack.errors import ModelError


class LLM(Protocol):
    """`model` is "openai:NAME" or "anthropic:NAME"; `provider` says who is paid, as `pricing` takes it."""

    @property
    def model(self) -> str: ...

    @property
    def provider(self) -> str: ...

    @property
    def provider_mode(self) -> ProviderMode: ...

    async def complete(
        self, messages: Sequence[Message], *, max_tokens: int, label: CallLabel, tool: Tool | None = None
    ) -> Completion:
        """One whole answer, or an error: part of an answer is never returned."""
        ...

    async def aclose(self) -> None: ...


class Unanswered(Exception):
    """Nothing was answered and nothing is owed, so asking again is safe; `error` is what it means in the end."""

    def __init__(self, error: ModelError, retry_after_seconds: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after_seconds = retry_after_seconds
