"""Which commands check a project that names none. Pure: it sees the names in the tree and a few small files."""

import configparser
import json
import re
import tomllib
from collections.abc import Collection, Mapping

from autopack.domain.testing import holds_tests

READ = (
    *("pytest.ini", "pytest.toml", "pyproject.toml", "tox.ini", "setup.cfg"),
    *("package.json", "GNUmakefile", "makefile", "Makefile"),
)
"""The files whose content detection wants, where the tree has them."""
PYTEST = "python3 -m pytest -q"
_NPM_PLACEHOLDER = "no test specified"  # of `npm init`
_TEST_TARGET = re.compile(r"^test\s*:(?!=)", re.M)

_TOOLCHAINS = (("go.mod", "_test.go", "go test ./..."), ("Cargo.toml", ".rs", "cargo test"))


def detect(paths: Collection[str], contents: Mapping[str, str], *, pytest_works: bool) -> tuple[str, ...]:
    """One command per kind of tests that is plainly there; none where nothing is plain.

    `pytest_works`: whether python3 of a check's environment can import pytest.
    """
    found = []
    if holds_python_tests(paths):
        found.append(PYTEST if pytest_works or configures_pytest(contents) else _unittest(paths))
    if _has_npm_test(contents.get("package.json")):
        found.append("npm test")
    found += [command for manifest, tests, command in _TOOLCHAINS if _are_in(paths, manifest, tests)]
    if not found and any(_TEST_TARGET.search(contents.get(name, "")) for name in READ[-3:]):
        found.append("make test")
    return tuple(found)


def holds_python_tests(paths: Collection[str]) -> bool:
    return any(path.endswith(".py") and holds_tests(path) for path in paths)


def _are_in(paths: Collection[str], manifest: str, ending: str) -> bool:
    return manifest in paths and any(path.endswith(ending) for path in paths)


def _unittest(paths: Collection[str]) -> str:
    """unittest looks below one folder: the top, unless the tests lie in one that is no package."""
    folder = next(
        (name for name in ("tests", "test") if any(path.startswith(f"{name}/") for path in paths)), None
    )
    if folder is None or f"{folder}/__init__.py" in paths:
        return "python3 -m unittest discover"
    return f"python3 -m unittest discover -s {folder}"


def configures_pytest(contents: Mapping[str, str]) -> bool:
    if "pytest.ini" in contents or "pytest.toml" in contents:
        return True
    sections = (("tox.ini", "pytest"), ("setup.cfg", "tool:pytest"))
    return _names_pytest(contents.get("pyproject.toml")) or any(
        _has_section(contents.get(name), section) for name, section in sections
    )


def _names_pytest(pyproject: str | None) -> bool:
    try:
        tools = tomllib.loads(pyproject or "").get("tool", {})
    except tomllib.TOMLDecodeError:
        return False
    return isinstance(tools, dict) and "pytest" in tools


def _has_section(text: str | None, section: str) -> bool:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    try:
        parser.read_string(text or "")
    except configparser.Error:
        return False
    return parser.has_section(section)


def _has_npm_test(package: str | None) -> bool:
    try:
        table = json.loads(package or "{}")
    except (ValueError, RecursionError):
        return False
    scripts = table.get("scripts") if isinstance(table, dict) else None
    test = scripts.get("test") if isinstance(scripts, dict) else None
    return isinstance(test, str) and bool(test.strip()) and _NPM_PLACEHOLDER not in test
