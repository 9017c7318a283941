"""Edits in every format through the whole pipeline, what is asked again, and what is not asked twice."""

import json
from dataclasses import replace

import pytest

from autopack.domain.edits import Format
from autopack.domain.messages import Role
from autopack.domain.phases import AttemptOutcome, FailureKind, PhaseState
from autopack.domain.redaction import Redactor
from autopack.domain.telemetry import ESTIMATIONS, Selection
from tests.executor.support_pipeline import completion, files, major, review, staged
from tests.support import git, make_workspace, phase

pytestmark = pytest.mark.anyio

OLD = "def first():\n    return 1\n\n\ndef second():\n    return 2\n"
SCOPE = {"paths": ["src/"], "deliverables": ["src/code.py"], "checks": ["grep -q 'return 10' src/code.py"]}
NEW = OLD.replace("return 1\n", "return 10\n")
BLOCK = (
    "src/code.py\n```python\n<<<<<<< SEARCH\n    return {}\n=======\n    return {}\n>>>>>>> REPLACE\n```\n"
)
ANSWERS = {
    Format.WHOLE_FILES: files({"src/code.py": NEW}),
    Format.SEARCH_REPLACE: BLOCK.format(1, 10),
    Format.UNIFIED_DIFF: "--- a/src/code.py\n+++ b/src/code.py\n@@ -1,2 +1,2 @@\n def first():\n-    return 1\n+    return 10\n",
    Format.PATCH: "*** Begin Patch\n*** Update File: src/code.py\n@@ def first():\n-    return 1\n+    return 10\n*** End Patch\n",
}  # fmt: skip


@pytest.fixture
async def coded(sqlite_url, tmp_path):
    async with staged(sqlite_url, make_workspace(tmp_path / "w", {"src/code.py": OLD})) as stage:
        yield stage


@pytest.mark.parametrize("form", Format)
async def test_every_format_ends_as_the_same_commit(coded, form):
    await coded.create(phase("p1", scope=SCOPE))
    coded.llm.will(Role.BUILDER, ANSWERS[form])
    await coded.drain()
    assert (await coded.phase()).state is PhaseState.COMPLETE
    assert coded.content("src/code.py") == NEW.strip()
    (attempt,) = await coded.attempts()
    assert attempt.plan["format"] == form
    (change,) = attempt.changes
    assert change["path"] == "src/code.py"
    oids = [git(coded.workspace, "rev-parse", f"{commit}:src/code.py") for commit in ("main", "autopack/r1")]
    assert [change["before"]["oid"], change["after"]["oid"]] == oids
    assert git(coded.workspace, "rev-parse", "autopack/r1^{tree}") == attempt.result_tree


async def test_only_the_blocks_that_do_not_fit_are_asked_for_again(coded):
    await coded.create(phase("p1", scope=SCOPE))
    coded.llm.will(Role.BUILDER, BLOCK.format(1, 10) + "\n" + BLOCK.format(3, 30), BLOCK.format(2, 20))
    await coded.drain()
    assert (await coded.phase()).state is PhaseState.COMPLETE
    assert coded.content("src/code.py") == NEW.replace("return 2", "return 20").strip()
    told = coded.built[1].messages[-1].text
    assert "src/code.py, block 2: the lines to be replaced are not in the file" in told
    assert "all others are kept" in told
    assert "Did you mean" in told
    ((first, again),) = [page async for page in coded.client.telemetry_pages(ESTIMATIONS, Selection())]
    # What a part of an answer needs says nothing about whole ones, and is no kept or broken promise.
    assert (first.budget_source, again.budget_source) == ("prior", "partial")
    assert again.selected_budget <= first.selected_budget


async def test_a_part_of_an_answer_is_given_no_more_than_the_whole_and_stays_a_part_when_it_is_cut(
    sqlite_url, tmp_path
):
    workspace = make_workspace(tmp_path / "w", {"src/code.py": OLD, "src/more.py": OLD})
    wrong = BLOCK.format(3, 30) + "\n" + BLOCK.format(3, 30).replace("code.py", "more.py")
    async with staged(sqlite_url, workspace) as stage:
        # One file is expected, and blocks of two are refused: the estimate for these is the larger one.
        await stage.create(phase("p1", scope=SCOPE | {"paths": ["src/"], "deliverables": []}))
        stage.llm.will(
            Role.BUILDER, wrong, completion("", finish_reason="length"), wrong.replace("return 3", "return 1")
        )
        await stage.drain()
        ((first, again, larger),) = [
            page async for page in stage.client.telemetry_pages(ESTIMATIONS, Selection())
        ]
    assert again.selected_budget == first.selected_budget < again.predicted_output_tokens * 5
    assert larger.selected_budget == 2 * again.selected_budget
    assert [each.budget_source for each in (first, again, larger)] == ["prior", "partial", "partial"]


async def test_a_file_that_is_not_there_is_named_with_the_one_that_may_have_been_meant(coded):
    await coded.create(phase("p1", scope=SCOPE))
    wrong = BLOCK.format(1, 10).replace("code.py", "cod.py")
    coded.llm.will(Role.BUILDER, wrong, wrong)
    await coded.drain()
    failed = await coded.phase()
    assert (failed.state, failed.failure_kind) == (PhaseState.FAILED, FailureKind.WRONG_PATHS)
    assert "src/code.py" in coded.built[1].messages[-1].text


async def test_blocks_are_applied_to_what_another_phase_left_behind_meanwhile(coded):
    async def answered():
        coded.push("src/code.py", OLD.replace("return 2", "return 22"))
        return completion(BLOCK.format(1, 10))

    await coded.create(phase("p1", scope=SCOPE))
    coded.llm.will(Role.BUILDER, answered)
    await coded.drain()
    assert (await coded.phase()).state is PhaseState.COMPLETE
    assert coded.content("src/code.py") == NEW.replace("return 2", "return 22").strip()
    assert coded.steps().count("checking") == 2


async def test_blocks_that_no_longer_fit_are_tried_again_with_the_reason(coded):
    async def answered():
        coded.push("src/code.py", OLD.replace("return 1\n", "return 11\n"))
        return completion(BLOCK.format(1, 10))

    await coded.create(phase("p1", scope=SCOPE))
    coded.llm.will(Role.BUILDER, answered, BLOCK.format(11, 10))
    await coded.drain()
    first, second = await coded.attempts()
    assert first.failure_kind is FailureKind.BASE_MOVED
    assert "the lines to be replaced are not in the file" in first.reason
    assert second.outcome is AttemptOutcome.COMPLETE


async def test_a_file_that_was_not_shown_is_not_written_over(sqlite_url, tmp_path):
    workspace = make_workspace(tmp_path / "w", {"src/code.py": OLD, "src/large.py": "L = 1\n" * 10_000})
    async with staged(sqlite_url, workspace) as stage:
        await stage.create(phase("p1", scope=SCOPE))
        blind = files({"src/code.py": NEW, "src/large.py": "L = 2\n"})
        stage.llm.will(Role.BUILDER, blind, ANSWERS[Format.WHOLE_FILES])
        await stage.drain()
        assert "src/large.py: file exists and no base hash was given" in stage.built[1].messages[-1].text
        assert (await stage.phase()).state is PhaseState.COMPLETE


async def test_equal_inputs_are_not_paid_for_twice(coded):
    class Forgetful:
        """A pipeline that is not told what an earlier try came to, so that its prompt stays as it was."""

        def __init__(self, pipeline):
            self.pipeline = pipeline

        async def run(self, claim, step):
            return await self.pipeline.run(replace(claim, previous=()), step)

    await coded.create(phase("p1", scope=SCOPE))
    coded.llm.will(Role.BUILDER, files({"src/code.py": OLD + "# not what was asked\n"}))
    await coded.drain(wrap=Forgetful)
    first, again = await coded.attempts()
    assert (first.failure_kind, again.failure_kind) == (
        FailureKind.CHECKS_FAILED,
        FailureKind.REPEATED_INPUTS,
    )
    assert first.inputs_hash == again.inputs_hash
    assert (await coded.phase()).state is PhaseState.FAILED
    assert len(coded.built) == 1


async def test_secrets_of_the_workspace_do_not_reach_a_model_nor_the_database(coded):
    secret = "hunter2-is-not-a-password"
    redact = Redactor({"SERVICE_TOKEN": secret}).redact
    (coded.workspace / "src/notes.py").write_text(f"TOKEN = {secret!r}\n", encoding="utf-8")
    git(coded.workspace, "add", "src/notes.py")
    git(coded.workspace, "commit", "--quiet", "--message", "a secret by mistake")
    await coded.create(
        phase("p1", scope={**SCOPE, "checks": [f"echo {secret}; grep -q 'return 10' src/code.py"]})
    )
    coded.llm.will(Role.BUILDER, files({"src/code.py": OLD + "# wrong\n"}), ANSWERS[Format.WHOLE_FILES])
    await coded.drain(instead={"redact": redact})
    assert (await coded.phase()).state is PhaseState.COMPLETE
    asked = "\n".join(each.text for each in coded.llm.asked)
    assert "[redacted:SERVICE_TOKEN]" in asked
    stored = json.dumps([str(each) for each in await coded.attempts()])
    assert secret not in asked
    assert secret not in stored
    assert "[redacted:SERVICE_TOKEN]" in stored


async def test_two_auditors_that_disagree_ask_a_person(coded):
    await coded.create(phase("p1", scope=SCOPE, task_category="security"))
    coded.llm.will(Role.BUILDER, ANSWERS[Format.WHOLE_FILES])
    coded.llm.will(Role.AUDITOR, json.dumps(review()), json.dumps(review(issues=[major("a hole")])))
    await coded.drain()
    assert (await coded.phase()).state is PhaseState.GATE
    (request,) = await coded.client.approvals(run_id="r1")
    assert request.reasons == ("the auditors disagree; one objects: a hole",)
    (attempt,) = await coded.attempts()
    assert attempt.review["second"]["issues"][0]["message"] == "a hole"


@pytest.mark.parametrize(("risk", "asked", "audits"), [("high", None, 2), ("normal", None, 1), ("normal", True, 2), ("high", False, 1)])  # fmt: skip
async def test_a_second_auditor_is_asked_where_there_is_risk_or_a_person_wants_it(coded, risk, asked, audits):
    await coded.create(phase("p1", scope=SCOPE, risk=risk))
    coded.llm.will(Role.BUILDER, ANSWERS[Format.WHOLE_FILES])
    await coded.drain(instead={"dual_auditor": asked})
    assert (await coded.phase()).state is PhaseState.COMPLETE
    assert len(coded.audited) == audits
