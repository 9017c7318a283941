"""A person's command that is told of a notice: what it gets, and what comes of it when it fails."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from autopack.domain.redaction import Redactor
from autopack.executor.hook import CommandHook

pytestmark = pytest.mark.anyio
TOLD = {
    "autopack": 1,
    "id": "n1",
    "event": "failed",
    "text": "p1 failed: ä\u2028 €",
    "do": ["autopack why r1"],
}


def hook(tmp_path: Path, *command: str, **more: Any) -> CommandHook:
    values = {"directory": tmp_path, "environment": os.environ, "timeout_seconds": 20.0, **more}
    return CommandHook(command=command, **values)


def script(text: str) -> tuple[str, str, str]:
    return sys.executable, "-c", text


def is_there(pid: Path) -> bool:
    return Path("/proc", pid.read_text()).exists()


def names_in(directory: Path) -> list[str]:
    return [each.name for each in directory.iterdir()]


async def test_it_gets_the_envelope_and_nothing_of_ours(tmp_path: Path):
    text = "import json, os, sys; json.dump([sys.stdin.read(), dict(os.environ), os.getcwd(), sys.argv], open('told', 'w'))"
    host = {
        "PATH": os.environ["PATH"], "HOME": "/home/ada", "LC_ALL": "C.UTF-8", "DISPLAY": ":0", "OPENAI_API_KEY": "sk-1",
        "DATABASE_URL": "sqlite:///x.db", "AUTOPACK_NOTIFY_SECRET": "s", "PYTHONSTARTUP": "/evil", "LD_PRELOAD": "/evil.so",
    }  # fmt: skip
    words = ("two words", "$(touch no-shell)", "; exit 9")
    assert await hook(tmp_path, *script(text), *words, environment=host).send(TOLD) is None
    stdin, environment, directory, argv = json.loads((tmp_path / "told").read_text())
    assert json.loads(stdin) == TOLD
    assert environment.keys() - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "HOME", "LC_ALL", "DISPLAY"}
    assert directory == str(tmp_path)
    assert argv[1:] == list(words)
    assert names_in(tmp_path) == ["told"]


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        (("no-such-program",), "no-such-program ended with exit code 127"),
        (
            script("import sys; sys.exit('what it said\\nlast \\x1b[31mword')"),
            "ended with exit code 1: last word",
        ),
        (script("import os; os.close(0); raise SystemExit(4)"), "ended with exit code 4"),
        (script("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"), "was ended by signal 9"),
        (script("print('y\\n' * 5_000_000); raise SystemExit(3)"), "ended with exit code 3: y"),
        (script("print('the-key-of-the-house-1'); raise SystemExit(3)"), ": [redacted:HOUSE_KEY]"),
    ],
    ids=["missing", "fails", "closes stdin", "killed", "talks without end", "tells a secret"],
)
async def test_its_failure_is_one_line(tmp_path: Path, command: tuple[str, ...], fault: str):
    redact = Redactor({"HOUSE_KEY": "the-key-of-the-house-1"}).redact
    told = await hook(tmp_path, *command, redact=redact).send(TOLD)
    assert told is not None
    assert fault in told
    assert "\n" not in told
    assert len(told) < 500


async def test_one_that_never_ends_is_ended_with_all_that_it_started(tmp_path: Path):
    text = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "open('child', 'w').write(str(child.pid))\n"
        "time.sleep(600)"
    )
    started = time.monotonic()
    told = await hook(tmp_path, *script(text), timeout_seconds=1.5).send(TOLD)
    assert time.monotonic() - started < 15
    assert told == f"{sys.executable} took longer than 1.5 s and was ended"
    assert not is_there(tmp_path / "child")


async def test_one_whose_directory_is_gone_is_said(tmp_path: Path):
    told = await hook(tmp_path / "gone", "true").send(TOLD)
    assert told is not None
    assert "cannot be started" in told
