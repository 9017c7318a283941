"""How many tests a runner says it ran, read from what it printed: where no test is told of by name, that is a floor."""

import re
from dataclasses import dataclass

_PASSED = (
    r"^(?!Test Suites|Snapshots).*?\b(\d+) passed\b",  # pytest, jest, cargo, vitest
    r"^\s*(\d+) passing\b",  # mocha
    r"^(?:#|ℹ) pass (\d+)$",  # node --test
)
_SKIPPED = (
    r"^(?!Test Suites|Snapshots).*?\b(\d+) (?:skipped|ignored)\b",
    r"^\s*(\d+) pending\b",
    r"^(?:#|ℹ) skipped (\d+)$",
    r"^OK \(.*\bskipped=(\d+)",  # unittest
)
_RAN = r"^Ran (\d+) tests? in "
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, kw_only=True)
class Counted:
    passed: int
    skipped: int


def counted(output: str) -> Counted | None:
    """Of a command that was green; None where no runner of tests is heard."""
    text = _ESCAPES.sub("", output)
    skipped = sum(_numbers(_SKIPPED, text))
    passed, ran = _numbers(_PASSED, text), _numbers((_RAN,), text)
    if not passed and not ran and not skipped:
        return None
    of_unittest = sum(ran) - sum(_numbers(_SKIPPED[-1:], text))
    return Counted(passed=sum(passed) + max(0, of_unittest), skipped=skipped)


def _numbers(patterns: tuple[str, ...], text: str) -> list[int]:
    return [int(each[:9]) for pattern in patterns for each in re.findall(pattern, text, re.M)]


def ran_unittest(output: str) -> bool:
    """Whether unittest came to its end and is content."""
    return bool(re.search(_RAN, output, re.M)) and bool(re.search(r"^OK\b", output, re.M))
