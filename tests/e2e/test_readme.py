"""Every command of the README, run in order in a fresh clone that borrows this environment's packages."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from autopack.settings import Settings
from tests.support import ROOT, clean_environment, free_port, wait_for_port

pytestmark = pytest.mark.slow


def blocks(language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    target = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(target)], check=True)
    # What is not committed yet is tested as well.
    changed = subprocess.run(
        ["git", "diff", "HEAD", "--binary"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    if changed:
        subprocess.run(["git", "apply", "-"], cwd=target, input=changed, check=True)
    (target / ".venv").symlink_to(sys.prefix)
    for stamp in (".installed-run", ".installed-dev"):
        (target / ".venv" / stamp).touch()
    return target


def test_every_command_works_in_order(clone: Path) -> None:
    assert (clone / ".venv" / "bin" / "autopack").exists(), "run the tests through `make test`"
    first, look, decide, page, kill, own, model, server = blocks("sh")
    (plan,) = blocks("yaml")
    (clone / "plan.yaml").write_text(plan, encoding="utf-8")
    assert first.split("\n")[:2] == ["make demo", "make test"]
    shell(clone, "make demo\nmake --dry-run test\n")
    exported, looked = look.split("\n", 1)
    assert exported.startswith("export ")
    seen = shell(clone, exported + "\n" + looked)
    assert "+++ b/examples/telemetry_utils/list_util.py" in seen
    assert "waits for" in seen
    decided = shell(clone, exported + "\n" + decide)
    assert "governance-demo  DONE_SUCCESS; 1 COMPLETE, 1 SKIPPED" in decided
    assert "governance-demo: 3 decisions made again, 0 differ, 0 skipped" in decided
    assert "governance-demo" in (clone / "report.html").read_text(encoding="utf-8")
    assert page.split("#")[0].strip() == "autopack serve"
    # Eight seconds are the middle of the demo on a machine that has nothing else to do.
    until = "until autopack run show telemetry-collection-v4 2>&1 | grep -q 'COMPLETE, .*QUEUED'; do sleep 0.2; done"
    assert "10 COMPLETE" in shell(clone, exported + "\n" + kill.replace("sleep 8", until))
    drained = shell(clone, own)
    assert "DONE_SUCCESS; 1 COMPLETE" in drained
    assert re.search(r"(?m)^builder +replay +1 ", drained)
    assert "2000000" in drained
    known = {f"AUTOPACK_{field.upper()}" for field in Settings.model_fields}
    known |= {"OPENAI_API_KEY", "ANTHROPIC_API_KEY"}
    for name in re.findall(r"export (\w+)=", model):
        assert name in known, f"the README names {name}, which nothing reads"
    with_server(clone, server)


def test_every_file_that_it_names_is_there() -> None:
    named = set(re.findall(r"\]\(([^)#:]+)[^)]*\)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert named > {"docs/images/run.png", "docs/openapi.json", "AGENTS.md"}
    assert not [name for name in named if not (ROOT / name).exists()]


def with_server(clone: Path, commands: str) -> None:
    port = free_port()
    serve, *rest = [line.split("#")[0].strip() for line in commands.strip().splitlines()]
    assert serve == "make serve"
    environment = clean_environment(DATABASE_URL="sqlite:///try.db")
    path = {"PATH": f"{clone}/.venv/bin:{environment['PATH']}"}
    process = subprocess.Popen(
        [str(clone / ".venv/bin/autopack"), "serve", "--port", str(port)], cwd=clone, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_for_port(port, process)
        shell(clone, "\n".join(rest).replace(":8000", f":{port}"), DATABASE_URL="sqlite:///try.db", **path)
    finally:
        process.kill()
        process.communicate()


def shell(directory: Path, commands: str, **environment: str) -> str:
    done = subprocess.run(
        ["sh", "-eu", "-c", commands], cwd=directory, env=clean_environment(**environment), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
    return done.stdout
