import httpx2
import pytest

from autopack.llm.openai_model import NEVER_IN_A_TEXT, open_model

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("name", "base_url", "knows_the_new_field"),
    [
        ("gpt-4o", None, True),
        ("llama3.3", "http://localhost:11434/v1", False),
        ("qwen/qwen3-coder", "https://openrouter.ai/api/v1", False),
        ("openai/gpt-5-mini", "https://openrouter.ai/api/v1", True),
    ],
)
async def test_which_field_carries_the_budget_and_that_no_text_is_taken_for_a_thought(
    monkeypatch, name, base_url, knows_the_new_field
):
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.example/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "not-ours")
    async with httpx2.AsyncClient() as http:
        model = open_model(name, http, base_url=base_url, key="ours")
        assert model.profile.get("openai_chat_supports_max_completion_tokens", True) is knows_the_new_field
        assert model.profile["thinking_tags"] == NEVER_IN_A_TEXT
        assert model.profile.get("ignore_streamed_leading_whitespace") is False
        assert str(model.client.base_url).rstrip("/") == (base_url or "https://api.openai.com/v1")
        assert (model.client.api_key, model.client.max_retries) == ("ours", 0)
