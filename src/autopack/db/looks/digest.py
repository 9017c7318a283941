"""What happened in a stretch of time, read from the events and what they are about; what waits, as it is now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from autopack.db import approvals, runs, usage
from autopack.db.looks import needs
from autopack.db.looks.events import to_domain
from autopack.db.tables import EventRow, PhaseRow, RunRow
from autopack.domain.looks.digest import Digest, PhaseEnded, RunDigest, check_time, spent
from autopack.domain.looks.stops import is_about_a_cap
from autopack.domain.messages import ProviderMode
from autopack.domain.phases import Event, PhaseState, Run, RunState
from autopack.domain.usage import Grouping, UsageSelection, UsageTotal

MOST_RUNS, MOST_PHASES, MOST_EVENTS = 200, 200, 200
_TOTALS_AT_ONCE = 1000
_BY_MACHINES = ("claimed", "finished", "model_call_failed", "approval_void", "approval_expired")
_A_WORKER = "%|%|%|%|%"


def digest(session: Session, *, since: datetime, until: datetime | None, now: datetime) -> Digest:
    """Raises InvalidInput where nothing can have happened in the time."""
    end = check_time(since, until, now)
    approvals.expire_due(session, None, now=now)
    time = _Time(since=since, until=end)
    selection = UsageSelection(since=since, until=end)
    totals, by_run = _usage(session, selection)
    finished = _ended(session, time, PhaseState.COMPLETE)
    failed = _ended(session, time, PhaseState.FAILED)
    caps, people = _caps_reached(session, time), _by_people(session, time)
    waiting, needed = needs.approvals_waiting(session, now), needs.needs_you(session, since=since, now=now)
    digests = _runs(session, time, by_run, is_now=end >= now)
    return Digest(
        since=since, until=end, needs_you=needed, runs=digests, finished=finished, failed=failed,
        approvals_waiting=waiting, spent=spent(totals, ProviderMode.LIVE), replayed=spent(totals, ProviderMode.REPLAY),
        attempts=_attempts(session, time), caps_reached=caps, by_people=people,
        counts={
            "runs": _number(session, _touched(time)),
            "finished": _number(session, _ended_in(time, PhaseState.COMPLETE)),
            "failed": _number(session, _ended_in(time, PhaseState.FAILED)),
            "approvals_waiting": needs.number_of_approvals(session),
            "by_people": _number(session, select(EventRow.id).where(*_people(time))),
        },
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Time:
    """From `since`, and before `until`."""

    since: datetime
    until: datetime

    def holds(self, column: Any) -> tuple[ColumnElement[bool], ...]:
        return column >= self.since, column < self.until


def _number(session: Session, rows: Select[*tuple[Any, ...]]) -> int:
    return session.scalar(select(func.count()).select_from(rows.subquery())) or 0


def _touched(time: _Time) -> Select[str | None, int]:
    """Runs that something happened to, with the number of the newest event."""
    return (
        select(EventRow.run_id, func.max(EventRow.id).label("newest"))
        .where(*time.holds(EventRow.created_at), EventRow.run_id.is_not(None))
        .group_by(EventRow.run_id)
    )


def _usage(
    session: Session, selection: UsageSelection
) -> tuple[Sequence[UsageTotal], dict[str, list[UsageTotal]]]:
    """Of everything, and by run."""
    by_run: dict[str, list[UsageTotal]] = {}
    after = None
    while True:
        page = usage.report(session, Grouping.RUN, selection, after=after, limit=_TOTALS_AT_ONCE)
        after = page.next
        for row in page.rows:
            by_run.setdefault(row.run_id or "", []).append(row)
        if after is None:
            return page.totals, by_run


def _runs(
    session: Session, time: _Time, by_run: Mapping[str, Sequence[UsageTotal]], *, is_now: bool
) -> tuple[RunDigest, ...]:
    """What something happened to last comes first."""
    touched = _touched(time).order_by(func.max(EventRow.id).desc()).limit(MOST_RUNS)
    run_ids = [run_id for run_id, _ in session.execute(touched) if run_id is not None]
    found = _as_they_are(session, run_ids)
    before = _states(session, run_ids, time.since)
    after = {} if is_now else _states(session, run_ids, time.until)
    ended = _ended_by_run(session, time, run_ids)
    return tuple(
        RunDigest(
            run_id=run_id, goal=found[run_id].goal, phase_counts=found[run_id].phase_counts,
            state_before=None if found[run_id].created_at >= time.since else before.get(run_id, RunState.QUEUED),
            state=found[run_id].state if is_now else after.get(run_id, RunState.QUEUED),
            finished=ended.get((run_id, PhaseState.COMPLETE), 0), failed=ended.get((run_id, PhaseState.FAILED), 0),
            spent=spent(by_run.get(run_id, ()), ProviderMode.LIVE),
            replayed=spent(by_run.get(run_id, ()), ProviderMode.REPLAY),
        )
        for run_id in run_ids
    )  # fmt: skip


def _as_they_are(session: Session, run_ids: Sequence[str]) -> dict[str, Run]:
    counts = runs.phase_counts(session, run_ids)
    rows = session.scalars(select(RunRow).where(RunRow.id.in_(run_ids)))
    return {row.id: runs.to_domain(row, counts.get(row.id, {})) for row in rows}


def _states(session: Session, run_ids: Sequence[str], moment: datetime) -> dict[str, RunState]:
    """What the runs were just before the moment, where their state had changed by then."""
    newest = (
        select(func.max(EventRow.id))
        .where(EventRow.run_id.in_(run_ids), EventRow.kind == "run_state", EventRow.created_at < moment)
        .group_by(EventRow.run_id)
    )
    rows = session.execute(select(EventRow.run_id, EventRow.detail).where(EventRow.id.in_(newest)))
    return {run_id: RunState(detail["state"]) for run_id, detail in rows if run_id is not None}


def _ended_by_run(session: Session, time: _Time, run_ids: Sequence[str]) -> dict[tuple[str, PhaseState], int]:
    rows = session.execute(
        select(PhaseRow.run_id, PhaseRow.state, func.count())
        .where(PhaseRow.run_id.in_(run_ids), *time.holds(PhaseRow.completed_at))
        .group_by(PhaseRow.run_id, PhaseRow.state)
    )
    return {(run_id, PhaseState(state)): number for run_id, state, number in rows}


def _ended_in(time: _Time, state: PhaseState) -> Select[Any]:
    """Of the runs that something happened to: phases are not kept in the order of their ends."""
    touched = _touched(time).subquery()
    return select(
        PhaseRow.run_id, PhaseRow.phase_id, PhaseRow.state, PhaseRow.completed_at, PhaseRow.result_commit,
        PhaseRow.failure_kind, func.substr(PhaseRow.failure_reason, 1, needs.REASON_CHARS).label("failure_reason"),
    ).where(
        PhaseRow.run_id.in_(select(touched.c.run_id)), PhaseRow.state == state, *time.holds(PhaseRow.completed_at)
    )  # fmt: skip


def _ended(session: Session, time: _Time, state: PhaseState) -> tuple[PhaseEnded, ...]:
    """The newest first."""
    query = _ended_in(time, state).order_by(PhaseRow.completed_at.desc(), PhaseRow.id.desc())
    return tuple(needs.ended(row) for row in session.execute(query.limit(MOST_PHASES)))


def _attempts(session: Session, time: _Time) -> dict[str, int]:
    outcome = EventRow.detail["outcome"].as_string()
    rows = session.execute(
        select(outcome, func.count())
        .where(*time.holds(EventRow.created_at), EventRow.kind == "finished")
        .group_by(outcome)
        .order_by(outcome)
    )
    return {str(name): int(number) for name, number in rows}


def _caps_reached(session: Session, time: _Time) -> tuple[Event, ...]:
    paused = (
        select(EventRow)
        .where(
            *time.holds(EventRow.created_at), EventRow.kind == "run_state",
            EventRow.detail["state"].as_string() == RunState.PAUSED,
        )
        .order_by(EventRow.id.desc())
        .limit(MOST_EVENTS)
    )  # fmt: skip
    found = to_domain(session.scalars(paused).all())
    return tuple(each for each in found if is_about_a_cap(each.detail.get("reason")))


def _people(time: _Time) -> tuple[ColumnElement[bool], ...]:
    """What neither a worker did nor Autopack by itself."""
    return (
        *time.holds(EventRow.created_at),
        EventRow.kind.not_in(_BY_MACHINES),
        EventRow.actor != "autopack",
        EventRow.actor.not_like(_A_WORKER),
    )


def _by_people(session: Session, time: _Time) -> tuple[Event, ...]:
    """The newest first."""
    query = select(EventRow).where(*_people(time)).order_by(EventRow.id.desc()).limit(MOST_EVENTS)
    return tuple(to_domain(session.scalars(query).all()))
