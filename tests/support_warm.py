"""Commands in forks of one process that has imported Autopack already: the imports are paid for once, not at every start.

Such a process has an environment, a directory and outputs of its own, and runs the very file of the script. What is read
while modules are imported, and what /proc tells of a process, is the first process's: tests of these start it cold. What a
module took from the environment or the directory at import would be wrong here, and be seen.
"""

import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "autopack.cli",
        "autopack.bootstrap.local",
        "autopack.bootstrap.worker",
        "autopack.llm.openai_model",
        "autopack.llm.transport",
        "uvicorn",
    ]
)


class WarmProcess:
    """What subprocess.Popen is to a program of its own; `command` is an interpreter and its arguments."""

    def __init__(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> None:
        self._outputs = Path(tempfile.mkdtemp())
        self._told: tuple[str, str] | None = None
        self._process = _FORKS.Process(
            target=_run, args=(list(command[1:]), str(cwd), dict(env), str(self._outputs)), daemon=True
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("a warm process", timeout or 0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        if self._told is None:
            out, err = ((self._outputs / name).read_text(encoding="utf-8") for name in ("stdout", "stderr"))
            shutil.rmtree(self._outputs)
            self._told = out, err
        return self._told

    def said_so_far(self) -> str:
        """On stderr; for a process that still runs."""
        said = self._outputs / "stderr"
        return said.read_text(encoding="utf-8", errors="replace") if said.exists() else ""

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def _run(arguments: list[str], cwd: str, env: dict[str, str], outputs: str) -> None:
    """In the fork: becomes the command."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        opened = os.open(Path(outputs, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")
