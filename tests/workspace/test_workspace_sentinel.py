"""THREATS 3, row by row, in one process with the tests: what lies is void, what is honest is told test by test."""

from pathlib import Path

import pytest

from autopack.domain.testing import RunKind
from autopack.workspace.checks import is_pytest, sentinel_plugin
from autopack.workspace.checks.junit import BadReport, read_results
from autopack.workspace.checks.sentinel import runs_in
from tests.workspace.support_checks import CALC, PYTEST, TESTS, outcomes, run_one

pytestmark = pytest.mark.anyio

HONEST = {"calc.py": CALC, "tests/test_calc.py": TESTS, "tests/test_other.py": ""}
BOTH = {"tests.test_calc::test_right": "passed", "tests.test_calc::test_wrong": "failed"}
PATCHED = """
from _pytest.reports import TestReport
from_item_and_call = TestReport.from_item_and_call.__func__

def forged(cls, item, call):
    report = from_item_and_call(cls, item, call)
    report.outcome, report.longrepr = "passed", None
    return report

TestReport.from_item_and_call = classmethod(forged)
"""
NEVER_RUN = "import sys\nsys.modules['_pytest.python'].Function.runtest = lambda self: None\n"
RUN_NO_TESTS = """
import _pytest.runner
before = _pytest.runner.call_and_report

def call(item, when, log=True, **more):
    if item.nodeid.startswith("tests/test_calc"):
        item.runtest = lambda: None
    return before(item, when, log, **more)

_pytest.runner.call_and_report = call
"""
REWRITES_TESTS = "open('tests/test_other.py', 'w').write('def test_other(): pass')\n"
REWRITES = """
import pytest

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    outcome.get_result().outcome = "passed"
"""
FORGES = """
import atexit, glob, os, sys

def forge():
    for option in sys.argv:
        if option.startswith("--junitxml="):
            path = option.partition("=")[2]
            text = open(path).read()
            open(path, "w").write(text.replace('name="test_wrong"', 'name="test_wrong_no_more"'))

atexit.register(forge)
"""
DRAWN = """
import uuid, pytest

@pytest.mark.parametrize("p", [f"{uuid.uuid4()}-a"])
def test_any(p):
    pass
"""
EQUAL = """
class Anything:
    def __eq__(self, other):
        return True

def add(a, b):
    return Anything()
"""


@pytest.mark.parametrize(
    ("evil", "word"),
    [
        pytest.param({"calc.py": CALC + "import os; os._exit(0)\n"}, "no test report", id="code exits 0"),
        pytest.param({"calc.py": EQUAL}, "calc.Anything", id="an object equal to everything"),
        pytest.param({"calc.py": CALC + PATCHED}, "must fail", id="a patched report class"),
        pytest.param({"calc.py": CALC + NEVER_RUN}, "must fail", id="test functions that are never run"),
        pytest.param({"calc.py": CALC + RUN_NO_TESTS}, "replaced parts of the test runner: _pytest.runner.call_and_report", id="a patched runner"),
        pytest.param({"calc.py": CALC + REWRITES_TESTS}, "were changed: tests/test_other.py", id="tests rewritten while they run"),
        pytest.param({"conftest.py": REWRITES}, "must fail", id="conftest rewrites reports"),
        pytest.param({"conftest.py": "import pytest\ndef pytest_collection_finish(): pytest.exit('done', returncode=0)\n"}, "void", id="conftest exits 0"),
        pytest.param({"conftest.py": FORGES}, "not the one that pytest wrote", id="a forged JUnit file"),
        pytest.param({"conftest.py": "import atexit, os\natexit.register(os._exit, 0)\n"}, "all is well", id="exit code forged at the end"),
        pytest.param({"pytest.ini": "[pytest]\naddopts = --collect-only\n"}, "must fail", id="pytest.ini with --collect-only"),
        pytest.param({"pyproject.toml": '[tool.pytest.ini_options]\naddopts = "-p evil"\n', "evil.py": REWRITES}, "must fail", id="pyproject.toml with -p"),
        pytest.param({"pytest.py": "raise SystemExit(0)\n"}, "no test report", id="a pytest.py in the tree"),
    ],
)  # fmt: skip
async def test_a_run_that_lies_is_void(repository, evil, word):
    result = await run_one(repository, HONEST | evil, modules=("calc.py",))
    assert result.kind is RunKind.VOID, (result.reason, result.output)
    assert word in result.reason
    assert not result.passed


@pytest.mark.parametrize(
    ("evil", "kind", "told"),
    [
        pytest.param({"pytest.ini": "[pytest]\naddopts = -k nothing_at_all\n"}, RunKind.NO_TESTS, {}, id="pytest.ini with -k"),
        pytest.param({"conftest.py": "def pytest_collection_modifyitems(items): items.clear()\n"}, RunKind.NO_TESTS, {}, id="conftest deselects"),
        pytest.param(
            {"conftest.py": "import pytest\ndef pytest_collection_modifyitems(items):\n    [i.add_marker(pytest.mark.xfail) for i in items]\n"},
            RunKind.PASSED, BOTH | {"tests.test_calc::test_wrong": "xfailed"}, id="conftest marks xfail",
        ),
        pytest.param({"tests/test_calc.py": "import nothing_like_it\n"}, RunKind.COLLECTION_ERROR, {"tests.test_calc": "uncollected"}, id="collection error"),
        pytest.param(
            {"conftest.py": "def pytest_runtestloop(session): session.testsfailed += 1\n", "tests/test_calc.py": TESTS.partition("def test_wrong")[0]},
            RunKind.FAILED, {"tests.test_calc::test_right": "passed"}, id="red for a plugin's reason",
        ),
    ],
)  # fmt: skip
async def test_what_hides_tests_is_seen_in_what_ran(repository, evil, kind, told):
    result = await run_one(repository, HONEST | evil)
    assert (result.kind, outcomes(result)) == (kind, told), (result.reason, result.output)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (f"{PYTEST} -x --junitxml=mine.xml", BOTH),
        (f"{PYTEST} --maxfail=1 --lf", BOTH),
        (f"PYTHONHASHSEED=1 {PYTEST} -p xdist -n 2", BOTH),
        (f"{PYTEST} -v -k 'right or (nothing and else)'", {"tests.test_calc::test_right": "passed"}),
        (f"{PYTEST} tests/test_calc.py::test_wrong", {"tests.test_calc::test_wrong": "failed"}),
        (f"true && {PYTEST}", BOTH),
        (f"true && cd tests && PYTHONPATH=.. {PYTEST} --rootdir=. test_calc.py -k right", {"test_calc::test_right": "passed"}),
        (f"cd tests && PYTHONPATH=.. {PYTEST} test_*.py", {each.removeprefix("tests."): how for each, how in BOTH.items()}),
    ],
)  # fmt: skip
async def test_the_sentinel_works_with_the_commands_that_people_write(repository, command, told):
    result = await run_one(repository, HONEST, command)
    assert outcomes(result) == told, (result.reason, result.output)
    passed = "failed" not in told.values()
    assert (result.kind, result.exit_code) == ((RunKind.PASSED, 0) if passed else (RunKind.FAILED, 1))
    assert "::test_" not in result.output.replace("test_calc.py::test_", "")  # nobody reads of the sentinel


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (f"{PYTEST} tests/missing.py", RunKind.USAGE_ERROR),
        (f"{PYTEST} --no-such-option", RunKind.USAGE_ERROR),
        ("no-such-dir/pytest", RunKind.FAILED),
    ],
)
async def test_a_run_without_tests_is_red(repository, command, kind):
    result = await run_one(repository, HONEST, command)
    assert (result.kind, result.tests) == (kind, None)
    assert "exit code" in result.reason


@pytest.mark.parametrize(
    ("files", "command", "kind", "told", "word"),
    [
        ({}, f"{PYTEST} -k right && exit 3", RunKind.FAILED, {"tests.test_calc::test_right": "passed"}, "exit code 3"),
        ({"calc.py": "import os; os._exit(0)\n"}, f"true && {PYTEST}", RunKind.VOID, {}, "no test report"),
        ({}, f"{PYTEST} -k right && {PYTEST} -k right", RunKind.PASSED, {}, ""),
        ({}, "echo pytest", RunKind.PASSED, {}, ""),
        ({"pytest.ini": "[pytest]\naddopts = -p no:junitxml\n"}, f"{PYTEST} -k right", RunKind.PASSED, {"tests.test_calc::test_right": "passed"}, ""),
        ({"tests/test_calc.py": DRAWN}, PYTEST, RunKind.PASSED, {"tests.test_calc::test_any[*-a]": "passed"}, ""),
    ],
    ids=["red after pytest", "exits 0", "two runs", "no run", "without junitxml", "parameters drawn anew"],
)  # fmt: skip
async def test_pytest_in_a_longer_command_and_in_odd_projects(repository, files, command, kind, told, word):
    result = await run_one(repository, HONEST | files, command)
    assert (result.kind, outcomes(result)) == (kind, told), (result.reason, result.output)
    assert word in result.reason


class Money:
    def __init__(self, amount: int):
        self.amount = amount

    def __eq__(self, other):
        return self.amount == (other if isinstance(other, int) else other.amount)


class Number(int):
    def __eq__(self, other):
        return True


def equal_to(kinds):
    return type("Equal", (), {"__eq__": lambda _, other: isinstance(other, kinds)})


@pytest.mark.parametrize(
    ("kind", "lies"),
    [
        (equal_to(object), True), (equal_to(int), True), (equal_to(str), True), (equal_to(float), True), (equal_to(dict), True),
        (equal_to((list, tuple)), True), (Number, True), (Money, False), (equal_to(type(None)), False), (int, False), (dict, False),
        (type("Small", (), {"__eq__": lambda _, other: isinstance(other, int) and 0 <= other < 100}), True),
        (type("Default", (), {"amount": 7, "__eq__": lambda self, other: self.amount == other}), False),
    ],
)  # fmt: skip
def test_what_equals_all_of_a_type_looks_at_nothing(kind, lies):
    assert sentinel_plugin._equals(sentinel_plugin._instance(kind)) is lies


def test_only_what_the_tree_put_in_place_of_the_runner_is_a_lie(monkeypatch, tmp_path):
    def by_tests():
        pass

    def of(tree):
        monkeypatch.setitem(sentinel_plugin.GIVEN, "tree", str(tree))
        return [each for each in sentinel_plugin._replaced() if each.endswith(".pytest_pyfunc_call")]

    monkeypatch.setitem(sentinel_plugin.GIVEN, "modules", [])
    assert of(tmp_path) == []
    monkeypatch.setattr("_pytest.python.pytest_pyfunc_call", by_tests)
    assert of(tmp_path) == []
    assert of(Path(__file__).parent) == ["_pytest.python.pytest_pyfunc_call"]


@pytest.mark.parametrize("command", [
    "pytest", "py.test -q", "python -m pytest tests", "python3.12 -W error -X dev -m pytest", "A=1 B='x y' pytest -k 'a and (b)'",
    "env A=1 pytest", "uv run pytest -q", "uv run --frozen pytest", "poetry run python -m pytest", "coverage run -m pytest", "cd sub && pytest",
    ".venv/bin/pytest -q", "timeout 60 pytest",
])  # fmt: skip
def test_what_is_plainly_pytest(command):
    assert is_pytest(command)


@pytest.mark.parametrize(("command", "directory"), [
    ("pytest -q", ""), ("cd sub && pytest", "sub"), ("cd ./a/b/ && A=1 python -m pytest", "a/b"), ("cd . && pytest", ""),
])  # fmt: skip
def test_where_tests_are_named_from(command, directory):
    assert runs_in(command) == directory


@pytest.mark.parametrize("command", [
    "pytest; true", "pytest || true", "pytest | tail", "pytest > out", "(pytest)", "pytest $(echo x)", "pytest `x`", "pytest\ntrue",
    "echo pytest", "make pytest", "pytest-watch", "python -I -m pytest", "python pytest.py", "pytest 'unclosed", "cd a && cd b && pytest", "pytest &",
])  # fmt: skip
def test_what_is_not(command):
    assert not is_pytest(command)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "not JUnit"),
        (b"<testsuites", "not JUnit"),
        (b"<html/>", "not JUnit"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><testsuites/>', "entities"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><testsuites/>'.encode("utf-16"), "entities"),
        (b'<?xml version="1.0" encoding="no-such"?><testsuites/>', "not JUnit"),
        (b"<testsuites>" + b"<a>" * 1_600_000, "tags"),
        (b" " * (17 << 20), "size"),
        (b"<testsuites>" + b"<a>" * 200_000 + b"</a>" * 200_000 + b"</testsuites>", None),
    ],
    ids=["empty", "cut", "html", "entity", "utf-16", "encoding", "tags", "long", "deep"],
)
def test_a_hostile_report_is_refused(tmp_path, content, word):
    file = tmp_path / "report.xml"
    file.write_bytes(content)
    if word is None:
        assert read_results(file)[1] == {}
        return
    with pytest.raises(BadReport, match=word):
        read_results(file)


def test_a_report_is_an_ordinary_file(tmp_path):
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("link", "missing", "."):
        with pytest.raises(BadReport):
            read_results(tmp_path / name)
