"""A try that takes the place of one that ended without a verdict: its answers are not paid for again."""

import pytest

from autopack.domain.messages import Role
from autopack.errors import ModelNotReady
from tests.executor.support_pipeline import Stage, files
from tests.support import git, phase

pytestmark = pytest.mark.anyio


async def test_an_answer_is_found_again_even_when_the_branch_has_moved_since(stage: Stage) -> None:
    """Both phases see out/ in their prompts: p1's prompt on the new head would be another question."""
    await stage.create(phase("p1"), phase("p2"))
    stage.llm.will(Role.BUILDER, files({"out/p1.txt": "one\n"}), files({"out/p2.txt": "two\n"}))
    stage.llm.will(Role.AUDITOR, ModelNotReady("the key was withdrawn"))
    with pytest.raises(ModelNotReady):
        await stage.drain(phase_id="p1")
    await stage.drain(phase_id="p2")
    await stage.drain()
    assert [asked.label.phase_id for asked in stage.asked(Role.BUILDER)] == ["p1", "p2"]
    assert (await stage.phase("p1")).state == "COMPLETE"
    assert (await stage.phase("p1")).attempts == 1, "the try that was given back does not count"
    assert git(stage.workspace, "show", "autopack/r1:out/p1.txt") == "one"
    assert git(stage.workspace, "show", "autopack/r1:out/p2.txt") == "two"


async def test_an_answer_that_was_judged_is_not_used_again(stage: Stage) -> None:
    await stage.create(phase("p1", checks=["grep -q right out/p1.txt"]))
    stage.llm.will(Role.BUILDER, files({"out/p1.txt": "wrong\n"}), files({"out/p1.txt": "right\n"}))
    await stage.drain()
    assert len(stage.asked(Role.BUILDER)) == 2
    assert [attempt.outcome for attempt in await stage.attempts()] == ["FAILED", "COMPLETE"]
