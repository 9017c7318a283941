"""The shape of the code: imports point down, nothing but a migration makes a table, importing does nothing."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from autopack.db.migrate import script_location
from autopack.db.tables import REVISION
from tests.support import ROOT, clean_environment

SRC = ROOT / "src" / "autopack"
# STYLE section 1. Differences: `llm` times its calls and takes a Clock; `domain` raises errors that both sides know.
MAY_IMPORT = {
    "errors": set(),
    "clock": set(),
    "settings": {"errors"},
    "domain": {"errors"},
    "schemas": {"domain"},
    "db": {"domain", "errors"},
    "llm": {"domain", "errors", "clock"},
    "workspace": {"domain", "errors", "clock"},
    "client": {"schemas", "domain", "errors"},
    "api": {"db", "domain", "schemas", "errors", "clock"},
    "web": {"api", "db", "domain", "schemas", "errors", "clock"},
    "executor": {"client", "llm", "workspace", "domain", "schemas", "errors", "clock"},
}
UPPER = {"bootstrap", "cli", "main", "__init__", "__main__"}
MODULES = sorted(SRC.rglob("*.py"))
OWN_CODE = sorted(
    path for top in ("src", "tests", "scripts", "benchmarks") for path in (ROOT / top).rglob("*.py")
)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def layer_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def modules_imported_by(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layers_imported_by(path: Path) -> set[str]:
    parts = (name.split(".") for name in modules_imported_by(path))
    return {name[1] for name in parts if name[0] == "autopack" and len(name) > 1} - {"__version__"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path: Path):
    layer = layer_of(path)
    if layer in UPPER:
        return
    assert layers_imported_by(path) - {layer} <= MAY_IMPORT[layer]


def test_every_layer_has_its_rule():
    assert {layer_of(path) for path in MODULES} <= MAY_IMPORT.keys() | UPPER


def test_bootstrap_does_not_know_the_command_line():
    for path in (SRC / "bootstrap").glob("*.py"):
        assert not layers_imported_by(path) & {"cli", "main"}, path


def test_a_command_that_drains_nothing_does_not_wait_for_what_only_a_drain_needs():
    assert not layers_imported_by(SRC / "bootstrap" / "__init__.py") & {"executor", "llm", "workspace"}


def test_the_two_imports_that_never_happen():
    """That is why an in-process worker and a remote one run the same code."""
    for path in MODULES:
        if layer_of(path) == "executor":
            assert not layers_imported_by(path) & {"db", "api"}, path
        if layer_of(path) in ("api", "web"):
            assert not layers_imported_by(path) & {"executor", "llm", "workspace"}, path


@pytest.mark.parametrize("path", OWN_CODE, ids=name_of)
def test_imports_are_absolute(path: Path):
    relative = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.ImportFrom) and node.level]
    assert not relative


@pytest.mark.parametrize("sdk", ["openai", "anthropic", "pydantic_ai", "genai_prices", "httpx2"])
def test_an_sdk_is_imported_by_the_models_layer_only(sdk: str):
    users = {
        layer_of(path)
        for path in MODULES
        if sdk in {name.split(".")[0] for name in modules_imported_by(path)}
    }
    assert users <= {"llm"}


def test_sqlalchemy_is_used_by_the_database_layer_only():
    users = {
        name_of(path)
        for path in MODULES
        if layer_of(path) != "db" and any(name.startswith("sqlalchemy") for name in modules_imported_by(path))
    }
    # `identity` counts rows, and settings take a password out of a URL before it is shown.
    assert users <= {"src/autopack/cli/database.py", "src/autopack/settings.py"}


# Nothing but a migration makes or drops a table

# Written in two parts, so that this file does not hold what it looks for.
FORBIDDEN = re.compile(r"\b(?:create|drop)" + r"_all\b")
HOSTILE = {"tests/e2e/support_hostile.py"}
"""The hostile workspace of INCIDENTS D2: what its checks try is the point of it."""


@pytest.mark.parametrize("path", OWN_CODE, ids=name_of)
def test_no_schema_is_made_or_dropped_behind_the_migrations_back(path: Path):
    hits = [line for line in path.read_text(encoding="utf-8").splitlines() if FORBIDDEN.search(line)]
    if name_of(path) not in HOSTILE:
        assert calls_of(path, FORBIDDEN) == []
    if path.is_relative_to(SRC) or path.is_relative_to(ROOT / "scripts"):
        assert hits == []


def calls_of(path: Path, names: re.Pattern[str]) -> list[int]:
    """Lines that really call it: a string in a test, that a hostile check runs elsewhere, is none."""
    return [
        node.lineno
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute | ast.Name)
        and names.search(node.attr if isinstance(node, ast.Attribute) else node.id)
    ]


def test_the_directory_of_migrations_is_no_package():
    """As `alembic/__init__.py` it would hide the library of that name from every import."""
    assert not (ROOT / "alembic" / "__init__.py").exists()
    assert not (ROOT / "alembic" / "versions" / "__init__.py").exists()
    assert (ROOT / "alembic" / "env.py").is_file()


def test_migrations_import_nothing_from_the_application():
    for path in sorted((ROOT / "alembic").rglob("*.py")):
        assert not {name for name in modules_imported_by(path) if name.split(".")[0] == "autopack"}, path


def test_the_code_works_on_the_newest_revision():
    config = Config()
    config.set_main_option("script_location", str(script_location()))
    directory = ScriptDirectory.from_config(config)
    assert directory.get_heads() == [REVISION]


# Importing does nothing

WATCH = """
import importlib, os, pkgutil, sys
import sqlalchemy
made = []
original = sqlalchemy.create_engine
def spy(*arguments, **named):
    made.append(arguments)
    return original(*arguments, **named)
sqlalchemy.create_engine = spy
import sqlalchemy.engine, sqlite3
sqlalchemy.engine.create_engine = spy
connect = sqlite3.connect
sqlite3.connect = lambda *arguments, **named: (made.append(arguments), connect(*arguments, **named))[1]
before = dict(os.environ)
import autopack
names = [module.name for module in pkgutil.walk_packages(autopack.__path__, "autopack.") if module.name != "autopack.__main__"]
for name in names:
    if not name.startswith("autopack._alembic"):
        importlib.import_module(name)
assert dict(os.environ) == before, "an import changed the environment"
assert not made, made
print(len(names))
"""


@pytest.mark.slow
def test_importing_every_module_opens_no_database_and_makes_no_file(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", WATCH], cwd=tmp_path, capture_output=True, text=True,
        env=clean_environment(DATABASE_URL="mysql://nobody/nothing", PYTHONDONTWRITEBYTECODE="1"), check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 50
    assert list(tmp_path.iterdir()) == []


HEAVY = """
import sys
import autopack.cli
print([name for name in ("sqlalchemy", "fastapi", "httpx", "pydantic_ai", "uvicorn", "alembic") if name in sys.modules])
"""


def test_the_command_line_imports_nothing_heavy_before_it_knows_what_is_asked():
    done = subprocess.run([sys.executable, "-c", HEAVY], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Habits


def test_an_exception_of_any_kind_is_caught_in_two_places_only():
    found = {
        (name_of(path), node.lineno)
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler) and catches_everything(node)
    }
    assert {name for name, _ in found} == {"src/autopack/cli/__init__.py", "src/autopack/executor/attempt.py"}
    assert len(found) == 2


def catches_everything(handler: ast.ExceptHandler) -> bool:
    """`except BaseException` that cleans up and raises again is not meant."""
    caught = ast.unparse(handler.type) if handler.type else "Exception"
    raises_again = isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None
    return caught in ("Exception", "BaseException") and not raises_again


TESTS = sorted(path for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_every_test_asserts_something(path: Path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            assert says_something(node) or calls_a_helper_that_does(path, node), f"{path}:{node.lineno}"


def says_something(node: ast.AST) -> bool:
    text = ast.unparse(node)
    return any(isinstance(each, ast.Assert) for each in ast.walk(node)) or bool(
        re.search(r"raises\(|warns\(|fail\(|assert_|expect\(.*\)\.(?:not_)?to_", text)
    )


def calls_a_helper_that_does(path: Path, node: ast.AST) -> bool:
    called = {
        call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
    }
    helpers = [
        each
        for each in ast.walk(tree_of(path))
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name in called
    ]
    imported = {name for name in called if name in path.read_text() and name in IMPLIED}
    return any(says_something(helper) for helper in helpers) or bool(imported)


IMPLIED = {"reject_unstorable"}
"""Functions whose whole meaning is to raise when something is wrong."""


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=name_of)
def test_a_script_is_a_name_for_a_command(path: Path):
    imported = {name for name in modules_imported_by(path) if name.split(".")[0] == "autopack"}
    assert imported == {"autopack.__main__.entry"}
    assert len(path.read_text().splitlines()) <= 15
