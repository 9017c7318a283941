"""What many tests need and pytest has no place for: plans, cassettes, git, the scripts as subprocesses."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support_warm import WarmProcess

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"
TELEMETRY_RUN = "telemetry-collection-v4"


def phase(phase_id: str, **more: Any) -> dict[str, Any]:
    """A small phase that writes out/<phase_id>.txt; `more` overrides, `checks` goes into the scope."""
    checks = more.pop("checks", [])
    scope = {"paths": ["out/"], "deliverables": [f"out/{phase_id}.txt"], "checks": checks}
    return {
        "phase_id": phase_id,
        "goal": f"Write out/{phase_id}.txt.",
        "complexity": "low",
        "scope": scope,
        **more,
    }


def plan(
    run_id: str = "r1", phases: Sequence[Mapping[str, Any]] | None = None, **more: Any
) -> dict[str, Any]:
    """A plan of one tier (or of `tiers`, when given)."""
    tiers = [{"tier_id": "T1", "phases": list(phases if phases is not None else [phase("p1")])}]
    return {"autopack": 1, "run_id": run_id, "goal": "A test.", "tiers": tiers, **more}


def builder_answer(
    phase_id: str, content: str = "done\n", *, path: str | None = None, **match: Any
) -> dict[str, Any]:
    """A cassette line: the builder writes one file."""
    files = [{"path": path or f"out/{phase_id}.txt", "content": content}]
    return {
        "match": {"role": "builder", "phase_id": phase_id, **match},
        "text": json.dumps({"summary": f"wrote {phase_id}", "files": files}),
        "usage": {"input_tokens": 100, "output_tokens": 50},
        "origin": "synthetic",
    }


def auditor_answer(
    phase_id: str | None = None, *, approved: bool = True, issues: Sequence[Any] = (), **match: Any
) -> dict[str, Any]:
    """A cassette line: the auditor's verdict, for one phase or (None) for all."""
    about = {"role": "auditor", **({"phase_id": phase_id} if phase_id else {}), **match}
    text = json.dumps({"approved": approved, "issues": list(issues), "notes": ""})
    return {
        "match": about,
        "text": text,
        "usage": {"input_tokens": 80, "output_tokens": 20},
        "origin": "synthetic",
    }


def write_cassette(path: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def git(workspace: Path, *arguments: str) -> str:
    who = ["-c", "user.name=Test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=workspace, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def make_workspace(path: Path, files: Mapping[str, str] | None = None) -> Path:
    """A git repository with one commit."""
    path.mkdir(parents=True, exist_ok=True)
    git(path, "init", "--quiet", "--initial-branch=main")
    for name, content in (files or {"README.md": "# A workspace\n"}).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content, encoding="utf-8")
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--message", "base")
    return path


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without what configures Autopack or a provider, plus `more`.

    Where compiled modules may not be kept, every start would compile all of Autopack.
    """
    ours = (
        "AUTOPACK_", "DATABASE_URL", "TELEMETRY_", "OPENAI_", "ANTHROPIC_", "GIT_", "PYTHONDONTWRITEBYTECODE",
    )  # fmt: skip
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | more


def run_script(
    name: str,
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
    warm: bool = False,
) -> subprocess.CompletedProcess[str]:
    """A script of scripts/ (or "autopack" for the command itself), really started, with a clean environment plus `env`.

    `warm`: as a fork of a process that has imported Autopack, which costs a tenth (see support_warm).
    """
    if not warm:
        return subprocess.run(
            command(name, *arguments), cwd=cwd, env=clean_environment(**(env or {})), capture_output=True, text=True,
            timeout=timeout, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    process = start_warm(name, *arguments, cwd=cwd, env=env)
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess([name, *arguments], process.wait(), out, err)


def start_script(
    name: str, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(name, *arguments), cwd=cwd, env=clean_environment(**(env or {})), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def start_warm(name: str, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> WarmProcess:
    return WarmProcess(command(name, *arguments), cwd=cwd, env=clean_environment(**(env or {})))


def command(name: str, *arguments: str) -> list[str]:
    if name == "autopack":
        return [sys.executable, "-m", "autopack", *arguments]
    return [sys.executable, str(SCRIPTS / name), *arguments]


def done_record(out: str) -> dict[str, Any]:
    """How a long command with --json ended: the second of the two lines that it printed."""
    launch, done = (json.loads(line) for line in out.splitlines())
    assert (launch["record"], done["record"]) == ("launch", "done"), out
    assert launch["command"] == done["command"]
    return dict(done)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def served(
    database_url: str,
    *,
    cwd: Path,
    port: int | None = None,
    env: Mapping[str, str] | None = None,
    warm: bool = False,
) -> Iterator[str]:
    """A live server in a process of its own, as `autopack serve` starts it. Yields its URL."""
    port = port or free_port()
    serve = ("autopack", "serve", "--port", str(port), "--database-url", database_url)
    server = start_warm(*serve, cwd=cwd, env=env) if warm else start_script(*serve, cwd=cwd, env=env)
    try:
        wait_for_port(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.communicate()


def wait_for_port(port: int, process: subprocess.Popen[str] | WarmProcess, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise AssertionError(f"the server ended with {process.returncode}: {process.communicate()[1]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nobody listens on port {port}")
