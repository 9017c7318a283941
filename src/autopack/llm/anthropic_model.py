"""Anthropic's messages endpoint."""

import httpx2
from anthropic import AsyncAnthropic
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

ANTHROPIC = "https://api.anthropic.com"


def open_model(
    name: str, http: httpx2.AsyncClient, *, base_url: str | None, key: str | None
) -> AnthropicModel:
    client = AsyncAnthropic(
        # Both are given always: the SDK would otherwise take them from ANTHROPIC_* in the environment.
        api_key=key or "no-key",
        base_url=base_url or ANTHROPIC,
        http_client=http,
        timeout=http.timeout,
        max_retries=0,
    )
    return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=client))
