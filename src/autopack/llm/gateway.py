"""Models behind one method: what is configured, is it ready, and when to ask again."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
from anyio import to_thread

from autopack.clock import Clock
from autopack.domain.messages import CallLabel, Completion, Message, ProviderMode, Tool, request_key
from autopack.errors import ModelError, ModelNotReady
from autopack.llm import pricing
from autopack.llm.base import LLM, Unanswered
from autopack.llm.cassette import Cassette, load
from autopack.llm.record import RecordingLLM

if TYPE_CHECKING:
    from autopack.llm.provider import Provider, Reply

REPLAY_MODEL = "openai:replay"
FIRST_WAIT_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 30.0

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which model, and how patient. Without `model`, answers are replayed from a cassette."""

    model: str | None = None
    base_url: str | None = None
    openai_api_key: str | None = field(default=None, repr=False)
    anthropic_api_key: str | None = field(default=None, repr=False)
    replay_file: Path | None = None
    record_file: Path | None = None
    prices: pricing.Prices = pricing.TABLE_ONLY
    request_timeout_seconds: float = 900.0
    """For one whole answer."""
    stall_timeout_seconds: float = 180.0
    """For a silence: before the first byte, and between two."""
    connect_timeout_seconds: float = 10.0
    max_retries: int = 4
    max_wait_seconds: float = 60.0
    """A provider that asks for a longer wait is not waited for."""


def open_llm(config: ModelConfig, *, clock: Clock | None = None, sleep: Sleep = anyio.sleep) -> LLM:
    """The configured model, checked as far as it can be without calling it. Raises ModelNotReady."""
    clock = clock or Clock()
    if config.model is None or config.replay_file is not None:
        return Gateway(_replayed(config), config, clock=clock, sleep=sleep)
    target = _live(config)
    llm = Gateway(target, config, clock=clock, sleep=sleep)
    return llm if config.record_file is None else RecordingLLM(llm, config.record_file)


@dataclass(frozen=True, kw_only=True)
class Target:
    vendor: str
    name: str
    base_url: str | None = None
    key: str | None = field(default=None, repr=False)
    cassette: Cassette | None = None

    @property
    def key_variable(self) -> str:
        return f"{self.vendor.upper()}_API_KEY"

    @property
    def provider(self) -> str:
        """The vendor, or the address of another service: the same name may have another price there."""
        if self.base_url is None or self.cassette is not None:
            return self.vendor
        parts = urlsplit(self.base_url)
        return f"{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")


def _named(model: str) -> tuple[str, str]:
    found = re.fullmatch(r"(openai|anthropic):(\S+)", model)
    if found is None:
        raise ModelNotReady(f"{model!r} names no model; write openai:NAME or anthropic:NAME (AUTOPACK_MODEL)")
    return found[1], found[2]


def _replayed(config: ModelConfig) -> Target:
    vendor, name = _named(config.model or REPLAY_MODEL)
    if config.record_file is not None:
        raise ModelNotReady(
            "nothing to record: answers are replayed. Set AUTOPACK_MODEL and no AUTOPACK_REPLAY to record, "
            "or unset AUTOPACK_RECORD"
        )
    if config.replay_file is not None:
        return Target(vendor=vendor, name=name, cassette=load(config.replay_file))
    shipped = files("autopack") / "data" / "replay.jsonl"
    return Target(vendor=vendor, name=name, cassette=load(shipped, "replay.jsonl (of Autopack)"))


def _live(config: ModelConfig) -> Target:
    vendor, name = _named(config.model or "")
    keys = {"openai": config.openai_api_key, "anthropic": config.anthropic_api_key}
    target = Target(vendor=vendor, name=name, base_url=config.base_url, key=keys[vendor])
    if target.key is None and target.base_url is None:
        raise ModelNotReady(
            f"{config.model} needs a key: set {target.key_variable}, or AUTOPACK_BASE_URL for a server without keys"
        )
    if target.key is not None and not re.fullmatch(r"[!-~]+", target.key):
        raise ModelNotReady(f"{target.key_variable} is empty or holds a space, a line break or an accent")
    if target.base_url is not None and not re.match(r"https?://[^/?#]", target.base_url):
        raise ModelNotReady("AUTOPACK_BASE_URL is no http:// or https:// address")
    return target


class Gateway:
    """One model: it loads its SDK with the first call, and asks again only where nothing was answered."""

    def __init__(self, target: Target, config: ModelConfig, *, clock: Clock, sleep: Sleep) -> None:
        self.model = f"{target.vendor}:{target.name}"
        self.provider = target.provider
        self.provider_mode = ProviderMode.REPLAY if target.cassette else ProviderMode.LIVE
        self._target = target
        self._config = config
        self._clock = clock
        self._sleep = sleep
        self._opening = anyio.Lock()
        self._opened: Provider | None = None

    async def complete(
        self, messages: Sequence[Message], *, max_tokens: int, label: CallLabel, tool: Tool | None = None
    ) -> Completion:
        provider = await self._provider()
        headers = self._replay_headers(messages, tool, label)
        retries = 0
        while True:
            try:
                reply = await provider.ask(messages, max_tokens=max_tokens, tool=tool, headers=headers)
                return self._completion(reply, retries, label.asked_at or self._clock.now())
            except Unanswered as failure:
                failure.error.retries = retries
                await self._sleep(self._wait_before_asking_again(failure, retries))
                retries += 1
            except ModelError as error:
                error.retries = retries
                raise

    def _wait_before_asking_again(self, failure: Unanswered, retries: int) -> float:
        """In seconds. Raises what the failure means where there is no try left, or none soon enough."""
        wait = failure.retry_after_seconds
        if wait is None:
            wait = min(FIRST_WAIT_SECONDS * 2**retries, LONGEST_BACKOFF_SECONDS)
        if retries >= self._config.max_retries or wait > self._config.max_wait_seconds:
            raise failure.error from None
        return wait

    def _replay_headers(
        self, messages: Sequence[Message], tool: Tool | None, label: CallLabel
    ) -> dict[str, str]:
        if self._target.cassette is None:
            return {}
        from autopack.llm.transport import replay_headers  # heavy (httpx2), and loaded by now

        return replay_headers(request_key(self.model, messages, tool), label)

    def _completion(self, reply: "Reply", retries: int, at: datetime) -> Completion:
        cost = self._cost(reply, at)
        return Completion(
            text=reply.text,
            finish_reason=reply.finish_reason,
            usage=reply.usage,
            model=self._target.name,
            provider=self.provider,
            provider_mode=self.provider_mode,
            tool_call=reply.tool_call,
            cost_usd=cost.cost_usd,
            cost_source=cost.source,
            price_table_version=cost.version,
            response_id=reply.response_id,
            retries=retries,
            duration_seconds=reply.duration_seconds,
            first_token_seconds=reply.first_token_seconds,
            origin=reply.origin,
        )

    def _cost(self, reply: "Reply", at: datetime) -> pricing.PricedCost:
        if self.provider_mode is ProviderMode.REPLAY:
            return pricing.PricedCost(cost_usd=0.0, source="replay")
        names = dict.fromkeys((reply.model or self._target.name, self._target.name))
        return self._config.prices.cost(
            tuple(names), self.provider, reply.usage, reply.reported_cost_usd, at=at
        )

    async def _provider(self) -> "Provider":
        async with self._opening:
            if self._opened is None:
                self._opened = await to_thread.run_sync(self._open)
            return self._opened

    def _open(self) -> "Provider":
        # Imported here: pydantic-ai and an SDK take one to two seconds, and most commands call no model.
        from autopack.llm.failures import Asked
        from autopack.llm.provider import Endpoint, Provider

        target, config = self._target, self._config
        endpoint = Endpoint(
            vendor=target.vendor,
            name=target.name,
            base_url=target.base_url,
            key=target.key,
            cassette=target.cassette,
            request_timeout_seconds=config.request_timeout_seconds,
            stall_timeout_seconds=config.stall_timeout_seconds,
            connect_timeout_seconds=config.connect_timeout_seconds,
        )
        asked = Asked(
            model=self.model, address=self.provider, key_variable=target.key_variable, key=target.key
        )
        return Provider(endpoint, asked, self._clock)

    async def aclose(self) -> None:
        if self._opened is not None:
            await self._opened.aclose()
            self._opened = None
