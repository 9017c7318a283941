"""The loop of a triage session: chooses a failed phase, has it drained alone, and keeps what came of it as a row.

It sees the queue through the client only, and drains through the worker that everything else uses: one per run at a time.
"""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

import anyio
from pydantic import TypeAdapter

from autopack.client import AutopackClient
from autopack.clock import Clock
from autopack.domain import triage, triage_order
from autopack.domain.phases import Attempt, AttemptOutcome, FailureKind, IdleReason, Phase, PhaseState
from autopack.domain.triage import Before, Candidate, End, Item, Key, Options, Trial
from autopack.domain.triage_order import History, Look, Place, Stop
from autopack.errors import AutopackError, Conflict, ModelNotReady, PhaseBlocked, WorkspaceRefused
from autopack.executor.liveness import is_alive, is_dead
from autopack.executor.worker import Drained, Progress, Request, Worker

FINISH_SECONDS = 15.0
ITEM_SECONDS = 60.0
"""How long a phase that a controller elsewhere tries is left to it without an attempt: as long as a lease."""
_TRIAL: TypeAdapter[Trial] = TypeAdapter(Trial)
_BEFORE: TypeAdapter[Before] = TypeAdapter(Before)
_OPTIONS: TypeAdapter[Options] = TypeAdapter(Options)
_NO_MORE_OF_THE_RUN = frozenset({IdleReason.BUDGET, IdleReason.PAUSED, IdleReason.CANCELLED})

Report = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A worker on the workspace of one run, and which providers its models are of."""

    worker: Worker
    providers: Callable[[str], frozenset[str]]
    """Those that a phase of a task category needs."""
    all_providers: frozenset[str]


OpenBench = Callable[[str, Report], AbstractAsyncContextManager[Bench]]
"""Opens the bench of a run. Raises WorkspaceRefused where the workspace is not the run's."""


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """Why a call of a session ended. `open_ended`: something that was left alone may be tried later."""

    why: Stop
    detail: str
    open_ended: bool = True


@dataclass(kw_only=True)
class _Watch:
    """Ends one try early: where its attempt had to wait, which is said once for the whole session."""

    scope: anyio.CancelScope
    drained: Drained = field(default_factory=Drained)
    deferred: bool = False

    def see(self, progress: Progress) -> None:
        outcomes = self.drained.outcomes
        if progress.kind == "waiting" and outcomes and outcomes[-1][1] is AttemptOutcome.DEFERRED:
            self.deferred = True
            self.scope.cancel()


@dataclass(kw_only=True)
class Triage:
    """One call of a session. `load` only reads; `begin` and `run` write."""

    client: AutopackClient
    open_bench: OpenBench
    clock: Clock
    worker_name: str
    session_id: str
    options: Options
    report: Callable[[Key, Progress], None] = lambda _key, _progress: None
    history: History = field(default_factory=History)
    candidates: Sequence[Candidate] = ()
    stopped: Stopped | None = None
    budgets: dict[str, str] = field(default_factory=dict)
    """Runs that reached a cap, with the words for it."""
    refused: dict[str, str] = field(default_factory=dict)
    """Runs that this workspace is not the workspace of."""
    limited: dict[str, str] = field(default_factory=dict)
    """Providers that asked to wait, with their words."""
    _items: list[Item] = field(default_factory=list)
    _position: int = 0
    _started: float = 0.0
    _worker: Worker | None = None
    _watch: _Watch | None = None

    async def load(self, *, resumed: bool) -> None:
        """What the session has tried, and what there is to try."""
        self._started = self.clock.monotonic()
        self._items = await self.client.triage_items(self.session_id) if resumed else []
        self._position = self._items[-1].position if self._items else 0
        self.history.trials = [_as_trial(item) for item in self._items]
        self.history.began = len(self._items)
        await self._list_candidates(self.session_id if resumed else None)

    async def begin(self) -> None:
        """Opens the session. What a killed controller had under way is looked at first."""
        for index, item in enumerate(self._items):
            if item.finished_at is None:
                self.history.trials[index] = await self._recover(item)
        await self.client.open_triage(self.session_id, self.options)
        if self._items:
            await self._list_candidates(self.session_id)

    def outlook(self) -> list[Look]:
        return triage_order.outlook(self.candidates, self.history, self.options)

    def stop(self, detail: str) -> None:
        """The phase that is executing ends; no other is begun."""
        self.stopped = self.stopped or Stopped(why=Stop.INTERRUPTED, detail=detail)
        if self._worker is not None:
            self._worker.stop(detail)

    async def run(self) -> None:
        """Tries phases until nothing is left to try, or enough was. What is wrong with the environment is raised."""
        try:
            while (look := self._next()) is not None:
                await self._run_of(look.candidate.run_id)
        except anyio.get_cancelled_exc_class():
            self.stop("interrupted")
            with anyio.move_on_after(FINISH_SECONDS, shield=True):
                await self._write_down_the_end()
            raise
        await self._write_down_the_end()

    async def _write_down_the_end(self) -> None:
        assert self.stopped is not None
        reason = f"{self.stopped.why}: {self.stopped.detail}"
        await self.client.stop_triage(self.session_id, reason, ended=not self.stopped.open_ended)

    def _next(self) -> Look | None:
        """The phase to try now; None once the call is over, and then `stopped` says why."""
        if self.stopped is not None:
            return None
        minutes = (self.clock.monotonic() - self._started) / 60
        if (found := triage_order.enough(self.history, self.options, minutes)) is not None:
            self.stopped = Stopped(why=found[0], detail=found[1])
            return None
        look = triage_order.choose(self.candidates, self.history, self.options)
        if look is None:
            self.stopped = self._nothing_left()
        return look

    def _nothing_left(self) -> Stopped:
        if self.limited:
            said = "; ".join(f"{name}: {detail}" for name, detail in self.limited.items())
            return Stopped(why=Stop.QUOTA, detail=said)
        last = {each.key: each for each in self.history.trials}
        later = bool(self.budgets or self.refused) or any(each.again for each in last.values())
        return Stopped(why=Stop.NOTHING_LEFT, detail="nothing is left to try", open_ended=later)

    async def _run_of(self, run_id: str) -> None:
        """Phases of one run, for as long as the next one is of it too: they share a worker."""
        try:
            async with self._bench(run_id) as bench:
                while (look := self._next()) is not None and look.candidate.run_id == run_id:
                    await self._try(bench, look)
        except WorkspaceRefused as error:
            self.refused[run_id] = self.history.left_runs[run_id] = str(error)

    @asynccontextmanager
    async def _bench(self, run_id: str) -> AsyncIterator[Bench]:
        async with self.open_bench(run_id, partial(self._progress, run_id)) as bench:
            self._worker = bench.worker
            try:
                yield bench
            finally:
                self._worker = None

    def _progress(self, run_id: str, progress: Progress) -> None:
        if self._watch is not None:
            self._watch.see(progress)
        self.report((run_id, progress.phase_id or ""), progress)

    # One phase

    async def _try(self, bench: Bench, look: Look) -> None:
        candidate = look.candidate
        if reason := await self._in_the_way(bench, look):
            self.history.left_phases[candidate.key] = reason
            return
        self._say(candidate.key, "trying", look.place if look.place is not Place.NEXT else "")
        before = await self._now(candidate.key, candidate.signature)
        self._position += 1
        await self.client.start_trial(
            self.session_id, self._position, candidate.key, worker=self.worker_name, before=before
        )
        started = self.clock.monotonic()
        left = max(1, self.options.max_attempts_per_phase - candidate.tried)
        error, watch = await self._drained(bench, candidate.key, left)
        end = await self._end(candidate.key, before, watch, error)
        known = self.history.signatures
        now = await self._now(candidate.key, None)
        seconds = self.clock.monotonic() - started
        tried = triage.trial(candidate.key, before, now, end, seconds=seconds, known=known)
        await self.client.finish_trial(self.session_id, self._position, tried)
        self.history.trials.append(tried)
        self._say(candidate.key, "tried", _told(tried))
        if error is not None and not isinstance(error, PhaseBlocked):
            raise error
        await self._learn(bench, candidate, end, watch.drained)

    async def _in_the_way(self, bench: Bench, look: Look) -> str | None:
        """Why the phase cannot be tried after all: others may have been at it since it was listed."""
        candidate = look.candidate
        waiting = bench.providers(candidate.task_category) & self.limited.keys()
        if waiting:
            return f"it needs {', '.join(sorted(waiting))}, which asked to wait"
        phase = await self.client.phase(*candidate.key)
        if phase.not_before is not None and phase.not_before > self.clock.now() and self._had_to_wait(phase):
            told = f"asked to wait until {phase.not_before:%Y-%m-%d %H:%M:%S} UTC"
            self._limit(bench, bench.providers(candidate.task_category), told)
            return f"its provider {told}"
        is_open = look.place is Place.AGAIN and phase.state in (PhaseState.QUEUED, PhaseState.EXECUTING)
        return None if phase.state is PhaseState.FAILED or is_open else f"it is {phase.state} by now"

    def _had_to_wait(self, phase: Phase) -> bool:
        tries = [each for each in self.history.trials if each.key == (phase.run_id, phase.phase_id)]
        return bool(tries) and tries[-1].failure_kind is FailureKind.PROVIDER_LIMIT

    async def _drained(
        self, bench: Bench, key: Key, attempts: int
    ) -> tuple[AutopackError | None, _Watch]:  # fmt: skip
        """At most so many attempts, for at most the time that a phase has; whatever is left of it is given back."""
        request = Request(run_id=key[0], phase_id=key[1], force=True, batch_size=attempts, max_batches=1)
        with anyio.move_on_after(self.options.phase_timeout_seconds) as scope:
            self._watch = watch = _Watch(scope=scope)
            try:
                await bench.worker.drain(request, watch.drained)
            except (PhaseBlocked, WorkspaceRefused, ModelNotReady) as error:
                return error, watch
            finally:
                self._watch = None
        return None, watch

    async def _end(self, key: Key, before: Before, watch: _Watch, error: AutopackError | None) -> End:
        last = await self._last_attempt(key, before)
        end = _end_of(last)
        idle = watch.drained.idle
        if last is None and error is None and idle is not None and idle.reason in _NO_MORE_OF_THE_RUN:
            kind = FailureKind.BUDGET if idle.reason is IdleReason.BUDGET else None
            end = End(outcome=AttemptOutcome.DEFERRED, failure_kind=kind, reason=idle.detail)
        timed_out = watch.scope.cancelled_caught and not watch.deferred
        if timed_out:
            told = f"no end within {self.options.phase_timeout_seconds:g} seconds (--phase-timeout-seconds)"
            end = replace(end, reason=told)
        return replace(
            end, timed_out=timed_out, error=None if error is None else str(error),
            stopped=self.stopped is not None,
        )  # fmt: skip

    async def _learn(self, bench: Bench, candidate: Candidate, end: End, drained: Drained) -> None:
        """What the try tells about other phases: a provider that asks to wait, or a run that must not go on."""
        if end.failure_kind is FailureKind.PROVIDER_LIMIT and end.outcome is AttemptOutcome.DEFERRED:
            await self._learn_limit(bench, candidate, end.reason or "")
        if drained.idle is not None and drained.idle.reason in _NO_MORE_OF_THE_RUN:
            self.history.left_runs[candidate.run_id] = drained.idle.detail
        if end.failure_kind is FailureKind.BUDGET and end.outcome is AttemptOutcome.DEFERRED:
            told = self.history.left_runs.setdefault(candidate.run_id, end.reason or "its budget is reached")
            self.budgets[candidate.run_id] = told

    async def _learn_limit(self, bench: Bench, candidate: Candidate, detail: str) -> None:
        calls = await self.client.calls(*candidate.key)
        named = {call.provider for call in calls[-1:] if call.status == "failed"}
        self._limit(bench, named or bench.providers(candidate.task_category), detail)

    def _limit(self, bench: Bench, providers: Collection[str], detail: str) -> None:
        """Nothing that needs one of these is tried any more; where there is no other, nothing at all."""
        self.limited |= dict.fromkeys(providers, detail)
        if bench.all_providers <= self.limited.keys():
            self.stopped = self.stopped or self._nothing_left()

    # What is there

    async def _list_candidates(self, session_id: str | None) -> None:
        found: list[Candidate] = []
        for run_id in dict.fromkeys(self.options.run_ids) or (None,):
            found += await self.client.triage_candidates(run_id=run_id, session_id=session_id)
        self.candidates = found

    async def _now(self, key: Key, signature: str | None) -> Before:
        phase: Phase = await self.client.phase(*key)
        counts = await self.client.telemetry(*key)
        return Before(
            state=phase.state, attempts=len(await self.client.attempts(*key)), llm_usage_events=counts.llm_usage_events,
            token_estimation_v2_events=counts.token_estimation_v2_events, signature=signature,
        )  # fmt: skip

    async def _last_attempt(self, key: Key, before: Before) -> Attempt | None:
        """The last one that was made since; None where there was none."""
        made = (await self.client.attempts(*key))[before.attempts :]
        return made[-1] if made else None

    async def _recover(self, item: Item) -> Trial:
        """What came of a phase whose controller was killed. Raises Conflict where that is still at work."""
        key = (item.run_id, item.phase_id)
        for attempt in await self.client.open_attempts(item.run_id):
            if attempt.phase_id != item.phase_id:
                continue
            if is_dead(attempt.worker):
                await self.client.report_lost(attempt.attempt_id, attempt.worker)
            elif attempt.lease_expires_at > self.clock.now():
                raise Conflict(
                    f"triage session {self.session_id} is being worked on: {attempt.worker} executes phase {item.phase_id} of run "
                    f"{item.run_id}. Wait for it, or end that process and resume after {attempt.lease_expires_at:%H:%M:%S} UTC."
                )  # fmt: skip
        self._leave_alone_what_may_live(item)
        before = _BEFORE.validate_python((item.result or {})["before"])
        end = replace(_end_of(await self._last_attempt(key, before)), stopped=True)
        now = await self._now(key, None)
        tried = triage.trial(key, before, now, end, seconds=None, known=self.history.signatures)
        await self.client.finish_trial(self.session_id, item.position, tried)
        self._say(key, "recovered", _told(tried))
        return tried

    def _leave_alone_what_may_live(self, item: Item) -> None:
        """Before its first attempt, and between two, a controller is known by its item alone."""
        name = str((item.result or {})["worker"])
        ends = item.started_at + timedelta(seconds=ITEM_SECONDS)
        if name == self.worker_name or is_dead(name):
            return
        alive = is_alive(name)
        if alive or ends > self.clock.now():
            otherwise = "end that process" if alive else f"resume after {ends:%H:%M:%S} UTC"
            raise Conflict(
                f"triage session {self.session_id} is being worked on: {name} tries phase {item.phase_id} of run "
                f"{item.run_id}. Wait for it, or {otherwise}."
            )

    def _say(self, key: Key, kind: str, detail: str) -> None:
        self.report(key, Progress(kind=kind, phase_id=key[1], detail=detail))


def stored_options(session: triage.Session) -> Options:
    return _OPTIONS.validate_python(session.options)


def _as_trial(item: Item) -> Trial:
    """One that is under way is a trial that has yet to be looked at."""
    if item.finished_at is not None:
        return _TRIAL.validate_python(item.result)
    state = PhaseState((item.result or {})["before"]["state"])
    return Trial(
        run_id=item.run_id, phase_id=item.phase_id, before=state, after=state, attempts=0, llm_usage_events=0,
        token_estimation_v2_events=0, seconds=None, again=True,
    )  # fmt: skip


def _end_of(attempt: Attempt | None) -> End:
    if attempt is None:
        return End()
    return End(outcome=attempt.outcome, failure_kind=attempt.failure_kind, reason=attempt.reason)


def _told(tried: Trial) -> str:
    gained = f"+{tried.token_estimation_v2_events} estimation events"
    why = f" ({tried.why})" if tried.why else ""
    detail = f": {tried.detail}" if tried.detail else ""
    return f"{tried.after}, {gained}{why}{detail}"
