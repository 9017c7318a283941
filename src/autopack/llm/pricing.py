"""What a request costs, from the price table that comes with genai-prices: no network, and unknown stays unknown.

`provider` is "openai", "anthropic", or the address of another service without its scheme, as `LLM.provider` says.
"""

from dataclasses import dataclass

from autopack.domain.messages import Usage

VENDORS = frozenset({"openai", "anthropic"})


@dataclass(frozen=True, kw_only=True)
class PricedCost:
    """`source` is "provider" or "genai-prices"; all None when nobody knows the price."""

    cost_usd: float | None = None
    source: str | None = None
    version: str | None = None


def cost_usd(model: str, provider: str, usage: Usage, reported_usd: float | None = None) -> PricedCost:
    """The cost of a request that was answered; what the provider reports goes before the table."""
    if reported_usd is not None:
        return PricedCost(cost_usd=reported_usd, source="provider")
    if usage.input_tokens is None or usage.output_tokens is None:
        return PricedCost()
    price = _price(
        model,
        provider,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_input_tokens or 0,
        cache_write_tokens=usage.cache_write_input_tokens or 0,
    )
    if price is None:
        return PricedCost()
    return PricedCost(cost_usd=price, source="genai-prices", version=_table_version())


def worst_case_cost_usd(model: str, provider: str, input_tokens: int, max_tokens: int) -> float | None:
    """The most that a request can cost: nothing read from a cache, or all of it written, and every token used."""
    plain = _price(model, provider, input_tokens=input_tokens, output_tokens=max_tokens)
    written = _price(
        model, provider, input_tokens=input_tokens, output_tokens=max_tokens, cache_write_tokens=input_tokens
    )
    return None if plain is None else max(plain, written or 0.0)


def _price(model: str, provider: str, **tokens: int) -> float | None:
    # Imported here: the price table takes 0.4 s to load, and most commands price nothing.
    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price

    name = model.partition(":")[2] if model.startswith(("openai:", "anthropic:")) else model
    usage = PricedUsage(**tokens)
    try:
        if provider in VENDORS:
            return float(calc_price(usage, name, provider_id=provider).total_price)
        return float(calc_price(usage, name, provider_api_url=f"https://{provider}").total_price)
    except (LookupError, ValueError):  # an unknown provider or model; counts that the table cannot price
        return None


def _table_version() -> str:
    from genai_prices import __version__

    return __version__
