"""What test results mean: comparisons, verdicts, and which files decide how tests run."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopack.domain.changes import Change, File
from autopack.domain.phases import FailureKind
from autopack.domain.testing import (
    CommandRun,
    Comparison,
    Finding,
    RunKind,
    TestOutcome,
    compare,
    decides_how_tests_run,
    frozen_paths,
    holds_tests,
    in_file,
    is_test_file,
    judge_command,
    kind_of_pytest_exit,
    names_tests,
    runs_tests,
    verdict_of,
)
from autopack.domain.testing.counted import Counted, counted
from autopack.domain.testing.programs import build_files, plugins, programs

P, F, E, S, X, U = (
    TestOutcome.PASSED, TestOutcome.FAILED, TestOutcome.ERROR, TestOutcome.SKIPPED, TestOutcome.XFAILED,
    TestOutcome.UNCOLLECTED,
)  # fmt: skip
A, B = "t.a::one", "t.b::two"


@pytest.mark.parametrize(
    ("baseline", "head", "expected"),
    [
        ({A: P}, {A: P}, {}),
        ({A: P}, {A: F}, {"newly_failing": (A,)}),
        ({A: P}, {A: E}, {"newly_failing": (A,)}),
        ({}, {A: F}, {"newly_failing": (A,)}),
        ({A: S}, {A: F}, {"newly_failing": (A,)}),
        ({A: X}, {A: F}, {"newly_failing": (A,)}),
        ({A: F}, {A: F}, {"already_failing": (A,)}),
        ({A: F}, {A: E}, {"already_failing": (A,)}),
        ({A: F}, {A: P}, {"fixed": (A,)}),
        ({A: P, B: P}, {A: P}, {"vanished": (B,)}),
        ({A: F}, {}, {"vanished": (A,)}),
        ({A: S}, {}, {}),
        ({A: P}, {A: S}, {"newly_skipped": (A,)}),
        ({A: F}, {A: S}, {"newly_skipped": (A,)}),
        ({A: S}, {A: S}, {}),
        ({}, {A: S}, {}),
        ({A: P}, {A: X}, {"newly_xfailed": (A,)}),
        ({A: F}, {A: X}, {"newly_xfailed": (A,)}),
        ({A: X}, {A: X}, {}),
        ({A: X}, {A: P}, {}),
        ({A: P}, {"t.a": U}, {"uncollected": ("t.a",)}),
        ({A: P, B: P}, {"t.a": U}, {"uncollected": ("t.a",), "vanished": (B,)}),
        ({A: P}, {"t.a": S}, {"newly_skipped": (A,)}),
        ({"t.a": U}, {A: P}, {}),
        ({"t.a": U}, {"t.a": U}, {"already_failing": ("t.a",)}),
        ({"t.a": U}, {}, {"vanished": ("t.a",)}),
        ({"t.a.TestX::one": P}, {"t.a": U}, {"uncollected": ("t.a",)}),
        ({"t.ab::one": P}, {"t.a": U}, {"uncollected": ("t.a",), "vanished": ("t.ab::one",)}),
    ],
)  # fmt: skip
def test_a_comparison_says_what_became_of_each_test(baseline, head, expected):
    assert compare(baseline, head) == Comparison(**expected)


results = st.dictionaries(
    st.sampled_from([f"t.m{i % 3}::test{i}" for i in range(9)]), st.sampled_from([P, F, E, S, X])
)


@settings(deadline=None, max_examples=200)
@given(baseline=results, head=results)
def test_a_change_that_blocks_nothing_leaves_every_test_at_least_as_good(baseline, head):
    found = compare(baseline, head)
    run = CommandRun(command="pytest", kind=RunKind.FAILED, outcomes=head)
    if head and not judge_command(run, None, found):
        good = {P, X, F, E}
        for each, before in baseline.items():
            if before in good:
                assert each in head
                assert head[each] is P or head[each] is before or (before in (F, E) and head[each] in (F, E))
        assert all(head[each] not in (F, E) or baseline[each] in (F, E) for each in head)


@pytest.mark.parametrize(("code", "kind"), [
    (0, "passed"), (1, "failed"), (2, "interrupted"), (3, "internal_error"), (4, "usage_error"), (5, "no_tests"),
    (6, "failed"), (137, "failed"),
])  # fmt: skip
def test_every_exit_code_of_pytest_has_its_kind(code, kind):
    assert kind_of_pytest_exit(code) == kind


def run(kind, outcomes=None, reason=""):
    return CommandRun(command="cmd", kind=kind, outcomes=outcomes, reason=reason)


GREEN = run(RunKind.PASSED)
RED = run(RunKind.FAILED, reason="exit code 1")


@pytest.mark.parametrize(
    ("head", "baseline", "comparison", "kind", "word"),
    [
        (run(RunKind.VOID, reason="void"), None, {}, FailureKind.CHECKS_VOID, "void"),
        (run(RunKind.TIMED_OUT, reason="late"), None, {}, FailureKind.CHECKS_TIMED_OUT, "late"),
        (RED, GREEN, {}, FailureKind.CHECKS_FAILED, "it passes at the base"),
        (RED, RED, {}, FailureKind.CHECKS_FAILED, "cannot be told apart"),
        (RED, None, {}, FailureKind.CHECKS_FAILED, "exit code 1"),
        (run(RunKind.NO_TESTS), None, {}, FailureKind.NO_TESTS, "no test ran"),
        (run(RunKind.NO_TESTS, {}), None, {}, FailureKind.NO_TESTS, "no test ran"),
        (run(RunKind.FAILED, {A: F}), None, {"newly_failing": (A,)}, FailureKind.CHECKS_FAILED, A),
        (run(RunKind.COLLECTION_ERROR, {"t": U}), None, {"uncollected": ("t",)}, FailureKind.COLLECTION_ERROR, "t"),
        (run(RunKind.PASSED, {A: P}), None, {"vanished": (B,)}, FailureKind.TESTS_VANISHED, B),
        (run(RunKind.PASSED, {A: S}), None, {"newly_skipped": (A,)}, FailureKind.TESTS_SKIPPED, A),
        (run(RunKind.PASSED, {A: X}), None, {"newly_xfailed": (A,)}, FailureKind.TESTS_SKIPPED, "expected to fail"),
        (run(RunKind.FAILED, {A: P}, "threshold"), None, {}, FailureKind.CHECKS_FAILED, "threshold"),
        (run(RunKind.FAILED, {A: F}), RED, {"already_failing": (A,)}, FailureKind.NO_TESTS, "nothing passes, at the base neither"),
        (run(RunKind.COLLECTION_ERROR, {"t": U}), None, {"already_failing": ("t",)}, FailureKind.NO_TESTS, "[checks] keep and setup"),
        (run(RunKind.PASSED, {A: S}), GREEN, {}, FailureKind.NO_TESTS, "every test is skipped"),
    ],
)  # fmt: skip
def test_what_blocks_has_its_own_kind(head, baseline, comparison, kind, word):
    verdict = verdict_of(judge_command(head, baseline, Comparison(**comparison)))
    assert (verdict.passed, verdict.failure_kind) == (False, kind)
    assert word in verdict.reasons[0]


@pytest.mark.parametrize(
    ("head", "comparison"),
    [
        (GREEN, {}),
        (run(RunKind.FAILED, {A: F, B: P}), {"already_failing": (A,)}),
        (run(RunKind.PASSED, {A: P}), {"fixed": (A,)}),
        (run(RunKind.PASSED, {A: P}), {"moved": (B,)}),
        (run(RunKind.PASSED, {A: X}), {}),
        (run(RunKind.FAILED, {A: F}), {"flaky": (A,)}),
    ],
)
def test_what_does_not_block(head, comparison):
    assert judge_command(head, None, Comparison(**comparison)) == []


def test_a_test_may_go_where_a_person_agrees():
    gone = Comparison(vanished=(A, B))
    head = run(RunKind.PASSED, {"t::x": P})
    verdict = verdict_of(judge_command(head, None, gone, excused=[A, B]))
    assert verdict.passed
    assert A in verdict.asks[0]
    assert not verdict_of(judge_command(head, None, gone, excused=[A])).passed
    assert judge_command(head, None, gone, trusted=True) == []


def test_what_the_phase_itself_names_must_pass():
    head, still = run(RunKind.FAILED, {A: F, B: P}), Comparison(already_failing=(A,))
    (found,) = judge_command(head, None, still, named=True)
    assert (found.kind, A in found.reason) == (FailureKind.CHECKS_FAILED, True)


def test_asks_are_heard_only_where_nothing_blocks():
    ask = Finding(kind=FailureKind.TESTS_WEAKENED, reason="ask", ask=True)
    block = Finding(kind=FailureKind.CHECKS_FAILED, reason="block")
    assert verdict_of([ask, block]).failure_kind is FailureKind.CHECKS_FAILED
    assert verdict_of([ask]).asks == ("ask",)


def test_a_run_is_kept_as_json():
    kept = run(RunKind.FAILED, {A: P, B: F, "t": U}, "why")
    assert CommandRun.from_json(json.loads(json.dumps(kept.to_json()))) == kept
    assert CommandRun.from_json(GREEN.to_json()) == GREEN


def test_moved_tests_are_not_gone():
    told = Comparison(vanished=(A, B), newly_failing=("t::c", "t::d")).without_moved({B: "t::d"})
    assert (told.vanished, told.moved, told.newly_failing) == ((A,), (B,), ("t::c",))
    assert told.already_failing == ("t::d",)


def test_flaky_tests_no_longer_newly_fail():
    told = Comparison(newly_failing=(A, B), fixed=("t::c",)).without_flaky([B])
    assert (told.newly_failing, told.flaky, told.fixed) == ((A,), (B,), ("t::c",))


# Paths


@pytest.mark.parametrize("path", [
    "conftest.py", "tests/unit/conftest.py", "CONFTEST.py", "pytest.ini", ".pytest.ini", "pytest.toml", "tox.ini", "setup.cfg",
    "pyproject.toml", "noxfile.py", ".coveragerc", "sitecustomize.py", "src/usercustomize.py", "src/evil.pth", "pytest.py",
    "pytest/__init__.py", "_pytest/runner.py", "evil.egg-info/entry_points.txt", "src/evil.dist-info/METADATA",
    "jest.config.js", "vitest.config.mts", "package.json", "Makefile", "sub/makefile", ".mocharc.yml",
])  # fmt: skip
def test_these_files_decide_how_tests_run(path):
    assert decides_how_tests_run(path)


@pytest.mark.parametrize(
    "path", ["src/app.py", "tests/test_app.py", "README.md", "docs/pytest.md", "src/my_pytest.py", "setup.py"]
)
def test_these_do_not(path):
    assert not decides_how_tests_run(path)


@pytest.mark.parametrize(
    ("path", "is_test", "holds"),
    [
        ("tests/test_a.py", True, True), ("test_a.py", True, True), ("src/a_test.py", True, True), ("tests/helper.py", True, False),
        ("tests/data/x.json", True, False), ("src/app.test.ts", True, True), ("src/app.spec.jsx", True, True), ("pkg/a_test.go", True, True),
        ("__tests__/a.js", True, False), ("src/app.py", False, False), ("src/testing.py", False, False), ("testdata/a.json", True, False), ("fixtures/a.sql", True, False), ("e2e/a.ts", True, False),
        ("contest.py", False, False),
    ],
)  # fmt: skip
def test_test_files_are_known_by_name_and_place(path, is_test, holds):
    assert (is_test_file(path), holds_tests(path)) == (is_test, holds)


@pytest.mark.parametrize(
    ("test_id", "path", "directory", "held"),
    [
        ("tests.test_a::test_x", "tests/test_a.py", "", True), ("tests.test_a.TestX::test_x[a.b]", "tests/test_a.py", "", True),
        ("tests.test_a", "tests/test_a.py", "", True), ("tests.test_ab::x", "tests/test_a.py", "", False),
        ("test_a::x", "tests/test_a.py", "", False), ("test_a::x", "tests/test_a.py", "tests", True),
        ("tests.test_a::x", "other/test_a.py", "tests", False), ("tests.a::x", "tests/a.js", "", False),
    ],
)  # fmt: skip
def test_a_test_is_found_in_its_file(test_id, path, directory, held):
    assert in_file(test_id, path, directory) is held


@pytest.mark.parametrize(("command", "runs"), [
    ("pytest -q", True), ("python3 -m unittest discover", True), ("npm test", True), ("npm run test", True), ("make test", True),
    ("make -s check", True), ("npx jest", True), ("go test ./...", True), ("cargo test", True), ("test -f x", False), ("make lint", False),
    ("ruff check", False), ("python manage.py test app", True), ("./gradlew test", True), ("mvn -q test", True), ("just test", True),
    ("hatch run test", True), ("dotnet test", True), ("mix test", True), ("deno test", True), ("swift test", True), ("nose2", True),
    ("ctest", True), ("npm run unit", True), ("npm t", True), ("python setup.py test", True), ("npm run build", False), ("go build", False),
    ("python app.py --selftest", False),
])  # fmt: skip
def test_runners_of_tests_are_known(command, runs):
    assert runs_tests(command) is runs


@pytest.mark.parametrize(("command", "named"), [
    ("pytest tests/test_a.py", True), ("pytest -q 'tests/test_a.py::test_x[1]'", True), ("npx jest src/a.test.ts", True), ("pytest", False),
    ("pytest tests", False), ("make test", False), ("pytest -k test_a", False),
])  # fmt: skip
def test_commands_that_single_out_tests_are_known(command, named):
    assert names_tests(command) is named


def change(path, before, after):
    def file(text):
        return None if text is None else File(content=text.encode())

    return Change(path=path, before=file(before), after=file(after))


TOML = '[project]\nname = "x"\n[tool.pytest.ini_options]\naddopts = "-q"\n'


@pytest.mark.parametrize(
    ("path", "before", "after", "frozen"),
    [
        ("conftest.py", "", "evil", True),
        ("conftest.py", None, "new", True),
        ("conftest.py", "old", None, True),
        ("pyproject.toml", TOML, TOML.replace("-q", "-k nothing"), True),
        ("pyproject.toml", TOML, TOML.replace('"x"', '"y"'), False),
        ("pyproject.toml", None, '[project]\nname = "x"\n', False),
        ("pyproject.toml", None, TOML, True),
        ("pyproject.toml", TOML, "not [toml", True),
        ("pyproject.toml", None, '[project]\nname = "x"\n[project.entry-points.pytest11]\np = "evil"\n', True),
        ("setup.cfg", "[metadata]\nname=x\n", "[metadata]\nname=y\n", False),
        ("setup.cfg", "", "[tool:pytest]\naddopts=--collect-only\n", True),
        ("setup.cfg", "", "\xff not ini", True),
        ("package.json", '{"scripts": {"test": "jest"}}', '{"scripts": {"test": "true"}}', True),
        ("package.json", '{"scripts": {"test": "jest"}}', '{"scripts": {"test": "jest"}, "version": "2"}', False),
        ("src/app.py", "", "x", False),
        ("tests/test_a.py", "", "x", False),
        ("scripts/check.sh", "", "exit 0", True),
        ("scripts/other.sh", "", "exit 0", False),
    ],
)  # fmt: skip
def test_what_decides_how_tests_run_is_taken_from_the_base(path, before, after, frozen):
    found = frozen_paths(
        [change(path, before, after)],
        category="implementation",
        deliverables=[path],
        commands=["sh ./scripts/check.sh"],
    )
    assert found == ((path,) if frozen else ())


@pytest.mark.parametrize(
    ("path", "before", "deliverables", "own", "named", "frozen"),
    [
        ("run_tests.py", "old", [], [], [], True),
        ("run_tests.py", "old", ["run_tests.py"], [], [], True),
        ("run_tests.py", "old", ["run_tests.py"], ["cd . && python3 -u run_tests.py"], [], False),
        ("run_tests.py", "old", [], ["cd . && python3 -u run_tests.py"], [], True),
        ("run_tests.py", None, [], ["cd . && python3 -u run_tests.py"], [], False),
        ("build/test.mk", "old", [], [], ["build/test.mk"], True),
        ("src/support/plug.py", "old", [], [], ["support/plug.py"], True),
        ("src/app.py", "old", [], [], ["support/plug.py"], False),
    ],
)
def test_what_a_check_runs_is_taken_from_the_base_but_not_the_work_itself(
    path, before, deliverables, own, named, frozen
):
    found = frozen_paths(
        [change(path, before, "new")],
        category="implementation",
        deliverables=deliverables,
        commands=["cd . && python3 -u run_tests.py"],
        own=own,
        named=named,
    )
    assert found == ((path,) if frozen else ())


@pytest.mark.parametrize(
    ("command", "paths"),
    [
        ("python3 run_tests.py src", {"run_tests.py"}), ("sh ./scripts/check.sh", {"scripts/check.sh"}), ("node run.js", {"run.js"}),
        ("cd a && ./b/run.sh -f x.mk", {"a/b/run.sh", "a/x.mk"}), ("gcc main.c -o main && ./main", {"main"}), ("deno run x.ts", {"x.ts"}),
        ("A=1 uv run python -W error lint.py x.py", {"lint.py"}), ("ruff check --config=ruff.toml src/a.py", {"ruff.toml"}),
        ("pytest -c my.ini tests/a.py", {"my.ini"}), ("python3 -c 'import a;\nb(1)'", set()), ("bash -c './x y'", set()), ("node --test", set()),
        ("python -m tools.lint", {"tools/lint.py", "tools/lint/__init__.py", "tools/lint/__main__.py"}), ("sh 'unclosed", set()),
    ],
)  # fmt: skip
def test_what_a_command_runs_is_not_what_it_looks_at(command, paths):
    assert programs(command) == paths


def test_build_files_and_plugins_name_programs():
    makefile = "include a.mk\n-include b.mk # more\ntest: app.c\n\t@$(PYTHON) run.py && \\\n\t  ./x.sh\n"
    commands, also = build_files(
        {"Makefile": makefile, "package.json": '{"scripts": {"test": "node run.js"}}'}
    )
    assert also == {"a.mk", "b.mk"}
    assert {path for command in commands for path in programs(command)} == {"run.py", "x.sh", "run.js"}
    assert build_files({"package.json": "["}) == ([], frozenset())
    texts = [
        "pytest_plugins = ['a.b',\n 'c']",
        "pytest -p d -p no:e",
        'addopts = "-q -p f"',
        'addopts = ["-p", "g"]',
    ]
    assert {path for path in plugins(texts) if "__" not in path} == {"a/b.py", "c.py", "d.py", "f.py", "g.py"}


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("..\n2 passed in 0.01s\n", (2, 0)), ("\x1b[32m2 passed\x1b[0m, 1 skipped in 1s\n", (2, 1)), ("Ran 3 tests in 0.1s\n\nOK (skipped=2)\n", (1, 2)),
        ("Test Suites: 1 passed, 1 total\nTests:       1 skipped, 4 passed, 5 total\n", (4, 1)), ("  7 passing (3ms)\n  1 pending\n", (7, 1)),
        ("ℹ tests 2\nℹ pass 2\nℹ skipped 0\n", (2, 0)), ("test result: ok. 3 passed; 0 failed; 1 ignored;\n", (3, 1)), ("all good\n", None),
    ],
)  # fmt: skip
def test_runners_say_how_many_tests_they_ran(output, told):
    found = counted(output)
    assert told == (None if found is None else (found.passed, found.skipped))


@pytest.mark.parametrize(
    ("before", "now", "kind"),
    [
        ((2, 0), None, FailureKind.TESTS_VANISHED), ((2, 0), (1, 0), FailureKind.TESTS_VANISHED), ((2, 0), (0, 2), FailureKind.TESTS_SKIPPED),
        ((2, 0), (2, 0), None), ((2, 0), (3, 1), None), (None, (1, 0), None),
    ],
)  # fmt: skip
def test_a_runner_that_names_no_tests_may_not_count_fewer(before, now, kind):
    def passed(told):
        return replace(GREEN, counted=None if told is None else Counted(passed=told[0], skipped=told[1]))

    found = judge_command(passed(now), passed(before), Comparison())
    assert [finding.kind for finding in found] == ([] if kind is None else [kind])
    assert judge_command(passed(now), passed(before), Comparison(), trusted=True) == []
    kept = json.loads(json.dumps(passed(now).to_json()))
    assert CommandRun.from_json(kept) == passed(now)


def test_it_is_not_where_that_was_the_task_or_a_person_approved_it():
    changes = [change("conftest.py", None, "x"), change("pytest.ini", None, "x")]
    assert frozen_paths(changes, category="tests", deliverables=["conftest.py"]) == ("pytest.ini",)
    assert frozen_paths(changes, category="implementation", deliverables=[], trusted=True) == ()
