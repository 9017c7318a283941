"""Whether the changed test files of an attempt still assert what they asserted. Pure."""

import re
from collections.abc import Iterator, Sequence

from autopack.domain.policy import python_tests, rules
from autopack.domain.policy.python_tests import Asserted
from autopack.domain.policy.rules import Rule
from autopack.domain.policy.touches import Deed, Touch
from autopack.domain.testing import paths as testing

TESTS_CATEGORY = "tests"
_CODE = (
    ".py",
    ".js",
    ".jsx",
    ".cjs",
    ".mjs",
    ".ts",
    ".tsx",
    ".go",
    ".rb",
    ".rs",
    ".java",
    ".kt",
    ".cs",
    ".php",
)
_ASSERTION = re.compile(
    r"\bassert\w*\b|\bexpect\s*\(|\.should\b|\bt\.(?:Error|Fatal|Fail)\w*\(|\brequire\.\w+\("
)
_CASE = re.compile(r"^[ \t]*(?:(?:it|test)(?:\.each\b.*)?\s*\(|func Test\w|@Test\b|#\[test\])", re.M)
_OFF = re.compile(
    r"\b(?:it|test|describe|context|suite)\.(?:skip|todo|only|fixme)\b|\b(?:xit|xtest|xdescribe|fit|fdescribe)\s*\("
    r"|\bt\.Skip\w*\(|@(?:Disabled|Ignore)\b|#\[ignore\b|\bpending\s*\("
)


def asserts(path: str) -> bool:
    """Whether the path is that of a test, or of code beside tests, which may assert in their place. Data is not."""
    return testing.holds_tests(path) or (testing.is_test_file(path) and path.endswith(_CODE))


def weakened(touches: Sequence[Touch], category: str) -> Iterator[tuple[Rule, str, str]]:
    """(rule, path, why) of each existing test file that asserts less than at the base, or cannot be read any more.

    Asked instead of refused for a phase of category `tests`, whose work tests are.
    """
    rule = rules.WEAKENS_OWN_TESTS if category == TESTS_CATEGORY else rules.WEAKENS_TESTS
    elsewhere = _bodies_now(touches)
    for touch in touches:
        if touch.deed is Deed.LEAVE or not asserts(_path_before(touch)):
            continue
        if why := _lost(touch):
            yield rule, touch.path, why
        elif touch.before is not None and touch.after is not None and touch.before != touch.after:
            yield from _compared(touch, touch.before, touch.after, rule, elsewhere)


def _path_before(touch: Touch) -> str:
    return touch.other_end or touch.path


def _lost(touch: Touch) -> str:
    """A test file that is no test file any more."""
    if touch.deed is Deed.DELETE:
        return "the test file is deleted"
    if touch.deed is Deed.ARRIVE and not asserts(touch.path):
        return f"moved from {touch.other_end}, where it was a test file, to where it is none"
    return ""


def _compared(
    touch: Touch, before: bytes, after: bytes, rule: Rule, elsewhere: frozenset[str]
) -> Iterator[tuple[Rule, str, str]]:
    if not touch.path.endswith(".py"):
        found = _counted(_text(before), _text(after))
    else:
        then, now = _read(before), _read(after)
        if now is None or then is None:
            yield rules.UNREADABLE_TEST, touch.path, "" if now is None else "nor could it at the base"
            return
        found = python_tests.weaknesses(then, now, elsewhere)
    if found:
        yield rule, touch.path, "; ".join(found[:5])


def _counted(before: str, after: str) -> list[str]:
    """For languages that are not parsed here: how many cases and assertions there are, and how many are off."""
    found = []
    for pattern, what in ((_CASE, "cases"), (_ASSERTION, "assertions")):
        then, now = len(pattern.findall(before)), len(pattern.findall(after))
        if now < then:
            found.append(f"fewer {what}: {then} before, {now} now")
    if len(_OFF.findall(after)) > len(_OFF.findall(before)):
        found.append("tests are switched off")
    return found


def _bodies_now(touches: Sequence[Touch]) -> frozenset[str]:
    """Asserted as they are in the result: one that was moved to another file is not gone."""
    found: set[str] = set()
    for touch in touches:
        if touch.after is not None and touch.path.endswith(".py") and asserts(touch.path):
            now = _read(touch.after)
            found |= now.bodies() if now else set()
    return frozenset(found)


def _read(content: bytes) -> Asserted | None:
    try:
        return python_tests.read(_text(content))
    except SyntaxError:
        return None


def _text(content: bytes) -> str:
    return content.decode("utf-8-sig", "replace")
