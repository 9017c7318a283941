"""Which files are tests, and which decide how tests run: the latter are not a phase's to change unseen."""

import configparser
import fnmatch
import json
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence

from autopack.domain.changes import Change, File
from autopack.domain.testing.programs import programs

_TEST_DIRECTORIES = frozenset(
    {
        *("test", "tests", "__tests__", "spec", "specs", "e2e", "testdata", "test_data", "fixtures"),
        *("__fixtures__", "__snapshots__", "__mocks__"),
    }
)
_TEST_MODULES = (
    *("test_*.py", "*_test.py", "tests.py", "*_test.go", "*test.java", "*_spec.rb"),
    *("*.test.*s", "*.test.*sx", "*.spec.*s", "*.spec.*sx"),
)
_DECIDING = (
    *("conftest.py", "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", "noxfile.py"),
    *("setup.cfg", "pyproject.toml", ".coveragerc", "sitecustomize.py", "usercustomize.py", "*.pth"),
    *("pytest.py", "pluggy.py", "py.py", "xdist.py", "unittest.py"),  # they would hide the real ones
    *("makefile", "gnumakefile", "package.json", ".mocharc*", "jest.config.*", "jest.setup.*"),
    *("vitest.config.*", "vitest.workspace.*", "vitest.setup.*", "karma.conf.*", "playwright.config.*"),
    *(
        "nose2.cfg",
        "unittest.cfg",
        "cypress.config.*",
        "ava.config.*",
        "wdio.conf.*",
        ".nycrc*",
        ".rspec",
        "phpunit.xml*",
    ),
)
# Packages that would hide the real ones, and what declares plugins of pytest as if they were installed.
_DECIDING_DIRECTORIES = ("pytest", "_pytest", "pluggy", "unittest", "xdist", "*.egg-info", "*.dist-info")
_TOML_TABLES = ("pytest", "coverage", "tox", "nox", "hatch", "pdm", "poe", "taskipy", "setuptools")
_INI_SECTIONS = re.compile(r"tool:pytest|pytest|coverage:.*|testenv.*|tox|aliases|options\.entry_points")
_JSON_KEYS = ("scripts", "jest", "vitest", "mocha", "ava", "c8", "nyc")
_RUNNERS = re.compile(
    r"(^|[\s/])(py\.?test|unittest|nose2|tox|nox|ctest|jest|vitest|mocha|rspec|phpunit)(\s|$)"
    r"|\b(npm|pnpm|yarn|bun)\s+(run\s+)?(t|test|tests|unit)(:\S+)?(\s|$)"
    r"|\b(make|just|task|rake|invoke|inv)\s+(\S+\s+)*(test|tests|check)\b"
    r"|\b(go|cargo|mvnw?|gradlew?|hatch|dotnet|mix|deno|swift|sbt|lein|stack|cabal|zig|dart|flutter)"
    r"\s+(-\S+\s+)*(run\s+)?(test|nextest)\b"
    r"|(^|[\s/])(manage|setup)\.py\s+(\S+\s+)*test(\s|$)"
)


def is_test_file(path: str) -> bool:
    """A module of tests, or anything below a directory of tests: helpers and data are part of them."""
    return holds_tests(path) or any(part in _TEST_DIRECTORIES for part in path.casefold().split("/")[:-1])


def holds_tests(path: str) -> bool:
    """A module whose name says that a runner collects tests from it."""
    return _matches(path.casefold().rsplit("/", 1)[-1], _TEST_MODULES)


def names_tests(command: str) -> bool:
    """Whether the command singles out test files, or tests in them."""
    return any(holds_tests(word.strip("'\"").partition("::")[0]) for word in command.split())


def in_file(test_id: str, path: str, directory: str = "") -> bool:
    """Whether a Python file holds the test (or is the module of that name). Tests are named from `directory`."""
    prefix = f"{directory}/" if directory else ""
    if not path.startswith(prefix) or not path.endswith(".py"):
        return False
    module = path[len(prefix) :].removesuffix(".py").replace("/", ".")
    return test_id == module or test_id.startswith((f"{module}.", f"{module}::"))


def runs_tests(command: str) -> bool:
    """Whether a command is plainly a runner of tests, so that a new test can be expected to make it red."""
    return bool(_RUNNERS.search(command))


def decides_how_tests_run(path: str) -> bool:
    """By its name alone; of some of these files only a part decides, see `frozen_paths`."""
    *directories, name = path.casefold().split("/")
    return _matches(name, _DECIDING) or any(_matches(part, _DECIDING_DIRECTORIES) for part in directories)


def frozen_paths(
    changes: Sequence[Change],
    *,
    category: str,
    deliverables: Collection[str],
    trusted: bool = False,
    commands: Sequence[str] = (),
    own: Collection[str] = (),
    named: Collection[str] = (),
) -> tuple[str, ...]:
    """The changed paths that are taken from the base for the tree that is checked; new ones are left out of it.

    Those that decide how tests run, and what the commands run: `named` are the paths that the base's own files name
    for that. Not what a `tests` phase was asked to deliver, nor anything in a diff that a person approved (`trusted`),
    nor a file whose deciding parts are equal. A command that the phase itself brought (`own`) may run the very file
    that is its work.
    """
    if trusted:
        return ()
    of_project = {path for command in commands if command not in own for path in programs(command)}
    of_phase = {path for command in commands if command in own for path in programs(command)}
    of_phase -= {*deliverables, *(change.path for change in changes if change.before is None)}
    return tuple(
        change.path
        for change in changes
        if (_decides(change) or change.path in of_phase or _is_one_of(change.path, {*of_project, *named}))
        and not (category == "tests" and change.path in deliverables)
    )


def _is_one_of(path: str, known: Collection[str]) -> bool:
    """A module may lie below a directory of sources: support/plug.py is src/support/plug.py."""
    return path in known or (path.startswith("src/") and path[4:] in known)


def _decides(change: Change) -> bool:
    return decides_how_tests_run(change.path) and _test_settings(
        change.path, change.before
    ) != _test_settings(change.path, change.after)


def _test_settings(path: str, file: File | None) -> object:
    """What of the file decides how tests run; the whole file where that cannot be told apart."""
    name = path.casefold().rsplit("/", 1)[-1]
    reader = {"pyproject.toml": _of_toml, "setup.cfg": _of_ini, "package.json": _of_json}.get(name)
    if reader is None:
        return file
    if file is None:
        return {}
    try:
        return reader(file.content.decode("utf-8"))
    except (ValueError, configparser.Error, RecursionError):
        return file


def _of_toml(text: str) -> object:
    table = tomllib.loads(text)
    tools, project = _mapping(table.get("tool")), _mapping(table.get("project"))
    found = {name: tools[name] for name in _TOML_TABLES if name in tools}
    # An entry point of the group pytest11 is a plugin.
    return {**found, **({"entry-points": project["entry-points"]} if "entry-points" in project else {})}


def _of_ini(text: str) -> object:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    parser.read_string(text)
    return {
        section: dict(parser.items(section))
        for section in parser.sections()
        if _INI_SECTIONS.fullmatch(section)
    }


def _of_json(text: str) -> object:
    table = _mapping(json.loads(text))
    return {key: table[key] for key in _JSON_KEYS if key in table}


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
