"""What a phase's work is worth by its checks: real projects, real pytest, and builders that cheat."""

from collections.abc import Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from autopack.domain.changes import Change, File
from autopack.domain.phases import Claim, FailureKind, Phase, PhaseState, Run, RunState, Scope
from autopack.domain.testing import CommandRun, Comparison, RunKind, TestOutcome, TestResult
from autopack.executor.baselines import from_json
from autopack.executor.checking import Checked, Checking, hash_of, open_checking, without_flaky
from autopack.executor.rerun import rerun
from autopack.workspace.checks import CheckReport, CheckResult, CheckSettings, Job
from autopack.workspace.git import GitWorkspace
from autopack.workspace.process import Limits
from autopack.workspace.sandbox import Sandbox, SandboxLevel
from tests.workspace.conftest import Repository
from tests.workspace.support_checks import CALC, PYTEST, SETTINGS, TESTS

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BASE = {"calc.py": CALC, "tests/test_calc.py": TESTS}
RIGHT, WRONG = "tests.test_calc::test_right", "tests.test_calc::test_wrong"


class Store:
    """Baselines as the API keeps them."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str, str], Any] = {}

    async def baseline(self, *key: str) -> Any:
        return self.kept.get(key)

    async def store_baseline(self, *given: Any) -> Any:
        return self.kept.setdefault(given[:3], given[3])


def claim(category: str = "implementation", **scope: Any) -> Claim:
    run = Run(run_id="r1", goal="g", state=RunState.RUNNING, plan_hash="h", created_at=NOW)
    phase = Phase(
        run_id="r1", phase_id="p1", tier_id="T1", tier_index=0, phase_index=0, name="n", goal="g", task_category=category,
        complexity="low", state=PhaseState.EXECUTING, scope=Scope(**scope), created_at=NOW, updated_at=NOW,
    )  # fmt: skip
    return Claim(attempt_id="a1", lease_token="t", lease_expires_at=NOW, number=1, run=run, phase=phase)


class Bench:
    """A project at a base, and phases that change it."""

    def __init__(self, repository: Repository, git: GitWorkspace, checking: Checking, base: str) -> None:
        self.repository, self.git, self.checking, self.base = repository, git, checking, base
        self.steps: list[str] = []

    async def judge(
        self, changed: Mapping[str, str | None], *, category: str = "implementation", deliverables: tuple[str, ...] = (),
        checks: tuple[str, ...] = (PYTEST,), settings: CheckSettings = SETTINGS, trusted: bool = False,
    ) -> Checked:  # fmt: skip
        before = await self.git.read_files(self.base, changed)
        changes = [
            Change(
                path=path,
                before=before.get(path),
                after=None if text is None else File(content=text.encode()),
            )
            for path, text in changed.items()
        ]
        tree = await self.git.result_tree(self.base, changes)
        self.steps.clear()
        return await self.checking.judge(
            claim(category, checks=checks, deliverables=deliverables), base=self.base, tree=tree, changes=changes,
            settings=settings, trusted=trusted, step=self.steps.append,
        )  # fmt: skip

    def commit(self, changed: Mapping[str, str]) -> None:
        for path, text in changed.items():
            self.repository.write(path, text)
        self.base = self.repository.commit_all()


@asynccontextmanager
async def opened(path: Path, files: Mapping[str, str], store: Store | None = None):
    await anyio.Path(path).mkdir()
    repository = Repository(path)
    repository.git("init", "-q", "-b", "main")
    for name, text in files.items():
        repository.write(name, text)
    base = repository.commit_all()
    git = await GitWorkspace.open(path)
    async with open_checking(git, Sandbox(level=SandboxLevel.LIMITS), store or Store()) as checking:
        yield Bench(repository, git, checking, base)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def bench(tmp_path_factory):
    """One base for all tests that do not commit: its baseline is run once."""
    async with opened(tmp_path_factory.mktemp("bench") / "project", BASE) as made:
        yield made


BROKEN = "def add(a, b):\n    return a - b\n"
ONLY_RIGHT = TESTS.partition("def test_wrong")[0]
MARKED = TESTS.replace("def test_wrong", "@pytest.mark.{}\ndef test_wrong").replace(
    "\nfrom", "import pytest\nfrom", 1
)
CURE = "import calc\ncalc.add = lambda a, b: a + b\n"
DECIDING = {
    "conftest.py": "def pytest_collection_modifyitems(items): items.clear()\n",
    "sitecustomize.py": "import os; os._exit(0)\n",
    "pytest.ini": "[pytest]\naddopts = -k wrong\n",
    "pytest.py": "raise SystemExit(0)\n",
    "evil.egg-info/entry_points.txt": "[pytest11]\nevil = evil\n",
}


@pytest.mark.parametrize(
    ("changed", "kind", "word"),
    [
        pytest.param({"calc.py": BROKEN}, FailureKind.CHECKS_FAILED, f"newly failing: {RIGHT}", id="breaks a test"),
        pytest.param({"tests/test_calc.py": ONLY_RIGHT}, FailureKind.TESTS_VANISHED, WRONG, id="deletes the failing test"),
        pytest.param({"tests/test_calc.py": None}, FailureKind.TESTS_VANISHED, WRONG, id="deletes all tests"),
        pytest.param({"tests/test_calc.py": MARKED.format("skip")}, FailureKind.TESTS_SKIPPED, WRONG, id="adds skip"),
        pytest.param({"tests/test_calc.py": MARKED.format("xfail")}, FailureKind.TESTS_SKIPPED, "expected to fail", id="adds xfail"),
        pytest.param({"calc.py": BROKEN, **DECIDING}, FailureKind.CHECKS_FAILED, RIGHT, id="changes what decides how tests run"),
        pytest.param({"calc.py": "import os; os._exit(0)\n"}, FailureKind.CHECKS_VOID, "no test report", id="exits 0 early"),
        pytest.param({"calc.py": "def add(a, b) return\n"}, FailureKind.COLLECTION_ERROR, "tests.test_calc", id="cannot be imported"),
        pytest.param(
            {"calc.py": BROKEN, "tests/test_calc.py": TESTS.replace("== 3", "== -1")}, FailureKind.TESTS_WEAKENED, RIGHT,
            id="adapts the test",
        ),
        pytest.param(
            {"tests/test_calc.py": TESTS.replace("== 4", "== 3")}, FailureKind.TESTS_WEAKENED, WRONG, id="fixes the test, not the code"
        ),
        pytest.param({"tests/test_calc.py": TESTS.replace("add(1, 2) == 4", "True")}, FailureKind.TESTS_WEAKENED, WRONG, id="asserts nothing"),
        pytest.param({"calc.py": BROKEN, "tests/__init__.py": CURE}, FailureKind.CHECKS_FAILED, "without the new tests/__init__.py", id="a new file cures it"),
        pytest.param({"calc.py": "import os; os._exit(0)\n", "tests/calc.py": CALC}, FailureKind.CHECKS_FAILED, "without the new tests/calc.py", id="a new file hides it"),
    ],
)  # fmt: skip
async def test_cheating_is_refused_each_for_its_own_reason(bench: Bench, changed, kind, word):
    checked = await bench.judge(changed)
    told = (checked.verdict.failure_kind, checked.verdict.reasons)
    assert told[0] is kind, checked.report.summary()
    assert word in " ".join(told[1])
    assert not checked.report.passed


async def test_what_failed_before_does_not_block_and_the_base_is_checked_once(tmp_path: Path):
    store = Store()
    async with opened(tmp_path / "project", BASE, store) as bench:
        first = await bench.judge({"other.py": "x = 1\n"})
        assert first.verdict.passed
        assert first.report.evidence["comparisons"] == [{"already_failing": [WRONG]}]
        assert "No check is worse than at the base" in first.report.summary()
        assert "checking the base" in bench.steps
        assert len(store.kept) == 1
        again = await bench.judge(
            {"calc.py": "def add(a, b):\n    return 4 if (a, b) == (1, 2) else a + b\n"}
        )
        assert again.verdict.reasons == (f"newly failing: {RIGHT}",)
        assert again.report.evidence["comparisons"][0]["fixed"] == [WRONG]
        assert again.checks_hash != first.checks_hash


async def test_a_tree_that_was_checked_as_a_result_is_not_checked_again_as_a_base(tmp_path: Path):
    store = Store()
    async with opened(tmp_path / "project", BASE, store) as bench:
        await bench.judge({"other.py": "x = 1\n"})
        bench.commit({"other.py": "x = 1\n"})
        runs = bench.checking.checks.run
        counted: list[Any] = []

        async def counting(job):
            counted.append(job)
            return await runs(job)

        object.__setattr__(bench.checking.checks, "run", counting)
        checked = await bench.judge({"other.py": "x = 2\n"})
        assert (checked.verdict.passed, len(counted), len(store.kept)) == (True, 1, 2)


@pytest.mark.parametrize("stored", [
    {"runs": []}, {"runs": "x"}, {}, {"runs": [{}]}, {"runs": [{**CommandRun(command="c", kind=RunKind.PASSED).to_json(), "kind": "no"}]},
    {"runs": [CommandRun(command="other", kind=RunKind.PASSED).to_json()]},
])  # fmt: skip
def test_a_stored_baseline_that_is_not_ours_is_made_anew(stored):
    assert from_json(stored, ["c"]) is None
    assert from_json({"runs": [CommandRun(command="c", kind=RunKind.PASSED).to_json()]}, ["c"]) is not None


async def test_of_two_workers_that_checked_a_base_at_once_the_first_ones_word_counts(tmp_path: Path):
    class Late(Store):
        """Another worker stored its own run a moment ago, in which everything passed."""

        async def store_baseline(self, *given: Any) -> Any:
            (run,) = given[3]["runs"]
            return {
                "runs": [
                    {
                        **run,
                        "outcomes": {"passed": [each for ids in run["outcomes"].values() for each in ids]},
                    }
                ]
            }

    async with opened(tmp_path / "project", BASE, Late()) as bench:
        checked = await bench.judge({"calc.py": f"{CALC}\n"})
    assert checked.verdict.reasons == (f"newly failing: {WRONG}",)


async def test_a_stored_baseline_is_used(tmp_path: Path):
    store = Store()
    async with opened(tmp_path / "project", BASE, store) as bench:
        await bench.judge({"other.py": "x = 1\n"})
        (key,) = store.kept
        ours = store.kept[key]
        bench.checking.baselines._known.clear()
        store.kept[key] = {"runs": [{**ours["runs"][0], "outcomes": {"passed": [RIGHT, WRONG]}}]}
        checked = await bench.judge({"other.py": "x = 1\n"})
        assert checked.verdict.reasons == (f"newly failing: {WRONG}",)


NEW_TEST = "from calc import add{more}\n\ndef test_new():\n    assert {asserted}\n"
BOTH = "from calc import add\n\ndef test_old():\n    assert add(1, 1) == 2\n\ndef test_new():\n    from calc import sub\n    assert sub(3, 1) == 2\n"
SUB = CALC + "\ndef sub(a, b):\n    return a - b\n"


@pytest.mark.parametrize(
    ("test", "category", "kind"),
    [
        pytest.param(NEW_TEST.format(more=", sub", asserted="sub(3, 1) == 2"), "implementation", None, id="red first"),
        pytest.param(NEW_TEST.format(more="", asserted="add(3, 1) == 4"), "implementation", "pass without the change", id="green already"),
        pytest.param(NEW_TEST.format(more="", asserted="add(3, 1) == 4"), "tests", None, id="a phase of tests"),
        pytest.param("from calc import sub\n", "implementation", "no check ran a test", id="no test in it"),
        pytest.param(BOTH, "implementation", None, id="one of them red first"),
    ],
)  # fmt: skip
async def test_new_tests_fail_without_the_change(bench: Bench, test, category, kind):
    changed = {"calc.py": SUB, "tests/test_new.py": test}
    checked = await bench.judge(changed, category=category, deliverables=("tests/test_new.py", "calc.py"))
    if kind is None:
        assert checked.verdict.passed, checked.report.summary()
        assert ("green without the change as well: tests.test_new::test_old" in checked.report.summary()) is (
            test == BOTH
        )
        return
    assert checked.verdict.failure_kind is FailureKind.NOT_RED_FIRST
    assert kind in checked.verdict.reasons[0]


async def test_a_new_test_in_a_file_of_the_base_fails_without_the_change_too(bench: Bench):
    """One that only has another name now does not have to."""
    renamed = TESTS.replace("test_right", "test_is_right")
    given = {"deliverables": ("tests/test_calc.py", "calc.py")}
    checked = await bench.judge(
        {"calc.py": SUB, "tests/test_calc.py": renamed + "\ndef test_sub():\n    assert 3 - 1 == 2\n"},
        **given,
    )
    assert checked.verdict.reasons == (
        "not red first: these new tests pass without the change: tests.test_calc::test_sub",
    )
    honest = await bench.judge({"calc.py": SUB, "tests/test_calc.py": renamed}, **given)
    assert (honest.verdict.passed, honest.verdict.asks) == (True, ()), honest.report.summary()
    assert honest.report.evidence["comparisons"][0]["moved"] == [RIGHT]


@pytest.mark.parametrize(
    ("test", "reason", "ask"),
    [("# nothing\n", "no check ran a test of", ""), ("def test_it():\n    pass\n", "", "no test of tests/test_new.py asserts anything")],
    ids=["no test", "no assertion"],
)  # fmt: skip
async def test_a_phase_of_tests_delivers_tests_that_assert(bench: Bench, test: str, reason: str, ask: str):
    checked = await bench.judge(
        {"tests/test_new.py": test}, category="tests", deliverables=("tests/test_new.py",)
    )
    assert reason in "".join(checked.verdict.reasons)
    assert ask in "".join(checked.verdict.asks)
    assert checked.verdict.passed is not bool(reason)


async def test_tests_may_move_and_where_their_file_is_deleted_a_person_decides(bench: Bench):
    given = {"category": "refactoring"}
    moved = await bench.judge({"tests/test_calc.py": None, "tests/unit/test_sum.py": TESTS}, **given)
    assert (moved.verdict.passed, moved.verdict.asks) == (True, ()), moved.report.summary()
    gone = {
        "calc.py": None,
        "tests/test_calc.py": None,
        "tests/test_new.py": "def test_it():\n    assert 1\n",
    }
    removed = await bench.judge(gone, **given)
    assert removed.verdict.passed, removed.report.summary()
    assert len([ask for ask in removed.verdict.asks if RIGHT in ask]) == 2


async def test_a_phase_that_was_asked_to_change_tests_has_a_person_decide(bench: Bench):
    changed = {"calc.py": BROKEN, "tests/test_calc.py": TESTS.replace("== 3", "== -1")}
    checked = await bench.judge(changed, deliverables=("tests/test_calc.py",))
    assert (checked.verdict.passed, checked.verdict.reasons) == (True, ())
    assert RIGHT in checked.verdict.asks[0]
    removed = await bench.judge(
        {"tests/test_calc.py": ONLY_RIGHT}, category="tests", deliverables=("tests/test_calc.py",)
    )
    assert removed.verdict.passed
    assert WRONG in removed.verdict.asks[0]


async def test_what_a_person_approved_is_taken_as_it_is(bench: Bench):
    changed = {"tests/test_calc.py": ONLY_RIGHT, "conftest.py": "import calc\n"}
    refused = await bench.judge(changed)
    assert refused.report.evidence["frozen"] == ["conftest.py"]
    assert "conftest.py" in refused.report.notes[0]
    approved = await bench.judge(changed, trusted=True)
    assert (approved.verdict.passed, approved.verdict.asks, approved.report.evidence["frozen"]) == (
        True,
        (),
        [],
    )


class Scripted:
    """Checks of one test, that ends as the script says, run for run."""

    def __init__(self, says: str) -> None:
        self.says, self.trees, self.git = list(says), [], self
        self.selected: list[bool] = []

    async def result_tree(self, base: str, changes: Any) -> str:
        return f"tree of {base}"

    async def run(self, job: Job) -> CheckReport:
        self.trees.append(job.tree)
        outcome = TestOutcome.PASSED if self.says.pop(0) == "P" else TestOutcome.FAILED
        self.selected.append(job.select.ids is not None)
        test_id = "t::x"
        result = CheckResult(
            command="c", kind=RunKind.FAILED, exit_code=1, signal=None, timed_out=False, duration_seconds=0.0, output="",
            survivors=0, tests={test_id: TestResult(test_id=test_id, outcome=outcome)},
        )  # fmt: skip
        return CheckReport(results=(result,), level="limits")


@pytest.mark.parametrize(
    ("says", "flaky"),
    [("PP", True), ("PFF", True), ("PFP", False), ("F", False)],
    ids=["passes twice", "fails at the base too", "fails only among others", "broken"],
)
async def test_a_flaky_test_is_told_from_a_broken_one(says: str, flaky: bool):
    """Run again: the work, alone; the work with all its tests; the base with all its tests."""
    checks: Any = Scripted(says)
    job = Job(tree="work", base="base", commands=("c",), settings=SETTINGS)
    found, seen = await rerun(checks, job, 0, ["t::x"])
    assert found == ({"t::x"} if flaky else frozenset())
    assert checks.trees == ["work", "work", "tree of base"][: len(says)]
    assert checks.selected == [True, False, False][: len(says)]
    assert list(seen) == ["work", "work, all tests", "base, all tests"][: len(says)]


async def test_what_fails_by_the_dozen_does_not_fail_by_chance():
    found, seen = await rerun(
        Scripted(""), Job(tree="w", base="b", commands=("c",), settings=SETTINGS), 0, ["t::x"] * 51
    )  # type: ignore[arg-type]
    assert (found, seen) == (frozenset(), {"left_out": "51 tests: not run again"})


async def test_a_flaky_test_does_not_block_and_is_told(tmp_path: Path):
    """The test passes but for the first time."""
    ran = tmp_path / "ran"
    text = f"import pathlib\ndef test_it():\n    ran = pathlib.Path({str(ran)!r})\n    known = ran.exists()\n    ran.touch()\n    assert known\n"
    async with opened(tmp_path / "project", {"tests/test_it.py": text}) as bench:
        checked = await bench.judge({"other.py": "x = 1\n"})
    assert checked.verdict.passed
    evidence = checked.report.evidence["comparisons"][0]
    assert evidence["flaky"] == ["tests.test_it::test_it"]
    assert evidence["run_again"]["work, all tests"] == {"tests.test_it::test_it": "passed"}
    assert "flaky" in checked.report.summary()


def test_chance_does_not_change_what_an_approval_is_bound_to():
    """A flaky test is red in one report and green in the next: both tell the same of the work."""

    red = CommandRun(command="c", kind=RunKind.FAILED, exit_code=1, outcomes={"t::x": TestOutcome.FAILED})
    green = CommandRun(command="c", kind=RunKind.PASSED, exit_code=0, outcomes={"t::x": TestOutcome.PASSED})
    flaky = without_flaky(red, Comparison(flaky=("t::x",)))
    assert hash_of((flaky,)) == hash_of((green,)) != hash_of((red,))
    by_code = [CommandRun(command="c", kind=RunKind.FAILED, exit_code=code) for code in (1, 2)]
    assert hash_of((by_code[0],)) != hash_of((by_code[1],))


async def test_a_makefile_that_was_asked_for_is_used_and_a_person_decides(bench: Bench):
    made = "test:\n\ttest -f calc.py\n"
    given = {"deliverables": ("Makefile",), "checks": ("make test",)}
    checked = await bench.judge({"Makefile": made}, **given)
    assert checked.verdict.passed, checked.report.summary()
    assert "only with its own Makefile" in checked.verdict.asks[0]
    bad = await bench.judge({"Makefile": "test:\n\tfalse\n"}, **given)
    assert bad.verdict.failure_kind is FailureKind.CHECKS_FAILED


UNITTEST = "import unittest\nfrom calc import {name}\nclass T(unittest.TestCase):\n    def test_it(self):\n        self.assertEqual({name}(3, 1), {result})\n"


@pytest.mark.parametrize(
    ("test", "passes"),
    [(UNITTEST.format(name="sub", result=2), True), (UNITTEST.format(name="add", result=4), False)],
    ids=["red first", "green already"],
)
async def test_by_exit_code_a_runner_of_tests_must_be_red_first(tmp_path: Path, test, passes):
    base = {"calc.py": CALC, "test_old.py": UNITTEST.format(name="add", result=4)}
    async with opened(tmp_path / "project", base) as bench:
        checked = await bench.judge(
            {"calc.py": SUB, "test_new.py": test},
            deliverables=("test_new.py",),
            checks=("python3 -m unittest",),
        )
        assert (checked.verdict.passed, checked.verdict.failure_kind) == (
            passes,
            None if passes else FailureKind.NOT_RED_FIRST,
        )
        adapted = {"calc.py": BROKEN, "test_old.py": UNITTEST.format(name="add", result=2)}
        weak = await bench.judge(adapted, checks=("python3 -m unittest",))
        assert weak.verdict.failure_kind is FailureKind.TESTS_WEAKENED


async def test_commands_that_only_have_an_exit_code(bench: Bench):
    green = await bench.judge({"x": "1"}, checks=("test -f x",))
    assert (green.verdict.passed, bench.steps) == (True, [])
    worse = await bench.judge({"calc.py": None}, checks=("test -f calc.py",))
    assert "it passes at the base" in worse.verdict.reasons[0]
    both = await bench.judge({"x": "1"}, checks=("false", "touch never"))
    assert "cannot be told apart" in both.verdict.reasons[0]
    late = await bench.judge(
        {"x": "1"}, checks=("sleep 9",), settings=CheckSettings(limits=Limits(wall_seconds=0.2))
    )
    assert late.verdict.failure_kind is FailureKind.CHECKS_TIMED_OUT
    none = await bench.judge({"x": "1"}, checks=(f"{PYTEST} -k nothing_at_all",))
    assert none.verdict.failure_kind is FailureKind.NO_TESTS


async def test_a_failing_test_that_the_phase_itself_names_is_what_it_is_for(bench: Bench):
    checks = (f"{PYTEST} -k test_wrong",)
    still = await bench.judge({"x": "1"}, checks=checks)
    assert still.verdict.reasons == (f"named by the phase itself, and still failing: {WRONG}",)
    assert (await bench.judge({"calc.py": CALC.replace("a + b", "4")}, checks=checks)).verdict.passed


async def test_a_base_without_tests_is_not_run(tmp_path: Path):
    async with opened(tmp_path / "project", {"calc.py": CALC}) as bench:
        checked = await bench.judge({"test_calc.py": TESTS.partition("def test_wrong")[0]})
        assert (checked.verdict.passed, bench.steps) == (True, [])
        assert "nothing to compare with" in checked.report.summary()


async def test_commands_are_the_phases_else_the_projects_else_what_is_there(tmp_path: Path):
    base = {"calc.py": CALC, "Makefile": "test:\n\ttrue\n"}
    async with opened(tmp_path / "project", base) as bench:
        named = CheckSettings(commands=("test -f calc.py",))
        assert await commands_of(bench, {"x": "1"}, settings=named) == ["test -f calc.py"]
        assert await commands_of(bench, {"x": "1"}) == ["make test"]
        # Of the base: a phase cannot do away with its checks.
        assert await commands_of(bench, {"Makefile": None}, trusted=True) == ["make test"]


async def commands_of(bench: Bench, changed: Mapping[str, str | None], **more: Any) -> list[str]:
    checked = await bench.judge(changed, checks=(), **more)
    return [result.command for result in checked.report.results]


@pytest.mark.parametrize(
    ("changed", "passed"), [("print('fine')\n", True), ("raise SystemExit(3)\n", False), (None, True)]
)
async def test_a_program_of_the_projects_checks_is_green_as_at_the_base_and_as_it_is(
    tmp_path, changed, passed
):
    """It may be the check, and it may be the work."""
    files = {"app.py": "import calc; print(calc.add(1, 2) / 3)\n", "calc.py": CALC}
    async with opened(tmp_path / "project", files) as bench:
        settings = CheckSettings(commands=("python3 app.py",), limits=Limits(wall_seconds=20))
        work = {"calc.py": CALC + "x = 1\n"} if changed is None else {"app.py": changed}
        checked = await bench.judge(work, checks=(), settings=settings)
        assert checked.verdict.passed is passed, checked.report.summary()
        cheat = {"app.py": "", "calc.py": "def add(a, b):\n    raise ValueError\n"}
        assert not (await bench.judge(cheat, checks=(), settings=settings)).verdict.passed
