"""AUTOPACK_PRICES: what models cost at services whose prices no table knows, or costs somebody else than the table says."""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from autopack.domain.messages import Usage
from autopack.domain.telemetry import bare_model
from autopack.errors import UsageError

MAX_FILE_BYTES = 1024 * 1024
MOST_USD_PER_MILLION = 1_000_000
_NAMES = ("provider", "model")
_REQUIRED = ("input_usd_per_million", "output_usd_per_million")
_OPTIONAL = ("cache_read_usd_per_million", "cache_write_usd_per_million")
_MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True)
class ListedPrice:
    """In USD per million tokens. `model` is a name, or how names begin with a `*` behind it."""

    provider: str
    model: str
    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write: Decimal

    def cost(self, usage: Usage) -> Decimal | None:
        if usage.input_tokens is None or usage.output_tokens is None:
            return None
        read, written = usage.cache_read_input_tokens or 0, usage.cache_write_input_tokens or 0
        plain = usage.input_tokens - read - written
        parts = (plain * self.input, read * self.cache_read, written * self.cache_write)
        return (sum(parts, Decimal()) + usage.output_tokens * self.output) / _MILLION

    def worst_case(self, input_tokens: int, max_tokens: int) -> Decimal:
        dearest = max(self.input, self.cache_read, self.cache_write)
        return (input_tokens * dearest + max_tokens * self.output) / _MILLION


@dataclass(frozen=True, kw_only=True)
class PriceFile:
    """`version` is of the file's bytes."""

    prices: tuple[ListedPrice, ...] = ()
    version: str | None = None

    def find(self, provider: str, model: str) -> ListedPrice | None:
        """The price under the exact name, else under the longest beginning of it."""
        name = bare_model(model)
        here = [each for each in self.prices if each.provider == provider.lower()]
        exact = [each for each in here if each.model == name]
        begun = [each for each in here if each.model.endswith("*") and name.startswith(each.model[:-1])]
        return next(iter([*exact, *sorted(begun, key=lambda each: -len(each.model))]), None)


NO_FILE = PriceFile()


def load_price_file(path: Path) -> PriceFile:
    """Raises UsageError naming the file, the entry and the key."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise UsageError(f"AUTOPACK_PRICES: {path} is larger than {MAX_FILE_BYTES} bytes")
        text = content.decode("utf-8-sig")
        value = tomllib.loads(text, parse_float=Decimal)
    except OSError as error:
        raise UsageError(f"AUTOPACK_PRICES: {path} cannot be read: {error.strerror}") from None
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise UsageError(f"AUTOPACK_PRICES: {path} is not TOML: {error}") from None
    return PriceFile(
        prices=_listed(path, value), version=f"override-{hashlib.sha256(content).hexdigest()[:12]}"
    )


def _listed(path: Path, value: Mapping[str, Any]) -> tuple[ListedPrice, ...]:
    entries = value.get("price")
    if set(value) - {"price"}:
        raise UsageError(
            f"AUTOPACK_PRICES: {path}: {sorted(set(value) - {'price'})[0]!r} is not known; write [[price]]"
        )
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"AUTOPACK_PRICES: {path} names no price; write at least one [[price]]")
    prices: dict[tuple[str, str], ListedPrice] = {}
    for number, entry in enumerate(entries, 1):
        place = f"AUTOPACK_PRICES: {path}, price {number}"
        price = _price(place, entry)
        if (price.provider, price.model) in prices:
            raise UsageError(f"{place}: {price.model} at {price.provider} has a price already")
        prices[price.provider, price.model] = price
    return tuple(prices.values())


def _price(place: str, entry: Any) -> ListedPrice:
    if not isinstance(entry, dict):
        raise UsageError(f"{place} is no table; write [[price]]")
    if unknown := sorted(set(entry) - {*_NAMES, *_REQUIRED, *_OPTIONAL}):
        raise UsageError(
            f"{place}: {unknown[0]} is not known; there is {', '.join((*_NAMES, *_REQUIRED, *_OPTIONAL))}"
        )
    if missing := [name for name in (*_NAMES, *_REQUIRED) if name not in entry]:
        raise UsageError(f"{place}: {missing[0]} is missing")
    paid, made = (_amount(place, name, entry[name]) for name in _REQUIRED)
    read, written = (_amount(place, name, entry.get(name, paid)) for name in _OPTIONAL)
    return ListedPrice(
        provider=_provider(place, entry["provider"]), model=_model(place, entry["model"]),
        input=paid, output=made, cache_read=read, cache_write=written,
    )  # fmt: skip


def _provider(place: str, value: Any) -> str:
    if not isinstance(value, str) or not value or "://" in value or any(char.isspace() for char in value):
        raise UsageError(
            f"{place}: provider is openai, anthropic, or what AUTOPACK_BASE_URL says behind its http://, like localhost:8000/v1"
        )
    return value.rstrip("/").lower()


def _model(place: str, value: Any) -> str:
    name = bare_model(value) if isinstance(value, str) else ""
    if not name or any(char.isspace() for char in name) or "*" in name[:-1]:
        raise UsageError(f"{place}: model is a model's name, or how names begin with one * at the end")
    return name


def _amount(place: str, name: str, value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise UsageError(f"{place}: {name} is no number")
    amount = Decimal(value)
    if not amount.is_finite() or not 0 <= amount <= MOST_USD_PER_MILLION:
        raise UsageError(
            f"{place}: {name} is not between 0 and {MOST_USD_PER_MILLION} USD per million tokens"
        )
    return amount
