"""autopack.toml may name other models for some phases."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from autopack.bootstrap.models import open_models
from autopack.domain.messages import Role
from autopack.domain.models import load_model_table
from autopack.domain.phases import Claim
from autopack.errors import ModelNotReady
from autopack.settings import Settings
from tests.executor.support_pipeline import ScriptedLLM, Stage, files
from tests.support import phase

pytestmark = pytest.mark.anyio
TABLE = '[models.category.docs]\nbuilder = "openai:small"\n[models.attempt.2]\nbuilder = "anthropic:large"\n'


async def test_a_phase_is_built_by_the_model_that_its_category_names(stage: Stage) -> None:
    await stage.create(phase("p1"), phase("p2", task_category="docs"))
    other = ScriptedLLM()
    stage.llm.will(Role.BUILDER, files({"out/p1.txt": "one\n"}))
    other.will(Role.BUILDER, files({"out/p2.txt": "two\n"}))

    def choose(role: Role, claim: Claim) -> Any:
        return other if role is Role.BUILDER and claim.phase.task_category == "docs" else None

    await stage.drain(choose=choose)
    assert [asked.label.phase_id for asked in stage.asked(Role.BUILDER)] == ["p1"]
    assert [(asked.label.role, asked.label.phase_id) for asked in other.asked] == [(Role.BUILDER, "p2")]
    assert len(stage.asked(Role.AUDITOR)) == 2


def settings(**more: Any) -> Settings:
    return Settings().model_copy(update={"model": "openai:plain", "openai_api_key": SecretStr("k"), **more})


async def test_every_named_model_is_opened_once_before_anything_is_claimed(stage: Stage) -> None:
    await stage.create(phase("p1", task_category="docs"))
    claim = await _claim(stage)
    async with open_models(settings(anthropic_api_key=SecretStr("k")), load_model_table(TABLE)) as models:
        assert set(models.named) == {"openai:small", "anthropic:large"}
        assert models.choose(Role.BUILDER, claim) is models.named["openai:small"]
        assert models.choose(Role.AUDITOR, claim) is None
        assert models.auditor is models.builder


async def test_a_try_that_was_lost_or_given_back_moves_nobody_to_another_model(stage: Stage) -> None:
    """Else the answer that it got already would be paid for again."""
    await stage.create(phase("p1"))
    claim = await _claim(stage)
    async with open_models(settings(anthropic_api_key=SecretStr("k")), load_model_table(TABLE)) as models:
        assert models.choose(Role.BUILDER, replace(claim, number=3, failures=0)) is None
        failed = replace(claim, number=3, failures=1)
        assert models.choose(Role.BUILDER, failed) is models.named["anthropic:large"]


async def test_a_named_model_without_its_key_is_refused_at_the_start() -> None:
    with pytest.raises(ModelNotReady, match="ANTHROPIC_API_KEY"):
        async with open_models(settings(), load_model_table(TABLE)):
            pass


async def test_without_a_configured_model_none_is_called_whatever_the_workspace_names() -> None:
    async with open_models(Settings(), load_model_table(TABLE)) as models:
        assert models.named == {}


async def _claim(stage: Stage) -> Claim:
    from autopack.schemas import ClaimBody

    answer = await stage.client.claim(ClaimBody(run_id="r1", worker="w", lease_token="t" * 32))
    assert answer.claim is not None
    return answer.claim
