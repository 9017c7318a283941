"""An approval is good for one diff, on one base, under one policy, with one check report; what differs is named."""

import sqlite3
from contextlib import closing

import pytest

from autopack.domain.messages import Role
from autopack.domain.phases import AttemptOutcome, PhaseState
from tests.executor.support_pipeline import files, staged
from tests.support import git, make_workspace, phase

pytestmark = pytest.mark.anyio

MAKEFILE = files({"Makefile": "all:\n\techo hello\n"})
SETTINGS = "[policy]\nmax_files = 50\n"


@pytest.fixture
async def approved(sqlite_url, tmp_path):
    """A run whose only phase was approved, and not yet drained again."""
    workspace = make_workspace(tmp_path / "w", {"autopack.toml": SETTINGS, "src/old.py": "OLD = 1\n"})
    async with staged(sqlite_url, workspace) as stage:
        scope = {"deliverables": ["Makefile"], "checks": ["grep -q hello Makefile"]}
        await stage.create(phase("p1", scope=scope))
        stage.llm.will(Role.BUILDER, MAKEFILE)
        await stage.drain()
        assert (await stage.phase()).state is PhaseState.GATE
        await stage.approve()
        yield stage


async def requests(stage):
    return {request.status: request for request in await stage.client.approvals(run_id="r1")}


async def test_what_is_stored_binds_it(approved):
    (request,) = await approved.client.approvals(run_id="r1")
    (attempt,) = await approved.attempts()
    assert request.base_commit == git(approved.workspace, "rev-parse", "main")
    assert request.policy_hash == attempt.policy_hash
    assert request.checks_hash
    assert request.attempt_id == attempt.attempt_id


async def test_another_policy_voids_it_and_asks_anew_without_a_builders_call(approved):
    approved.push("autopack.toml", "[policy]\nmax_files = 49\n")
    await approved.drain()
    found = await requests(approved)
    assert (await approved.phase()).state is PhaseState.GATE
    assert found["void"].void_reason == "changed since it was approved: the base, the policy"
    assert found["pending"].policy_hash != found["void"].policy_hash
    assert len(approved.built) == 1
    await approved.approve()
    await approved.drain()
    assert (await approved.phase()).state is PhaseState.COMPLETE


async def test_a_policy_that_refuses_it_by_now_is_not_overruled(approved):
    approved.push("autopack.toml", '[policy]\nprotected = ["Makefile"]\n')
    await approved.drain()
    assert (await approved.phase()).state is PhaseState.FAILED
    assert "protected by the policy" in ((await approved.phase()).failure_reason or "")
    assert (await requests(approved))["void"].void_reason
    verdict = (await approved.attempts())[-1].verdict
    assert (verdict["decision"], verdict["failure_kind"]) == ("blocked", "policy_violation")
    assert [each["rule"] for each in verdict["violations"]] == ["protected by the policy"]


async def test_another_check_report_voids_it(approved, sqlite_url):
    (request,) = await approved.client.approvals(run_id="r1")
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE approval_requests SET checks_hash = 'of other checks'")
    await approved.drain()
    found = await requests(approved)
    assert found["void"].void_reason == "changed since it was approved: the check report"
    assert found["pending"].checks_hash == request.checks_hash


async def test_a_conftest_that_was_approved_is_checked_as_it_will_be(sqlite_url, tmp_path):
    """Green with the base's configuration is not enough for what goes in."""
    workspace = make_workspace(tmp_path / "w", {"src/old.py": "OLD = 1\n"})
    check = "! test -f sitecustomize.py || { echo broken by it; exit 1; }"
    async with staged(sqlite_url, workspace) as stage:
        scope = {"paths": ["src/", "sitecustomize.py"], "deliverables": ["src/new.py"], "checks": [check]}
        await stage.create(phase("p1", scope=scope, max_attempts=1))
        stage.llm.will(
            Role.BUILDER, files({"src/new.py": "N = 1\n", "sitecustomize.py": "raise SystemExit\n"})
        )
        await stage.drain()
        assert (await stage.phase()).state is PhaseState.GATE
        await stage.approve()
        await stage.drain()
        last = (await stage.attempts())[-1]
        assert last.outcome is AttemptOutcome.FAILED
        assert "broken by it" in (last.reason or "")
        assert stage.head() == git(workspace, "rev-parse", "main")
