"""Attempts: renewed and finished by the worker that holds the lease, given back when the worker is gone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from autopack.db import calls, daily, events, phases, requests, runs
from autopack.db.tables import AttemptRow, LlmUsageEventRow, PhaseRow, RunRow
from autopack.domain import lifecycle
from autopack.domain.failures import judges_the_work
from autopack.domain.phases import Attempt, AttemptOutcome, FailureKind, Outcome, Phase, PhaseState
from autopack.errors import LeaseLost, NotFound

# Built once: building a statement costs more than running it.
_LAST_NUMBER = select(func.max(AttemptRow.number)).where(
    AttemptRow.run_id == bindparam("run"), AttemptRow.phase_id == bindparam("phase")
)
# Locks are taken in one order everywhere, or PostgreSQL finds transactions that wait for each other: attempt, phase, run.
_BY_LEASE_LOCKED = (
    select(AttemptRow)
    .where(AttemptRow.id == bindparam("attempt"), AttemptRow.lease_token == bindparam("token"))
    .with_for_update()
)
_EXPIRED = (
    select(AttemptRow)
    .where(
        AttemptRow.run_id == bindparam("run"),
        AttemptRow.outcome.is_(None),
        AttemptRow.lease_expires_at < bindparam("now"),
    )
    .with_for_update(skip_locked=True)
)
# How the try before this one failed, leaving out those that say nothing about the work.
_FAILED_BEFORE = (
    select(AttemptRow.failure_signature, AttemptRow.plan_hash)
    .join(PhaseRow, (PhaseRow.run_id == AttemptRow.run_id) & (PhaseRow.phase_id == AttemptRow.phase_id))
    .where(
        AttemptRow.run_id == bindparam("run"),
        AttemptRow.phase_id == bindparam("phase"),
        AttemptRow.number < bindparam("number"),
        AttemptRow.number > PhaseRow.requeued_after,
        AttemptRow.outcome == AttemptOutcome.FAILED,
        AttemptRow.failure_kind.in_([kind for kind in FailureKind if judges_the_work(kind)]),
    )
    .order_by(AttemptRow.number.desc())
    .limit(1)
)
_HELD = (
    select(AttemptRow.lease_expires_at, AttemptRow.step, RunRow.state, RunRow.concurrency)
    .join(RunRow, RunRow.id == AttemptRow.run_id)
    .where(
        AttemptRow.id == bindparam("attempt"),
        AttemptRow.lease_token == bindparam("token"),
        AttemptRow.outcome.is_(None),
    )
)
_LOST_SINCE = select(func.count(AttemptRow.id)).where(
    AttemptRow.run_id == bindparam("run"),
    AttemptRow.phase_id == bindparam("phase"),
    AttemptRow.number > bindparam("since"),
    AttemptRow.outcome == AttemptOutcome.LOST,
)


def last_number(session: Session, run_id: str, phase_id: str) -> int:
    return session.scalar(_LAST_NUMBER, {"run": run_id, "phase": phase_id}) or 0


def of_phase(session: Session, run_id: str, phase_id: str) -> list[Attempt]:
    phases.get(session, run_id, phase_id)
    rows = session.scalars(
        select(AttemptRow)
        .where(AttemptRow.run_id == run_id, AttemptRow.phase_id == phase_id)
        .order_by(AttemptRow.number)
    )
    return [_to_domain(row) for row in rows]


def open_attempts(session: Session, run_id: str) -> list[Attempt]:
    """Every try of the run that has not ended, with its worker."""
    runs.row(session, run_id)
    rows = session.scalars(
        select(AttemptRow).where(AttemptRow.run_id == run_id, AttemptRow.outcome.is_(None))
    )
    return [_to_domain(row) for row in rows]


def _to_domain(row: AttemptRow) -> Attempt:
    return Attempt(
        attempt_id=row.id, run_id=row.run_id, phase_id=row.phase_id, number=row.number, worker=row.worker,
        outcome=AttemptOutcome(row.outcome) if row.outcome else None,
        failure_kind=FailureKind(row.failure_kind) if row.failure_kind else None,
        failure_signature=row.failure_signature, reason=row.reason, base_commit=row.base_commit,
        result_commit=row.result_commit, check_report=row.check_report, review=row.review, verdict=row.verdict,
        timings=row.timings, policy_hash=row.policy_hash, result_tree=row.result_tree, plan=row.plan, plan_hash=row.plan_hash,
        changes=None if row.changes is None else tuple(row.changes), inputs_hash=row.inputs_hash, step=row.step, claimed_at=row.claimed_at, lease_expires_at=row.lease_expires_at, finished_at=row.finished_at,
    )  # fmt: skip


def _update_owned(session: Session, attempt_id: str, token: str, **values: Any) -> AttemptRow:
    """Every write by a worker goes through here: a stale token, or an ended attempt, changes nothing."""
    owned = (
        update(AttemptRow)
        .where(AttemptRow.id == attempt_id, AttemptRow.lease_token == token, AttemptRow.outcome.is_(None))
        .values(**values)
        .returning(AttemptRow)
        .execution_options(populate_existing=True)
    )
    row = session.scalar(owned)
    if row is None:
        raise LeaseLost(f"attempt {attempt_id} is no longer this worker's")
    return row


def owned(session: Session, attempt_id: str, token: str) -> None:
    """Raises LeaseLost unless the token still owns the attempt."""
    _update_owned(session, attempt_id, token, lease_token=token)


@dataclass(frozen=True, kw_only=True)
class Renewed:
    """What a worker learns when it asks for its lease; `cancelled` and `concurrency` are of the run."""

    lease_expires_at: datetime
    cancelled: bool
    concurrency: int | None


def renew(
    session: Session, attempt_id: str, token: str, *, lease_seconds: float, now: datetime, step: str | None = None
) -> Renewed:  # fmt: skip
    """Keeps the lease: at least two thirds of `lease_seconds` are left of it.

    Workers ask about once a second, to hear of a cancel. It is written only when something is to be written: each
    write waits for the disk.
    """
    held = session.execute(_HELD, {"attempt": attempt_id, "token": token}).first()
    if held is None:
        raise LeaseLost(f"attempt {attempt_id} is no longer this worker's")
    until, lease = held.lease_expires_at, timedelta(seconds=lease_seconds)
    says_more = step is not None and step != held.step
    if says_more or until - now < lease * 2 / 3:
        until = now + lease
        told = {"step": step} if says_more else {}
        _update_owned(session, attempt_id, token, lease_expires_at=until, **told)
    return Renewed(
        lease_expires_at=until, cancelled=held.state in lifecycle.GIVEN_UP, concurrency=held.concurrency
    )


def finish(
    session: Session, attempt_id: str, token: str, outcome: Outcome, *, request_id: str, now: datetime
) -> Phase:
    """Ends the attempt and settles phase and run. A repeat by the same owner changes nothing and is answered alike.

    Raises LeaseLost when another worker has the phase: the outcome of the late one does not count.
    """
    ended = session.scalar(_BY_LEASE_LOCKED, {"attempt": attempt_id, "token": token})
    if ended is not None and ended.outcome == outcome.outcome:
        return phases.get(session, ended.run_id, ended.phase_id)
    if ended is None:
        raise LeaseLost(f"attempt {attempt_id} is no longer this worker's")
    before = phases.get(session, ended.run_id, ended.phase_id, lock=True)
    runs.row(session, ended.run_id, lock=True)  # two last phases at once must see each other's end
    row = _update_owned(
        session, attempt_id, token, outcome=outcome.outcome, failure_kind=outcome.failure_kind,
        failure_signature=lifecycle.failure_signature(outcome.failure_kind, outcome.reason), reason=outcome.reason,
        base_commit=func.coalesce(outcome.base_commit, AttemptRow.base_commit),
        result_commit=outcome.result_commit, check_report=outcome.check_report,
        review=outcome.review, verdict=outcome.verdict, timings=outcome.timings, policy_hash=outcome.policy_hash,
        result_tree=outcome.result_tree, plan=outcome.plan, plan_hash=outcome.plan_hash,
        changes=None if outcome.changes is None else list(outcome.changes), inputs_hash=outcome.inputs_hash, diff=outcome.diff,
        finished_at=now,
    )  # fmt: skip
    answered = calls.settle_attempt(session, attempt_id, passed=outcome.passed, dead=False)
    if outcome.passed and not answered and row.number > 1:
        calls.credit_earlier_answer(session, row.run_id, row.phase_id)
    if outcome.passed and outcome.result_commit:
        runs.advance(session, row.run_id, outcome.result_commit, holds=outcome.holds)
    return _settle_phase(session, row, before, outcome, request_id=request_id, now=now)


def _settle_phase(
    session: Session, attempt: AttemptRow, before: Phase, outcome: Outcome, *, now: datetime,
    request_id: str | None = None, spared: bool = False,
) -> Phase:  # fmt: skip
    failed_before = _failed_before(session, attempt, outcome)
    after = lifecycle.settle(before, outcome, now, before=failed_before, spared=spared)
    requests.settle(
        session, attempt, outcome, is_tried_again=after.state is PhaseState.QUEUED, request_id=request_id, now=now
    )  # fmt: skip
    written = session.execute(
        update(PhaseRow)
        .where(
            PhaseRow.run_id == after.run_id,
            PhaseRow.phase_id == after.phase_id,
            PhaseRow.state == PhaseState.EXECUTING,
        )
        .values(
            state=after.state, attempts=after.attempts, not_before=after.not_before, failure_kind=after.failure_kind,
            failure_reason=after.failure_reason, result_commit=after.result_commit, updated_at=now,
            completed_at=after.completed_at, pause_after=after.pause_after,
        )
        .returning(PhaseRow.id)
    ).first()  # fmt: skip
    events.record(
        session, run_id=after.run_id, phase_id=after.phase_id, attempt_id=attempt.id, kind="finished",
        actor=attempt.worker, now=now, outcome=outcome.outcome, state=after.state, failure_kind=outcome.failure_kind,
    )  # fmt: skip
    waits = after.state in (PhaseState.QUEUED, PhaseState.GATE)
    if waits and runs.row(session, after.run_id).state in lifecycle.GIVEN_UP:
        session.execute(
            update(PhaseRow)
            .where(PhaseRow.run_id == after.run_id, PhaseRow.phase_id == after.phase_id)
            .values(state=PhaseState.CANCELLED, pause_after=False, completed_at=now)
        )
        reason = "the run was cancelled before the attempt ended"
        requests.void(session, after.run_id, after.phase_id, reason=reason, actor=attempt.worker, now=now)
    ended = before.pause_after and not after.pause_after
    runs.settle(session, after.run_id, actor=attempt.worker, now=now, pauses_after=after if ended else None)
    if written is not None and not waits:
        return after  # as it was written just now; what waits may have been cancelled above
    return phases.get(session, after.run_id, after.phase_id)


def _failed_before(session: Session, attempt: AttemptRow, outcome: Outcome) -> lifecycle.Failure | None:
    if outcome.outcome is not AttemptOutcome.FAILED or attempt.number == 1:
        return None
    found = session.execute(
        _FAILED_BEFORE, {"run": attempt.run_id, "phase": attempt.phase_id, "number": attempt.number}
    ).first()
    if found is None:
        return None
    return lifecycle.Failure(signature=found.failure_signature, plan_hash=found.plan_hash)


def expired(session: Session, run_id: str, *, now: datetime) -> Sequence[AttemptRow]:
    """Those whose worker did not renew, locked."""
    return session.scalars(_EXPIRED, {"run": run_id, "now": now}).all()


def end_one_that_holds(session: Session, day: str, *, now: datetime) -> bool:
    """Gives back an expired try, of whichever run, that holds room in a day's caps. False where there is none.

    No more than one: with a second, of another run, the day would be locked before that run, and a call that is being
    reserved there has locked the run and waits for the day.
    """
    held = select(LlmUsageEventRow.attempt_id).where(*daily.is_under_way(day))
    rows = session.scalars(
        select(AttemptRow)
        .where(AttemptRow.id.in_(held), AttemptRow.outcome.is_(None), AttemptRow.lease_expires_at < now)
        .order_by(AttemptRow.run_id, AttemptRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).all()
    phases.lock(session, [(row.run_id, row.phase_id) for row in rows])
    give_back_expired(session, rows, now=now)
    return bool(rows)


def give_back_expired(session: Session, rows: Sequence[AttemptRow], *, now: datetime) -> None:
    """Their phases, which the caller has locked, are due again, or failed when no attempt is left."""
    for row in rows:
        _lose(session, row, phases.get(session, row.run_id, row.phase_id), "its lease ran out", now=now)


def give_back(session: Session, attempt_id: str, *, worker: str, now: datetime) -> bool:
    """The worker is known to be dead: its lease need not be waited for. False when the attempt has ended anyway."""
    row = session.scalar(select(AttemptRow).where(AttemptRow.id == attempt_id).with_for_update())
    if row is None:
        raise NotFound(f"there is no attempt {attempt_id}")
    if row.outcome is not None or row.worker != worker:
        return False
    phase = phases.get(session, row.run_id, row.phase_id, lock=True)
    _lose(session, row, phase, "its process is gone", now=now)
    return True


def _lose(session: Session, row: AttemptRow, phase: Phase, why: str, *, now: datetime) -> None:
    runs.row(session, row.run_id, lock=True)
    applying = _lost_while_applying(session, row)
    spared = 0 < applying <= phase.max_attempts
    outcome = Outcome(
        outcome=AttemptOutcome.LOST, failure_kind=FailureKind.WORKER_LOST, reason=f"worker {row.worker} was lost: {why}",
        retryable=spared or not applying,
    )  # fmt: skip
    lost = (
        update(AttemptRow)
        .where(AttemptRow.id == row.id, AttemptRow.outcome.is_(None))
        .values(
            outcome=outcome.outcome, failure_kind=outcome.failure_kind, reason=outcome.reason, finished_at=now
        )
        .returning(AttemptRow.id)
    )
    if session.scalar(lost) is not None:
        calls.settle_attempt(session, row.id, passed=False, dead=True)
        _settle_phase(session, row, phase, outcome, now=now, spared=spared)


def _lost_while_applying(session: Session, row: AttemptRow) -> int:
    """How many workers, this one's too, were lost while they applied the plan that a person approved; 0 without one.

    Applying it asks no model, so such a try is not spent: a commit may be on the branch already. But a plan that ends
    worker after worker must come to an end.
    """
    since = None if row.number == 1 else requests.approved_since(session, row.run_id, row.phase_id)
    if since is None:
        return 0
    told = {"run": row.run_id, "phase": row.phase_id, "since": since}
    return 1 + (session.scalar(_LOST_SINCE, told) or 0)
