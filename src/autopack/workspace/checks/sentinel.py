"""Running pytest so that it cannot say what is not so without a stranger's help (THREATS 3).

pytest writes a JUnit report of its own place, and runs one test more than the project has: the sentinel, from a
plugin with a random name outside the tree, which must fail with a secret. A run in which it did not is void.
Nothing that runs in one process with hostile code is perfect: this raises the price.
"""

import hashlib
import hmac
import json
import posixpath
import re
import secrets
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from autopack.domain.testing import RunKind, TestOutcome, TestResult, kind_of_pytest_exit
from autopack.domain.testing.results import RED
from autopack.workspace.checks.files import read_bounded
from autopack.workspace.checks.junit import BadReport, read_results
from autopack.workspace.process import ProcessResult

_VARIABLES = r"(?:[A-Za-z_]\w*=(?:'[^']*'|\"[^\"]*\"|[^\s'\"])*\s+)*"
_FLAGS = r"(?:\s+-[WX]\s+\S+|\s+-(?!m\b|[A-Za-z]*[IE])\S+)*"
_PYTEST = re.compile(
    rf"\s*(?P<place>cd\s+(?P<directory>[\w./-]+)\s*&&\s*)?{_VARIABLES}(?:env\s+{_VARIABLES})?"
    r"(?:timeout\s+(?:-\S+\s+)*\d\S*\s+)?(?:(?:uv|poetry|pdm|hatch|pipenv|rye)\s+run\s+(?:-\S+\s+)*)?"
    rf"(?:(?:\S*/)?py\.?test|(?:(?:\S*/)?python[\d.]*|coverage\s+run){_FLAGS}\s+-m\s+pytest)(?=\s|$)"
)
_SOMEWHERE = re.compile(r"(?:^|[\s/;&|(])py\.?test(?=[\s;&|)]|$)")
_WITHOUT_ENVIRONMENT = re.compile(r"python[\d.]*(?:\s+-\S+)*\s+-[A-Za-z]*[IE]|\benv\s+-i\b|\bPYTEST_ADDOPTS=")
_USES_CACHE = re.compile(r"--(lf|ff|nf|sw|last-failed|failed-first|new-first|stepwise|cache)\b")
_CONFIGURATION = ("pytest.ini", ".pytest.ini", "pytest.toml", "pyproject.toml", "tox.ini", "setup.cfg")
_ALL_IS_WELL = "pytest said that all is well although a test failed that must fail"
_LONGEST_SEAL = 4096
_LONGEST_CONFIGURATION = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Of all that the command would run: only these tests, by id or by file."""

    ids: frozenset[str] | None = None
    files: frozenset[str] | None = None


EVERYTHING = Selection()


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A pytest command with the sentinel beside it: what to run, and what to look at afterwards."""

    command: str
    python_path: Path
    name: str
    nonce: str
    report: Path
    seal: Path
    addopts: str = ""
    """For a pytest somewhere in the command: what is to stand in PYTEST_ADDOPTS."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a watched run said. `reason` is empty where its tests say all there is to say."""

    kind: RunKind
    results: Mapping[str, TestResult] | None = None
    reason: str = ""
    directory: str = ""


def is_pytest(command: str) -> bool:
    """Whether the command is plainly one run of pytest: no other program, pipe or substitution in it."""
    found = _PYTEST.match(command)
    if found is None or re.search(r"[`\n]|\$\(", command):
        return False
    words = shlex.shlex(
        command[found.end("place") if found["place"] else 0 :], posix=True, punctuation_chars=True
    )
    try:
        return not any(set(word) <= set("();<>|&") for word in words if word)
    except ValueError:
        return False


def may_reach_pytest(command: str) -> bool:
    """Whether the command, among other things, seems to start a pytest that heeds the environment."""
    return bool(_SOMEWHERE.search(command)) and not _WITHOUT_ENVIRONMENT.search(command)


def runs_in(command: str) -> str:
    """The directory of the tree in which the command runs pytest, and below which it names its tests; "" is the top."""
    found = _PYTEST.match(command)
    place = posixpath.normpath(found["directory"] if found and found["directory"] else ".")
    return "" if place == "." else place


def watch(
    command: str,
    *,
    results: Path,
    tree: Path,
    here: Path,
    modules: Sequence[str],
    select: Selection = EVERYTHING,
    addopts: str = "",
) -> Watched:
    """Writes the plugin below `results`. The tree is at `tree` for the command, and at `here` for us.

    For a command that is not plainly one run of pytest, the plugin comes by PYTEST_ADDOPTS (`addopts`: what is there).
    """
    found = _PYTEST.match(command) if is_pytest(command) else None
    token, nonce, name = secrets.token_hex(8), secrets.token_hex(16), f"test_{secrets.token_hex(8)}"
    python_path = results / token
    plugin, report, seal = f"p{secrets.token_hex(8)}", results / f"{token}.xml", results / f"{token}.json"
    given = {
        "nonce": nonce, "name": name, "report": str(report), "seal": str(seal), "tree": str(tree), "modules": list(modules),
        "ids": _listed(select.ids), "files": _listed(_below(select.files, runs_in(command))),
        "began": "" if found else str(_began(report)), "addopts": addopts,
    }  # fmt: skip
    python_path.mkdir(mode=0o755)
    (python_path / f"{plugin}.py").write_text(_plugin(given), encoding="utf-8")
    options = [
        "-p",
        plugin,
        "-o",
        "junit_family=xunit2",
        "-o",
        "junit_logging=no",
        f"--junitxml={report}",
    ]
    if not _uses_cache(command, here):
        options += [
            "-p",
            "no:cacheprovider",
        ]  # what an earlier command left is not to decide what this one runs
    # Tests are named from where pytest runs, whatever configuration a phase adds or takes away.
    words = f'{shlex.join(options)} --rootdir="$PWD"'
    return Watched(
        command=f"{command[: found.end()]} {words}{command[found.end() :]}" if found else command,
        python_path=python_path, name=name, nonce=nonce, report=report, seal=seal,
        addopts="" if found else f"{addopts} {shlex.join(options)}".strip(),
    )  # fmt: skip


def _began(report: Path) -> Path:
    return report.with_suffix(".began-")


def _below(files: Iterable[str] | None, directory: str) -> list[str] | None:
    prefix = f"{directory}/" if directory else ""
    return None if files is None else [each[len(prefix) :] for each in files if each.startswith(prefix)]


def _listed(values: Iterable[str] | None) -> list[str] | None:
    return None if values is None else sorted(values)


def _plugin(given: Mapping[str, object]) -> str:
    text, place = _plugin_text(), "GIVEN: dict[str, Any] = {}"
    assert text.count(place) == 1
    return text.replace(place, f"GIVEN = json.loads({json.dumps(json.dumps(given))})")


@cache
def _plugin_text() -> str:
    return Path(__file__).with_name("sentinel_plugin.py").read_text(encoding="utf-8")


def _uses_cache(command: str, tree: Path) -> bool:
    """Without its cache pytest does not know these options, and refuses to start."""
    texts = (read_bounded(tree / name, _LONGEST_CONFIGURATION) for name in _CONFIGURATION)
    return any(
        _USES_CACHE.search(text)
        for text in (command, *(text.decode(errors="replace") for text in texts if text))
    )


def judge(watched: Watched, ended: ProcessResult) -> Told:
    """What the run is worth: its tests, without the sentinel, or why nothing can be believed."""
    if ended.timed_out:
        return Told(kind=RunKind.TIMED_OUT, reason="it was stopped at its time limit")
    if ended.exit_code is None:
        how = f"it was ended by signal {ended.signal}" if ended.signal else "it was stopped"
        return Told(kind=RunKind.FAILED, reason=how)
    found = _believed(watched, ended.exit_code)
    if isinstance(found, Told):
        return found
    results, facts = found
    if ended.exit_code == 0 and not watched.addopts:
        return _void(_ALL_IS_WELL)
    told = _told(results, _number(facts, "exit_code"), facts.get("other_failures"))
    return _in_a_longer_command(told, facts, ended.exit_code) if watched.addopts else told


def times_begun(watched: Watched) -> int:
    """How many runs of pytest were there in a longer command."""
    began = _began(watched.report)
    return sum(1 for _ in began.parent.glob(f"{began.name}*"))


def _in_a_longer_command(told: Told, facts: Mapping[str, object], exit_code: int) -> Told:
    """What comes before or after pytest in it may be red as well."""
    told = replace(told, directory=str(facts.get("directory") or ""))
    if exit_code == 0 or facts.get("own") != 0:
        return told
    reason = f"its tests pass, and it ended with exit code {exit_code}"
    return replace(told, kind=RunKind.FAILED, reason=told.reason or reason)


def _believed(watched: Watched, exit_code: int) -> tuple[dict[str, TestResult], Mapping[str, object]] | Told:
    """The tests without the sentinel and the sealed facts, or why they count for nothing."""
    try:
        data, results = read_results(watched.report)
    except BadReport as error:
        return _without_tests(exit_code, str(error), missing=not watched.report.exists())
    seal = _read_seal(watched.seal)
    sealed = data + json.dumps(seal.get("facts"), sort_keys=True).encode()
    expected = hmac.new(watched.nonce.encode(), sealed, hashlib.sha256).hexdigest()
    facts = seal.get("facts")
    if not isinstance(facts, dict) or not hmac.compare_digest(
        str(seal.get("seal")).encode(), expected.encode()
    ):
        return _void("the test report is not the one that pytest wrote")
    sentinel = results.pop(next((each for each in results if _is_sentinel(watched, each)), ""), None)
    if (
        sentinel is None
        or sentinel.outcome is not TestOutcome.FAILED
        or not sentinel.message.startswith(watched.nonce)
    ):
        return _without_tests(exit_code, "a test that must fail did not run, or did not fail")
    if facts.get("exit_code") == 0:
        return _void(_ALL_IS_WELL)
    if lie := _lie(sentinel.message.removeprefix(watched.nonce), facts):
        return _void(lie)
    return results, facts


def _number(facts: Mapping[str, object], name: str) -> int:
    value = facts.get(name)
    return value if isinstance(value, int) else -1


def _is_sentinel(watched: Watched, test_id: str) -> bool:
    return test_id.rpartition("::")[2] == watched.name


def _lie(told: str, facts: Mapping[str, object]) -> str:
    """What the sentinel saw, and what was so when all was done. The message of a test is cut: then it says enough."""
    try:
        seen = json.loads(told)
    except ValueError:
        return f"the code under test is not to be believed: {told.strip()}"
    if replaced := [*seen["replaced"], *_names(facts.get("replaced"))]:
        return f"the code under test replaced parts of the test runner: {', '.join(dict.fromkeys(replaced))}"
    if seen["equal"]:
        return f"objects of the code under test equal everything: {', '.join(seen['equal'])}"
    return ""


def _names(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


def readable(watched: Watched, output: str) -> str:
    """The output without what is about the sentinel."""
    lines = output.splitlines(keepends=True)
    return "".join(line for line in lines if watched.name not in line and watched.nonce not in line)


def _told(results: Mapping[str, TestResult], exit_code: int, other_failures: object) -> Told:
    outcomes = {result.outcome for result in results.values()}
    reason = ""
    if exit_code != 1:
        reason = f"pytest ended with exit code {exit_code}"
    elif other_failures != 0:
        reason = "pytest failed for a reason that is not a test's (such as a threshold of a plugin)"
    if not results:
        kind = RunKind.NO_TESTS
    elif TestOutcome.UNCOLLECTED in outcomes:
        kind = RunKind.COLLECTION_ERROR
    else:
        kind = RunKind.FAILED if reason or outcomes & RED else RunKind.PASSED
    return Told(kind=kind, results=results, reason=reason)


def _without_tests(exit_code: int, why: str, *, missing: bool = False) -> Told:
    """Without the sentinel's word only red is believed."""
    kind = kind_of_pytest_exit(exit_code)
    if kind in (RunKind.INTERRUPTED, RunKind.INTERNAL_ERROR, RunKind.USAGE_ERROR):
        return Told(kind=kind, reason=f"pytest ended with exit code {exit_code} ({kind.replace('_', ' ')})")
    if missing and exit_code != 0:
        return Told(
            kind=RunKind.FAILED, reason=f"it ended with exit code {exit_code} and without a test report"
        )
    return _void(why)


def _void(why: str) -> Told:
    return Told(kind=RunKind.VOID, reason=f"the run is void: {why}")


def _read_seal(file: Path) -> Mapping[str, object]:
    try:
        told = json.loads(read_bounded(file, _LONGEST_SEAL) or b"{}")
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
