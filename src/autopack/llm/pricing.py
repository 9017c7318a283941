"""What a request costs, from a person's price file and the table that comes with genai-prices: no network, and unknown
stays unknown.

Some prices change in the course of a day, so a request has one moment, `at`, for its worst case and its cost alike: else
what is settled could be more than what was set aside. `provider` is "openai", "anthropic", or the address of another service without its scheme, as `LLM.provider` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from autopack.domain.messages import Usage
from autopack.llm.price_file import NO_FILE, PriceFile

VENDORS = frozenset({"openai", "anthropic"})


@dataclass(frozen=True, kw_only=True)
class PricedCost:
    """`source` is "provider", "override" or "genai-prices"; all None when nobody knows the price."""

    cost_usd: float | None = None
    source: str | None = None
    version: str | None = None


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What the provider reports goes before the person's file, and that before the table."""

    file: PriceFile = NO_FILE

    def cost(
        self,
        models: Sequence[str],
        provider: str,
        usage: Usage,
        reported_usd: float | None = None,
        *,
        at: datetime,
    ) -> PricedCost:
        """Of a request that was answered; the first name that has a price counts: a provider may answer under another."""
        if reported_usd is not None:
            return PricedCost(cost_usd=reported_usd, source="provider")
        for model in models:
            listed = self.file.find(provider, model)
            if listed is not None and (cost := listed.cost(usage)) is not None:
                return PricedCost(cost_usd=float(cost), source="override", version=self.file.version)
        costs = (cost_usd(model, provider, usage, at) for model in models)
        return next((cost for cost in costs if cost.cost_usd is not None), PricedCost())

    def worst_case_usd(
        self, model: str, provider: str, input_tokens: int, max_tokens: int, *, at: datetime
    ) -> float | None:
        """The most that a request can cost; None where nobody knows the price."""
        listed = self.file.find(provider, model)
        if listed is not None:
            return float(listed.worst_case(input_tokens, max_tokens))
        return worst_case_cost_usd(model, provider, input_tokens, max_tokens, at)


TABLE_ONLY = Prices()


def cost_usd(model: str, provider: str, usage: Usage, at: datetime) -> PricedCost:
    """The cost of a request that was answered, as the table has it."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return PricedCost()
    price = _price(
        model,
        provider,
        at,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_input_tokens or 0,
        cache_write_tokens=usage.cache_write_input_tokens or 0,
    )
    if price is None:
        return PricedCost()
    return PricedCost(cost_usd=price, source="genai-prices", version=_table_version())


def worst_case_cost_usd(
    model: str, provider: str, input_tokens: int, max_tokens: int, at: datetime
) -> float | None:
    """The most that a request can cost: nothing read from a cache, or all of it written, and every token used."""
    plain = _price(model, provider, at, input_tokens=input_tokens, output_tokens=max_tokens)
    written = _price(
        model,
        provider,
        at,
        input_tokens=input_tokens,
        output_tokens=max_tokens,
        cache_write_tokens=input_tokens,
    )
    return None if plain is None else max(plain, written or 0.0)


def _price(model: str, provider: str, at: datetime, **tokens: int) -> float | None:
    # Imported here: the price table takes 0.4 s to load, and most commands price nothing.
    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price

    name = model.partition(":")[2] if model.startswith(("openai:", "anthropic:")) else model
    usage = PricedUsage(**tokens)
    try:
        if provider in VENDORS:
            found = calc_price(usage, name, provider_id=provider, genai_request_timestamp=at)
        else:
            found = calc_price(
                usage, name, provider_api_url=f"https://{provider}", genai_request_timestamp=at
            )
        return float(found.total_price)
    except (LookupError, ValueError):  # an unknown provider or model; counts that the table cannot price
        return None


def _table_version() -> str:
    from genai_prices import __version__

    return __version__
