"""The sandbox: the level that is reported is what was seen, and a command in it works, ends and is told like any other."""

import os
import platform
import signal
import sys
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from autopack.workspace import landlock, proctree, sandbox_bwrap, sandbox_landlock
from autopack.workspace.process import PLAIN, Limits, ProcessResult
from autopack.workspace.sandbox import (
    Sandbox,
    SandboxLevel,
    SandboxMode,
    SandboxRefused,
    View,
    ViewRefused,
    describe,
    open_risks,
    open_sandbox,
)
from autopack.workspace.sandbox_seccomp import program
from tests.workspace.support_sandbox import (
    DAEMON,
    PYTHON,
    TIGHT,
    is_held,
    python_environment,
    run_in,
    sandbox_of,
    soon,
    view_in,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has what the levels are made of")
FULL, FILES, LIMITS = SandboxLevel.FULL, SandboxLevel.FILES, SandboxLevel.LIMITS
every_level = pytest.mark.parametrize("level", [FULL, FILES, LIMITS])


@pytest.fixture
def view(tmp_path: Path) -> View:
    return view_in(tmp_path / "scratch", tmp_path / "person/project")


@pytest.fixture(scope="module")
def full() -> Sandbox:
    return sandbox_of(FULL)


# The level


def test_the_highest_level_is_found_by_trying(full):
    assert (full.level, full.reason, full.risks) == (FULL, "", "")


def test_without_bubblewrap_it_is_landlock_and_says_what_is_open(monkeypatch):
    monkeypatch.setattr(sandbox_bwrap, "find_bwrap", lambda: None)
    found = anyio.run(open_sandbox)
    assert found.level is sandbox_of(FILES).level
    assert "bubblewrap (bwrap) is not installed" in found.reason
    assert "UDP" in found.risks
    assert "\n" not in found.risks
    assert anyio.run(open_sandbox, SandboxMode.REQUIRE).level is FILES


LIAR = """#!/bin/sh
# Takes bubblewrap's options, and shuts nothing.
while [ "$1" != -- ]; do
    case "$1" in
        --setenv) export "$2=$3"; shift 2 ;;
        --bind) case "$3" in */shown) tree=$2 ;; esac; shift 2 ;;
    esac
    shift
done
shift 5  # and the shell that waits
cd "$tree"
exec "$@"
"""


@pytest.mark.parametrize(
    ("program", "why"), [(LIAR, "read, write, connect"), ("#!/bin/sh\necho no; exit 1", "no")]
)
def test_a_bubblewrap_that_does_not_hold_is_not_believed(program: str, why: str, tmp_path: Path, monkeypatch):
    (tmp_path / "bwrap").write_text(program)
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = anyio.run(open_sandbox)
    assert found.level is not FULL
    assert "level full does not hold here" in found.reason
    assert why in found.reason


def test_a_landlock_that_does_not_hold_is_not_believed(monkeypatch):
    monkeypatch.setattr(sandbox_bwrap, "find_bwrap", lambda: None)
    monkeypatch.setattr(sandbox_landlock, "confinement", lambda **_: PLAIN)
    found = anyio.run(open_sandbox)
    assert found.level is LIMITS
    assert "level files does not hold here: read, write" in found.reason or not landlock.abi()


def test_where_nothing_holds_require_refuses_and_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(sandbox_bwrap, "find_bwrap", lambda: None)
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    with pytest.raises(SandboxRefused, match="apt-get install bubblewrap") as refused:
        anyio.run(open_sandbox, SandboxMode.REQUIRE)
    assert refused.value.exit_code == 3
    found = anyio.run(open_sandbox, SandboxMode.BEST)
    assert (found.level, "network" in found.risks) == (LIMITS, True)


def test_no_sandbox_is_had_on_purpose_only():
    found = anyio.run(open_sandbox, SandboxMode.LIMITS)
    assert (found.level, found.reason) == (LIMITS, "no sandbox was asked for")


def test_each_level_is_described_in_one_line_with_what_it_leaves_open():
    assert {describe(level).split(":")[0] for level in SandboxLevel} == set(SandboxLevel)
    assert [open_risks(level) == "" for level in SandboxLevel] == [True, False, False, False]
    assert all("\n" not in describe(level) and open_risks(level) in describe(level) for level in SandboxLevel)


# A command in it


@every_level
def test_a_command_works_in_its_own_tree(level: SandboxLevel, view: View):
    sandbox = sandbox_of(level)
    (view.tree / "given").write_text("given\n")
    script = 'pwd; cat given; echo x > made; echo y > "$1/report"; echo z > "$HOME/h" && mktemp; echo err >&2; exit 3'
    result = run_in(sandbox, view, "/bin/sh", "-c", script, "sh", str(view.results))
    place, given, temporary, error = result.output.splitlines()
    assert (result.exit_code, result.survivors, result.timed_out) == (3, 0, False)
    assert (Path(place), given, error) == (sandbox.place(view), "given", "err")
    assert temporary.startswith(str(view.tmp))
    assert (view.tree / "made").read_text() == "x\n"
    assert (view.results / "report").read_text() == "y\n"
    assert sandbox.place(view) == (view.shown_at if level is FULL else view.tree)


@every_level
def test_it_has_no_capability(level: SandboxLevel, view: View):
    result = run_in(sandbox_of(level), view, "grep", "Cap", "/proc/self/status")
    found = dict(line.split(":\t") for line in result.output.splitlines())
    if os.getuid() != 0:
        del found["CapBnd"]  # an ordinary user's is of no use to him, and not his to give up
    assert set(found.values()) == {"0" * 16}


@every_level
def test_what_multiprocessing_and_certificates_need_is_there(level: SandboxLevel, view: View):
    program = "import multiprocessing as m, ssl, os; m.Lock(); ssl.create_default_context(); print(os.cpu_count() > 0)"
    result = run_in(sandbox_of(level), view, *PYTHON, program)
    assert result.output == "True\n"


@every_level
def test_a_virtual_environment_outside_the_tree_is_seen_and_not_altered(
    level: SandboxLevel, view: View, tmp_path: Path
):
    outside = tmp_path / "person/project/.venv"
    (outside / "bin").mkdir(parents=True)
    (outside / "bin/python").symlink_to(PYTHON[0])
    (outside / "pyvenv.cfg").write_text(f"home = {Path(PYTHON[0]).parent}\n")
    view = replace(view, read_only={Path(".venv"): outside})
    sandbox = sandbox_of(level)
    script = '.venv/bin/python -c "import sys; print(sys.prefix)"; echo x > .venv/new'
    for _ in range(2):  # the second command finds what the first was given
        result = run_in(sandbox, view, "/bin/sh", "-c", script)
        assert result.output.splitlines()[0] == str(sandbox.place(view) / ".venv"), result
    assert (outside / "new").exists() is (level is LIMITS)


@pytest.mark.parametrize("level", [FULL, LIMITS])
@pytest.mark.parametrize("taken", ["link", "file", "parent"])
def test_nothing_of_the_tree_is_hidden_and_no_link_of_it_followed(
    level: SandboxLevel, taken: str, view: View, tmp_path: Path
):
    place = {"link": Path("kept"), "file": Path("kept"), "parent": Path("up/kept")}[taken]
    victim = tmp_path / "victim"
    victim.mkdir()
    if taken == "file":
        (view.tree / "kept").mkdir()
        (view.tree / "kept/file").write_text("")
    else:
        (view.tree / place.parts[0]).symlink_to(victim)
    with pytest.raises(ViewRefused, match="kept"):
        run_in(sandbox_of(level), replace(view, read_only={place: tmp_path}), "true")
    assert list(victim.iterdir()) == []


@pytest.mark.parametrize("link", [True, False])
def test_a_tool_inside_the_workspace_is_put_there_only_where_the_tree_has_nothing(
    link: bool, view: View, full: Sandbox, tmp_path: Path
):
    """bubblewrap makes what it mounts on, and a link of the tree would lead it outside: to /oldroot, all that is."""
    home = tmp_path / "person/project/tools/rbenv"
    (home / "bin").mkdir(parents=True)
    (home / "bin/tool").write_text("tool")
    victim = tmp_path / "victim"
    victim.mkdir()
    if link:
        (view.tree / "tools").symlink_to(f"/oldroot{victim}")
    result = run_in(full, view, "cat", "tools/rbenv/bin/tool", RBENV_ROOT=str(home))
    assert (result.output == "tool") is not link
    assert list(victim.iterdir()) == []


@pytest.mark.parametrize("place", ["/", "/usr", "/tmp", "/etc"])
def test_a_workspace_that_would_hide_the_system_is_shown_elsewhere(place: str, view: View, full: Sandbox):
    view = replace(view, shown_at=Path(place))
    assert full.place(view) == view.tree
    assert run_in(full, view, "pwd").output == f"{view.tree}\n"


# Level full: a world of its own


def test_nobody_else_is_there(view: View, full: Sandbox):
    script = (
        "id -un; ls /proc | grep -c '^[0-9]'; ls -A /tmp /run; cat /proc/1/environ; cat /etc/passwd | wc -l"
    )
    result = run_in(full, view, "/bin/sh", "-c", script, MARK="of the check")
    assert result.output.split()[0] == "autopack"
    assert int(result.output.split()[1]) <= 6
    assert (
        "MARK" not in result.output
    )  # bubblewrap has none of the check's variables: LD_PRELOAD would act outside
    assert result.output.split()[-1] == "2"


@every_level
def test_no_descriptor_of_ours_is_inherited(level: SandboxLevel, view: View):
    assert run_in(sandbox_of(level), view, "ls", "/proc/self/fd").output.split() == [
        "0",
        "1",
        "2",
        "3",
    ]  # 3: how ls lists


def test_a_workspace_may_lie_below_what_the_sandbox_makes(view: View, full: Sandbox):
    for place in ("/var/tmp/autopack-none/project", "/etc/autopack-none", "/run/autopack-none", "/srv/a/b"):
        shown = replace(view, shown_at=Path(place))
        assert Path(run_in(full, shown, "pwd", "-P").output.strip()) == Path(
            place.replace("/var/tmp", "/tmp")
        )


SYSTEM_CALLS = """
import ctypes, errno, platform
import _socket as socket
libc = ctypes.CDLL(None, use_errno=True)
def told(call):
    try:
        return errno.errorcode[ctypes.get_errno()] if call() < 0 else "open"
    except OSError as error:
        return errno.errorcode[error.errno]
for family in (40, 38, 17, 31):
    print(told(lambda: bool(socket.socket(family, socket.SOCK_SEQPACKET if family == 38 else socket.SOCK_STREAM))))
x86 = platform.machine() == "x86_64"
for number in (425, 321 if x86 else 280, 298 if x86 else 241, 250 if x86 else 219):
    print(told(lambda: libc.syscall(number, 0, 0, 0, 0, 0)))
for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):
    socket.socket(family, socket.SOCK_DGRAM).close()
print("works")
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no filter for this machine")
def test_sockets_and_calls_that_no_namespace_parts_are_not_there(view: View, full: Sandbox):
    told = run_in(full, view, *PYTHON, SYSTEM_CALLS).output.split()
    assert told == ["EAFNOSUPPORT"] * 4 + ["ENOSYS"] * 4 + ["works"]


def test_an_unknown_machine_has_no_filter():
    assert program("m68k") == b""
    assert len(program("x86_64")) == len(program("aarch64")) > 0


def test_its_own_services_can_be_reached_within(view: View, full: Sandbox):
    program = (
        "import _socket as s; a = s.socket(); a.bind(('127.0.0.1', 0)); a.listen(); "
        "s.socket().connect(a.getsockname()); print('connected')"
    )
    assert run_in(full, view, *PYTHON, program).output == "connected\n"


@pytest.mark.parametrize(
    ("trick", "codes"),
    [
        ("kill -STOP $PPID; sleep 5; exit 0", {137}),
        ("kill -9 $PPID; exit 0", {137}),
        ("kill -9 1; exit 0", {0}),
        ("(sleep 60; exit 0) & kill -STOP $PPID; sleep 5; exit 0", {137}),
    ],
)
def test_success_cannot_be_forged_through_the_shell_that_waits(
    trick: str, codes: set[int], view: View, full: Sandbox
):
    """The first process of a namespace takes no signal from within: that command just ends well, as it says."""
    result = run_in(full, view, "/bin/sh", "-c", trick)
    assert result.exit_code in codes, result
    assert result.duration_seconds < 4


def test_the_end_by_a_signal_is_told_as_a_shell_tells_it(view: View, full: Sandbox):
    assert run_in(full, view, "/bin/sh", "-c", "kill -SEGV $$").exit_code == 139


@every_level
def test_cancelling_leaves_nothing(level: SandboxLevel, view: View):
    sandbox = sandbox_of(level)

    async def cancelled() -> bool:
        async with anyio.create_task_group() as group:
            group.start_soon(_run_daemon, sandbox, view)
            started = await anyio.to_thread.run_sync(soon, lambda: (view.tree / "started").exists())
            group.cancel_scope.cancel()
        return started

    assert anyio.run(cancelled)
    assert not is_held(view.tree / "lock")


async def _run_daemon(sandbox: Sandbox, view: View) -> ProcessResult:
    environment = python_environment(view)
    limits = Limits(wall_seconds=60)
    return await sandbox.run([*PYTHON, DAEMON, "300"], view=view, environment=environment, limits=limits)


def test_not_even_the_end_of_the_supervisor_leaves_anything(view: View, full: Sandbox):
    async def bereft() -> tuple[bool, list[ProcessResult]]:
        results: list[ProcessResult] = []

        async def run() -> None:
            results.append(await _run_daemon(full, view))

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            started = await anyio.to_thread.run_sync(soon, lambda: (view.tree / "started").exists())
            for process in [each for each in proctree.descendants().values() if each.parent == os.getpid()]:
                if b"supervisor" in proctree.read(f"/proc/{process.pid}/cmdline"):
                    os.kill(process.pid, signal.SIGKILL)
        return started, results

    started, (result,) = anyio.run(bereft)
    assert (started, result.lost, result.exit_code) == (True, True, None)
    assert soon(lambda: not is_held(view.tree / "lock"), 5)


def test_many_at_once_do_not_disturb_each_other(tmp_path: Path, full: Sandbox):
    ended: dict[int, tuple[int | None, str, int]] = {}

    async def one(number: int) -> None:
        view = view_in(tmp_path / str(number), tmp_path / "shown")
        script = f"sleep 300 & echo {number}; exit {number}"
        environment = python_environment(view)
        result = await full.run(["/bin/sh", "-c", script], view=view, environment=environment, limits=TIGHT)
        ended[number] = (result.exit_code, result.output, result.survivors)

    async def all_of_them() -> None:
        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(one, number)

    anyio.run(all_of_them)
    assert ended == {number: (number, f"{number}\n", 1) for number in range(6)}
