"""Reading a JUnit XML file that hostile code may have written: bounded, and no entity is ever expanded."""

import re
from pathlib import Path
from xml.etree.ElementTree import ParseError

from junitparser import Error, Failure, JUnitXml, JUnitXmlError, Skipped, TestCase, TestSuite

from autopack.domain.testing import TestOutcome, TestResult
from autopack.domain.testing.results import WORST_FIRST
from autopack.errors import InvalidInput
from autopack.workspace.checks.files import read_bounded

LONGEST = 16 << 20
MOST_TESTS = 200_000
MOST_TAGS = 1_500_000
_MESSAGE = 300
# pytest writes none. Inside text and attributes "<!" is always escaped, but for comments and CDATA.
_DECLARES = re.compile(rb"<!(?!--|\[CDATA\[)")
# The plugin has the same.
_DRAWN = re.compile(r"\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b|\b0x[0-9a-f]{6,16}\b", re.I)


class BadReport(InvalidInput):
    """The report is missing, too long, or no JUnit XML."""

    code = "bad_test_report"


def read_results(file: Path) -> tuple[bytes, dict[str, TestResult]]:
    """The file's bytes, and each test's result by its id; where a test is told of twice, the worst."""
    data = read_bounded(file, LONGEST)
    if data is None:
        raise BadReport("there is no test report, or it is no ordinary file of a sensible size")
    found: dict[str, TestResult] = {}
    for suite in _parsed(data):
        if not isinstance(suite, TestSuite):
            continue
        for case in suite:
            result = _result(case)
            known = found.get(result.test_id)
            if known is None or _rank(result) < _rank(known):
                found[result.test_id] = result
            if len(found) > MOST_TESTS:
                raise BadReport(f"the test report names more than {MOST_TESTS} tests")
    return data, found


def _parsed(data: bytes) -> JUnitXml:
    if b"\0" in data or _DECLARES.search(data):
        raise BadReport("the test report declares a document type or entities: that is not pytest's")
    if data.count(b"<") > MOST_TAGS:
        raise BadReport(f"the test report has more than {MOST_TAGS} tags")
    try:
        return JUnitXml.fromstring(data)
    except (ParseError, JUnitXmlError, ValueError, RecursionError, LookupError) as error:
        raise BadReport(f"the test report is not JUnit XML: {error}") from error


def _result(case: TestCase) -> TestResult:
    classname, name = case.classname or "", case.name or ""
    outcome, message = _outcome(case)
    return TestResult(
        test_id=lasting(f"{classname}::{name}" if classname else name),
        outcome=outcome,
        message=message[:_MESSAGE],
    )


def lasting(test_id: str) -> str:
    """The same in every run: parameters that are drawn anew each time are told of together."""
    plain, bracket, parameters = test_id.partition("[")
    return plain + bracket + _DRAWN.sub("*", parameters)


def _outcome(case: TestCase) -> tuple[TestOutcome, str]:
    told = case.result
    for kind, outcome in ((Error, TestOutcome.ERROR), (Failure, TestOutcome.FAILED)):
        for each in told:
            if isinstance(each, kind):
                message = each.message or ""
                collected = message != "collection failure"
                return (outcome if collected else TestOutcome.UNCOLLECTED), (
                    message if collected else each.text or ""
                )
    for each in told:
        if isinstance(each, Skipped):
            return (
                TestOutcome.XFAILED if each.type == "pytest.xfail" else TestOutcome.SKIPPED
            ), each.message or ""
    return TestOutcome.PASSED, ""


def _rank(result: TestResult) -> int:
    return WORST_FIRST.index(result.outcome)
