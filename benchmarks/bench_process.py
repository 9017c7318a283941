"""The command itself as a process of its own: how soon it claims, and how much memory it takes."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench_databases import Kind, seed
from sqlalchemy import func, select

from autopack.db.tables import AttemptRow

_OURS = ("AUTOPACK_", "DATABASE_URL", "TELEMETRY_", "OPENAI_", "ANTHROPIC_")

# A small process between us: Linux counts the memory of whoever starts a program into that program's peak.
_LAUNCHER = """
import os, sys, time
started = time.time()
child = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(child, 0)
code = os.waitstatus_to_exitcode(status)
print('\\n{"started": %r, "seconds": %r, "exit_code": %d, "peak_kib": %d}'
      % (started, time.time() - started, code, used.ru_maxrss))
"""


@dataclass(frozen=True, kw_only=True)
class Process:
    """A drain: from its start to the claim of the first phase, to its end, and the most memory it had."""

    first_claim_seconds: float
    first_end_seconds: float
    total_seconds: float
    peak_mib: float


def drain_processes(kind: Kind, directory: Path, *, queued: int, phases: int, starts: int) -> list[Process]:
    """`autopack drain` of the next `phases` phases in a git workspace, so many times, each a new process."""
    run_id = f"process-{queued}"
    url = kind.make(run_id)
    with kind.opened_at(url) as database:
        seed(database, run_id, queued, "no deliverables")
    return [_drain(kind, url, run_id, directory, phases) for _ in range(starts)]


def _drain(kind: Kind, url: str, run_id: str, directory: Path, phases: int) -> Process:
    workspace, cassette = _workspace(directory), _cassette(directory)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    command = [
        sys.executable, "-m", "autopack", "drain", "--run-id", run_id, "--database-url", url, "--workspace", str(workspace),
        "--batch-size", str(phases), "--max-batches", "1",
    ]  # fmt: skip
    talk = directory / "talk"
    with talk.open("w") as sink:
        told = subprocess.run(
            [sys.executable, "-S", "-c", _LAUNCHER, *command],
            cwd=directory, env={**environment, "AUTOPACK_REPLAY": str(cassette)}, stdout=subprocess.PIPE, stderr=sink,
            text=True, check=True,
        )  # fmt: skip
    facts = json.loads(told.stdout.splitlines()[-1])
    assert facts["exit_code"] == 0, talk.read_text()
    started = datetime.fromtimestamp(facts["started"], UTC)
    with kind.opened_at(url) as database, database.transaction() as session:
        claimed, finished, count = session.execute(
            select(func.min(AttemptRow.claimed_at), func.min(AttemptRow.finished_at), func.count()).where(
                AttemptRow.claimed_at >= started
            )
        ).one()
    assert count == phases, count
    return Process(
        first_claim_seconds=(claimed - started).total_seconds(),
        first_end_seconds=(finished - started).total_seconds(),
        total_seconds=facts["seconds"],
        peak_mib=facts["peak_kib"] / 1024,
    )


def _workspace(directory: Path) -> Path:
    workspace = directory / "workspace"
    if workspace.exists():
        return workspace
    workspace.mkdir()
    who = ["-c", "user.name=Benchmark", "-c", "user.email=benchmark@localhost", "-c", "commit.gpgsign=false"]
    (workspace / "README.md").write_text("# A workspace\n", encoding="utf-8")
    for arguments in (["init", "--quiet"], ["add", "README.md"], ["commit", "--quiet", "--message", "base"]):
        subprocess.run(["git", *who, *arguments], cwd=workspace, check=True)
    return workspace


def _cassette(directory: Path) -> Path:
    """The same answers for every phase: the first makes a commit, the others find nothing to change."""
    answers = {
        "builder": {"summary": "a file", "files": [{"path": "src/a.py", "content": "A = 1\n"}]},
        "auditor": {"approved": True, "issues": [], "notes": ""},
    }
    lines = [
        {"match": {"role": role}, "text": answer, "origin": "synthetic"} for role, answer in answers.items()
    ]
    path = directory / "cassette.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
