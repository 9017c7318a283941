import subprocess
import sys
from datetime import UTC, datetime

import pytest

from autopack.domain.messages import Usage
from autopack.llm.pricing import TABLE_ONLY, PricedCost, cost_usd, worst_case_cost_usd

USAGE = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("model", ["gpt-4o", "openai:gpt-4o"])
def test_a_known_model_has_a_price_and_says_by_which_table(model):
    cost = cost_usd(model, "openai", USAGE, NOW)
    assert cost.cost_usd == pytest.approx(12.5)
    assert cost.source == "genai-prices"
    assert cost.version


def test_cached_tokens_are_cheaper():
    cached = Usage(input_tokens=1_000_000, output_tokens=1_000_000, cache_read_input_tokens=1_000_000)
    assert (
        cost_usd("gpt-4o", "openai", cached, NOW).cost_usd < cost_usd("gpt-4o", "openai", USAGE, NOW).cost_usd
    )


@pytest.mark.parametrize(
    ("model", "provider", "usage"),
    [
        ("nobody-knows-this", "openai", USAGE),
        ("gpt-4o", "localhost:8000/v1", USAGE),
        ("gpt-4o", "anthropic", USAGE),
        ("gpt-4o", "openai", Usage(input_tokens=1)),
        ("gpt-4o", "openai", Usage(output_tokens=1)),
    ],
)
def test_unknown_stays_unknown(model, provider, usage):
    assert cost_usd(model, provider, usage, NOW) == PricedCost()


def test_what_the_provider_reports_goes_first():
    assert TABLE_ONLY.cost(("gpt-4o",), "openai", USAGE, 0.5, at=NOW) == PricedCost(
        cost_usd=0.5, source="provider"
    )


def test_the_worst_case_is_never_below_the_real_cost():
    worst = worst_case_cost_usd("claude-sonnet-4-5", "anthropic", 1000, 1000, NOW)
    written = Usage(input_tokens=1000, output_tokens=1000, cache_write_input_tokens=1000)
    assert worst >= cost_usd("claude-sonnet-4-5", "anthropic", written, NOW).cost_usd
    assert worst_case_cost_usd("nobody-knows-this", "openai", 1, 1, NOW) is None


def test_a_price_that_changes_in_the_course_of_a_day_is_that_of_one_moment():
    model, provider = "deepseek-reasoner", "api.deepseek.com"
    cheap, dear = datetime(2026, 1, 1, 17, tzinfo=UTC), datetime(2026, 1, 1, 5, tzinfo=UTC)
    used = {at: TABLE_ONLY.cost((model,), provider, USAGE, at=at).cost_usd for at in (cheap, dear)}
    assert used[cheap] < used[dear]
    for at in (cheap, dear):
        assert TABLE_ONLY.worst_case_usd(model, provider, 1_000_000, 1_000_000, at=at) == used[at]


def test_the_gateway_is_cheap_to_import():
    heavy = (
        "[m for m in ('pydantic_ai', 'openai', 'anthropic', 'httpx2', 'genai_prices') if m in sys.modules]"
    )
    program = f"import sys, autopack.llm.gateway; print({heavy})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
