"""The models that a drain may call, each opened once, and which of them a claimed phase is given to."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from autopack.bootstrap import secret_of
from autopack.domain.messages import ProviderMode, Role
from autopack.domain.models import ModelTable
from autopack.domain.phases import Claim, Run
from autopack.errors import ModelNotReady
from autopack.llm.base import LLM
from autopack.llm.gateway import ModelConfig, open_llm
from autopack.llm.price_file import load_price_file
from autopack.llm.pricing import Prices
from autopack.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Models:
    """The configured models, those that the workspace's autopack.toml names for some phases, and what persons ask for."""

    builder: LLM
    auditor: LLM
    second_auditor: LLM
    table: ModelTable
    named: Mapping[str, LLM]
    prices: Prices
    asked_for: "AskedFor" = field(default_factory=lambda: AskedFor())

    def choose(self, role: Role, claim: Claim) -> LLM | None:
        """A person's word about the run goes first: before the table, and before its ladder."""
        run = claim.run
        if role is Role.BUILDER and (llm := self.asked_for.builder(run.run_id, run.builder_model)):
            return llm
        name = self.table.name_for(
            role,
            task_category=claim.phase.task_category,
            attempt=claim.failures + 1,
            escalations=claim.escalations,
        )
        return self.named.get(name) if name else None

    def has_stronger(self, claim: Claim) -> bool:
        """Whether a failure of this claim would bring another builder."""
        return claim.run.builder_model is None and self.table.has_stronger(claim.escalations)

    def providers(self, task_category: str) -> frozenset[str]:
        """Those that a phase of this category needs, as long as no failure asks for another model."""
        used = [self.second_auditor]
        for role, default in ((Role.BUILDER, self.builder), (Role.AUDITOR, self.auditor)):
            name = self.table.name_for(role, task_category=task_category, attempt=1, escalations=0)
            used.append(self.named.get(name, default) if name else default)
        if self.asked_for.last is not None:
            used[1] = self.asked_for.last
        return frozenset(llm.provider for llm in used)

    def all_providers(self) -> frozenset[str]:
        opened = (self.builder, self.auditor, self.second_auditor, *self.named.values())
        asked_for = [] if self.asked_for.last is None else [self.asked_for.last]
        return frozenset(llm.provider for llm in (*opened, *asked_for))


@dataclass(kw_only=True)
class AskedFor:
    """Builders that persons name for a run (`autopack run set --model`): opened when one is first needed."""

    open: Callable[[str], LLM] | None = None
    """None where nothing may be called: no model is configured."""
    note: Callable[[str], None] = lambda _: None
    last: LLM | None = None
    _told: set[str] = field(default_factory=set)

    def builder(self, run_id: str, name: str | None) -> LLM | None:
        """None where the drain's own choice holds. Raises ModelNotReady where what is asked for cannot be called here."""
        if name is None:
            if self.last is not None:
                self._say(f"run {run_id} asks for no model any more: this drain's own builds")
            self.last = None
            return None
        if self.open is None:
            self._say(
                f"run {run_id} asks for {name}, but no model is configured here (AUTOPACK_MODEL): recorded answers go on"
            )
            return None
        try:
            self.last = self.open(name)
        except ModelNotReady as error:
            raise ModelNotReady(
                f"run {run_id} asks for the builder {name}, which cannot be called here: {error}. "
                f"Or leave the choice to the drain: `autopack run set {run_id} --model none`"
            ) from error
        is_live = self.last.provider_mode is ProviderMode.LIVE
        how = "it builds from now on" if is_live else "recorded answers go on under that name"
        self._say(f"run {run_id} asks for {name}: {how}")
        return self.last

    def _say(self, text: str) -> None:
        if text not in self._told:
            self._told = {text}  # one that comes back after another is told again
            self.note(text)


@asynccontextmanager
async def open_models(
    settings: Settings, table: ModelTable, *, run: Run | None = None, note: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Models]:  # fmt: skip
    """Each model once. Raises ModelNotReady for any that could not be called, before anything is claimed.

    That includes the one that a person has named for the `run` by now.
    """
    prices = Prices(file=load_price_file(settings.prices)) if settings.prices else Prices()
    builder = open_llm(_model_config(settings, settings.model, prices))
    opened = {builder.model: builder}

    def open_named(name: str) -> LLM:
        if name not in opened:
            opened[name] = open_llm(_model_config(settings, name, prices))
        return opened[name]

    # Without any model configured nothing may call one; a cassette of recorded answers knows them by model.
    several = builder.provider_mode is ProviderMode.LIVE or settings.replay is not None
    try:
        auditor = open_named(settings.auditor_model) if settings.auditor_model and several else builder
        name = settings.second_auditor_model
        second = open_named(name) if name and several else builder
        named = {name: open_named(name) for name in sorted(table.names())} if several else {}
        asked_for = AskedFor(open=open_named if several else None, note=note)
        if run is not None:
            asked_for.builder(run.run_id, run.builder_model)
        yield Models(
            builder=builder, auditor=auditor, second_auditor=second, table=table, named=named, prices=prices,
            asked_for=asked_for,
        )  # fmt: skip
    finally:
        for llm in opened.values():
            await llm.aclose()


def _model_config(settings: Settings, model: str | None, prices: Prices) -> ModelConfig:
    return ModelConfig(
        model=model, base_url=settings.base_url, openai_api_key=secret_of(settings.openai_api_key),
        anthropic_api_key=secret_of(settings.anthropic_api_key), replay_file=settings.replay, record_file=settings.record,
        prices=prices,
    )  # fmt: skip
