"""The frame of the command line: what is imported when, help, JSON records, the display, and streams that are not as one wishes."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from typer.main import get_command

import autopack
from autopack.bootstrap import open_client
from autopack.cli import app
from autopack.cli.commands import COMMANDS
from autopack.cli.common import connection_for
from autopack.cli.display import open_display
from autopack.cli.json_shapes import SHAPES, VALUES
from autopack.cli.lazy import first_line
from autopack.cli.reference import reference
from autopack.cli.tables import phase_table
from autopack.errors import BY_CODE
from autopack.executor.worker import Progress
from tests.support import (
    ROOT,
    TELEMETRY_RUN,
    clean_environment,
    command,
    done_record,
    free_port,
    phase,
    plan,
    start_warm,
)  # fmt: skip
from tests.support_warm import WarmProcess


def commands_below(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, each in group.commands.items():
        if hasattr(each, "commands"):
            yield from commands_below(each, (*path, name))
        else:
            yield (*path, name), each


ALL = dict(commands_below(get_command(app)))


# Help


@pytest.mark.parametrize("name", [(), *ALL], ids=" ".join)
def test_every_command_explains_itself(shell, name: tuple[str, ...]):
    for flag in ("-h", "--help"):
        ended = shell(*name, flag)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith(f"Usage: {' '.join(('autopack', *name))} [OPTIONS]")


@pytest.mark.parametrize("name", ALL, ids=" ".join)
def test_every_option_says_what_it_is(name: tuple[str, ...]):
    assert first_line(ALL[name]).endswith(".")
    for each in ALL[name].params:
        assert each.help, f"{each.name} of {' '.join(name)} has no help"


def test_the_table_of_commands_says_what_the_commands_say():
    listed = {name: one for part in COMMANDS.values() for name, one in part.items()}
    for name, one in listed.items():
        module, _, attribute = one.place.partition(":")
        found = getattr(import_module(f"autopack.cli.{module}"), attribute)
        said = one.help if attribute == "app" else (found.__doc__ or "").strip().split("\n")[0]
        assert one.help == said, name


def test_the_reference_is_what_the_commands_say_now():
    """Write it again: python -m autopack.cli.reference > docs/cli.md"""
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == reference()


def test_a_command_that_does_not_exist_is_answered_with_one_that_does(shell):
    for typed, meant in ((("drian",), "'drain'"), (("run", "shwo"), "'show'")):
        ended = shell(*typed)
        assert (ended.code, ended.out) == (2, "")
        assert f"Did you mean {meant}?" in ended.err


def test_the_version_is_printed(shell):
    assert shell("--version").out == f"autopack {autopack.__version__}\n"


HEAVY = """
import sys
from autopack.cli import main

def imported(*names):
    print(sorted({name.split(".")[0] for name in sys.modules} & set(names)), file=sys.stderr)

HEAVY = "sqlalchemy", "fastapi", "pydantic", "httpx", "alembic", "anyio", "rich", "markdown_it"
for arguments in (["-h"], ["run", "-h"], ["drain", "-h"], ["drian"], ["run", "lst"]):
    main(arguments)
    imported(*HEAVY)
main(["run", "list", "--api-url", "http://127.0.0.1:PORT"])
imported("sqlalchemy", "fastapi", "alembic", "starlette", "pydantic_ai", "openai")
"""


def test_help_and_wrong_usage_import_nothing_heavy_and_a_remote_look_no_database(tmp_path: Path):
    code = HEAVY.replace("PORT", str(free_port()))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=clean_environment()
    )  # fmt: skip
    assert [line for line in done.stderr.splitlines() if line.startswith("[")] == ["[]"] * 6


# JSON


def keys_of(shape: str) -> set[str]:
    """The keys of an object as a shape names them."""
    place = VALUES.get(shape)
    if place is not None:
        module, _, attribute = place.partition(":")
        return set(getattr(import_module(module), attribute).__dataclass_fields__)
    assert shape.startswith("{"), shape
    flat = re.sub(r"\[[^\]]*\]", "", shape.partition("; ")[0].strip("{}"))
    return {part.partition(":")[0].strip() for part in flat.split(",")}


def assert_shape(name: str, value: Any) -> None:
    shape = SHAPES[name].partition(";")[0].removeprefix("launch, done: ")
    if shape.startswith("["):
        assert isinstance(value, list)
        assert value, name
        shape, value = shape.strip("[]"), value[0]
    assert keys_of(shape) == value.keys() - {"record", "command"}, name


def test_every_command_that_has_json_has_a_shape_in_the_reference():
    with_json = {
        " ".join(name) for name, each in ALL.items() if any("--json" in option.opts for option in each.params)
    }
    assert with_json <= SHAPES.keys() <= {" ".join(name) for name in ALL}


def test_what_is_printed_has_the_shape_that_the_reference_names(shell, seed, tmp_path: Path):
    file = tmp_path / "plan.yaml"
    seed(plan(phases=[phase("p1"), phase("p2")]))
    file.write_text(json.dumps(plan("r2")), encoding="utf-8")
    way = ("r1", "p1")
    for long in (("drain-one", *way), ("probe", "r1", "--phase-id", "p2"), ("drain", "r1")):
        ended = shell(*long, "--json")
        assert ended.code == 0, ended.err
        assert_shape(long[0], done_record(ended.out))
    lines: dict[str, tuple[str | Path, ...]] = {
        "plan validate": (file,), "run create": (file,), "run list": (), "run show": ("r1",), "run pause": ("r2",),
        "run resume": ("r2",), "run set": ("r2", "--token-cap", "9"), "run events": ("r1",), "phase show": way,
        "phase log": way, "phase diff": way, "phase pause-after": ("r2", "p1"), "phase skip": ("r2", "p1"),
        "why": ("r1",), "report": (), "audit": ("r1",), "undo": ("r1", "p2"), "usage": (), "budget show": (),
        "budget set": ("--daily-tokens", "none"), "calibrate": (), "estimator list": (), "replay-telemetry": (),
        "doctor": (), "init": (), "backup": (),
    }  # fmt: skip
    for name, more in lines.items():
        ended = shell(*name.split(), *more, "--json")
        assert ended.code in (0, 3), f"{name}: {ended.err}"
        assert_shape(name, json.loads(ended.out))


def test_the_launch_record_says_what_was_started(shell, seed, sqlite_url: str):
    seed(plan())
    launch = json.loads(shell("drain", "r1", "--json").out.splitlines()[0])
    assert (launch["command"], launch["version"], launch["pid"]) == (
        "drain",
        autopack.__version__,
        os.getpid(),
    )
    assert (launch["run_id"], launch["database"], launch["api_url"]) == ("r1", sqlite_url, None)


BAD_ENDS = {
    ("run", "show", "nothing"): (3, "not_found"),
    ("run", "list", "--api-url", "http://127.0.0.1:1"): (4, "api_unreachable"),
    ("run", "list", "--api-url", "no address"): (2, "usage"),
    ("run", "lst"): (2, "usage"),
    ("drain",): (2, "usage"),
    ("drain", "r1", "--run-id", "r2"): (2, "usage"),
    ("drain", "--concurrency", "none"): (2, "usage"),
}


@pytest.mark.parametrize(("arguments", "end"), BAD_ENDS.items(), ids=lambda each: " ".join(map(str, each)))
def test_a_bad_end_is_one_line_of_json_and_words(shell, arguments: tuple[str, ...], end: tuple[int, str]):
    ended = shell(*arguments, "--json")
    (line,) = ended.out.splitlines()
    record = json.loads(line)
    assert record["error"].pop("detail").splitlines()[0].removeprefix("autopack: ") in ended.err
    assert record == {"record": "done", "exit_code": end[0], "error": {"code": end[1]}}
    assert ended.code == end[0]
    assert end[1] in BY_CODE
    assert shell(*arguments).out == ""


def test_a_refused_drain_has_both_records(shell):
    launch, done = map(json.loads, shell("drain", "nothing", "--json").out.splitlines())
    assert (launch["record"], launch["run_id"]) == ("launch", "nothing")
    assert (done["record"], done["exit_code"], done["error"]["code"]) == ("done", 3, "not_found")


# Interrupts


def told(process: WarmProcess, text: str) -> None:
    """Waits until the process has said so."""
    until = time.monotonic() + 60
    while text not in process.said_so_far():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, process.said_so_far()
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("signals", "seconds", "state"), [(1, 1, "COMPLETE"), (2, 60, "QUEUED")])
def test_ctrl_c_lets_the_phase_end_and_once_more_gives_it_back(
    shell, seed, sqlite_url: str, tmp_path: Path, signals: int, seconds: int, state: str
):
    seed(plan(phases=[phase("p1", checks=[f"sleep {seconds}"]), phase("p2")]))
    drain = start_warm(
        "autopack", "drain", "r1", "--json", cwd=tmp_path / "workspace",
        env={"DATABASE_URL": sqlite_url, "AUTOPACK_REPLAY": os.environ["AUTOPACK_REPLAY"]},
    )  # fmt: skip
    try:
        for text in ("p1: claimed", "interrupted: the phase")[:signals]:
            told(drain, text)
            drain.send_signal(signal.SIGINT)
        out, err = drain.communicate(timeout=60)
    finally:
        drain.kill()
    assert drain.returncode == 130, err
    assert done_record(out)["exit_code"] == 130
    assert "Traceback" not in err
    states = {
        each["phase_id"]: each["state"]
        for each in json.loads(shell("run", "show", "r1", "--json").out)["phases"]
    }
    assert states == {"p1": state, "p2": "QUEUED"}


@pytest.mark.parametrize(
    "begun",
    [
        command("autopack", "--help"),
        command("drain_one_phase.py"),
        [str(Path(sys.executable).with_name("autopack")), "--help"],
    ],
    ids=["module", "script", "console script"],
)
def test_ctrl_c_while_modules_are_imported_ends_quietly(tmp_path: Path, begun: list[str]):
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    done = subprocess.run(
        begun, env=clean_environment(PYTHONPATH=str(tmp_path)), capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_ends_a_demo_with_the_run_that_it_met(tmp_path: Path):
    demo = start_warm("autopack", "demo", "--directory", str(tmp_path / "demo"), "--json", cwd=tmp_path)
    try:
        told(demo, "telemetry-p1-string-util: claimed")
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=60)
    finally:
        demo.kill()
    assert demo.returncode == 130, err
    done = done_record(out)
    assert (done["exit_code"], [each["run"]["run_id"] for each in done["runs"]]) == (130, [TELEMETRY_RUN])
    assert "Traceback" not in err


# Streams


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
def test_that_nobody_reads_does_not_change_how_work_ended(shell, seed, monkeypatch, more: tuple[str, ...]):
    seed(plan(phases=[phase("p1", checks=["false"], max_attempts=1)]))
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as nobody, monkeypatch.context() as patch:  # noqa: PTH123
        patch.setattr("sys.stdout", nobody)
        ended = shell("drain", "r1", *more)
    assert (ended.code, ended.out) == (1, "")
    assert "FAILED" in ended.err


@pytest.mark.slow
def test_closed_streams_are_no_files_of_ours(seed, sqlite_url: str, tmp_path: Path):
    """Whatever is opened first would otherwise be stdout, and be written to."""
    seed(plan())
    line = " ".join(command("autopack", "run", "list", "--json")) + " <&- >&-"
    done = subprocess.run(
        ["bash", "-c", line], env=clean_environment(DATABASE_URL=sqlite_url), cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")
    assert "Traceback" not in done.stderr


@pytest.fixture
def terminal(monkeypatch) -> Iterator[Any]:
    """A terminal of 40 columns as stderr, which knows cp1252 only; calling it tells what it was sent."""
    ours, theirs = pty.openpty()
    monkeypatch.setenv("COLUMNS", "40")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    stream = open(theirs, "w", encoding="cp1252", errors="strict")  # noqa: SIM115, PTH123

    def run(shell: Any, *arguments: str) -> tuple[int, str]:
        with monkeypatch.context() as patch:
            patch.setattr("sys.stderr", stream)
            code = shell(*arguments).code
        stream.flush()
        return code, os.read(ours, 1_000_000).decode("cp1252")

    yield run
    stream.close()
    os.close(ours)


PLAIN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def test_a_narrow_terminal_of_an_old_console_shows_the_work(shell, seed, terminal, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    seed(plan(phases=[phase("p1", name="\U0001f680"), phase("p2")]))
    code, sent = terminal(shell, "drain", "r1")
    assert code == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", sent), "a colour"
    lines = [line.strip("\r") for line in PLAIN.sub("", sent).splitlines()]
    assert "[##########..........]" in sent
    assert any(line.startswith("p1  ") and "attempt 1" in line for line in lines)
    shown = [line for line in lines if line.startswith(("r1  ", "[#", "[.", "p1  ", "p2  "))]
    assert max(map(len, shown)) <= 40


def test_a_note_stays_on_the_terminal(seed, terminal, monkeypatch, sqlite_url):
    """The status line shows it until the next step only."""
    monkeypatch.setenv("TERM", "xterm")
    seed(plan())

    async def noted() -> None:
        connection, settings = connection_for(None, True, sqlite_url, banner=False)
        async with (
            open_client(connection, settings) as client,
            open_display(client, await client.run("r1")) as report,
        ):
            report(Progress(kind="note", detail="another model builds"))

    def shell() -> Any:
        anyio.run(noted)
        return SimpleNamespace(code=0)

    _, sent = terminal(shell)
    assert "another model builds" in [line.strip("\r") for line in PLAIN.sub("", sent).splitlines()]


def test_a_dumb_terminal_gets_plain_lines(shell, seed, terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    seed(plan())
    code, sent = terminal(shell, "drain", "r1")
    assert code == 0
    assert "\x1b" not in sent
    assert "p1: COMPLETE" in sent


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_long_reason_is_cut_visibly_on_a_terminal_and_read_whole_by_a_program(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool
):
    reason = f"{'a rather long reason ' * 9}ends here"
    failed = SimpleNamespace(
        phase_id="p1", tier_id="T1", state="FAILED", attempts=1, max_attempts=3, tokens_used=0, result_commit=None,
        failure_kind="checks_failed", failure_reason=f"{reason}\nand its log",
    )  # fmt: skip
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    row = phase_table([failed]).splitlines()[1]
    assert row.endswith("...") if is_terminal else row.endswith(reason)
    assert "log" not in row
