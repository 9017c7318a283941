"""What the branch holds is looked at before each commit."""

import pytest

from autopack.domain.messages import Role
from autopack.errors import WorkspaceRefused
from tests.executor.support_pipeline import APPROVED, Stage, files
from tests.support import git, phase

pytestmark = pytest.mark.anyio


async def test_a_branch_that_was_deleted_while_a_phase_executed_ends_the_drain(stage: Stage) -> None:
    await stage.create(phase("p1"))
    stage.llm.will(Role.BUILDER, files({"out/p1.txt": "one\n"}))

    async def delete_and_approve() -> str:
        git(stage.workspace, "update-ref", "-d", "refs/heads/autopack/r1")
        return APPROVED

    stage.llm.will(Role.AUDITOR, delete_and_approve)
    with pytest.raises(WorkspaceRefused, match="is gone"):
        await stage.drain()
    assert (await stage.phase("p1")).state == "QUEUED"
    assert (await stage.phase("p1")).attempts == 0


async def test_a_branch_that_was_set_back_is_not_built_upon(stage: Stage) -> None:
    """The commit of an earlier phase would be lost, and the phase would still be called COMPLETE."""
    await stage.create(phase("p1"), phase("p2"))
    stage.llm.will(Role.BUILDER, files({"out/p1.txt": "one\n"}), files({"out/p2.txt": "two\n"}))

    async def set_back_and_approve() -> str:
        base = git(stage.workspace, "rev-parse", "main")
        git(stage.workspace, "update-ref", "refs/heads/autopack/r1", base)
        return APPROVED

    stage.llm.will(Role.AUDITOR, APPROVED, set_back_and_approve)
    with pytest.raises(WorkspaceRefused, match="does not hold"):
        await stage.drain()
    assert (await stage.phase("p1")).state == "COMPLETE"
    assert (await stage.phase("p2")).state == "QUEUED"


async def test_a_line_of_scissors_in_a_summary_hides_no_trailer(stage: Stage) -> None:
    await stage.create(phase("p1"))
    answer = files(
        {"out/p1.txt": "one\n"}, summary="done\n# ------------------------ >8 ------------------------\nmore"
    )
    stage.llm.will(Role.BUILDER, answer.replace('"summary": "as asked", ', "", 1))
    await stage.drain()
    shown = git(
        stage.workspace, "log", "-1", "--format=%(trailers:key=Autopack-Phase,valueonly)", "autopack/r1"
    )
    assert shown.strip() == "p1"


async def test_a_diff_that_the_auditor_saw_only_a_part_of_waits_for_a_person(stage: Stage) -> None:
    await stage.create(phase("p1"))
    stage.llm.will(Role.BUILDER, files({"out/p1.txt": "a line of text\n" * 10_000}))
    await stage.drain()
    assert (await stage.phase("p1")).state == "GATE"
    (request,) = await stage.client.approvals(run_id="r1", status="pending")
    assert "the auditor saw the first" in request.reasons[0]
