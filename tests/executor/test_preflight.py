"""A drain tried out: its checks really run at the base, its calls are weighed against the caps, and nothing is changed."""

import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from autopack.domain import budget
from autopack.domain.budget import Promise
from autopack.domain.caps import Account, DailyAccount
from autopack.domain.estimate import SHIPPED, Estimate, Features
from autopack.domain.messages import ProviderMode
from autopack.domain.phases import Phase, PhaseState, Run, RunState, Scope
from autopack.domain.preflight import Finding, Level
from autopack.executor.builder import Builder
from autopack.executor.ground import read_ground
from autopack.executor.outlay import Outlay, Purse
from autopack.executor.preflight import Preflight, Trial
from autopack.llm.pricing import Prices
from autopack.workspace.checks import open_checks
from autopack.workspace.git import GitWorkspace
from autopack.workspace.sandbox import Sandbox, SandboxLevel
from tests.executor.support_pipeline import ScriptedLLM
from tests.support import git, make_workspace

pytestmark = pytest.mark.anyio
NOW = datetime(2030, 1, 1, tzinfo=UTC)
RUN = Run(run_id="r1", goal="g", state=RunState.QUEUED, plan_hash="0" * 64, created_at=NOW)
PYTEST = f"{sys.executable} -m pytest -q -p no:cacheprovider"
SETTINGS = '[checks]\nenv = { PYTEST_DISABLE_PLUGIN_AUTOLOAD = "1" }\n'
TESTS = "def test_right():\n    assert True\n\ndef test_wrong():\n    assert False\n"


def phase(phase_id: str, checks: tuple[str, ...] = (), **more: Any) -> Phase:
    makes = more.pop("makes", (f"out/{phase_id}.txt",))
    scope = Scope(paths=("out/",), deliverables=makes, checks=checks)
    values = {
        "run_id": "r1", "tier_id": "T1", "tier_index": 0, "phase_index": 0, "name": phase_id, "goal": "g", "task_category": "tests",
        "complexity": "low", "state": PhaseState.QUEUED, "created_at": NOW, "updated_at": NOW,
    }  # fmt: skip
    return Phase(phase_id=phase_id, scope=scope, **{**values, **more})


async def flown(
    workspace: Path, *phases: Phase, run: Run = RUN, level: SandboxLevel = SandboxLevel.LIMITS
) -> Preflight:
    opened = await GitWorkspace.open(workspace)
    ground = await read_ground(opened, await opened.head_commit())
    async with open_checks(opened, Sandbox(level=level)) as checks:
        return await Trial(
            run=run, phases=phases, git=opened, ground=ground, checks=checks, outlay=None
        ).fly()


def about(found: Preflight | list[Finding], topic: str) -> list[tuple[Level, str]]:
    findings = found.findings if isinstance(found, Preflight) else found
    return [(each.level, each.text) for each in findings if each.about == topic]


async def test_each_check_is_run_at_the_base_and_its_colour_told(tmp_path: Path):
    workspace = make_workspace(tmp_path / "w", {"test_it.py": TESTS, "autopack.toml": SETTINGS})
    before = git(workspace, "for-each-ref"), git(workspace, "count-objects", "-v")
    commands = ("echo made > made.txt", "test -f out/p1.txt", "exit 3", "no-such-program --flag", PYTEST)
    found = await flown(workspace, phase("p1", commands), phase("p2", ("true",)))
    assert [(each.command, each.green, each.phases) for each in found.checks] == [
        (commands[0], True, ("p1",)), (commands[1], False, ("p1",)), (commands[2], False, ("p1",)),
        (commands[3], False, ("p1",)), (PYTEST, False, ("p1",)), ("true", True, ("p2",)),
    ]  # fmt: skip
    assert found.checks[4].tests == {"passed": 1, "failed": 1}
    told = dict(about(found, "checks"))
    assert "there is no program no-such-program where checks run" in told[Level.PROBLEM]
    assert "red at the base, where out/p1.txt is yet to be made" in told[Level.NOTE]
    warnings = [text for level, text in about(found, "checks") if level is Level.WARNING]
    assert "exit 3: red at the base: exit code 3" in warnings[0]
    assert "1 of 2 tests fail (test_it::test_wrong)" in warnings[1]
    assert not found.ready
    assert (git(workspace, "for-each-ref"), git(workspace, "count-objects", "-v")) == before
    assert git(workspace, "status", "--short") == ""


async def test_a_run_of_tests_without_any_is_a_problem_unless_they_are_to_be_made(tmp_path: Path):
    workspace = make_workspace(tmp_path / "w", {"README.md": "x\n", "autopack.toml": SETTINGS})
    found = await flown(workspace, phase("p1", (PYTEST,)))
    assert about(found, "checks")[0][0] is Level.PROBLEM
    found = await flown(workspace, phase("p1", (PYTEST,), makes=("out/test_new.py",)))
    assert [level for level, _ in about(found, "checks")] == [Level.NOTE]
    assert found.ready


async def test_checks_that_cannot_begin_are_told_and_all_else_as_well(tmp_path: Path):
    settings = '[checks]\ncommands = ["true"]\nkeep = [".venv"]\n'
    workspace = make_workspace(tmp_path / "w", {"autopack.toml": settings})
    found = await flown(workspace, phase("p1", makes=("autopack.toml",)))
    assert [level for level, _ in about(found, "checks")] == [Level.PROBLEM]
    assert "keep names .venv" in about(found, "checks")[0][1]
    assert about(found, "policy")[0][0] is Level.PROBLEM


async def test_a_check_that_runs_out_of_time_is_a_problem(tmp_path: Path):
    settings = '[checks]\ncommands = ["sleep 30"]\ntimeout_seconds = 0.2\n'
    found = await flown(make_workspace(tmp_path / "w", {"autopack.toml": settings}), phase("p1"))
    ((level, text),) = about(found, "checks")
    assert (level, "time limit" in text) == (Level.PROBLEM, True)


async def test_settings_that_are_not_committed_and_missing_checks_are_told(tmp_path: Path):
    workspace = make_workspace(tmp_path / "w")
    (workspace / "autopack.toml").write_text('[checks]\ncommands = ["false"]\n')
    found = await flown(workspace, phase("p1"))
    assert about(found, "checks") == [(Level.WARNING, "no checks: nothing but the auditor judges the work")]
    assert "autopack.toml is not in the base" in about(found, "settings")[0][1]
    assert about(found, "sandbox")[0][0] is Level.WARNING


async def test_only_phases_that_wait_are_tried(tmp_path: Path):
    workspace = make_workspace(tmp_path / "w")
    begun = phase("p1", ("false",), state=PhaseState.COMPLETE, started_at=NOW)
    failed = phase("p2", ("false",), state=PhaseState.FAILED, started_at=NOW)
    found = await flown(workspace, begun, failed, phase("p3", ("true",)), run=replace(RUN, max_phases=2))
    assert [each.command for each in found.checks] == ["true"]
    assert "max_phases is 2: 2 were started, 1 are yet to be" in about(found, "caps")[0][1]
    assert [each.phases for each in found.findings if each.about == "run"] == [("p2",)]
    done = await flown(workspace, begun)
    assert about(done, "run") == [(Level.NOTE, "no phase is waiting: there is nothing to drain")]


# What the models would take


@dataclass
class Priced(ScriptedLLM):
    model = "openai:gpt-4o"
    provider_mode = ProviderMode.LIVE


async def ask(features: Features, model: str, limit: int) -> Estimate:
    promise = Promise(target=0.05, asked=0, missed=0)
    return budget.estimate(
        features, model, coefficients=SHIPPED, samples=(), promise=promise, output_limit=limit
    )


async def weighed(workspace: Path, run: Run = RUN, **more: Any) -> tuple[Outlay, list[Finding]]:
    opened = await GitWorkspace.open(workspace)
    ground = await read_ground(opened, await opened.head_commit())
    llm = more.pop("llm", Priced())
    builder = more.pop("builder", Builder(llm=llm, git=opened))
    purse = Purse(
        run=run, ground=ground, builder=builder, auditor=llm, choose=lambda *_: None, prices=Prices(),
        ask=ask, now=NOW, basis="a test", **more,
    )  # fmt: skip
    return await purse.outlay([phase("p1"), phase("p2")])


async def test_an_estimate_has_tokens_and_money_of_every_phase(workspace: Path):
    outlay, findings = await weighed(workspace)
    assert outlay.tokens == sum(part.tokens for part in outlay.parts)
    assert outlay.cost_usd is not None
    assert outlay.cost_usd > 0
    assert all(part.first_call > part.tokens for part in outlay.parts)
    assert [each.level for each in findings] == [Level.OK]
    replayed, _ = await weighed(workspace, llm=ScriptedLLM())
    assert (replayed.tokens, replayed.cost_usd) == (outlay.tokens, 0)


@pytest.mark.parametrize("room", [1.0, 1.05])
async def test_a_cap_below_what_is_expected_is_a_problem(workspace: Path, room: float):
    outlay, _ = await weighed(workspace)
    assert outlay.cost_usd is not None
    most = max(part.first_call for part in outlay.parts)
    stuck = replace(RUN, token_cap=most + 99, tokens_used=100)
    _, findings = await weighed(workspace, stuck)
    assert "would be refused" in findings[1].text
    assert findings[1].phases == ("p1", "p2")
    enough = replace(RUN, token_cap=max(most, outlay.tokens), cost_cap_usd=outlay.cost_usd * 100)
    _, findings = await weighed(workspace, enough)
    assert [each.level for each in findings] == [Level.OK]
    _, findings = await weighed(workspace, replace(RUN, cost_cap_usd=outlay.cost_usd * 0.5 * room))
    assert [each.level for each in findings] == [Level.OK, Level.PROBLEM]


async def test_a_cost_cap_without_a_price_is_a_problem(workspace: Path):
    @dataclass
    class Unknown(Priced):
        model = "openai:nobody-knows-it"

    outlay, findings = await weighed(workspace, replace(RUN, cost_cap_usd=5.0), llm=Unknown())
    assert outlay.cost_usd is None
    assert "the price of openai:nobody-knows-it is unknown" in findings[1].text


async def test_the_cap_of_the_day_only_makes_a_run_wait(workspace: Path):
    day = DailyAccount(
        day="2030-01-01", ends_at=NOW + timedelta(days=1), account=Account(token_cap=100, cost_cap_usd=0.01)
    )
    _, findings = await weighed(workspace, day=day)
    assert [each.level for each in findings] == [Level.OK, Level.WARNING, Level.WARNING]


async def test_a_phase_that_no_answer_can_hold_is_a_problem(workspace: Path):
    opened = await GitWorkspace.open(workspace)
    small = Builder(llm=Priced(), git=opened, output_limit_for=lambda model: 300)
    _, findings = await weighed(workspace, builder=small)
    assert [each.phases for each in findings if each.level is Level.PROBLEM] == [("p1",), ("p2",)]
    assert "too large for one answer" in findings[0].text
