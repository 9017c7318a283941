"""AUTOPACK_PRICES: found by provider and model, before the table and after the provider's own word, or refused by name."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from autopack.domain.messages import Usage
from autopack.errors import UsageError
from autopack.llm.price_file import load_price_file
from autopack.llm.pricing import TABLE_ONLY, PricedCost, Prices

PRICES = """
[[price]]
provider = "localhost:8000/v1"
model = "house-*"
input_usd_per_million = 0.1
output_usd_per_million = 0.2
[[price]]
provider = "localhost:8000/v1"
model = "house-large*"
input_usd_per_million = 1
output_usd_per_million = 2.5
cache_read_usd_per_million = 0.25
cache_write_usd_per_million = 4
[[price]]
provider = "OpenAI"
model = "openai:gpt-4o"
input_usd_per_million = 0.003
output_usd_per_million = 0
"""
HERE = "localhost:8000/v1"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENTRY = 'provider = "openai"\nmodel = "m"\ninput_usd_per_million = 1\noutput_usd_per_million = 1\n'


def prices(tmp_path: Path, text: str = PRICES) -> Prices:
    path = tmp_path / "prices.toml"
    path.write_text(text, encoding="utf-8")
    return Prices(file=load_price_file(path))


@pytest.mark.parametrize(
    ("model", "usd"),
    [("house-small", 0.3), ("house-large", 3.5), ("openai:house-large-2", 3.5), ("other", None)],
)
def test_the_name_that_says_most_has_the_price(tmp_path: Path, model: str, usd: float | None) -> None:
    cost = prices(tmp_path).cost(
        (model,), HERE, Usage(input_tokens=1_000_000, output_tokens=1_000_000), at=NOW
    )
    assert cost.cost_usd == usd, "exactly: decimals are not added as floats"


def test_cached_tokens_have_prices_of_their_own_and_else_that_of_input(tmp_path: Path) -> None:
    used = Usage(
        input_tokens=4_000_000, output_tokens=0, cache_read_input_tokens=1_000_000, cache_write_input_tokens=2_000_000
    )  # fmt: skip
    assert prices(tmp_path).cost(("house-large",), HERE, used, at=NOW).cost_usd == 1 + 0.25 + 2 * 4
    assert prices(tmp_path).cost(("house-small",), HERE, used, at=NOW).cost_usd == 0.4


def test_the_file_goes_before_the_table_and_after_what_the_provider_reports(tmp_path: Path) -> None:
    used, known = Usage(input_tokens=1_000_000, output_tokens=5), prices(tmp_path)
    cost = known.cost(("gpt-4o-2024-08-06", "gpt-4o"), "openai", used, at=NOW)
    assert (cost.cost_usd, cost.source) == (0.003, "override"), "though the table knows the first name"
    assert cost.version is not None
    assert cost.version.startswith("override-")
    assert len(cost.version) == len("override-") + 12
    assert known.cost(("gpt-4o",), "openai", used, 0.5, at=NOW) == PricedCost(cost_usd=0.5, source="provider")
    assert TABLE_ONLY.cost(("gpt-4o",), "openai", used, at=NOW).source == "genai-prices"
    assert known.cost(("gpt-4o-mini",), "openai", used, at=NOW).source == "genai-prices"


def test_another_file_is_another_version(tmp_path: Path) -> None:
    assert prices(tmp_path).file.version != prices(tmp_path, PRICES + "\n").file.version


def test_unknown_usage_has_an_unknown_cost(tmp_path: Path) -> None:
    assert prices(tmp_path).cost(("house-x",), HERE, Usage(input_tokens=1), at=NOW) == PricedCost()


def test_the_worst_case_takes_the_dearest_of_the_ways_to_read_the_input(tmp_path: Path) -> None:
    known = prices(tmp_path)
    assert known.worst_case_usd("openai:house-large", HERE, 1_000_000, 1_000_000, at=NOW) == 4 + 2.5
    assert known.worst_case_usd("openai:unheard-of", HERE, 1, 1, at=NOW) is None
    assert known.worst_case_usd("openai:gpt-4o", "openai", 1_000_000, 1_000_000, at=NOW) == 0.003
    assert known.worst_case_usd("openai:gpt-4o-mini", "openai", 1_000_000, 1, at=NOW) > 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[price]\n", "is not TOML"),
        ("", "names no price"),
        ("price = 3", "names no price"),
        ("[prices]\n", "'prices' is not known"),
        ("[[price]]\n" + ENTRY.replace("model =", "modell ="), "price 1: modell is not known"),
        ("[[price]]\n" + ENTRY.replace('model = "m"\n', ""), "price 1: model is missing"),
        ("[[price]]\n" + ENTRY.replace('"m"', '"m*x"'), "price 1: model is a model's name"),
        ("[[price]]\n" + ENTRY.replace('"m"', "3"), "price 1: model is a model's name"),
        ("[[price]]\n" + ENTRY.replace('"openai"', '"http://x/v1"'), "price 1: provider is openai"),
        ("[[price]]\n" + ENTRY.replace("input_usd_per_million = 1", 'input_usd_per_million = "1"'), "input_usd_per_million is no number"),
        ("[[price]]\n" + ENTRY.replace("input_usd_per_million = 1", "input_usd_per_million = true"), "input_usd_per_million is no number"),
        ("[[price]]\n" + ENTRY.replace("output_usd_per_million = 1", "output_usd_per_million = -1"), "output_usd_per_million is not between"),
        ("[[price]]\n" + ENTRY.replace("output_usd_per_million = 1", "output_usd_per_million = inf"), "output_usd_per_million is not between"),
        ("[[price]]\n" + ENTRY.replace("output_usd_per_million = 1", "output_usd_per_million = nan"), "output_usd_per_million is not between"),
        ("[[price]]\n" + ENTRY + "[[price]]\n" + ENTRY, "price 2: m at openai has a price already"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_by_file_entry_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        prices(tmp_path, text)
    assert "AUTOPACK_PRICES" in str(refused.value)
    assert "prices.toml" in str(refused.value)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_price_file(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe[[price]]")
    with pytest.raises(UsageError, match="is not TOML"):
        load_price_file(tmp_path / "bytes.toml")
