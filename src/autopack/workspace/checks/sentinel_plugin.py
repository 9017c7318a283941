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
import os
import random
import re
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from _pytest import junitxml
from _pytest.fixtures import FuncFixtureInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from typing import Any

GIVEN: dict[str, Any] = {}  # replaced where a check is prepared
# Parameters that are drawn anew in each run, as whoever reads the report takes them.
DRAWN = re.compile(r"\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b|\b0x[0-9a-f]{6,16}\b", re.I)
failed_reports = 0


def _begin() -> None:
    """Where this pytest is a part of a longer command: leaves word that it began, and lets no other be watched."""
    if GIVEN.get("began") and "PYTEST_XDIST_WORKER" not in os.environ:
        Path(f"{GIVEN['began']}{os.getpid()}").touch()
        os.environ["PYTEST_ADDOPTS"] = GIVEN["addopts"]


_begin()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Every test is to be told of: a run that stops at the first failure says nothing about the others."""
    config.option.maxfail = 0
    config.option.continue_on_collection_errors = True
    config.option.xmlpath = GIVEN["report"]
    config.option.junitprefix = None
    if not config.pluginmanager.hasplugin("junitxml"):  # `addopts = -p no:junitxml`
        junitxml.pytest_configure(config)
    for caller in vars(config.hook).values():
        if hasattr(caller, "get_hookimpls"):
            hooks.extend((each, each.function) for each in caller.get_hookimpls())


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> Generator[None]:
    """After everybody else has taken tests away, so that nobody takes away this one."""
    yield
    if GIVEN["ids"] is not None or GIVEN["files"] is not None:
        items[:] = [item for item in items if _wanted(item.nodeid)]
    items.append(_sentinel(session, items))


def _wanted(nodeid: str) -> bool:
    path = nodeid.split("::", 1)[0]
    return _address(nodeid) in (GIVEN["ids"] or ()) or path in (GIVEN["files"] or ())


def _address(nodeid: str) -> str:
    """As JUnit XML names it: tests/test_a.py::TestX::test_y[p] is tests.test_a.TestX::test_y[p]."""
    plain, bracket, parameters = nodeid.partition("[")
    path, *names = plain.split("::")
    module = path[:-3] if path.endswith(".py") else path
    names.insert(0, module.replace("/", "."))
    return ".".join(names[:-1]) + "::" + names[-1] + bracket + DRAWN.sub("*", parameters)


class Sentinel(pytest.Function):
    """Must fail. It is run as every other test function is, so that what makes those pass makes this one pass."""

    beside: pytest.Session | pytest.Item

    @property
    def ihook(self) -> Any:
        return self.beside.ihook

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        path = self.path if hasattr(self, "path") else self.fspath  # before pytest 7
        return path, None, self.name


def _sentinel(session: pytest.Session, items: list[pytest.Item]) -> Sentinel:
    """Beside a test of the project, so that the same hooks see it, but without fixtures: they would be set up for it.

    The file does not exist: the module is this plugin.
    """
    first = items[0] if items else session
    name, where = GIVEN["name"] + ".py", Path(getattr(first, "path", None) or str(first.fspath))
    file = (where.parent if items else where) / name
    here: Any = {"path": file} if hasattr(session, "path") else {"fspath": type(session.fspath)(str(file))}
    module: Any = pytest.Module.from_parent(session, **here)
    module._obj = sys.modules[__name__]
    none = FuncFixtureInfo((), (), [], {})
    made: Sentinel = Sentinel.from_parent(module, name=GIVEN["name"], callobj=_must_fail, fixtureinfo=none)
    made.beside = first
    return made


def _must_fail() -> None:
    told = {"equal": sorted(_equal_to_everything())[:5], "replaced": sorted(_replaced())[:5]}
    raise AssertionError(GIVEN["nonce"] + " " + json.dumps(told))


# What runs tests and tells of them, as it was before any code of the tree was imported.


def _parts_of_the_runner() -> Iterator[tuple[Any, str]]:
    """Modules and classes of pytest, of pluggy and of unittest, by name."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("_pytest", "pluggy", "unittest") and module is not None:
            yield module, name
            for kind in list(vars(module).values()):
                if isinstance(kind, type) and kind.__module__ == name:
                    yield kind, f"{name}.{kind.__qualname__}"


def _acts(value: object) -> bool:
    return callable(value) or isinstance(value, (classmethod, staticmethod, property))


KNOWN = [(part, name, dict(vars(part))) for part, name in _parts_of_the_runner()]
hooks: list[tuple[Any, object]] = []


def _replaced() -> Iterator[str]:
    """What of them is now something else that an installed plugin did not put there."""
    for part, name, before in KNOWN:
        for key, value in list(vars(part).items()):
            known = before.get(key)
            if value is not known and (_acts(known) or _acts(value)) and not _installed(value):
                yield f"{name}.{key}"
    for implementation, function in hooks:
        if implementation.function is not function:
            yield f"a hook, {getattr(function, '__name__', '')}"


def _installed(value: Any) -> bool:
    """Whether it was written outside the tree, or in a conftest.py: those are the base's."""
    for name in ("__func__", "fget", "func"):
        value = getattr(value, name, value)
    code = getattr(value, "__code__", None)
    written = code.co_filename if code else getattr(sys.modules.get(_module_of(value)), "__file__", None)
    if not isinstance(written, str) or not Path(written).is_file():
        return False
    tree, file = Path(GIVEN["tree"]).resolve(), Path(written).resolve()
    if file in [Path(tree, each).resolve() for each in GIVEN["modules"]]:
        return False
    return tree not in file.parents or "site-packages" in file.parts or file.name == "conftest.py"


def _module_of(value: Any) -> str:
    return str(getattr(value, "__module__", "") if isinstance(value, type) else type(value).__module__)


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
    """Made by the first class above it that is no Python code: no __init__, no __new__ of its own."""
    heap_type = 1 << 9
    built_in: Any = next(each for each in kind.__mro__ if not each.__flags__ & heap_type)
    with suppress(TypeError, ValueError):
        made: object = built_in.__new__(kind)
        return made
    return None


def _strangers() -> list[list[object]]:
    """Values that nobody has seen, of one type each: whatever equals all of a row looks at nothing but the type."""
    draw = random.SystemRandom()
    small, large = draw.sample(range(2, 100), 6), [draw.randrange(1 << 20, 1 << 60) for _ in range(4)]
    texts, floats = [f"{each:x}" for each in large], [each / 7 for each in large]
    rows: list[list[Any]] = [small, large, [-each for each in large], texts, floats]
    made: list[Callable[[Any], object]] = [
        str.encode,
        lambda each: [each],
        lambda each: (each,),
        lambda each: {each: each},
    ]
    return [[object()], *rows, *([make(each) for each in texts] for make in made)]


def _equals(value: object) -> bool:
    return any(all(_same(value, each) for each in row) for row in _strangers())


def _same(value: object, stranger: object) -> bool:
    with suppress(BaseException):  # it is code under test
        return bool(value == stranger)
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
    others = session.testsfailed - failed_reports
    own = exitstatus
    if exitstatus == 1 and others == 0 and failed_reports == 1:  # nothing but the sentinel
        own = 0 if session.testscollected > 1 else 5
    facts = {
        **{"exit_code": int(exitstatus), "other_failures": others, "own": int(own)},
        **{"replaced": sorted(_replaced())[:5], "directory": _directory(session)},
    }
    sealed = report.read_bytes() + json.dumps(facts, sort_keys=True).encode()
    seal = hmac.new(GIVEN["nonce"].encode(), sealed, hashlib.sha256).hexdigest()
    Path(GIVEN["seal"]).write_text(json.dumps({"facts": facts, "seal": seal}), encoding="utf-8")
    if GIVEN.get("began") and session.exitstatus == exitstatus:
        session.exitstatus = own  # what comes after it in the command is to run as ever


def _directory(session: pytest.Session) -> str:
    """Below which tests are named; empty for the top of the tree."""
    config: Any = session.config
    top = str(config.rootpath if hasattr(config, "rootpath") else config.rootdir)
    path = os.path.relpath(os.path.realpath(top), os.path.realpath(GIVEN["tree"]))
    return "" if path.startswith(".") else path
