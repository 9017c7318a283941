"""The project's own checks, run on an export of exactly the tree that is judged."""

import hashlib
import json
import os
import re
import shlex
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
from anyio import to_thread

from autopack.domain.testing import RunKind
from autopack.errors import WorkspaceRefused
from autopack.workspace.checks import detection, places
from autopack.workspace.checks.ended import by_exit_code, how, left_by, note, result_of, unless_altered
from autopack.workspace.checks.report import CheckReport, CheckResult
from autopack.workspace.checks.sentinel import (
    EVERYTHING,
    Selection,
    is_pytest,
    judge,
    may_reach_pytest,
    readable,
    runs_in,
    times_begun,
    watch,
)
from autopack.workspace.checks.settings import CheckSettings
from autopack.workspace.git import GitWorkspace
from autopack.workspace.pool import ExportPool, open_pool
from autopack.workspace.process import ProcessResult
from autopack.workspace.sandbox import Sandbox, SandboxLevel, View, check_environment
from autopack.workspace.scratch import scratch_directory
from autopack.workspace.trees import TreeEntry

_APART = frozenset({SandboxLevel.FULL, SandboxLevel.FILES})
_SETUP_WORDS = 2000
_SETS_PYTHON_PATH = re.compile(r"(?<![^\s;&|(])PYTHONPATH=")
_NO_CHECKS = (
    "no checks were found: name the commands in [checks] of autopack.toml, or in the phase's scope.checks"
)
Folders = Mapping[Path, Path]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to run on which tree. `base` is the commit whose set-up is used, `modules` the changed code."""

    tree: str
    base: str
    commands: tuple[str, ...]
    settings: CheckSettings
    modules: tuple[str, ...] = ()
    select: Selection = EVERYTHING
    to_the_end: bool = False
    """Runs every command, whatever became of those before it."""


@dataclass(kw_only=True)
class Checks:
    """Lives as long as a drain: exports and set-ups are used again."""

    git: GitWorkspace
    sandbox: Sandbox
    pool: ExportPool
    prepared: Path
    _setups: dict[str, Folders] = field(default_factory=dict)
    _preparing: anyio.Lock = field(default_factory=anyio.Lock)
    _pytest_works: dict[str, bool] = field(default_factory=dict)

    async def run(self, job: Job) -> CheckReport:
        """In order; ends at a command that is red without saying which tests are, or that cannot be believed."""
        if not job.commands:
            return CheckReport(results=(), level=self.sandbox.level, notes=(_NO_CHECKS,))
        folders = await self._folders(job)
        results: list[CheckResult] = []
        again = self.sandbox.level in _APART
        async with scratch_directory() as scratch, self.pool.exported(job.tree, again=again) as export:
            room = self._room(scratch, export.directory, folders, job.settings)
            for command in job.commands:
                if results:
                    await self.pool.restore(export, stays=left_by(results[-1]))
                told = await room.run(command, job)
                results.append(unless_altered(told, await to_thread.run_sync(export.altered)))
                if not job.to_the_end and _ends(results[-1]):
                    break
        return CheckReport(
            results=tuple(results), level=self.sandbox.level, skipped_links=export.skipped_links,
            notes=tuple(filter(None, map(note, results))),
        )  # fmt: skip

    async def detect(self, treeish: str, settings: CheckSettings, base: str) -> tuple[str, ...]:
        """The commands of a project that names none."""
        entries = await self.git.list_tree(treeish)
        wanted = {name: entries[name] for name in detection.READ if name in entries}
        blobs = await self.git.read_blobs(entry.oid for entry in wanted.values() if entry.kind == "blob")
        contents = {
            name: blobs.get(entry.oid, b"").decode("utf-8", "replace") for name, entry in wanted.items()
        }
        works = (
            detection.holds_python_tests(entries)
            and not detection.configures_pytest(contents)
            and await self._can_import_pytest(settings, base)
        )
        return detection.detect(entries, contents, pytest_works=works)

    async def _can_import_pytest(self, settings: CheckSettings, base: str) -> bool:
        key = _key(settings, base)
        if key not in self._pytest_works:
            asked = Job(tree=base, base=base, commands=('python3 -c "import pytest"',), settings=settings)
            self._pytest_works[key] = (await self.run(asked)).passed
        return self._pytest_works[key]

    def _room(self, scratch: Path, tree: Path, folders: Folders, settings: CheckSettings) -> "_Room":
        home, tmp, results = (scratch / name for name in ("home", "tmp", "results"))
        for directory in (home, tmp, results):
            directory.mkdir(mode=0o700)
        view = View(
            tree=tree, shown_at=tree if self.git.root == self.git.git_dir else self.git.root,
            home=home, tmp=tmp, results=results, read_only=folders,
        )  # fmt: skip
        place = self.sandbox.place(view)
        environment = check_environment(os.environ, home=home, tmp=tmp, extra=settings.env)
        environment["PATH"] = os.pathsep.join([*places.search_path(folders, place), environment["PATH"]])
        if venv := places.virtual_environment(folders, place):
            environment["VIRTUAL_ENV"] = venv
        first = places.python_path(folders, (self.git.root, *self._setup_trees()), place)
        return _Room(sandbox=self.sandbox, view=view, environment=_with_python_path(environment, first))

    def _setup_trees(self) -> list[Path]:
        return [folder for folder in self.prepared.glob("*/tree") if folder.is_dir()]

    def kept_facts(self, settings: CheckSettings) -> list[list[object]]:
        """What the checks say may change when these do, although the tree is the same."""
        return places.kept_facts(self.git.root, settings.keep)

    async def _folders(self, job: Job) -> Folders:
        kept = places.kept_folders(self.git.root, job.settings.keep)
        if not job.settings.setup:
            return kept
        key = _key(job.settings, job.base)
        async with self._preparing:
            if key not in self._setups:
                self._setups[key] = await self._set_up(key, job, kept)
        return {**kept, **self._setups[key]}

    async def _set_up(self, key: str, job: Job, kept: Folders) -> Folders:
        """Runs the set-up in an export of the base that stays; what it makes there is bound into every check."""
        entries: Mapping[str, TreeEntry] = await self.git.list_tree(job.base)
        own = self.prepared / key
        own.mkdir(mode=0o700, exist_ok=True)
        async with scratch_directory() as scratch:
            await self.git.export(job.base, own / "tree")
            room = self._room(scratch, own / "tree", kept, job.settings)
            for command in job.settings.setup:
                ended = await room.start(command, job)
                if ended.exit_code != 0:
                    raise WorkspaceRefused(
                        f"autopack.toml: [checks] setup failed at {job.base[:12]}: {command}: "
                        f"{how(ended)}\n{ended.output[-_SETUP_WORDS:]}"
                    )
        return places.left_by_setup(own / "tree", tuple(entries), kept)


@dataclass(frozen=True, kw_only=True)
class _Room:
    """Where the commands of one job run, one after the other."""

    sandbox: Sandbox
    view: View
    environment: Mapping[str, str]

    async def run(self, command: str, job: Job) -> CheckResult:
        if not is_pytest(command) and not may_reach_pytest(command):
            return by_exit_code(command, await self.start(command, job))
        watched = watch(
            command, results=self.view.results, tree=self.sandbox.place(self.view), here=self.view.tree,
            modules=job.modules, select=job.select, addopts=self.environment.get("PYTEST_ADDOPTS", ""),
        )  # fmt: skip
        environment = _with_python_path(self.environment, [str(watched.python_path)])
        if watched.addopts:
            environment["PYTEST_ADDOPTS"] = watched.addopts
        ended = await replace(self, environment=environment).start(watched.command, job)
        if watched.addopts and times_begun(watched) != 1:
            return by_exit_code(command, replace(ended, output=readable(watched, ended.output)))
        told = await to_thread.run_sync(judge, watched, ended)
        # The sentinel fails in every run that counts; what is told is the exit code without it.
        code = 0 if told.kind is RunKind.PASSED else ended.exit_code
        shown = replace(ended, exit_code=code, output=readable(watched, ended.output))
        result = result_of(command, shown, told.kind, reason=told.reason, tests=told.results)
        return replace(result, directory=told.directory or runs_in(command))

    async def start(self, command: str, job: Job) -> ProcessResult:
        command = _keeping_python_path(command, self.environment)
        return await self.sandbox.run(
            ["/bin/sh", "-c", command], view=self.view, environment=self.environment, limits=job.settings.limits
        )  # fmt: skip


@asynccontextmanager
async def open_checks(git: GitWorkspace, sandbox: Sandbox) -> AsyncIterator[Checks]:
    async with open_pool(git) as pool, scratch_directory() as prepared:
        yield Checks(git=git, sandbox=sandbox, pool=pool, prepared=prepared)


def _key(settings: CheckSettings, base: str) -> str:
    facts = json.dumps([settings.facts(), base], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:24]


def _with_python_path(environment: Mapping[str, str], first: Sequence[str]) -> dict[str, str]:
    known = environment.get("PYTHONPATH", "")
    parts = [*first, *([known] if known else [])]
    return {**environment, **({"PYTHONPATH": os.pathsep.join(parts)} if parts else {})}


def _keeping_python_path(command: str, environment: Mapping[str, str]) -> str:
    """`PYTHONPATH=src pytest` adds to what must come first on Python's path, instead of taking its place."""
    first = environment.get("PYTHONPATH")
    if first is None:
        return command
    return _SETS_PYTHON_PATH.sub(lambda found: f"{found[0]}{shlex.quote(first)}:", command)


def _ends(result: CheckResult) -> bool:
    return not result.passed and (result.tests is None or result.kind is RunKind.VOID)
