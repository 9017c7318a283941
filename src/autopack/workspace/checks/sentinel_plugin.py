"""A plugin of pytest that a check runs with, under a random name, from outside the tree that is checked.

A program of its own: it runs with the project's Python and the project's pytest, and no module here imports it.
It adds one test that must fail, lets every other run to the end, and seals the report when all is written.
What it is given is written into it in place of GIVEN.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
import json
import sys
from contextlib import suppress
from pathlib import Path

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any

GIVEN: dict[str, Any] = {}  # replaced where a check is prepared
failed_reports = 0


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Every test is to be told of: a run that stops at the first failure says nothing about the others."""
    config.option.maxfail = 0
    config.option.continue_on_collection_errors = True
    config.option.xmlpath = GIVEN["report"]
    config.option.junitprefix = None


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> Generator[None]:
    """After everybody else has taken tests away, so that nobody takes away this one."""
    yield
    if GIVEN["ids"] is not None or GIVEN["files"] is not None:
        items[:] = [item for item in items if _wanted(item.nodeid)]
    items.append(Sentinel.from_parent(session, name=GIVEN["name"]))


def _wanted(nodeid: str) -> bool:
    path = nodeid.split("::", 1)[0]
    return _address(nodeid) in (GIVEN["ids"] or ()) or path in (GIVEN["files"] or ())


def _address(nodeid: str) -> str:
    """As JUnit XML names it: tests/test_a.py::TestX::test_y[p] is tests.test_a.TestX::test_y[p]."""
    plain, bracket, parameters = nodeid.partition("[")
    path, *names = plain.split("::")
    module = path[:-3] if path.endswith(".py") else path
    names.insert(0, module.replace("/", "."))
    return ".".join(names[:-1]) + "::" + names[-1] + bracket + parameters


class Sentinel(pytest.Item):
    """Must fail. It carries what plugins expect of a test function."""

    obj = function = staticmethod(lambda: None)
    cls = module = instance = None
    fixturenames: tuple[str, ...] = ()

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.funcargs: dict[str, object] = {}

    def runtest(self) -> None:
        raise AssertionError(GIVEN["nonce"] + " " + json.dumps(sorted(_equal_to_everything())[:5]))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        path = self.path if hasattr(self, "path") else self.fspath  # before pytest 7
        return path, None, self.name


def _equal_to_everything() -> Iterator[str]:
    """Classes of the code under test whose instances, or which themselves, equal an object nobody has seen."""
    names = {module.__name__ for module in _changed_modules()}
    for kind in _all_classes():
        if getattr(kind, "__module__", None) in names and (_equals(kind) or _equals(_instance(kind))):
            yield f"{kind.__module__}.{kind.__qualname__}"


def _changed_modules() -> Iterator[Any]:
    """Those of the changed files that are imported, or lie in a package and can be."""
    loaded = {_resolved(getattr(each, "__file__", None)): each for each in list(sys.modules.values())}
    for path in GIVEN["modules"]:
        file = Path(GIVEN["tree"], path).resolve()
        module = loaded.get(file) or _imported(file)
        if module is not None:
            yield module


def _resolved(name: Any) -> Path | None:
    return Path(name).resolve() if isinstance(name, str) else None


def _imported(file: Path) -> Any:
    if file.name.startswith("__") or not (file.parent / "__init__.py").exists():
        return None  # a program, or no part of a package: importing it might run it
    parts, directory = [file.stem], file.parent
    while (directory / "__init__.py").exists():
        parts.insert(0, directory.name)
        directory = directory.parent
    if directory not in [Path(each).resolve() for each in sys.path]:
        return None
    with suppress(BaseException):  # whatever code under test raises when it is imported, SystemExit too
        return importlib.import_module(".".join(parts))
    return None


def _all_classes() -> list[type]:
    seen: dict[int, type] = {}
    todo: list[type] = [object]
    while todo:
        kind = todo.pop()
        if id(kind) not in seen:
            seen[id(kind)] = kind
            todo.extend(type.__subclasses__(kind))
    return list(seen.values())


def _instance(kind: type) -> object:
    try:
        return object.__new__(kind)
    except TypeError:
        return None


def _equals(value: object) -> bool:
    with suppress(BaseException):  # it is code under test
        return (value == object()) is True
    return False


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    """What a person reads is about the project's tests."""
    return ("", "", "") if report.nodeid.endswith(GIVEN["name"]) else None


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _count(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _count(report)


def _count(report: Any) -> None:
    global failed_reports
    if report.failed and not hasattr(report, "wasxfail"):
        failed_reports += 1


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None]:
    """When everybody has written what they write: the report as it is now, and no later, is the one that counts."""
    yield
    report = Path(GIVEN["report"])
    if hasattr(session.config, "workerinput") or not report.is_file():
        return
    facts = {"exit_code": int(exitstatus), "other_failures": session.testsfailed - failed_reports}
    sealed = report.read_bytes() + json.dumps(facts, sort_keys=True).encode()
    seal = hmac.new(GIVEN["nonce"].encode(), sealed, hashlib.sha256).hexdigest()
    Path(GIVEN["seal"]).write_text(json.dumps({"facts": facts, "seal": seal}), encoding="utf-8")
