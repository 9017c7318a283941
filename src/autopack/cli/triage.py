"""Triage: failed phases of all runs are tried again, sample first, and each try says what it brought."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopack.cli.common import (
    ApiUrl,
    DatabaseUrl,
    InProcess,
    Json,
    Workspace,
    connection_for,
    result,
    say,
    unread_or_not,
)
from autopack.cli.interrupts import until_interrupted
from autopack.cli.merge import share_run
from autopack.cli.notify import Telling, telling
from autopack.cli.records import ended, launched

if TYPE_CHECKING:
    from autopack.bootstrap import Connection
    from autopack.client import AutopackClient
    from autopack.domain.triage import Options
    from autopack.executor.triage import Triage
    from autopack.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one call asks for. `given` are the flags that were really given: they go before a session's own options."""

    given: dict[str, Any]
    resume: bool
    session_id: str | None
    dry_run: bool
    workspace: Path


def triage(
    session: Annotated[
        str | None, typer.Argument(help="With --resume: which session (default: the newest unfinished one).", show_default=False)
    ] = None,
    run_id: Annotated[list[str] | None, typer.Option(help="Of this run only; may be repeated. Default: all runs.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Phases to try in this call (10).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the order, and why a phase is left alone; write nothing.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a session, under its own options and what is given.")] = False,
    api_url: ApiUrl = None, in_process: InProcess = False, database_url: DatabaseUrl = None,
    phase_timeout_seconds: Annotated[float | None, typer.Option(min=0.001, help="The longest that one phase may take (900).")] = None,
    max_total_minutes: Annotated[float | None, typer.Option(min=0.001, help="No phase is begun after so long.")] = None,
    max_timeouts_per_run: Annotated[int | None, typer.Option(min=1, help="Then its run is left alone (2).")] = None,
    max_attempts_per_phase: Annotated[int | None, typer.Option(min=1, help="Made by triage, in all sessions (3).")] = None,
    max_fingerprint_repeats: Annotated[int | None, typer.Option(min=1, help="Phases that failed so are left alone (3).")] = None,
    skip_run_prefix: Annotated[list[str] | None, typer.Option(help="Leave runs alone whose id begins so; may be repeated.")] = None,
    max_consecutive_zero_yield: Annotated[int | None, typer.Option(min=1, help="Stop after so many phases without telemetry.")] = None,
    workspace: Workspace = Path(), as_json: Json = False,
) -> int:  # fmt: skip
    """Try FAILED phases again, across runs: one of each run first, more of it where that was worth it."""
    import anyio

    from autopack.errors import UsageError

    if session is not None and not resume:
        raise UsageError(f"{session}: a session is named with --resume only")
    flags = {
        "run_ids": tuple(run_id or ()), "skip_run_prefixes": tuple(skip_run_prefix or ()), "batch_size": batch_size,
        "phase_timeout_seconds": phase_timeout_seconds, "max_total_minutes": max_total_minutes,
        "max_timeouts_per_run": max_timeouts_per_run, "max_attempts_per_phase": max_attempts_per_phase,
        "max_fingerprint_repeats": max_fingerprint_repeats, "max_consecutive_zero_yield": max_consecutive_zero_yield,
    }  # fmt: skip
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    asked = Asked(given=given, resume=resume, session_id=session, dry_run=dry_run, workspace=workspace)
    connection, settings = connection_for(api_url, in_process, database_url)
    launched("triage", as_json, connection, run_ids=run_id or [])
    record = anyio.run(_triage, connection, settings, asked)
    with unread_or_not():
        ended("triage", record, int(record["exit_code"])) if as_json else _show(record)
    for tried in () if dry_run else sorted({trial["run_id"] for trial in record["phases"]}):
        share_run(connection, settings, tried)
    return int(record["exit_code"])


async def _triage(connection: "Connection", settings: "Settings", asked: Asked) -> dict[str, Any]:
    from autopack.bootstrap import open_client
    from autopack.executor.worker import one_error
    from autopack.workspace.git import GitWorkspace

    with one_error():
        async with open_client(connection, settings) as client:
            if not asked.dry_run:
                await GitWorkspace.open(
                    asked.workspace
                )  # one that is none is said once, and not of every run
            session_id, options = await _session_of(client, asked)
            async with telling(client, settings) as told:
                controller = _controller(client, settings, asked, session_id, options, told)
                await controller.load(resumed=asked.resume)
                if asked.dry_run:
                    return _outlook_record(controller, asked)
                number = await until_interrupted(lambda: _begun(controller), controller.stop)
                told.hurried = number is not None
            return _record(controller, number)


async def _session_of(client: "AutopackClient", asked: Asked) -> "tuple[str, Options]":
    """The session to work on and the options that hold for it. Raises NotFound, or Conflict where it has ended."""
    from autopack.clock import Clock
    from autopack.domain.triage import Options
    from autopack.errors import Conflict, NotFound
    from autopack.executor.triage import stored_options

    if not asked.resume:
        return Clock().new_id(), Options(**asked.given)
    if asked.session_id is not None:
        session = await client.triage_session(asked.session_id)
        if session.ended_at is not None:
            raise Conflict(
                f"triage session {session.session_id} has ended ({session.reason}); begin a new one"
            )
        return session.session_id, replace(stored_options(session), **asked.given)
    for session in await client.triage_sessions(unfinished=True):
        return session.session_id, replace(stored_options(session), **asked.given)
    raise NotFound("there is no unfinished triage session to resume; begin one without --resume")


def _controller(
    client: "AutopackClient",
    settings: "Settings",
    asked: Asked,
    session_id: str,
    options: "Options",
    told: Telling,
) -> "Triage":
    from autopack.bootstrap.worker import open_worker
    from autopack.clock import Clock
    from autopack.executor.liveness import worker_name
    from autopack.executor.triage import Bench, Report, Triage
    from autopack.executor.worker import Progress

    @asynccontextmanager
    async def open_bench(run_id: str, report: Report) -> AsyncIterator[Bench]:
        await told.follow(run_id)
        async with open_worker(client, run_id, settings, asked.workspace, report=told.beside(report)) as seat:
            yield Bench(
                worker=seat.worker, providers=seat.models.providers, all_providers=seat.models.all_providers()
            )

    def show(key: tuple[str, str], progress: Progress) -> None:
        if progress.kind in ("trying", "tried", "recovered", "claimed", "waiting", "note"):
            say(f"{'/'.join(part for part in key if part)}: {progress.kind} {progress.detail}".rstrip())

    return Triage(
        client=client, open_bench=open_bench, clock=Clock(), worker_name=worker_name(), session_id=session_id,
        options=options, report=show,
    )  # fmt: skip


async def _begun(controller: "Triage") -> None:
    await controller.begin()
    say(f"triage session {controller.session_id}")
    await controller.run()


# What is told


def _record(controller: "Triage", number: int | None) -> dict[str, Any]:
    """The shape of `--json`."""
    from autopack.domain.triage import totals
    from autopack.domain.triage_order import Place

    stopped, mine = controller.stopped, controller.history.mine
    assert stopped is not None
    left = [look for look in controller.outlook() if look.place is Place.LEFT]
    tried = {trial.key for trial in mine}
    return {
        "session_id": controller.session_id, "exit_code": judge(controller, number), "stopped": stopped.why,
        "reason": stopped.detail, "resumable": stopped.open_ended, "options": controller.options,
        "phases": [{**asdict(trial), "yield_per_minute": trial.yield_per_minute} for trial in mine],
        "totals": totals(mine),
        "left": [
            {"run_id": each.candidate.run_id, "phase_id": each.candidate.phase_id, "reason": each.reason}
            for each in left
            if each.candidate.key not in tried
        ],
    }  # fmt: skip


def judge(controller: "Triage", number: int | None) -> int:
    """The exit code of DESIGN section 8."""
    from autopack.domain.phases import PhaseState
    from autopack.domain.triage_order import Stop

    after = {trial.after for trial in controller.history.mine if not trial.again}
    if number is not None:
        return 128 + number
    if controller.stopped is not None and controller.stopped.why is Stop.QUOTA:
        return 75
    if after - {PhaseState.COMPLETE, PhaseState.GATE}:
        return 1
    if controller.budgets and not after:
        return 6
    if controller.refused and not after:
        return 3
    return 5 if PhaseState.GATE in after else 0


def _outlook_record(controller: "Triage", asked: Asked) -> dict[str, Any]:
    return {
        "session_id": controller.session_id if asked.resume else None, "exit_code": 0, "dry_run": True,
        "options": controller.options,
        "order": [
            {
                "run_id": look.candidate.run_id, "phase_id": look.candidate.phase_id, "place": look.place,
                "reason": look.reason, "state": look.candidate.state, "failure_kind": look.candidate.failure_kind,
                "signature": look.candidate.signature, "tried": look.candidate.tried,
            }
            for look in controller.outlook()
        ],
    }  # fmt: skip


def _show(record: dict[str, Any]) -> None:
    if record.get("dry_run"):
        for each in record["order"]:
            result(f"{each['place']:<6}  {each['run_id']}/{each['phase_id']}  {each['reason']}")
        result(f"{_count(len(record['order']), 'phase')}; nothing was written")
        return
    for trial in record["phases"]:
        result(_line(trial))
    _show_left(record["left"])
    _show_totals(record)


def _gained(calls: int, events: int) -> str:
    from autopack.domain.looks.words import count

    return f"+{count(calls, 'call')}, +{count(events, 'estimation event')}"


def _line(trial: dict[str, Any]) -> str:
    rate = trial["yield_per_minute"]
    time = "" if trial["seconds"] is None else f" in {trial['seconds']:.1f} s"
    gained = _gained(trial["llm_usage_events"], trial["token_estimation_v2_events"])
    speed = "" if rate is None else f" ({rate} a minute)"
    why = f"; {trial['why']}" if trial["why"] else ""
    detail = f": {trial['detail']}" if trial["detail"] else ""
    return (
        f"{trial['run_id']}/{trial['phase_id']}  {trial['before']} -> {trial['after']}, {_count(trial['attempts'], 'attempt')}{time}, "
        f"{gained}{speed}{why}{detail}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _show_left(left: list[dict[str, Any]]) -> None:
    """By reason: of a thousand phases most are left alone for the same few reasons."""
    counts = Counter(each["reason"] for each in left)
    for reason, count in counts.most_common():
        one = next(each for each in left if each["reason"] == reason)
        result(f"left alone: {one['run_id']}/{one['phase_id']}{_more(count - 1)}: {reason}")


def _more(count: int) -> str:
    return f" and {count} more" if count else ""


def _show_totals(record: dict[str, Any]) -> None:
    sums = record["totals"]
    states = ", ".join(f"{count} {state}" for state, count in sums.states.items()) or "none"
    nothing = ", ".join(f"{count} {why}" for why, count in sums.nothing_gained.items())
    gained = _gained(sums.llm_usage_events, sums.token_estimation_v2_events)
    result(f"tried {sums.tried}: {states}; {gained}" + (f"; nothing gained: {nothing}" if nothing else ""))
    again = f"; go on with --resume {record['session_id']}" if record["resumable"] else ""
    result(f"ended: {record['stopped']} ({record['reason']}){again}")
