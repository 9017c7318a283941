"""A drain tried out before it costs anything: what its checks say of the base, and what phases would meet.

Nothing is claimed, no model is called, nothing is written but the scratch directories that checks run in.
"""

import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from autopack.domain.phases import OPEN_STATES, Phase, PhaseState, Run
from autopack.domain.preflight import (
    Base,
    Finding,
    Graph,
    Level,
    Order,
    graph_of,
    overlaps,
    policy_findings,
    scope_findings,
    worst,
    worst_first,
)
from autopack.domain.testing import RunKind, TestOutcome, is_test_file
from autopack.domain.testing.programs import started
from autopack.domain.testing.results import RED
from autopack.errors import AutopackError, WorkspaceRefused
from autopack.executor.ground import Ground
from autopack.executor.outlay import Outlay
from autopack.workspace.checks import CheckResult, Checks, Job
from autopack.workspace.git import GitWorkspace
from autopack.workspace.sandbox import Sandbox, SandboxLevel, describe

_MIB = 1 << 20
_LITTLE_DISK_BYTES = 200 * _MIB
_LAST_WORDS = 400
_WAITING = (PhaseState.QUEUED, PhaseState.EXECUTING, PhaseState.GATE)
_UNBELIEVABLE = (RunKind.VOID, RunKind.TIMED_OUT)
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class CheckTried:
    """One command at the base. `tests` counts outcomes where its runner tells of them."""

    command: str
    phases: tuple[str, ...]
    green: bool
    kind: str
    seconds: float
    exit_code: int | None
    tests: Mapping[str, int] | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """What was found, of which `problems` would keep the drain from its end."""

    run_id: str
    base_commit: str
    sandbox: str
    graph: Graph
    checks: tuple[CheckTried, ...]
    outlay: Outlay | None
    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        return worst(self.findings) is not Level.PROBLEM


@dataclass(kw_only=True)
class Trial:
    """What is tried, and where. `outlay` says what the models would take; None where no model can be called."""

    run: Run
    phases: Sequence[Phase]
    git: GitWorkspace
    ground: Ground
    checks: Checks
    outlay: Callable[[Sequence[Phase]], Awaitable[tuple[Outlay, list[Finding]]]] | None
    report: Report = lambda _: None
    found: list[Finding] = field(default_factory=list)
    """What was found before the trial began goes before what it finds."""

    async def fly(self) -> Preflight:
        waiting = [phase for phase in self.phases if phase.state in _WAITING]
        self._look_at_run(waiting)
        graph = graph_of(waiting)
        self._look_at_paths(waiting)
        self._look_at_machine()
        await self._look_at_settings_file()
        outlay = None
        if self.outlay is not None and waiting:
            self.report("estimating what the models would take")
            outlay, told = await self.outlay(waiting)
            self.found += told
        tried = await self._try_checks(waiting)
        return Preflight(
            run_id=self.run.run_id, base_commit=self.ground.base, sandbox=self.checks.sandbox.level, graph=graph,
            checks=tuple(tried), outlay=outlay, findings=worst_first(self.found),
        )  # fmt: skip

    def _look_at_run(self, waiting: Sequence[Phase]) -> None:
        if not waiting:
            self._find(Level.NOTE, "run", "no phase is waiting: there is nothing to drain")
        failed = [phase for phase in self.phases if phase.state is PhaseState.FAILED]
        if failed:
            self._find(
                Level.WARNING, "run", "FAILED phases hold back what depends on them and every later tier",
                "requeue or skip them: autopack phase requeue RUN PHASE", failed,
            )  # fmt: skip
        cap, begun = self.run.max_phases, [phase for phase in self.phases if phase.started_at is not None]
        new = [phase for phase in waiting if phase.started_at is None]
        if cap is not None and len(begun) + len(new) > cap:
            self._find(
                Level.PROBLEM, "caps", f"max_phases is {cap}: {len(begun)} were started, {len(new)} are yet to be",
                "raise max_phases, or expect the run to pause there",
            )  # fmt: skip

    def _look_at_paths(self, waiting: Sequence[Phase]) -> None:
        base = Base(modes=self.ground.modes, ignore_files=self.ground.ignore_files)
        order = Order([phase for phase in self.phases if phase.state in OPEN_STATES])
        for phase in waiting:
            self.found += scope_findings(phase, base, order.made_before(phase))
            self.found += policy_findings(phase, base, self.ground.policy)
        self.found += overlaps(waiting)

    def _look_at_machine(self) -> None:
        self.found.append(of_sandbox(self.checks.sandbox))
        size = sum(entry.size or 0 for entry in self.ground.entries.values())
        for place in dict.fromkeys((Path(tempfile.gettempdir()), self.git.git_dir)):
            free = shutil.disk_usage(place).free
            if free < 2 * size + _LITTLE_DISK_BYTES:
                told = f"{free // _MIB} MiB are free in {place}; an export of the tree takes {size // _MIB + 1} MiB"
                self._find(
                    Level.PROBLEM if free < 2 * size else Level.WARNING,
                    "disk",
                    told,
                    "make room, or set TMPDIR",
                )

    async def _look_at_settings_file(self) -> None:
        """What a person has just written there counts once it is committed: easily forgotten."""
        entry = self.ground.entries.get("autopack.toml")
        try:
            here = await anyio.Path(self.git.root / "autopack.toml").read_bytes()
        except OSError:
            return
        there = (
            (await self.git.read_blobs([entry.oid]))[entry.oid] if entry and entry.kind == "blob" else None
        )
        if here != there:
            state = "is not in" if there is None else "differs from that of"
            self._find(
                Level.WARNING, "settings", f"the checkout's autopack.toml {state} the base {self.ground.base[:12]}",
                "commit it: a drain goes by the base's",
            )  # fmt: skip

    async def _try_checks(self, waiting: Sequence[Phase]) -> list[CheckTried]:
        by_commands = await self._commands(waiting)
        tried: list[CheckTried] = []
        try:
            missing = await self._missing_programs(by_commands)
            for commands, phases in by_commands.items():
                self.report(f"checking the base: {'; '.join(commands)}")
                job = Job(
                    tree=await self.git.tree_of(self.ground.base), base=self.ground.base, commands=commands,
                    settings=self.ground.checks, to_the_end=True,
                )  # fmt: skip
                report = await self.checks.run(job)
                for result in report.results:
                    tried.append(_tried(result, phases))
                    self.found.append(_of_result(result, phases, missing, self.ground))
        except WorkspaceRefused as error:
            self._find(Level.PROBLEM, "checks", str(error), "mend [checks] of autopack.toml, and commit it")
        return tried

    async def _commands(self, waiting: Sequence[Phase]) -> dict[tuple[str, ...], list[Phase]]:
        """As the drain chooses them: the phase's own, else the project's, else what is plainly there."""
        usual = self.ground.checks.commands
        if not usual and any(not phase.scope.checks for phase in waiting):
            usual = await self.checks.detect(self.ground.base, self.ground.checks, self.ground.base)
        found: dict[tuple[str, ...], list[Phase]] = {}
        for phase in waiting:
            found.setdefault(tuple(phase.scope.checks or usual), []).append(phase)
        if unchecked := found.pop((), None):
            self._find(
                Level.WARNING, "checks", "no checks: nothing but the auditor judges the work",
                "name commands in scope.checks, or in [checks] of autopack.toml", unchecked,
            )  # fmt: skip
        return found

    async def _missing_programs(self, by_commands: Mapping[tuple[str, ...], Sequence[Phase]]) -> set[str]:
        """Those that no check would find, looked for where checks run."""
        wanted = sorted({name for commands in by_commands for each in commands for name in started(each)})
        if not wanted:
            return set()
        looks = " ".join(map(_spelled, wanted))
        command = f'for name in {looks}; do command -v "$name" >/dev/null 2>&1 || echo "missing:$name"; done'
        job = Job(
            tree=self.ground.base, base=self.ground.base, commands=(command,), settings=self.ground.checks
        )
        output = (await self.checks.run(job)).results[0].output
        return {line.removeprefix("missing:") for line in output.splitlines() if line.startswith("missing:")}

    def _find(self, level: Level, about: str, text: str, do: str = "", phases: Sequence[Phase] = ()) -> None:
        named = tuple(phase.phase_id for phase in phases)
        self.found.append(Finding(level=level, about=about, text=text, do=do, phases=named))


def of_sandbox(sandbox: Sandbox) -> Finding:
    apart = sandbox.level in (SandboxLevel.FULL, SandboxLevel.FILES)
    why = f" (not more, because {sandbox.reason})" if sandbox.reason else ""
    return Finding(
        level=Level.OK if apart else Level.WARNING, about="sandbox", text=describe(sandbox.level) + why,
        do="" if apart else "checks run what a model wrote: install bubblewrap, or drain where nothing is at stake",
    )  # fmt: skip


def of_error(about: str, error: AutopackError, do: str = "") -> Finding:
    return Finding(level=Level.PROBLEM, about=about, text=str(error), do=do)


def _spelled(word: str) -> str:
    """The word as octal escapes: a name of a test runner in a command would make it a run of tests."""
    return "\"$(printf '" + "".join(f"\\{byte:03o}" for byte in word.encode()) + "')\""


def _tried(result: CheckResult, phases: Sequence[Phase]) -> CheckTried:
    tests = None
    if result.tests is not None:
        outcomes = [test.outcome for test in result.tests.values()]
        tests = {each.value: outcomes.count(each) for each in TestOutcome if each in outcomes}
    return CheckTried(
        command=result.command, phases=tuple(phase.phase_id for phase in phases), green=result.passed, kind=result.kind,
        seconds=round(result.duration_seconds, 3), exit_code=result.exit_code, tests=tests, reason=result.reason,
    )  # fmt: skip


def _of_result(result: CheckResult, phases: Sequence[Phase], missing: set[str], ground: Ground) -> Finding:
    """What the command's end at the base means for the phases that it is to judge."""
    level, said, do = _meaning(result, phases, missing.intersection(started(result.command)), ground)
    return Finding(
        level=level, about="checks", text=f"{result.command}: {said} ({result.duration_seconds:.1f} s)", do=do,
        phases=tuple(phase.phase_id for phase in phases),
    )  # fmt: skip


def _meaning(
    result: CheckResult, phases: Sequence[Phase], missing: set[str], ground: Ground
) -> tuple[Level, str, str]:
    coming = [path for phase in phases for path in phase.scope.deliverables if path not in ground.entries]
    made = sorted({path for path in coming if path in result.command})
    if result.passed:
        return Level.OK, "green at the base", ""
    if lost := missing - {path for path in missing if path.removeprefix("./") in coming}:
        program = ", ".join(sorted(lost))
        do = "install it, or name its folder in [checks] keep of autopack.toml"
        return Level.PROBLEM, f"there is no program {program} where checks run", do
    if result.kind in _UNBELIEVABLE:
        return (
            Level.PROBLEM,
            f"it says nothing of the base: {result.reason}",
            "no phase can pass it: mend the check",
        )
    if made:
        return Level.NOTE, f"red at the base, where {', '.join(made)} is yet to be made", ""
    if result.kind is RunKind.NO_TESTS:
        return _without_tests(coming)
    if result.tests is not None:
        return _with_failing_tests(result)
    last = result.output.strip()[-_LAST_WORDS:]
    told = f"red at the base: {result.reason or 'it failed'}" + (f"; it ended with: {last}" if last else "")
    return (
        Level.WARNING,
        told,
        "a phase passes it only by making it green: mend it first, if that is not the task",
    )


def _without_tests(coming: Sequence[str]) -> tuple[Level, str, str]:
    if any(is_test_file(path) for path in coming):
        return Level.NOTE, "no test at the base; they are yet to be made", ""
    return (
        Level.PROBLEM,
        "no test ran, and a phase passes only where one does",
        "let a phase make tests, or name other checks",
    )


def _with_failing_tests(result: CheckResult) -> tuple[Level, str, str]:
    tests = result.tests or {}
    red = sorted(each for each, test in tests.items() if test.outcome in RED)
    told = f"red at the base: {len(red)} of {len(tests)} tests fail ({', '.join(red[:3])}{', ...' if len(red) > 3 else ''})"
    if len(red) < len(tests):
        return Level.WARNING, told, "these do not hold a phase back, and nothing is said of them either"
    do = "is what the tests need installed? See [checks] keep and setup of autopack.toml"
    return Level.WARNING, f"{told}; a phase passes only where one passes", do
