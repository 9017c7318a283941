"""What the checks say of a base itself: run once, stored, and used by every phase that is built on it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from autopack.domain.phases import JsonObject
from autopack.domain.testing import CommandRun
from autopack.workspace.checks import Checks, CheckSettings, Job

_FORMAT = 2  # of the stored runs, and of how commands are run
_LONGEST = 8 << 20  # the API takes bodies of twice that
_REMEMBERED = 16

Runs = tuple[CommandRun, ...]


class BaselineStore(Protocol):
    """What this needs of the client."""

    async def baseline(self, run_id: str, base_commit: str, checks_hash: str) -> JsonObject | None: ...

    async def store_baseline(
        self, run_id: str, base_commit: str, checks_hash: str, report: JsonObject
    ) -> JsonObject: ...


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """Lives as long as a drain. A tree that was checked as a result is known when it becomes the next base."""

    checks: Checks
    store: BaselineStore
    _known: dict[tuple[str, str], Runs] = field(default_factory=dict)
    _running: anyio.Lock = field(default_factory=anyio.Lock)

    async def of(self, run_id: str, base: str, commands: Sequence[str], settings: CheckSettings) -> Runs:
        key = self.key(commands, settings)
        tree = await self.checks.git.result_tree(base, ())
        async with self._running:
            stored = from_json(await self.store.baseline(run_id, base, key), commands)
            if stored is None:
                stored = self._known.get((tree, key)) or await self._run(tree, base, commands, settings)
                stored = await self._store(run_id, base, key, stored)
            self._keep(tree, key, stored)
        return stored

    def remember(self, tree: str, commands: Sequence[str], settings: CheckSettings, runs: Runs) -> None:
        """What was said of a tree that was checked whole and as it is."""
        if len(runs) == len(commands):
            self._keep(tree, self.key(commands, settings), runs)

    def key(self, commands: Sequence[str], settings: CheckSettings) -> str:
        """Of all that decides what the checks say of a tree."""
        kept = self.checks.kept_facts(settings)
        facts = [_FORMAT, list(commands), settings.facts(), self.checks.sandbox.level, kept]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    async def _run(self, tree: str, base: str, commands: Sequence[str], settings: CheckSettings) -> Runs:
        report = await self.checks.run(
            Job(tree=tree, base=base, commands=tuple(commands), settings=settings, to_the_end=True)
        )
        return tuple(result.run() for result in report.results)

    async def _store(self, run_id: str, base: str, key: str, runs: Runs) -> Runs:
        """What is stored from now on: of several workers that ran the same base at once, the first one's word."""
        report = {"runs": [run.to_json() for run in runs]}
        if len(json.dumps(report)) > _LONGEST:
            return runs
        kept = await self.store.store_baseline(run_id, base, key, report)
        return from_json(kept, [run.command for run in runs]) or runs

    def _keep(self, tree: str, key: str, runs: Runs) -> None:
        self._known.pop((tree, key), None)
        self._known[tree, key] = runs
        while len(self._known) > _REMEMBERED:
            self._known.pop(next(iter(self._known)))


def from_json(report: JsonObject | None, commands: Sequence[str]) -> Runs | None:
    """None for what cannot be read, or is not about these commands: then the base is checked anew."""
    if report is None:
        return None
    try:
        runs = tuple(CommandRun.from_json(told) for told in report["runs"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return runs if [run.command for run in runs] == list(commands) else None
