"""What an attempt changed is kept, however it ends, and can never keep it from ending."""

from pathlib import Path
from typing import Any

import pytest

from autopack.domain.kept_diff import is_cut
from autopack.domain.messages import Role
from autopack.domain.phases import MAX_KEPT_DIFF_CHARS, AttemptOutcome
from autopack.domain.redaction import Redactor
from tests.executor.support_pipeline import Stage, files, staged
from tests.support import git, make_workspace, phase

pytestmark = pytest.mark.anyio


def making(path: str = "out/p1.txt", **more: Any) -> dict[str, Any]:
    made = phase("p1", max_attempts=1, **more)
    return {**made, "scope": {**made["scope"], "paths": [path], "deliverables": []}}


async def drained(stage: Stage, **more: Any) -> tuple[AttemptOutcome | None, str | None]:
    await stage.drain(**more)
    (attempt,) = await stage.attempts()
    return attempt.outcome, (await stage.client.phase_diff("r1", "p1")).diff


async def test_of_completed_work_the_diff_is_that_of_its_commit(stage: Stage):
    stage.llm.will(Role.BUILDER, files({"out/p1.txt": "one\ntwo\n"}))
    await stage.create(making())
    outcome, diff = await drained(stage)
    assert (outcome, diff) == (
        "COMPLETE",
        git(stage.workspace, "diff-tree", "-p", "main", "autopack/r1") + "\n",
    )


async def test_of_work_that_failed_its_checks_too(stage: Stage):
    stage.llm.will(Role.BUILDER, files({"out/p1.txt": "one\n"}))
    await stage.create(making(checks=["false"]))
    outcome, diff = await drained(stage)
    assert outcome == "FAILED"
    assert diff is not None
    assert diff.endswith("+one\n")


async def test_of_work_that_waits_for_a_person_it_is_what_the_person_is_asked_about(stage: Stage):
    stage.llm.will(Role.BUILDER, files({"Makefile": "all:\n"}))
    await stage.create(making("Makefile"))
    outcome, diff = await drained(stage)
    (request,) = await stage.client.approvals(run_id="r1")
    assert (outcome, diff) == ("NEEDS_APPROVAL", request.diff)


async def test_where_nothing_was_to_be_changed_it_is_empty(stage: Stage):
    stage.llm.will(Role.BUILDER, files({"README.md": "# A workspace\n"}))
    await stage.create(making("README.md"))
    assert await drained(stage) == ("NO_OP", "")


async def test_of_an_answer_that_came_to_no_edits_there_is_none(stage: Stage):
    stage.llm.will(Role.BUILDER, "no", "no", "no")
    await stage.create(making())
    assert await drained(stage) == ("FAILED", None)


async def test_a_secret_beside_the_change_is_not_kept(stage: Stage):
    secret = "hunter2-hunter2-hunter2"
    (stage.workspace / "src" / "old.py").write_text(f"KEY = '{secret}'\nOLD = 1\n")
    git(stage.workspace, "commit", "--quiet", "--all", "--message", "a secret at the base")
    block = "<<<<<<< SEARCH\nOLD = 1\n=======\nOLD = 2\n>>>>>>> REPLACE\n"
    stage.llm.will(Role.BUILDER, f"src/old.py\n```\n{block}```\n")
    await stage.create(making("src/old.py"))
    outcome, diff = await drained(stage, instead={"redact": Redactor({"THE_KEY": secret}).redact})
    assert outcome == "COMPLETE"
    assert diff is not None
    assert secret not in diff
    assert " KEY = '[redacted:THE_KEY]'\n-OLD = 1\n+OLD = 2\n" in diff


async def test_bytes_that_are_no_text_do_not_keep_an_attempt_from_ending(sqlite_url: str, tmp_path: Path):
    workspace = make_workspace(tmp_path / "workspace")
    (workspace / "data.bin").write_bytes(bytes(range(256)) * 8 + b"\xed\xa0\x80\n")
    git(workspace, "add", "--all")
    git(workspace, "commit", "--quiet", "--message", "bytes")
    async with staged(sqlite_url, workspace) as stage:
        stage.llm.will(Role.BUILDER, "*** Begin Patch\n*** Delete File: data.bin\n*** End Patch\n")
        await stage.create(making("data.bin"))
        outcome, diff = await drained(stage)
    assert outcome == "NEEDS_APPROVAL"
    assert diff is not None
    assert "deleted file mode" in diff
    assert "\0" not in diff


async def test_of_a_very_long_diff_the_beginning_is_kept(stage: Stage):
    contents = {f"out/{n}.txt": f"{n}: {'word ' * 15}\n" * 2_000 for n in range(2)}
    stage.llm.will(Role.BUILDER, files(contents))
    await stage.create(making("out/"))
    outcome, diff = await drained(stage)
    assert outcome == "NEEDS_APPROVAL"  # no auditor sees all of it
    assert diff is not None
    assert is_cut(diff)
    assert MAX_KEPT_DIFF_CHARS - 200 < len(diff) <= MAX_KEPT_DIFF_CHARS
