"""The `git` program, run so that nothing a repository holds is ever executed (THREATS 2)."""

import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, PIPE
from tempfile import TemporaryFile
from typing import IO

import anyio
from anyio.abc import ByteReceiveStream, Process

from autopack.errors import WorkspaceRefused

TIME_LIMIT_SECONDS = 120.0
_WORDS = 2000  # of git's own explanation, in characters

_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.filesRefLockTimeout": "10000",  # milliseconds: another drain holds the branch for an fsync
    "core.fsmonitor": "false",
    "core.quotePath": "false",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    # Our index is private: a shared index or sparse entries would be written beside the person's own.
    "core.splitIndex": "false",
    "core.sparseCheckout": "false",
    "index.sparse": "false",
    # A power cut must not leave a branch that names an object which never reached the disk.
    "core.fsync": "committed,reference",
    "core.fsyncMethod": "batch",
    "commit.gpgSign": "false",
    "log.showSignature": "false",
    "i18n.commitEncoding": "UTF-8",
    "i18n.logOutputEncoding": "UTF-8",
    "trailer.separators": ":",
    # A partial clone would fetch what is missing, through whatever program its remote names.
    "protocol.allow": "never",
}

_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_GRAFT_FILE": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Autopack",
    "GIT_AUTHOR_EMAIL": "autopack@localhost",
    "GIT_COMMITTER_NAME": "Autopack",
    "GIT_COMMITTER_EMAIL": "autopack@localhost",
    "HOME": "/nonexistent",
    "LC_ALL": "C",
}


class GitFailed(WorkspaceRefused):
    """git ended with an error, was killed, or took too long; the text holds git's own words."""

    code = "git_failed"


@dataclass(frozen=True)
class Output:
    """What one git process answered; `cut` when it would have said more than was asked for."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    cut: bool = False


@dataclass(frozen=True)
class Running:
    """A git process whose output is being read."""

    process: Process
    stderr: IO[bytes]

    @property
    def stdout(self) -> ByteReceiveStream:
        assert self.process.stdout is not None
        return self.process.stdout

    async def ended(self, stdout: bytes = b"") -> Output:
        exit_code = await self.process.wait()
        self.stderr.seek(0)
        return Output(exit_code, stdout, self.stderr.read(_WORDS * 4))


@dataclass(frozen=True, kw_only=True)
class Git:
    """One repository's plumbing. Without a `git_dir`, git looks for the repository from `cwd` upwards."""

    program: str
    cwd: Path
    git_dir: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    async def run(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        max_bytes: int | None = None,
    ) -> Output:
        """Any exit code is an answer. At `max_bytes` of output the process is ended and the rest dropped."""
        async with self.running(*arguments, stdin=stdin, environment=environment) as running:
            stdout = bytearray()
            async for chunk in running.stdout:
                stdout += chunk
                if max_bytes is not None and len(stdout) > max_bytes:
                    return Output(0, bytes(stdout[:max_bytes]), b"", cut=True)
            return await running.ended(bytes(stdout))

    async def ask(
        self, *arguments: str, stdin: bytes | None = None, environment: Mapping[str, str] | None = None
    ) -> bytes:
        """Only success is an answer."""
        output = await self.run(*arguments, stdin=stdin, environment=environment)
        if output.exit_code != 0:
            raise failure(arguments, output)
        return output.stdout

    @asynccontextmanager
    async def running(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        time_limit_seconds: float = TIME_LIMIT_SECONDS,
    ) -> AsyncIterator[Running]:
        """A git process to read from; ended on every way out. Files at both its ends cannot deadlock."""
        with TemporaryFile() as stderr, _file_of(stdin) as feed:
            process = await self._start(arguments, feed, stderr, environment)
            try:
                with anyio.fail_after(time_limit_seconds):
                    yield Running(process, stderr)
            except TimeoutError as error:
                took = f"took longer than {time_limit_seconds:g} s and was ended"
                raise GitFailed(f"git {arguments[0]} {took}") from error
            finally:
                with anyio.CancelScope(shield=True):
                    if process.returncode is None:
                        send_signal(process, signal.SIGKILL)
                    await process.aclose()

    async def _start(
        self,
        arguments: Sequence[str],
        stdin: IO[bytes] | None,
        stderr: IO[bytes],
        environment: Mapping[str, str] | None,
    ) -> Process:
        try:
            # A start that is cancelled half-way would leave a process that nobody waits for.
            with anyio.CancelScope(shield=True):
                process = await anyio.open_process(
                    self._command(arguments),
                    stdin=DEVNULL if stdin is None else stdin,
                    stdout=PIPE,
                    stderr=stderr,
                    cwd=self.cwd,
                    env={**_ENVIRONMENT, "PATH": search_path(), **(environment or {})},
                    start_new_session=True,  # the terminal's Ctrl-C is for us to answer, not for git to die of
                )
        except OSError as error:
            raise WorkspaceRefused(f"git cannot be started in {self.cwd}: {error}") from error
        return process

    def _command(self, arguments: Sequence[str]) -> list[str]:
        command = [self.program, "--literal-pathspecs", "--no-pager"]
        for name, value in {**_SETTINGS, **self.settings}.items():
            command += ["-c", f"{name}={value}"]
        if self.git_dir is not None:
            command.append(f"--git-dir={self.git_dir}")
        return [*command, *arguments]


def failure(arguments: Sequence[str], output: Output) -> GitFailed:
    words = output.stderr.decode("utf-8", "replace").strip()[:_WORDS]
    how = f"was killed by signal {-output.exit_code}" if output.exit_code < 0 else "failed"
    return GitFailed(f"git {arguments[0]} {how}: {words or f'exit code {output.exit_code}'}")


def send_signal(process: Process, number: int) -> None:
    """Not the process's own method: that one polls first, and takes the exit code from the event loop."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, number)


def search_path() -> str:
    """Our PATH without relative entries: those would be looked up in a directory that others write to."""
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(entry for entry in entries if Path(entry).is_absolute())


def find_program() -> str:
    program = shutil.which("git", path=search_path())
    if program is None:
        raise WorkspaceRefused("The git program was not found on PATH: install git 2.31 or newer.")
    return program


@contextmanager
def _file_of(data: bytes | None) -> Iterator[IO[bytes] | None]:
    if data is None:
        yield None
        return
    with TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        yield file
