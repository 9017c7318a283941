"""Checks: an export of the tree, an environment from nothing, a report."""

import json
import os
import sys
from pathlib import Path

import pytest

from autopack.domain.changes import Change, File
from autopack.domain.testing import RunKind
from autopack.errors import InvalidInput
from autopack.workspace import scratch
from autopack.workspace.checks import CheckReport, CheckSettings, Job, load_check_settings, open_checks
from autopack.workspace.git import GitWorkspace
from autopack.workspace.process import Limits
from autopack.workspace.sandbox import Sandbox, SandboxLevel, check_environment

pytestmark = pytest.mark.anyio
LIMITS = Limits(wall_seconds=20)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch) -> Path:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(place))
    return place


def names_in(directory: Path) -> list[str]:
    return [entry.name for entry in directory.iterdir()]


async def check(
    repository, *commands: str, env: dict[str, str] | None = None, limits: Limits = LIMITS
) -> CheckReport:
    workspace = await GitWorkspace.open(repository.path)
    new = Change(path="new.txt", before=None, after=File(content=b"new\n"))
    tree = await workspace.result_tree(await workspace.head_commit(), [new])
    settings = CheckSettings(env=env or {}, limits=limits)
    sandbox = Sandbox(level=SandboxLevel.LIMITS)
    async with open_checks(workspace, sandbox) as checks:
        return await checks.run(Job(tree=tree, base=tree, commands=tuple(commands), settings=settings))


async def test_checks_see_exactly_the_tree_and_leave_nothing(repository, temporary: Path):
    repository.write("untracked.txt", "not in the tree")
    before = repository.fingerprint()
    report = await check(repository, "ls -A; cat new.txt; touch made", "test -e made && echo still")
    assert report.passed
    assert [result.output for result in report.results] == ["README.md\nbin\nnew.txt\nsrc\nnew\n", "still\n"]
    assert names_in(temporary) == []
    assert repository.fingerprint() == before


async def test_between_commands_the_tree_is_as_it_was_and_what_was_built_stays(repository):
    alter = "echo x > README.md; rm src/app.py; rm -r bin; ln -s src bin; touch made ruff.toml"
    report = await check(
        repository, alter, "cat README.md; ls bin src; echo 'x 1 passed'; test -e made && test -e ruff.toml"
    )
    assert report.passed, report.summary()
    assert report.results[1].output.splitlines()[0] == "hello"
    assert "tool" in report.results[1].output
    assert "app.py" in report.results[1].output
    after_tests = await check(repository, f"{alter} # npm test", "test -e made && ! test -e ruff.toml")
    assert after_tests.passed, after_tests.summary()
    assert "npm test says nothing of single tests" in after_tests.notes[0]


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("raise SystemExit(0)", RunKind.VOID),
        ("import unittest\nclass T(unittest.TestCase):\n def test_a(self): pass", RunKind.PASSED),
        ("", RunKind.NO_TESTS),
    ],
)
async def test_unittest_must_say_that_it_came_to_its_end(repository, script, kind):
    quoted = f"printf '{script}\n'".replace("\n", "\\n")
    report = await check(repository, f"{quoted} > test_a.py", "python3 -m unittest test_a")
    assert report.results[1].kind is kind, report.results[1].output


async def test_the_first_failure_ends_it_and_is_told(repository):
    report = await check(repository, "true", "echo why; exit 3", "touch never")
    assert not report.passed
    assert [result.exit_code for result in report.results] == [0, 3]
    assert (
        report.summary()
        == "A check failed: exit code 3.\nCommand: echo why; exit 3\nIts output ended with:\nwhy\n"
    )


async def test_a_time_limit_and_a_signal_are_told(repository):
    report = await check(repository, "sleep 60", limits=Limits(wall_seconds=0.3))
    assert (report.results[0].timed_out, report.results[0].kind) == (True, RunKind.TIMED_OUT)
    assert "time limit" in report.summary()
    assert "signal 11" in (await check(repository, "kill -SEGV $$")).summary()


async def test_no_commands_pass_with_nothing_run(repository):
    report = await check(repository)
    assert report.passed
    assert report.results == ()
    assert "No checks were run.\nno checks were found" in report.summary()


async def test_a_check_sees_none_of_our_secrets(repository, monkeypatch):
    for name in (
        "DATABASE_URL",
        "AUTOPACK_MODEL",
        "OPENAI_API_KEY",
        "GITHUB_TOKEN",
        "ANYTHING",
        "VIRTUAL_ENV",
    ):
        monkeypatch.setenv(name, "canary-value")
    report = await check(repository, "env; cat /proc/$PPID/environ", env={"MODE": "test"})
    assert "canary-value" not in report.results[0].output
    assert "MODE=test\n" in report.results[0].output


async def test_checks_have_their_own_home_and_temporary_directory(repository, temporary: Path):
    script = 'cd "$HOME" && touch a && mktemp && stat -c %a "$HOME/.." && python3 -c "import sys; print(sys.prefix)"'
    report = await check(repository, script)
    assert report.passed, report.summary()
    made, mode, prefix = report.results[0].output.split()
    assert made.startswith(str(temporary))
    assert mode == "700"
    assert Path(prefix) != Path(sys.prefix) or sys.prefix == sys.base_prefix


async def test_what_checks_leave_is_removed_without_following_links(
    repository, temporary: Path, tmp_path: Path
):
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o750)
    (victim / "kept").write_text("")
    deep = "i=0; while [ $i -lt 1100 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done"
    report = await check(
        repository,
        f'ln -s {victim} link; ln -s {victim} "$HOME/link"; mkdir -p ro/in && touch ro/in/f && chmod 000 ro/in ro',
        f"ulimit -s unlimited 2>/dev/null; {deep}; true",
        "mkfifo pipe; mkdir .removing-0 .removing-0/x; chmod 500 . ..",
    )
    assert report.passed, report.summary()
    assert names_in(temporary) == []
    assert (victim / "kept").exists()
    assert victim.stat().st_mode & 0o777 == 0o750


async def test_a_report_is_bounded_json(repository):
    report = await check(repository, "head -c 100000 /dev/zero | tr '\\0' x; exit 1")
    stored = json.loads(json.dumps(report.to_json()))
    assert stored["passed"] is False
    assert stored["level"] == "limits"
    assert len(stored["results"][0]["output"]) <= 16 * 1024
    assert len(report.summary()) < 4200


def environment(host: dict[str, str], **extra: str) -> dict[str, str]:
    return check_environment(host, home=Path("/h"), tmp=Path("/t"), extra=extra)


def test_the_environment_is_built_from_nothing():
    host = {
        "PATH": "/some/bin",
        "LC_ALL": "de_DE",
        "TZ": "UTC",
        "LD_PRELOAD": "x",
        "PYTHONPATH": "/x",
        "HOME": "/no",
    }
    assert environment(host, MODE="1") == {
        "PATH": f"/some/bin:{sys.base_prefix}/bin",
        "LC_ALL": "de_DE",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "TERM": "dumb",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/h",
        "TMPDIR": "/t",
        "MODE": "1",
    }


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="not in a virtual environment")
def test_our_own_virtual_environment_is_not_on_a_checks_path():
    ours = str(Path(sys.prefix, "bin"))
    path = environment({"PATH": f".::{ours}:relative/bin:/some/bin"})["PATH"].split(os.pathsep)
    assert path == ["/some/bin", str(Path(sys.base_prefix, "bin"))]


def test_tool_managers_find_their_home(tmp_path: Path):
    (tmp_path / ".pyenv").mkdir()
    assert environment({"HOME": str(tmp_path)})["PYENV_ROOT"] == str(tmp_path / ".pyenv")
    assert environment({"PYENV_ROOT": str(tmp_path), "HOME": "/no"})["PYENV_ROOT"] == str(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "DATABASE_URL",
            "database_url",
            "AUTOPACK_MODEL",
            "OPENAI_API_KEY",
            "GH_TOKEN",
            "X_SECRET",
            "PGPASSWORD",
        ),
        *("HOME", "TMPDIR", "A=B", "", "1A"),
    ],
)
def test_extra_variables_cannot_name_secrets_or_what_is_ours(name: str):
    with pytest.raises(InvalidInput):
        environment({}, **{name: "x"})


def test_settings_are_read_from_toml():
    assert load_check_settings(None).commands == ()
    settings = load_check_settings(
        '[checks]\ncommands = ["make test"]\nkeep = [".venv/", "./node_modules"]\nsetup = ["npm ci"]\nenv = {CI = "1"}\n'
        "[checks.limits]\nseconds = 5\nmemory_mb = 512\nprocesses = 9\nfile_mb = 2\n[x]\n"
    )
    assert (settings.commands, settings.env, settings.setup) == (("make test",), {"CI": "1"}, ("npm ci",))
    assert settings.keep == (".venv", "node_modules")
    limits = settings.limits
    assert (limits.wall_seconds, limits.total_memory_bytes, limits.processes, limits.file_bytes) == (
        *(5.0, 512 << 20, 9, 2 << 20),
    )
    assert load_check_settings("[checks]\ntimeout_seconds = 2.5").limits.wall_seconds == 2.5


def test_only_limits_that_are_named_are_part_of_a_baselines_key():
    """The others depend on the machine."""
    assert load_check_settings("[checks.limits]\nseconds = 5").facts()["limits"] == {"wall_seconds": 5.0}
    assert CheckSettings().facts()["limits"] == {}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[checks", "TOML"),
        ("checks = 1", "table"),
        ("[checks]\nsetups = 'x'", "setups"),
        ("[checks]\nsetup = 'x'", "setup"),
        ("[checks]\ncommands = 'x'", "commands"),
        ("[checks]\ncommands = ['']", "commands"),
        ("[checks]\nkeep = ['../x']", "keep"),
        ("[checks]\nkeep = ['/x']", "keep"),
        ("[checks]\nkeep = ['.git']", "keep"),
        ("[checks]\nkeep = 1", "keep"),
        ("[checks]\nlimits = 1", "limits"),
        ("[checks.limits]\nmemory = 1", "memory"),
        ("[checks.limits]\nprocesses = 1.5", "processes"),
        ("[checks.limits]\nprocesses = 0", "processes"),
        ("[checks]\ntimeout_seconds = 1\nlimits = {seconds = 1}", "name one"),
        ("[checks]\ntimeout_seconds = true", "timeout_seconds"),
        ("[checks]\ntimeout_seconds = -1", "timeout_seconds"),
        ("[checks]\ntimeout_seconds = nan", "timeout_seconds"),
        ("[checks]\nenv = {A = 1}", "env"),
        ("[checks]\nenv = {DATABASE_URL = 'x'}", "DATABASE_URL"),
        ("[checks]\nenv = {TELEMETRY_DATABASE_URL = 'x'}", "TELEMETRY_DATABASE_URL"),
    ],
)
def test_settings_of_the_wrong_shape_are_refused(text: str, word: str):
    with pytest.raises(InvalidInput, match=word):
        load_check_settings(text)
