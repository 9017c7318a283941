"""Test files that assert less than they did: found in the syntax of Python, by counting elsewhere."""

import textwrap

import pytest

from autopack.domain import policy
from autopack.domain.changes import Change, File
from autopack.domain.phases import FailureKind, Scope
from autopack.domain.policy import Action, OnRefusal, Policy, Violation

PATH = "tests/test_it.py"
BEFORE = """
import contextlib
import unittest
import pytest

CASES = [(1, 2), (2, 3), (3, 4)]


def close(a, b):
    assert abs(a - b) < 0.1


@pytest.mark.parametrize(("n", "expected"), CASES)
def test_next(n, expected):
    assert following(n) == expected


@pytest.mark.parametrize("n", [1, 2])
def test_sign(n):
    assert sign(n) == 1
    close(half(n), n / 2)


def test_raises():
    with pytest.raises(ValueError, match="negative"):
        root(-1)


class TestMore(unittest.TestCase):
    def test_equal(self):
        self.assertEqual(total([1, 2]), 3)
        self.assertTrue(is_even(2))
"""

WEAKER = {
    "a test is removed": ("def test_raises():", "def check_raises():", "test_raises is gone"),
    "a class is no longer collected": ("class TestMore(unittest.TestCase):", "class More:", "TestMore.test_equal is gone"),
    "a class gets a constructor": (
        "class TestMore(unittest.TestCase):\n", "class TestMore:\n    def __init__(self): ...\n", "TestMore.test_equal is gone",
    ),
    "an assertion is removed": ("    assert sign(n) == 1\n", "", "test_sign asserts less: 1 before, 0 now"),
    "an assertion is made no assertion": ("    assert sign(n) == 1\n", "    sign(n) == 1\n", "test_sign asserts less"),
    "assert True": ("assert sign(n) == 1", "assert True", "test_sign asserts less"),
    "assert a text": ("assert sign(n) == 1", "assert 'sign(n) == 1'", "test_sign asserts less"),
    "assert a tuple": ("assert sign(n) == 1", "assert (sign(n) == 1, 'one')", "test_sign asserts less"),
    "assert itself": ("assert sign(n) == 1", "assert sign(n) == sign(n)", "test_sign asserts less"),
    "assert or True": ("assert sign(n) == 1", "assert sign(n) == 1 or True", "test_sign asserts less"),
    "assert an object": ("assert sign(n) == 1", "assert isinstance(sign(n), object)", "test_sign asserts less"),
    "compares no longer": ("assert sign(n) == 1", "assert sign(n)", "test_sign has assertions that no longer compare"),
    "asserts nothing": (
        "    assert sign(n) == 1\n    close(half(n), n / 2)\n", "    pass\n", "test_sign asserts less",
    ),
    "a helper asserts less": ("    assert abs(a - b) < 0.1\n", "    return\n", "close asserts less"),
    "returns first": ("    assert sign(n) == 1\n", "    return\n    assert sign(n) == 1\n", "test_sign asserts less"),
    "under if False": ("    assert sign(n) == 1\n", "    if False:\n        assert sign(n) == 1\n", "test_sign asserts less"),
    "in a loop over nothing": (
        "    assert sign(n) == 1\n", "    for _ in []:\n        assert sign(n) == 1\n", "test_sign asserts less",
    ),
    "in a try that swallows": (
        "    assert sign(n) == 1\n", "    try:\n        assert sign(n) == 1\n    except Exception:\n        pass\n",
        "test_sign asserts less",
    ),
    "suppressed": (
        "    assert sign(n) == 1\n", "    with contextlib.suppress(AssertionError):\n        assert sign(n) == 1\n",
        "test_sign asserts less",
    ),
    "in a function that nobody calls": (
        "    assert sign(n) == 1\n", "    def later():\n        assert sign(n) == 1\n", "test_sign asserts less",
    ),
    "unittest: equal to itself": ("total([1, 2]), 3", "3, 3", "TestMore.test_equal asserts less"),
    "unittest: true is true": ("is_even(2)", "True", "TestMore.test_equal asserts less"),
    "skipped": ("def test_raises():", "@pytest.mark.skip\ndef test_raises():", "test_raises is skipped"),
    "skipped if": ("def test_raises():", "@pytest.mark.skipif(True, reason='x')\ndef test_raises():", "test_raises is skipped"),
    "expected to fail": ("def test_raises():", "@pytest.mark.xfail(strict=False)\ndef test_raises():", "expected to fail"),
    "unittest skip": ("class TestMore", "@unittest.skip('x')\nclass TestMore", "TestMore.test_equal is skipped"),
    "expectedFailure": ("    def test_equal", "    @unittest.expectedFailure\n    def test_equal", "expected to fail"),
    "skips when run": ("    assert sign(n) == 1\n", "    pytest.skip('x')\n    assert sign(n) == 1\n", "test_sign is skipped"),
    "pytestmark": ("CASES =", "pytestmark = pytest.mark.skip\nCASES =", "the module skips its tests"),
    "a case that is skipped": ("[1, 2])\ndef", "[1, pytest.param(2, marks=pytest.mark.xfail)])\ndef", "test_sign is skipped"),
    "fewer cases": ("[1, 2])\ndef", "[1])\ndef", "test_sign has fewer cases: 2 before, 1 now"),
    "fewer cases of a table": (", (3, 4)]", "]", "test_next has fewer cases: 3 before, 2 now"),
    "no cases any more": ('@pytest.mark.parametrize("n", [1, 2])\n', "", "test_sign has fewer cases"),
    "a wider exception": ("ValueError, match", "Exception, match", "test_raises expects a wider exception"),
    "more exceptions": ("ValueError, match", "(ValueError, TypeError), match", "test_raises expects a wider exception"),
    "any message": (', match="negative"', "", "test_raises expects a wider exception"),
    "set to nothing": ("class TestMore", "test_raises = None\n\n\nclass TestMore", "test_raises is gone"),
    "defined again": ("class TestMore", "def test_raises():\n    pass\n\n\nclass TestMore", "test_raises asserts less"),
    "deleted at the end": ("class TestMore", "del test_raises\n\n\nclass TestMore", "test_raises is gone"),
    "not a test": ("CASES =", "__test__ = False\nCASES =", "the module skips its tests"),
}  # fmt: skip

AS_STRONG = {
    "one more test": ("class TestMore", "def test_new():\n    assert True\n\n\nclass TestMore"),
    "one more assertion": (
        "    assert sign(n) == 1\n",
        "    assert sign(n) == 1\n    assert sign(-n) == -1\n",
    ),
    "one more case": ("[1, 2])\ndef", "[1, 2, 3])\ndef"),
    "renamed with the same body": ("def test_raises():", "def test_raises_for_negatives():"),
    "another value": ("assert sign(n) == 1", "assert sign(n) == 1.0"),
    "a narrower exception": ("ValueError, match", "MathError, match"),
    "in another order": ("self.assertTrue(is_even(2))", "self.assertTrue(is_even(4))"),
    "a doubtful escape": ("CASES =", "ODD = '\\d'\nCASES ="),
    "formatting": ("CASES = [(1, 2), (2, 3), (3, 4)]", "CASES = [\n    (1, 2),\n    (2, 3),\n    (3, 4),\n]"),
}


def judged(
    before: str | None,
    after: str | None,
    *,
    path: str = PATH,
    category: str = "implementation",
    settings: Policy | None = None,
) -> list[Violation]:
    change = Change(
        path=path, before=None if before is None else File(content=before.encode()),
        after=None if after is None else File(content=after.encode()),
    )  # fmt: skip
    base = {} if before is None else {path: "100644"}
    return policy.check_changes([change], Scope(), settings or Policy(), base, category)


def edited(old: str, new: str) -> str:
    assert BEFORE.count(old) == 1, old
    return BEFORE.replace(old, new)


@pytest.mark.parametrize(("old", "new", "why"), WEAKER.values(), ids=WEAKER)
def test_a_test_that_asserts_less_is_refused_and_says_which(old: str, new: str, why: str):
    (found,) = judged(BEFORE, edited(old, new))
    assert (found.rule, found.action) == ("weakens tests", Action.REFUSE)
    assert why in found.reason
    assert policy.refusal_kind([found]) is FailureKind.TESTS_WEAKENED


@pytest.mark.parametrize(("old", "new"), AS_STRONG.values(), ids=AS_STRONG)
def test_a_test_that_asserts_as_much_is_no_matter(old: str, new: str):
    assert judged(BEFORE, edited(old, new)) == []


def test_in_a_phase_of_tests_a_person_decides_and_nobody_allows_it_beforehand():
    weaker = edited("assert sign(n) == 1", "assert True")
    (found,) = judged(BEFORE, weaker, category="tests")
    assert (found.rule, found.action) == ("weakens tests", Action.ASK)


def test_the_policy_may_put_it_to_a_person():
    weaker = edited("assert sign(n) == 1", "assert True")
    (found,) = judged(BEFORE, weaker, settings=Policy(violations=OnRefusal.ASK))
    assert found.action is Action.ASK


def test_a_deleted_test_file_weakens():
    found = judged(BEFORE, None)
    assert [(each.rule, each.action) for each in found] == [("weakens tests", Action.REFUSE)]
    found = judged(BEFORE, None, category="tests")
    assert {(each.rule, each.action) for each in found} == {
        ("weakens tests", Action.ASK),
        ("delete a file", Action.ASK),
    }


def moved(target: str, after: str = BEFORE) -> list[Violation]:
    changes = [
        Change(path=PATH, before=File(content=BEFORE.encode()), after=None),
        Change(path=target, before=None, after=File(content=after.encode())),
    ]
    return policy.check_changes(changes, Scope(), Policy(), {PATH: "100644"}, "refactoring")


def test_a_test_file_may_move_to_where_it_is_one_still():
    assert moved("tests/unit/test_it.py") == []
    (found,) = moved("tests/unit/test_it.py", edited("assert sign(n) == 1", "assert True"))
    assert found.rule == "weakens tests"
    (found,) = moved("docs/it.txt")
    assert (found.rule, found.action) == ("weakens tests", Action.REFUSE)


def test_a_test_that_moves_to_another_file_is_not_gone():
    test = "def test_raises():\n    assert root(4) == 2\n"
    changes = [
        Change(path="tests/test_a.py", before=File(content=f"X = 1\n\n\n{test}".encode()), after=File(content=b"X = 1\n")),
        Change(path="tests/test_b.py", before=None, after=File(content=test.encode())),
    ]  # fmt: skip
    base = {"tests/test_a.py": "100644"}
    rules = [each.rule for each in policy.check_changes(changes, Scope(), Policy(), base, "refactoring")]
    assert rules == ["deletes more than half of a file"]
    rules = [each.rule for each in policy.check_changes(changes[:1], Scope(), Policy(), base, "refactoring")]
    assert rules == ["weakens tests"]


@pytest.mark.parametrize(
    ("before", "after"),
    [("x = 1\n", "def test_(:\n"), ("def test_(:\n", "x = 1\n"), ("x = 1\n", "(" * 5000)],
    ids=["now", "before", "nested without end"],
)
def test_a_test_file_that_cannot_be_parsed_asks(before: str, after: str):
    assert [(each.rule, each.action) for each in judged(before, after)] == [
        ("test file cannot be parsed", Action.ASK)
    ]


@pytest.mark.parametrize("path", ["src/it.py", "docs/tests.md", "testing/it.py", "tests/data.json"])
def test_what_is_no_test_is_not_read_as_one(path: str):
    assert judged("assert a == 1\n", "assert b == 2\n", path=path) == []


SCRIPT = textwrap.dedent("""
    it("adds", () => { expect(add(1, 2)).toBe(3); expect(add(0, 0)).toBe(0); });
    it("takes", () => { expect(take(3, 2)).toBe(1); });
""")


@pytest.mark.parametrize(
    ("path", "before", "after", "why"),
    [
        ("src/math.test.ts", SCRIPT, SCRIPT.replace('it("takes"', 'it.skip("takes"'), "switched off"),
        ("src/math.test.ts", SCRIPT, SCRIPT.replace('it("takes"', 'it.only("takes"'), "switched off"),
        ("src/math.test.ts", SCRIPT, SCRIPT.replace('it("takes"', 'xit("takes"'), "switched off"),
        ("src/math.test.ts", SCRIPT, SCRIPT.replace("expect(add(0, 0)).toBe(0);", ""), "fewer assertions: 3 before, 2 now"),
        ("src/math.test.ts", SCRIPT, SCRIPT[: SCRIPT.index('it("takes"')], "fewer cases: 2 before, 1 now"),
        ("a_test.go", "func TestA(t *testing.T) {\n", "func TestA(t *testing.T) {\nt.Skip()\n", "switched off"),
        ("ATest.java", "@Test\nvoid a() { assertEquals(1, b()); }\n", "@Disabled\n@Test\nvoid a() { assertEquals(1, b()); }\n",
         "switched off"),
    ],
)  # fmt: skip
def test_other_languages_are_counted(path: str, before: str, after: str, why: str):
    (found,) = [each for each in judged(before, after, path=path) if each.rule == "weakens tests"]
    assert found.action is Action.REFUSE
    assert why in found.reason


def test_other_languages_may_grow():
    assert (
        judged(SCRIPT, SCRIPT + 'it("more", () => { expect(1).toBe(1); });\n', path="src/math.test.ts") == []
    )
