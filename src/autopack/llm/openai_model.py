"""OpenAI, and every service with an OpenAI-compatible chat-completions endpoint."""

from typing import Any
from urllib.parse import urlsplit

import httpx2
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIStreamedResponse
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers import Provider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

OPENAI = "https://api.openai.com/v1"
# pydantic-ai takes any chunk that equals a thinking tag out of the text; in a source file that is a lost line.
NEVER_IN_A_TEXT = ("\0<think>", "\0</think>")


class _Stream(OpenAIStreamedResponse):
    """Keeps what pydantic-ai's own counts cannot tell: which were reported, and what the service charged."""

    def _map_chunk_provider_details(self, chunk: ChatCompletionChunk) -> dict[str, Any] | None:
        details = dict(super()._map_chunk_provider_details(chunk) or {})
        if chunk.usage is not None:
            details["usage"] = chunk.usage.model_dump(exclude_none=True, warnings=False)
        if origin := (chunk.model_extra or {}).get("autopack_origin"):
            details["origin"] = origin
        return details or None


class _ChatModel(OpenAIChatModel):
    @property
    def _streamed_response_cls(self) -> type[OpenAIStreamedResponse]:
        return _Stream


def open_model(
    name: str, http: httpx2.AsyncClient, *, base_url: str | None, key: str | None
) -> OpenAIChatModel:
    client = AsyncOpenAI(
        # Both are given always: the SDK would otherwise take them from OPENAI_* in the environment.
        api_key=key or "no-key",
        base_url=base_url or OPENAI,
        http_client=http,
        timeout=http.timeout,
        max_retries=0,
    )
    profile = OpenAIModelProfile(thinking_tags=NEVER_IN_A_TEXT, ignore_streamed_leading_whitespace=False)
    if base_url is None:
        return _ChatModel(name, provider=OpenAIProvider(openai_client=client), profile=profile)
    # Many servers know only `max_tokens` and would ignore the other name: an answer without a limit.
    # OpenAI's own models refuse it, wherever they are served.
    family = name.rpartition("/")[2]
    if not family.startswith(("gpt-5", "gpt-6", "o1", "o3", "o4")):
        profile["openai_chat_supports_max_completion_tokens"] = False
    service: Provider[AsyncOpenAI] = OpenAICompatibleProvider(
        urlsplit(base_url).hostname or "compatible", openai_client=client
    )
    return _ChatModel(name, provider=service, profile=profile)
