"""However a call ends, it leaves one row, and what is unknown of it is unknown."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from autopack.clock import Clock
from autopack.domain.caps import Account
from autopack.domain.messages import Message, ProviderMode, Role, Usage
from autopack.errors import AutopackError, IncompleteResponse, ModelError, ModelNotReady, ProviderLimit
from autopack.executor.ledger import CUT_ANSWERS_TAKEN, Ledger
from autopack.llm.price_file import load_price_file
from autopack.llm.pricing import Prices
from autopack.schemas import ClaimBody
from tests.executor.support_pipeline import ScriptedLLM, completion, staged
from tests.support import phase

pytestmark = pytest.mark.anyio
ASKED = [Message(author="user", text="x")]


async def one_call(
    sqlite_url: str, workspace: Path, answer: Any, prices: Prices | None = None, clock: Clock | None = None,
    llm: ScriptedLLM | None = None, **run: Any,
) -> tuple[list[Any], Any, Account]:  # fmt: skip
    """The rows that a single question leaves, the run, and the day."""
    async with staged(sqlite_url, workspace) as stage:
        await stage.create(phase("p1"), **run)
        body = ClaimBody(run_id="r1", worker="w", lease_token="t" * 16, base_commit="b" * 40)
        claim = (await stage.client.claim(body)).claim
        assert claim is not None
        llm = llm or ScriptedLLM()
        llm.provider_mode = ProviderMode.LIVE
        llm.will(Role.BUILDER, *[answer] * CUT_ANSWERS_TAKEN)
        more = {} if prices is None else {"prices": prices}
        ledger = Ledger(client=stage.client, claim=claim, clock=clock or Clock(), base="b" * 40, **more)
        if isinstance(answer, AutopackError):
            with pytest.raises(type(answer)):
                await ledger.ask(llm, Role.BUILDER, ASKED, max_tokens=10)
        else:
            await ledger.ask(llm, Role.BUILDER, ASKED, max_tokens=10)
        found = await stage.client.calls("r1")
        return found, await stage.client.run("r1"), (await stage.client.daily_caps()).account


def refused(retries: int) -> ModelError:
    error = ModelError("HTTP 500")
    error.retries = retries
    return error


@pytest.mark.parametrize(
    ("error", "retries"),
    [(ModelNotReady("HTTP 401"), 0), (refused(4), 4), (ProviderLimit("HTTP 429", 9.0), 0)],
    ids=repr,
)
async def test_a_refused_call_is_one_row_that_owes_nothing(
    sqlite_url: str, workspace: Path, error: AutopackError, retries: int
) -> None:
    (row,), run, day = await one_call(sqlite_url, workspace, error)
    assert (row.status, row.usage_source, row.is_complete, row.retries) == ("failed", "none", False, retries)
    assert (row.input_tokens, row.output_tokens, row.total_tokens, row.cost_usd) == (None,) * 4
    assert row.error.startswith(error.code)
    assert (run.tokens_reserved, run.calls_of_unknown_usage, day) == (0, 0, Account())


async def test_a_cut_answer_is_a_row_of_unknown_usage_each_time(sqlite_url: str, workspace: Path) -> None:
    found, run, day = await one_call(
        sqlite_url, workspace, IncompleteResponse("no whole answer within 9 seconds")
    )
    assert len({row.call_id for row in found}) == CUT_ANSWERS_TAKEN
    for row in found:
        assert (row.status, row.usage_source, row.is_complete) == ("failed", "missing", False)
        assert (row.input_tokens, row.output_tokens, row.total_tokens, row.cost_usd) == (None,) * 4
    assert run.calls_of_unknown_usage == CUT_ANSWERS_TAKEN
    assert run.tokens_reserved == day.tokens_reserved > 0, "each may have been paid"


async def test_a_call_is_priced_at_one_moment(
    sqlite_url: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = [datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in range(9)]
    priced: list[datetime] = []

    def unknown(*_: Any, genai_request_timestamp: datetime, **__: Any) -> None:
        priced.append(genai_request_timestamp)
        raise LookupError

    monkeypatch.setattr("genai_prices.calc_price", unknown)
    clock, llm = Clock(now=iter(moments).__next__), ScriptedLLM()
    await one_call(sqlite_url, workspace, completion("done"), clock=clock, llm=llm)
    assert {*priced, *(asked.label.asked_at for asked in llm.asked)} == {moments[0]}


async def test_a_price_file_makes_cost_caps_work_where_no_table_knows_the_model(
    sqlite_url: str, workspace: Path, tmp_path: Path
) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(
        '[[price]]\nprovider = "openai"\nmodel = "scripted"\ninput_usd_per_million = 1\noutput_usd_per_million = 1000\n'
    )
    done = completion(
        "done", usage=Usage(input_tokens=2, output_tokens=3), cost_usd=0.003002, cost_source="override"
    )
    prices = Prices(file=load_price_file(file))
    (row,), run, day = await one_call(sqlite_url, workspace, done, prices, cost_cap_usd=0.02)
    assert (row.status, row.cost_usd, row.cost_source) == ("answered", 0.003002, "override")
    assert (run.cost_usd, day.cost_usd, day.cost_reserved_usd) == (0.003002, 0.003002, 0.0)
