"""The life of a phase: checks, gate, commit, approval, and a branch that moves meanwhile."""

import hashlib
import json

import pytest

from autopack.domain.messages import Role
from autopack.domain.phases import AttemptOutcome, FailureKind, PhaseState
from tests.executor.support_pipeline import completion, files, review, staged
from tests.support import git, make_workspace, phase

pytestmark = pytest.mark.anyio

GOOD = files({"out/p1.txt": "done\n"})


async def test_red_checks_are_tried_again_and_the_next_prompt_carries_their_output(stage):
    check = "cat out/p1.txt && grep -q right out/p1.txt || { echo 'expected: right'; exit 3; }"
    await stage.create(phase("p1", checks=[check]))
    stage.llm.will(Role.BUILDER, files({"out/p1.txt": "wrong answer\n"}), files({"out/p1.txt": "right\n"}))
    await stage.drain()
    assert (await stage.phase()).state is PhaseState.COMPLETE
    first, second = await stage.attempts()
    assert (first.outcome, first.failure_kind) == (AttemptOutcome.FAILED, FailureKind.CHECKS_FAILED)
    assert first.check_report["results"][0]["exit_code"] == 3
    assert second.check_report["passed"]
    told = stage.built[1].messages[1].text
    assert "Attempt 1 failed (checks_failed):" in told
    assert check in told
    assert "exit code 3" in told
    assert "wrong answer\nexpected: right" in told
    assert len(stage.audited) == 1, "what is red is not audited"
    assert stage.content("out/p1.txt") == "right"


async def test_red_checks_fail_the_phase_after_the_last_attempt_and_leave_no_commit(stage):
    await stage.create(phase("p1", checks=["false"], max_attempts=2))
    stage.llm.will(Role.BUILDER, GOOD, GOOD)
    await stage.drain()
    failed = await stage.phase()
    assert (failed.state, failed.failure_kind, failed.attempts) == (
        PhaseState.FAILED,
        FailureKind.CHECKS_FAILED,
        2,
    )
    assert stage.head() == git(stage.workspace, "rev-parse", "main")


async def test_the_project_says_how_it_is_checked_and_a_phase_may_say_it_differently(sqlite_url, tmp_path):
    settings = (
        '[checks]\ncommands = ["test \\"$MARK\\" = yes && test -f src/ok"]\n[checks.env]\nMARK = "yes"\n'
    )
    workspace = make_workspace(tmp_path / "w", {"autopack.toml": settings})
    async with staged(sqlite_url, workspace) as stage:
        await stage.create(phase("p1", max_attempts=1), phase("p2", checks=["test -f out/p2.txt"]))
        stage.llm.will(Role.BUILDER, GOOD, files({"out/p2.txt": "done\n"}))
        await stage.drain()
        default, own = await stage.phase("p1"), await stage.phase("p2")
        (attempt,) = await stage.attempts("p1")
    assert (default.state, default.failure_kind) == (PhaseState.FAILED, FailureKind.CHECKS_FAILED)
    assert attempt.check_report["results"][0]["command"] == 'test "$MARK" = yes && test -f src/ok'
    assert own.state is PhaseState.COMPLETE


async def test_checks_see_the_whole_tree_without_git_and_leave_nothing_behind(stage):
    checks = ["test ! -e .git && grep -q OLD src/old.py && echo litter > out/litter.txt && rm README.md"]
    await stage.create(phase("p1", checks=checks))
    stage.llm.will(Role.BUILDER, GOOD)
    await stage.drain()
    assert (await stage.phase()).state is PhaseState.COMPLETE
    names = git(stage.workspace, "ls-tree", "-r", "--name-only", "autopack/r1").split()
    assert names == ["README.md", "out/p1.txt", "src/old.py"]


UNCHANGED = {"paths": ["src/"], "deliverables": ["src/old.py"]}


async def test_edits_that_change_nothing_complete_without_the_auditor_and_without_a_commit(stage):
    scope = {**UNCHANGED, "checks": ["grep -q OLD src/old.py"]}
    await stage.create(phase("p1", scope=scope))
    stage.llm.will(Role.BUILDER, files({"src/old.py": "OLD = 1\n"}))
    await stage.drain()
    assert (await stage.phase()).state is PhaseState.COMPLETE
    (attempt,) = await stage.attempts()
    assert attempt.outcome is AttemptOutcome.NO_OP
    assert attempt.verdict["decision"] == "ok"
    assert attempt.result_commit is None
    assert stage.audited == []
    assert stage.head() == git(stage.workspace, "rev-parse", "main")


async def test_edits_that_change_nothing_do_not_complete_when_the_checks_are_red(stage):
    await stage.create(phase("p1", scope={**UNCHANGED, "checks": ["false"]}, max_attempts=1))
    stage.llm.will(Role.BUILDER, files({"src/old.py": "OLD = 1\n"}))
    await stage.drain()
    failed = await stage.phase()
    assert (failed.state, failed.failure_kind) == (PhaseState.FAILED, FailureKind.CHECKS_FAILED)


async def test_a_commit_carries_its_trailers_and_lies_on_the_base(stage):
    base = git(stage.workspace, "rev-parse", "main")
    await stage.create(phase("p1", name="Say done"))
    stage.llm.will(Role.BUILDER, GOOD)
    await stage.drain()
    (attempt,) = await stage.attempts()
    done = await stage.phase()
    head = stage.head()
    assert head == done.result_commit == attempt.result_commit
    assert attempt.base_commit == base
    assert git(stage.workspace, "rev-parse", f"{head}^") == base
    assert git(stage.workspace, "log", "-1", "--format=%s", head) == "p1: Say done"
    trailers = git(stage.workspace, "log", "-1", "--format=%(trailers:only)", head).split("\n")
    assert trailers == ["Autopack-Run: r1", "Autopack-Phase: p1", f"Autopack-Attempt: {attempt.attempt_id}"]
    assert "as asked" in git(stage.workspace, "log", "-1", "--format=%b", head)


async def test_the_persons_checkout_index_and_head_are_not_touched(stage):
    workspace = stage.workspace
    (workspace / "README.md").write_text("# Being edited\n", encoding="utf-8")
    (workspace / "staged.txt").write_text("staged\n", encoding="utf-8")
    git(workspace, "add", "staged.txt")
    (workspace / "out").mkdir()
    (workspace / "out/p1.txt").write_text("mine, not committed\n", encoding="utf-8")
    before = snapshot(workspace)
    await stage.create(phase("p1"))
    stage.llm.will(Role.BUILDER, GOOD)
    await stage.drain()
    assert (await stage.phase()).state is PhaseState.COMPLETE
    assert snapshot(workspace) == before
    assert stage.content("out/p1.txt") == "done"
    assert stage.content("README.md") == "# A workspace"


def snapshot(workspace):
    """HEAD, branches but the run's, the index byte by byte, and every file of the checkout."""
    index = hashlib.sha256((workspace / ".git/index").read_bytes()).hexdigest()
    tree = {
        str(path.relative_to(workspace)): path.read_bytes()
        for path in workspace.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }
    return (workspace / ".git/HEAD").read_text(), git(workspace, "rev-parse", "main"), index, tree


# Approval

MAKEFILE = files({"Makefile": "all:\n\techo hello\n"})
PROTECTED = {"paths": [], "deliverables": ["Makefile"], "checks": ["grep -q hello Makefile"]}


async def at_the_gate(stage):
    await stage.create(phase("p1", scope=PROTECTED))
    stage.llm.will(Role.BUILDER, MAKEFILE)
    await stage.drain()
    (request,) = await stage.client.approvals(run_id="r1")
    return request


async def test_a_protected_file_waits_for_a_person_who_sees_the_diff(stage):
    base = git(stage.workspace, "rev-parse", "main")
    request = await at_the_gate(stage)
    waiting = await stage.phase()
    assert (waiting.state, waiting.attempts) == (PhaseState.GATE, 1)
    assert (request.status, request.phase_id, request.base_commit) == ("pending", "p1", base)
    assert request.reasons == (
        "Makefile: decides how the project is built or tested: a person decides",
        "the checks are green only with its own Makefile, which decides how tests run",
    )
    assert "diff --git a/Makefile b/Makefile\nnew file mode 100644" in request.diff
    assert request.diff.endswith("@@ -0,0 +1,2 @@\n+all:\n+\techo hello\n")
    assert request.diff_hash == hashlib.sha256(request.diff.encode()).hexdigest()
    assert stage.head() == base
    (attempt,) = await stage.attempts()
    assert attempt.outcome is AttemptOutcome.NEEDS_APPROVAL
    assert (attempt.review["approved"], attempt.verdict["decision"]) == (True, "needs_review")


async def test_what_was_approved_is_applied_by_the_next_drain_without_a_model_call(stage):
    await at_the_gate(stage)
    await stage.approve()
    stage.llm.asked.clear()
    stage.llm.will(Role.AUDITOR, json.dumps(review(approved=False)))
    await stage.drain()
    assert (await stage.phase()).state is PhaseState.COMPLETE
    assert stage.llm.asked == []
    assert stage.content("Makefile") == "all:\n\techo hello"
    (request,) = await stage.client.approvals(run_id="r1")
    assert (request.status, request.responded_by) == ("used", "Ada")
    last = (await stage.attempts())[-1]
    assert last.check_report["passed"]
    assert last.verdict["reasons"] == ["a person approved exactly this diff, and the checks are green"]


async def test_what_was_rejected_is_failed_and_never_applied(stage):
    base = stage.workspace
    await at_the_gate(stage)
    await stage.approve("reject")
    await stage.drain()
    failed = await stage.phase()
    assert (failed.state, failed.failure_kind) == (PhaseState.FAILED, FailureKind.APPROVAL_REJECTED)
    assert stage.head() == git(base, "rev-parse", "main")


async def test_an_approval_is_not_good_for_another_diff(stage):
    first = await at_the_gate(stage)
    await stage.approve()
    moved = stage.push("Makefile", "all:\n\techo hello\n\ttrue\n")
    await stage.drain()
    assert (await stage.phase()).state is PhaseState.GATE
    by_status = {request.status: request for request in await stage.client.approvals(run_id="r1")}
    assert by_status.keys() == {"void", "pending"}
    assert by_status["void"].approval_id == first.approval_id
    assert by_status["pending"].base_commit == moved
    assert "-\ttrue" in by_status["pending"].diff
    assert stage.head() == moved
    assert len(stage.built) == 1, "the approved plan is not built anew"
    await stage.approve()
    await stage.drain()
    assert (await stage.phase()).state is PhaseState.COMPLETE
    assert git(stage.workspace, "rev-parse", f"{stage.head()}^") == moved


async def test_an_approval_is_still_good_when_something_else_moved(stage):
    await at_the_gate(stage)
    await stage.approve()
    moved = stage.push("src/other.py", "X = 1\n")
    await stage.drain()
    assert (await stage.phase()).state is PhaseState.COMPLETE
    assert git(stage.workspace, "rev-parse", f"{stage.head()}^") == moved
    assert len(stage.llm.asked) == 2


async def test_approved_edits_are_not_applied_when_the_checks_are_red_by_now(stage):
    await stage.create(phase("p1", scope={**PROTECTED, "checks": ["test ! -e src/other.py"]}, max_attempts=1))
    stage.llm.will(Role.BUILDER, MAKEFILE)
    await stage.drain()
    await stage.approve()
    moved = stage.push("src/other.py", "X = 1\n")
    await stage.drain()
    failed = await stage.phase()
    assert (failed.state, failed.failure_kind) == (PhaseState.FAILED, FailureKind.CHECKS_FAILED)
    assert stage.head() == moved


# A branch that moves while a phase is built


def pushing(stage, path, content, answer):
    """A model during whose answer somebody else puts a commit on the run's branch."""

    async def answered():
        stage.push(path, content)
        return completion(answer)

    return answered


async def test_work_on_a_base_that_moved_is_put_on_the_new_head_and_checked_again(stage):
    await stage.create(phase("p1", checks=["test -f out/p1.txt"]))
    stage.llm.will(Role.BUILDER, pushing(stage, "src/other.py", "X = 1\n", GOOD))
    await stage.drain()
    assert (await stage.phase()).state is PhaseState.COMPLETE
    (attempt,) = await stage.attempts()
    moved = git(stage.workspace, "rev-parse", f"{stage.head()}^")
    assert attempt.base_commit == moved != git(stage.workspace, "rev-parse", "main")
    assert stage.content("src/other.py") == "X = 1"
    assert stage.content("out/p1.txt") == "done"
    assert stage.steps().count("checking") == 2
    assert len(stage.llm.asked) == 2


async def test_checks_that_are_red_on_the_new_head_keep_the_work_off_the_branch(stage):
    await stage.create(phase("p1", checks=["test ! -e src/other.py"], max_attempts=1))
    stage.llm.will(Role.BUILDER, pushing(stage, "src/other.py", "X = 1\n", GOOD))
    await stage.drain()
    failed = await stage.phase()
    assert (failed.state, failed.failure_kind) == (PhaseState.FAILED, FailureKind.CHECKS_FAILED)
    assert stage.content("src/other.py") == "X = 1"
    assert git(stage.workspace, "rev-parse", f"{stage.head()}^") == git(stage.workspace, "rev-parse", "main")


async def test_a_file_that_somebody_else_changed_meanwhile_is_not_overwritten(stage):
    await stage.create(phase("p1"))
    stage.llm.will(
        Role.BUILDER,
        pushing(stage, "out/p1.txt", "theirs\n", GOOD),
        files({"out/p1.txt": "theirs\nand mine\n"}),
    )
    await stage.drain()
    first, second = await stage.attempts()
    assert (first.failure_kind, first.reason) == (
        FailureKind.BASE_MOVED,
        "changed by another phase meanwhile: out/p1.txt",
    )
    assert second.outcome is AttemptOutcome.COMPLETE
    assert "out/p1.txt\n```\ntheirs\n```" in stage.built[1].text
    assert stage.content("out/p1.txt") == "theirs\nand mine"


async def test_phases_side_by_side_each_end_as_one_commit_on_one_line(stage):
    names = [f"p{number}" for number in range(1, 6)]
    await stage.create(*[phase(name) for name in names])

    async def by_label(messages, *, max_tokens, label, tool=None):
        if label.role is Role.AUDITOR:
            return completion(json.dumps(review()))
        return completion(files({f"out/{label.phase_id}.txt": "done\n"}))

    stage.llm.complete = by_label
    await stage.drain(concurrency=5)
    listed = git(stage.workspace, "log", "--format=%s", "--first-parent", "main..autopack/r1").split("\n")
    assert sorted(listed) == [f"{name}: {name}" for name in names]
    commits = {(await stage.phase(name)).result_commit for name in names}
    assert len(commits) == 5
