"""Which changes are on the side of the tests, which tests were lost or moved, and which commands single out tests. Pure."""

import pytest

from autopack.domain.changes import Change, File
from autopack.domain.testing import TestOutcome
from autopack.executor.case import selects_tests
from autopack.executor.integrity import directories_of_tests, is_package_code, lost
from autopack.executor.moved import Moves

P, F, S = TestOutcome.PASSED, TestOutcome.FAILED, TestOutcome.SKIPPED


@pytest.mark.parametrize(
    ("paths", "directories"),
    [
        (["qa/test_a.py", "qa/test_b.py", "qa/conftest.py", "qa/__init__.py", "qa/data.json"], ("qa/",)),
        (["pkg/a.py", "pkg/test_a.py"], ()),
        (["pkg/a.go", "pkg/a_test.go"], ()),
        (["test_a.py"], ()),
        (["src/a.py"], ()),
    ],
)
def test_a_directory_whose_modules_are_all_tests_is_one_of_tests(paths, directories):
    assert directories_of_tests(paths) == directories


@pytest.mark.parametrize(
    ("path", "base", "is_code"),
    [
        ("lib/test/new.py", {"lib/__init__.py", "lib/test/client.py"}, True),
        ("lib/test/new.py", {"lib/__init__.py", "lib/test/test_a.py"}, False),
        ("lib/test/new.py", {"lib/test/client.py"}, False),
        ("tests/new.py", {"__init__.py"}, False),
    ],
)
def test_a_package_may_have_code_in_a_folder_that_sounds_like_tests(path, base, is_code):
    assert is_package_code(path, base) is is_code


@pytest.mark.parametrize(
    ("known", "then", "expected"),
    [
        ({"t::a": P}, {"t::a": P}, set()),
        ({"t::a": P}, {"t::a": F}, {"t::a"}),
        ({"t::a": P}, {"t::a": S}, {"t::a"}),
        ({"t::a": P}, {}, {"t::a"}),
        ({"t::a": F}, {"t::a": F}, set()),
        ({"t::a[1]": P}, {"t::a[2]": P}, set()),
        ({"t::a[1]": P}, {"t::a[2]": F}, {"t::a[1]"}),
        ({"t::a[1]": P}, {"t::ab[2]": P}, {"t::a[1]"}),
    ],
)
def test_what_passed_and_does_not_pass_any_more_is_lost(known, then, expected):
    assert lost(known, then) == expected


ONE = "def test_a():\n    assert f() == 1\n"
IN_CLASS = "class TestX:\n    def test_a(self):\n        assert f() == 1\n"
CASES = "@pytest.mark.parametrize('n', [1, 2])\ndef test_a(n):\n    assert n\n"


def change(path, before, after):
    files = [None if text is None else File(content=text.encode()) for text in (before, after)]
    return Change(path=path, before=files[0], after=files[1])


@pytest.mark.parametrize(
    ("changes", "gone", "now", "is_moved"),
    [
        ([("t/test_a.py", ONE, None), ("t/u/test_b.py", None, ONE)], "t.test_a::test_a", {"t.u.test_b::test_a": P}, True),
        ([("t/test_a.py", ONE, ONE.replace("test_a", "test_z"))], "t.test_a::test_a", {"t.test_a::test_z": P}, True),
        ([("t/test_a.py", ONE, IN_CLASS)], "t.test_a::test_a", {"t.test_a.TestX::test_a": P}, True),
        ([("t/test_a.py", IN_CLASS, ONE)], "t.test_a.TestX::test_a", {"t.test_a::test_a": P}, True),
        ([("t/test_a.py", ONE, ONE.replace("test_a", "test_z"))], "t.test_a::test_a", {"t.test_a::test_z": F}, False),
        ([("t/test_a.py", ONE, ONE.replace("1", "2").replace("test_a", "z"))], "t.test_a::test_a", {"t.test_a::z": P}, False),
        ([("t/test_a.py", CASES, None), ("test_b.py", None, CASES)], "t.test_a::test_a[1]", {"test_b::test_a[1]": P}, True),
        ([("t/test_a.py", CASES, None), ("test_b.py", None, CASES)], "t.test_a::test_a[1]", {"test_b::test_a[2]": P}, False),
        ([("t/test_a.py", "not python (", None), ("test_b.py", None, ONE)], "t.test_a::test_a", {"test_b::test_a": P}, False),
    ],
)  # fmt: skip
def test_a_test_moved_where_the_same_body_passes_under_another_name(changes, gone, now, is_moved):
    moves = Moves([change(*each) for each in changes])
    assert moves.moved([gone], {gone: P}, now, "") == ({gone: next(iter(now))} if is_moved else {})


def test_what_failed_may_fail_where_it_moved_to():
    moves = Moves([change("t/test_a.py", ONE, None), change("t/test_b.py", None, ONE)])
    now = {"t.test_b::test_a": F}
    assert moves.moved(["t.test_a::test_a"], {"t.test_a::test_a": F}, now, "") == {
        "t.test_a::test_a": "t.test_b::test_a"
    }


def test_a_copy_did_not_move():
    renamed, copied = ONE.replace("test_a", "test_z"), ONE + ONE.replace("test_a", "test_z")
    assert Moves([change("test_a.py", ONE, renamed)]).came_from("test_a::test_z", "")
    assert not Moves([change("test_a.py", ONE, copied)]).came_from("test_a::test_z", "")


@pytest.mark.parametrize(("command", "selects"), [
    ("pytest -k mul", True), ("python -m pytest -q tests/", True), ("pytest tests", True), ("pytest -m slow", True),
    ("uv run pytest tests/test_a.py::test_x", True), ("pytest -kmul", True), ("cd sub && pytest lib/", True),
    ("pytest", False), ("python3 -m pytest -q", False), ("pytest -n 2 -p no:randomly", False), ("pytest --cov src/pkg", False),
    ("pytest -c tests/pytest.ini", False), ("make test", False), ("pytest --cov=src/pkg -x", False),
])  # fmt: skip
def test_commands_that_run_a_part_of_the_tests_are_known(command, selects):
    assert selects_tests(command) is selects
