"""The project's own checks, run on an export of exactly the tree that is judged."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from autopack.errors import InvalidInput
from autopack.workspace.git import GitWorkspace
from autopack.workspace.process import Limits, ProcessResult, run_limited
from autopack.workspace.sandbox import SandboxLevel, check_environment, probe_level, refuse_names
from autopack.workspace.scratch import scratch_directory

_STORED_BYTES = 16 * 1024
_SUMMARY_CHARACTERS = 4000


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One command. It passed when it ended by itself with exit code 0."""

    command: str
    exit_code: int | None
    signal: int | None
    timed_out: bool
    duration_seconds: float
    output: str
    survivors: int

    @property
    def passed(self) -> bool:
        return self.exit_code == 0 and not self.timed_out


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """All commands up to the first that failed; no command at all passes."""

    passed: bool
    results: tuple[CheckResult, ...]
    level: str
    skipped_links: tuple[str, ...] = ()
    """Symlinks of the tree that lead outside and were therefore not there."""
    kept_at: str | None = None

    def to_json(self) -> dict[str, object]:
        """For the database: plain values, each output bounded to 16 KiB."""
        results = [{**asdict(r), "output": _bounded(r.output), "passed": r.passed} for r in self.results]
        return {
            "passed": self.passed,
            "level": self.level,
            "results": results,
            "skipped_links": [name.encode("utf-8", "replace").decode() for name in self.skipped_links],
        }

    def summary(self) -> str:
        """For the next prompt: what failed, how, and the last of what it said."""
        failed = next((result for result in self.results if not result.passed), None)
        if failed is None:
            return f"All {len(self.results)} checks passed." if self.results else "No checks were run."
        end = failed.output[-_SUMMARY_CHARACTERS:]
        return f"A check failed: {_how(failed)}.\nCommand: {failed.command}\nIts output ended with:\n{end}"


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """The `[checks]` table of autopack.toml."""

    commands: tuple[str, ...] = ()
    timeout_seconds: float = 600.0
    env: Mapping[str, str] = field(default_factory=dict)


async def run_checks(
    workspace: GitWorkspace,
    tree: str,
    commands: Sequence[str],
    *,
    limits: Limits,
    extra_environment: Mapping[str, str],
    keep: bool = False,
    level: SandboxLevel | None = None,
) -> CheckReport:
    """In order, up to the first failure. The limits are each command's; `level` is probed when not given."""
    level = await probe_level() if level is None else level
    if not commands:
        return CheckReport(passed=True, results=(), level=level)
    results: list[CheckResult] = []
    async with scratch_directory(keep=keep) as scratch:
        home, tmp, export = scratch / "home", scratch / "tmp", scratch / "tree"
        environment = check_environment(os.environ, home=home, tmp=tmp, extra=extra_environment)
        _make_private(home, tmp)
        exported = await workspace.export(tree, export)
        for command in commands:
            shell = ["/bin/sh", "-c", command]
            ended = await run_limited(shell, cwd=export, environment=environment, limits=limits)
            results.append(_judged(command, ended))
            if not results[-1].passed:
                break
    return CheckReport(
        passed=all(result.passed for result in results),
        results=tuple(results),
        level=level,
        skipped_links=exported.skipped_links,
        kept_at=str(scratch) if keep else None,
    )


def load_check_settings(text: str | None) -> CheckSettings:
    """From the text of an autopack.toml; None when there is no such file."""
    try:
        table = tomllib.loads(text or "").get("checks", {})
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"autopack.toml is not TOML: {error}") from error
    if not isinstance(table, dict):
        raise InvalidInput("autopack.toml: checks must be a table, [checks]")
    for key in table.keys() - {"commands", "timeout_seconds", "env"}:
        raise InvalidInput(
            f"autopack.toml: [checks] {key} is not known; it has commands, timeout_seconds, env"
        )
    return CheckSettings(
        commands=_commands(table.get("commands", [])),
        timeout_seconds=_seconds(table.get("timeout_seconds", CheckSettings.timeout_seconds)),
        env=_env(table.get("env", {})),
    )


def _commands(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(
        isinstance(c, str) and c.strip() and "\0" not in c for c in value
    ):
        raise InvalidInput("autopack.toml: [checks] commands must be a list of commands, each a text")
    return tuple(value)


def _seconds(value: object) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < float(str(value)) <= 86_400:
        raise InvalidInput("autopack.toml: [checks] timeout_seconds must be a number above 0, at most 86400")
    return float(str(value))


def _env(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise InvalidInput("autopack.toml: [checks.env] must hold texts")
    try:
        refuse_names(value)
    except InvalidInput as error:
        raise InvalidInput(f"autopack.toml: [checks.env] {error}") from error
    return dict(value)


def _make_private(*directories: Path) -> None:
    for directory in directories:
        directory.mkdir(mode=0o700)


def _judged(command: str, ended: ProcessResult) -> CheckResult:
    return CheckResult(
        command=command,
        exit_code=ended.exit_code,
        signal=ended.signal,
        timed_out=ended.timed_out,
        duration_seconds=ended.duration_seconds,
        output=ended.output,
        survivors=ended.survivors,
    )


def _how(result: CheckResult) -> str:
    if result.timed_out:
        return f"it was stopped at its time limit, after {result.duration_seconds:.1f} s"
    if result.signal is not None:
        return f"it was ended by signal {result.signal}"
    return "it was stopped" if result.exit_code is None else f"exit code {result.exit_code}"


def _bounded(output: str) -> str:
    data = output.encode("utf-8")
    if len(data) <= _STORED_BYTES:
        return output
    half = _STORED_BYTES // 2 - 40
    head, tail = data[:half].decode("utf-8", "ignore"), data[-half:].decode("utf-8", "ignore")
    return f"{head}\n[... {len(data) - 2 * half} bytes left out ...]\n{tail}"
