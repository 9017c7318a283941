"""Token counts as the providers report them, made neutral. What nobody reported is None, never 0."""

from collections.abc import Mapping
from typing import Any

from autopack.domain.messages import Usage
from autopack.domain.storable import MAX_TOKENS

Reported = Mapping[str, Any]  # decoded JSON from a provider


def from_chat_completions(raw: Reported) -> Usage:
    prompt, completion = _part(raw, "prompt_tokens_details"), _part(raw, "completion_tokens_details")
    given, written = _count(raw, "prompt_tokens"), _count(raw, "completion_tokens")
    reasoning = _count(completion, "reasoning_tokens")
    if reasoning and None not in (given, written) and raw.get("total_tokens") == given + written + reasoning:  # type: ignore[operator]
        written += reasoning  # type: ignore[operator] # some services count reasoning beside the output
    return within_the_whole(
        Usage(
            input_tokens=given,
            output_tokens=written,
            cache_read_input_tokens=_count(prompt, "cached_tokens"),
            cache_write_input_tokens=_count(prompt, "cache_write_tokens"),
            reasoning_output_tokens=reasoning,
        )
    )


def within_the_whole(usage: Usage) -> Usage:
    """Without what contradicts itself: a count that cannot be true is not known."""
    given, written = _believable(usage.input_tokens), _believable(usage.output_tokens)
    cached = (usage.cache_read_input_tokens or 0) + (usage.cache_write_input_tokens or 0)
    cache_fits = cached <= (given or 0)
    reasoning_fits = (usage.reasoning_output_tokens or 0) <= (written or 0)
    return Usage(
        input_tokens=given,
        output_tokens=written,
        cache_read_input_tokens=usage.cache_read_input_tokens if cache_fits else None,
        cache_write_input_tokens=usage.cache_write_input_tokens if cache_fits else None,
        reasoning_output_tokens=usage.reasoning_output_tokens if reasoning_fits else None,
    )


def _believable(count: int | None) -> int | None:
    return count if count is not None and count <= MAX_TOKENS else None


def reported_cost(raw: Reported) -> float | None:
    """What a service says it charged, in USD (OpenRouter does)."""
    cost = raw.get("cost")
    return float(cost) if isinstance(cost, int | float) and not isinstance(cost, bool) and cost >= 0 else None


def _part(raw: Reported, name: str) -> Reported:
    part = raw.get(name)
    return part if isinstance(part, Mapping) else {}


def _count(raw: Reported, name: str) -> int | None:
    value = raw.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
