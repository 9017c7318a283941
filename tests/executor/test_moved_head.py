"""Work that meets a branch that moved: the new head's rules hold, and every decision can be made again afterwards."""

import pytest

from autopack.domain.messages import Role
from autopack.domain.phases import AttemptOutcome, FailureKind, PhaseState
from autopack.errors import InvalidInput
from autopack.executor.auditing import audit_run
from autopack.schemas import ActorBody
from autopack.workspace.git import GitWorkspace
from tests.executor.support_pipeline import completion, files, staged
from tests.support import git, make_workspace, phase

pytestmark = pytest.mark.anyio

LOCKED = {
    "uv.lock": "one\n",
    "autopack.toml": '[policy]\nauto_approve = ["lock file"]\n',
    "src/old.py": "OLD = 1\n",
}
SCOPE = {"paths": ["src/"], "deliverables": ["src/new.py"], "checks": []}


@pytest.fixture
async def locked(sqlite_url, tmp_path):
    """A workspace whose policy says yes to lock files by itself."""
    async with staged(sqlite_url, make_workspace(tmp_path / "w", LOCKED)) as stage:
        yield stage


def meanwhile(stage, answer, pushed):
    async def answered():
        for path, content in pushed.items():
            stage.push(path, content)
        return completion(answer)

    return answered


async def differences(stage):
    git_workspace = await GitWorkspace.open(stage.workspace)
    return [
        (each.phase_id, each.number, difference.field)
        async for each in audit_run(stage.client, git_workspace, "r1")
        for difference in each.differences
    ]


async def test_what_only_the_old_policy_allowed_by_itself_is_not_committed_on_the_new_head(locked):
    await locked.create(phase("p1", scope={**SCOPE, "paths": ["src/", "deps/"]}, max_attempts=1))
    answer = files({"src/new.py": "N = 1\n", "deps/poetry.lock": "two\n"})
    locked.llm.will(Role.BUILDER, meanwhile(locked, answer, {"autopack.toml": "[policy]\n"}))
    await locked.drain()
    failed = await locked.phase()
    assert (failed.state, failed.failure_kind) == (PhaseState.FAILED, FailureKind.BASE_MOVED)
    assert "deps/poetry.lock: lock file: a person decides" in (failed.failure_reason or "")
    assert await differences(locked) == []


async def test_every_decision_on_a_moved_head_can_be_made_again(locked):
    await locked.create(phase("p1", scope=SCOPE), phase("p2", scope=SCOPE, max_attempts=1))
    locked.llm.will(
        Role.BUILDER,
        meanwhile(locked, files({"src/new.py": "N = 1\n"}), {"src/other.py": "X = 1\n"}),
        meanwhile(locked, files({"src/new.py": "N = 2\n"}), {"src/new.py": "N = 3\n"}),
    )
    await locked.drain()
    assert (await locked.phase("p1")).state is PhaseState.COMPLETE
    failed = (await locked.attempts("p2"))[-1]
    assert failed.failure_kind is FailureKind.BASE_MOVED
    assert await differences(locked) == []
    (done,) = await locked.attempts("p1")
    assert done.base_commit == git(locked.workspace, "rev-parse", f"{done.result_commit}^")
    assert done.result_tree == git(locked.workspace, "rev-parse", f"{done.result_commit}^{{tree}}")


async def test_work_on_files_that_stay_as_they_are_asks_nobody(locked):
    """The plan names a lock file, and writes what it holds already."""
    (locked.workspace / "autopack.toml").write_text("[policy]\n", encoding="utf-8")
    git(locked.workspace, "commit", "--quiet", "--all", "--message", "no exceptions")
    scope = {"paths": ["src/", "uv.lock"], "deliverables": ["src/new.py"], "read_only_context": []}
    await locked.create(phase("p1", scope=scope))
    locked.llm.will(Role.BUILDER, files({"src/new.py": "N = 1\n", "uv.lock": "one\n"}))
    await locked.drain()
    assert (await locked.phase()).state is PhaseState.COMPLETE
    assert await differences(locked) == []


async def test_nothing_to_change_is_judged_on_the_branch_as_it_is_now(locked):
    await locked.create(phase("p1", scope={**SCOPE, "deliverables": ["src/old.py"]}))
    unchanged = files({"src/old.py": "OLD = 1\n"})
    locked.llm.will(Role.BUILDER, meanwhile(locked, unchanged, {"src/other.py": "X = 1\n"}), unchanged)
    await locked.drain()
    first, second = await locked.attempts()
    assert (first.failure_kind, second.outcome) == (FailureKind.BASE_MOVED, AttemptOutcome.NO_OP)


async def test_a_run_that_was_cancelled_commits_nothing_more(locked):
    async def answered():
        await locked.client.change_run("r1", "cancel", ActorBody(by="Ada"))
        return completion(files({"src/new.py": "N = 1\n"}))

    await locked.create(phase("p1", scope=SCOPE))
    locked.llm.will(Role.BUILDER, answered)
    await locked.drain()
    assert (await locked.phase()).state is PhaseState.CANCELLED
    assert locked.head() == git(locked.workspace, "rev-parse", "main")


async def test_a_report_that_the_queue_refuses_does_not_end_the_drain_nor_undo_the_work(locked, monkeypatch):
    await locked.create(phase("p1", scope=SCOPE))
    locked.llm.will(Role.BUILDER, files({"src/new.py": "N = 1\n"}))
    finish, refused = locked.client.finish, []

    async def choosy(attempt_id, token, outcome, claim_next=None):
        if outcome.check_report is not None:
            refused.append(outcome)
            raise InvalidInput("the body is too large")
        return await finish(attempt_id, token, outcome, claim_next)

    monkeypatch.setattr(locked.client, "finish", choosy)
    await locked.drain()
    assert len(refused) == 1
    done = await locked.phase()
    assert (done.state, done.result_commit) == (PhaseState.COMPLETE, locked.head())


async def test_edits_that_hold_a_secret_are_not_kept_for_a_person(locked):
    await locked.create(phase("p1", scope={"deliverables": ["Makefile"], "paths": []}))
    locked.llm.will(Role.BUILDER, files({"Makefile": "all:\n\techo our-secret-word-1\n"}))
    await locked.drain(instead={"redact": lambda text: text.replace("our-secret-word-1", "[redacted:S]")})
    failed = await locked.phase()
    assert (failed.state, failed.failure_kind) == (PhaseState.FAILED, FailureKind.POLICY_VIOLATION)
    assert "hold a secret" in (failed.failure_reason or "")
