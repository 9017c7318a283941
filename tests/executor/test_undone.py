"""A phase whose commit was taken back on the branch is built anew, never found again as done."""

import pytest

from autopack.domain.messages import Role
from autopack.domain.phases import AttemptOutcome, PhaseState, RunState
from autopack.errors import ApiUnreachable
from autopack.schemas import ActorBody
from tests.executor.support_pipeline import Stage, files
from tests.support import git, phase

pytestmark = pytest.mark.anyio


async def dies_after_its_commit(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A try commits, and its worker is gone before it could say so."""

    async def gone(*_: object, **__: object) -> None:
        raise ApiUnreachable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(stage.client, "finish", gone)
        with pytest.raises(ApiUnreachable):
            await stage.drain()
    (dead,) = await stage.client.open_attempts("r1")
    assert await stage.client.report_lost(dead.attempt_id, dead.worker)


async def test_the_undone_commit_of_a_dead_try_is_not_recovered(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.create(phase("p1"))
    stage.llm.will(Role.BUILDER, files({"out/p1.txt": "wrong\n"}))
    await dies_after_its_commit(stage, monkeypatch)
    await stage.drain()
    done = await stage.phase()
    assert (done.state, stage.content("out/p1.txt"), len(stage.built)) == (PhaseState.COMPLETE, "wrong", 1)
    assert done.result_commit == stage.head()

    tree = git(stage.workspace, "rev-parse", "autopack/r1~1^{tree}")
    back = git(stage.workspace, "commit-tree", tree, "-p", stage.head(), "-m", "undo p1")
    git(stage.workspace, "update-ref", "refs/heads/autopack/r1", back)
    await stage.client.undone(
        "r1", "p1", commit=done.result_commit, undo_commit=back, by="Ann", reason="wrong"
    )
    assert (await stage.client.run("r1")).state is RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW

    await stage.client.change_phase("r1", "p1", "requeue", ActorBody(by="Ann"))
    stage.llm.will(Role.BUILDER, files({"out/p1.txt": "right\n"}))
    await stage.drain()
    again = await stage.phase()
    assert (again.state, stage.content("out/p1.txt"), len(stage.built)) == (PhaseState.COMPLETE, "right", 2)
    assert again.result_commit == stage.head() != done.result_commit
    assert git(stage.workspace, "rev-parse", "autopack/r1~1") == back
    outcomes = [each.outcome for each in await stage.attempts()]
    assert outcomes == [AttemptOutcome.LOST, AttemptOutcome.COMPLETE, AttemptOutcome.COMPLETE]
    assert (await stage.client.run("r1")).state is RunState.DONE_SUCCESS
