"""Models: whether their names can be read, their keys are there (never shown), and their prices known."""

import os
from pathlib import Path

from autopack.bootstrap.models import Models, open_models
from autopack.clock import utc_now
from autopack.domain.doctor import PROVIDER_KEYS, Finding, bad, note, ok
from autopack.domain.messages import ProviderMode
from autopack.domain.models import ModelTable, load_model_table
from autopack.errors import AutopackError
from autopack.executor.ground import read_ground, settings_text
from autopack.llm.base import LLM
from autopack.settings import Settings
from autopack.workspace.git import GitWorkspace

_A_REQUEST = 1000


async def examine(workspace: Path, settings: Settings) -> list[Finding]:
    keys = ", ".join(name for name in PROVIDER_KEYS if os.environ.get(name)) or "none"
    table, findings = await _table(workspace)
    try:
        async with open_models(settings, table) as models:
            return [*findings, ok("model", f"{_shown(models)}; keys present: {keys}"), *_prices(models)]
    except AutopackError as error:
        return [*findings, bad("model", f"{error}; keys present: {keys}")]


async def _table(workspace: Path) -> tuple[ModelTable, list[Finding]]:
    """Those that the workspace names. Where there is none, that is said elsewhere."""
    try:
        git = await GitWorkspace.open(workspace)
    except AutopackError:
        return ModelTable(), []
    try:
        ground = await read_ground(git, await git.head_commit())
        return load_model_table(await settings_text(git, ground.entries)), []
    except AutopackError as error:
        return ModelTable(), [bad("autopack.toml", str(error))]


def _shown(models: Models) -> str:
    if models.builder.provider_mode is not ProviderMode.LIVE:
        return "none is configured: recorded answers are replayed (set AUTOPACK_MODEL)"
    roles = {"builder": models.builder, "auditor": models.auditor, "second auditor": models.second_auditor}
    named = "".join(f", {name} (autopack.toml)" for name in models.named)
    return ", ".join(f"{role} {llm.model}" for role, llm in roles.items()) + named


def _prices(models: Models) -> list[Finding]:
    opened = {
        llm.model: llm
        for llm in (models.builder, models.auditor, models.second_auditor, *models.named.values())
    }
    live = [llm for llm in opened.values() if llm.provider_mode is ProviderMode.LIVE]
    unknown = [llm.model for llm in live if not _has_price(models, llm)]
    if not unknown:
        return [ok("prices", f"known for {', '.join(llm.model for llm in live)}")] if live else []
    words = f"nobody knows what {', '.join(unknown)} costs: cost is unknown then, and no cost cap can hold"
    return [note("prices", words, "name the price in a file, and that in AUTOPACK_PRICES")]


def _has_price(models: Models, llm: LLM) -> bool:
    worst = models.prices.worst_case_usd(llm.model, llm.provider, _A_REQUEST, _A_REQUEST, at=utc_now())
    return worst is not None
