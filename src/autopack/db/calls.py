"""Model calls: reserved against the caps before, settled with the real usage after, journaled for good.

An answer that reached us is never paid for again: a new try of the phase finds it here.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, insert, or_, select, update
from sqlalchemy.orm import Session

from autopack.db import caps, daily, events, phases, runs
from autopack.db.tables import (
    AttemptRow,
    LlmResponseRow,
    LlmUsageEventRow,
    TokenBudgetEscalationRow,
    TokenEstimationEventRow,
)
from autopack.domain import lifecycle, money
from autopack.domain.calls import CallRequest, CallResult, EstimateMade, Reservation
from autopack.domain.caps import cause_of, day_ends, day_named, others_may_make_room
from autopack.domain.messages import ProviderMode, Role, Usage
from autopack.domain.phases import UNJUDGED, FailureKind, Phase
from autopack.errors import LeaseLost, NotFound

# Every end of an attempt asks these two; building a statement costs more than running it.
_STILL_RESERVED = select(LlmUsageEventRow).where(
    LlmUsageEventRow.attempt_id == bindparam("attempt"), LlmUsageEventRow.status == "reserved"
)
_BUILDER_ANSWERS = (
    select(LlmResponseRow.call_id)
    .where(LlmResponseRow.attempt_id == bindparam("attempt"), LlmResponseRow.role == Role.BUILDER)
    .order_by(LlmResponseRow.created_at)
)


def reserve(
    session: Session, attempt_id: str, token: str, request: CallRequest, *, now: datetime
) -> Reservation:
    """Sets the worst case of a call aside, or returns the journaled answer to the same question.

    Raises BudgetReached when a cap leaves no room, LeaseLost for a stale token. A repeat with the same call_id
    changes nothing.
    """
    # Locked: an attempt that is lost at this moment would leave the reservation behind for good.
    attempt = session.scalar(
        select(AttemptRow)
        .where(AttemptRow.id == attempt_id, AttemptRow.lease_token == token)
        .with_for_update()
    )
    if attempt is None or attempt.outcome is not None:
        raise LeaseLost(f"attempt {attempt_id} is no longer this worker's")
    known = session.scalar(select(LlmUsageEventRow).where(LlmUsageEventRow.call_id == request.call_id))
    if known is not None and known.ask is not None:
        return Reservation(call_id=known.call_id, ask=known.ask)
    if attempt.base_commit is None and request.base_commit is not None:
        session.execute(
            update(AttemptRow).where(AttemptRow.id == attempt_id).values(base_commit=request.base_commit)
        )
    if (journaled := _journaled(session, attempt, request)) is not None:
        return journaled
    caps.hold(session, attempt.run_id, request, now=now)
    ask = 1 + _answered(session, attempt.run_id, attempt.phase_id, request.role)
    session.execute(
        insert(LlmUsageEventRow).values(
            call_id=request.call_id, attempt_id=attempt_id, run_id=attempt.run_id, phase_id=attempt.phase_id,
            role=request.role, ask=ask, status="reserved", provider=request.provider, model=request.model,
            provider_mode=request.provider_mode, request_key=request.request_key,
            request_max_tokens=request.max_tokens, reserved_tokens=request.reserve_tokens,
            reserved_cost_usd=_worst_case(request), created_at=now,
        )
    )  # fmt: skip
    return Reservation(call_id=request.call_id, ask=ask)


def _worst_case(request: CallRequest) -> float | None:
    """In whole nano-dollars, as the accounts hold it."""
    cost = request.reserve_cost_usd
    return None if cost is None else money.dollars(money.nanos_at_most(cost))


def _answered(session: Session, run_id: str, phase_id: str, role: Role) -> int:
    table = LlmUsageEventRow
    # What another database asked about a phase of this name is no ask of ours.
    query = select(func.count()).where(
        table.run_id == run_id, table.phase_id == phase_id, table.role == role, table.status == "answered",
        table.origin == "local",
    )  # fmt: skip
    return session.scalar(query) or 0


def _journaled(session: Session, attempt: AttemptRow, request: CallRequest) -> Reservation | None:
    """An answer that a dead try of this phase got and nobody judged. From now on it is this try's."""
    table = LlmResponseRow
    row = session.execute(
        select(table, LlmUsageEventRow.ask)
        .join(AttemptRow, AttemptRow.id == table.attempt_id)
        .join(LlmUsageEventRow, LlmUsageEventRow.call_id == table.call_id)
        .where(
            table.run_id == attempt.run_id, table.phase_id == attempt.phase_id, table.role == request.role,
            table.request_key == request.request_key,
            # A whole answer serves any budget; one that was cut says nothing about a larger one.
            or_(table.request_max_tokens >= request.max_tokens, LlmUsageEventRow.is_truncated.is_(False)),
            # A model that could not be reached says nothing about the answers that came before.
            or_(AttemptRow.outcome.in_(UNJUDGED), AttemptRow.failure_kind == FailureKind.MODEL_ERROR),
        )
        .order_by(LlmUsageEventRow.ask)
        .limit(1)
    ).first()  # fmt: skip
    if row is None:
        return None
    response: LlmResponseRow = row[0]
    session.execute(update(table).where(table.call_id == response.call_id).values(attempt_id=attempt.id))
    return Reservation(call_id=response.call_id, ask=row.ask, completion=response.completion)


def pause_for_budget(
    session: Session, attempt_id: str, reason: str, *, request: CallRequest | None = None, now: datetime
) -> bool:
    """Pauses the run until a person raises the cap that was reached, or a day is over. False, and no pause, while a call
    is under way that may leave room when it ends, when the day that was full is over, or when the run has ended anyway;
    and when the `request` that was refused fits by now: a cap was raised, or a call gave room back.
    """
    row = session.get(AttemptRow, attempt_id)
    if row is None or (run := runs.row(session, row.run_id, lock=True)).state in lifecycle.DONE_STATES:
        return False
    day = day_named(reason)
    if day is not None and day_ends(day) <= now:
        return False
    if request is not None:
        still = caps.refusal(session, run, request, day=day)
        if still is None:
            return False
        reason = still
    if others_may_make_room(reason) and _is_held(session, row.run_id, day):
        return False
    runs.pause(session, row.run_id, actor="autopack", now=now, cause=cause_of(reason), reason=reason)
    return True


def _is_held(session: Session, run_id: str, day: str | None) -> bool:
    """Whether a call under way holds room: of the day, or without one of the run."""
    table = LlmUsageEventRow
    of_run = (table.run_id == run_id, table.status == "reserved")
    holding = of_run if day is None else daily.is_under_way(day)
    return session.scalar(select(table.id).where(*holding).limit(1)) is not None


def settle(session: Session, call_id: str, token: str, result: CallResult, *, now: datetime) -> None:
    """Records what came of a call. Not fenced by the lease's end: what was spent was spent, whoever owns the phase.

    A repeat changes nothing. Raises NotFound for a call that was never reserved by the holder of the token.
    """
    table = LlmUsageEventRow
    # Locked first: an attempt that ends at this moment abandons its calls, and what was set aside is given back once.
    owner = session.scalar(select(AttemptRow).where(AttemptRow.lease_token == token).with_for_update())
    row = session.scalar(
        select(table)
        .where(table.call_id == call_id, table.attempt_id == (owner and owner.id))
        .execution_options(populate_existing=True)
    )
    if row is None or owner is None:
        raise NotFound(f"there is no call {call_id} of this worker")
    if row.status in ("answered", "failed"):
        return
    late = row.status == "abandoned"
    completion, usage = result.completion, result.usage
    session.execute(
        update(table)
        .where(table.call_id == call_id)
        .values(
            status="answered" if completion else "failed", completed_at=now, error=result.error, retries=result.retries,
            duration_seconds=result.duration_seconds, usage_source=_usage_source(result),
            input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, total_tokens=usage.total_tokens,
            cache_read_input_tokens=usage.cache_read_input_tokens, cache_write_input_tokens=usage.cache_write_input_tokens,
            reasoning_output_tokens=usage.reasoning_output_tokens, cost_usd=_rounded(result.cost_usd),
            cost_source=result.cost_source, price_table_version=result.price_table_version,
            is_complete=completion is not None, is_truncated=result.is_truncated, finish_reason=result.finish_reason,
            response_id=result.response_id, first_token_seconds=result.first_token_seconds,
            model=result.model or row.model,
        )
    )  # fmt: skip
    _release(session, row, result, late=late)
    _journal(session, row, result, now=now)
    if result.estimate is not None:
        phase = phases.get(session, owner.run_id, owner.phase_id)
        _record_estimate(session, phase, row, result, result.estimate, now=now)
    if completion is None:
        events.record(
            session, run_id=owner.run_id, phase_id=owner.phase_id, attempt_id=owner.id, kind="model_call_failed",
            actor="autopack", now=now, call_id=call_id, error=result.error,
        )  # fmt: skip


def _usage_source(result: CallResult) -> str:
    """Of a refused request there is no usage that could be unknown: "none" tells it from "missing"."""
    refused = result.completion is None and not result.may_have_been_paid
    return "none" if refused and result.usage == Usage() else result.usage_source


def _rounded(cost_usd: float | None) -> float | None:
    return None if cost_usd is None else money.dollars(money.nanos(cost_usd))


def _release(session: Session, row: LlmUsageEventRow, result: CallResult, *, late: bool) -> None:
    """The reservation gives way to the real usage. Where that is unknown and may have been paid, it stays set aside.

    A late one gave its reservation back when it was abandoned, and counted as unknown until now.
    """
    total = result.usage.total_tokens
    keeps_tokens = late or (total is None and result.may_have_been_paid)
    keeps_cost = late or (result.cost_usd is None and result.may_have_been_paid)
    is_unknown = total is None and result.may_have_been_paid and _is_live(row)
    change = caps.Change(
        tokens_freed=0 if keeps_tokens else row.reserved_tokens,
        nanos_freed=0 if keeps_cost else money.nanos(row.reserved_cost_usd or 0.0),
        tokens_used=total or 0,
        nanos_used=money.nanos(result.cost_usd or 0.0),
        calls_of_unknown_usage=int(is_unknown) - int(late and _is_live(row)),
    )
    caps.apply(session, row, change)


def _is_live(row: LlmUsageEventRow) -> bool:
    """Whether the call may have cost something: a replayed one never does."""
    return row.provider_mode == ProviderMode.LIVE


def _journal(session: Session, row: LlmUsageEventRow, result: CallResult, *, now: datetime) -> None:
    if result.completion is not None:
        session.execute(
            insert(LlmResponseRow).values(
                call_id=row.call_id, attempt_id=row.attempt_id, run_id=row.run_id, phase_id=row.phase_id, role=row.role,
                request_key=row.request_key, request_max_tokens=row.request_max_tokens, completion=result.completion,
                created_at=now,
            )
        )  # fmt: skip


def _record_estimate(
    session: Session,
    phase: Phase,
    row: LlmUsageEventRow,
    result: CallResult,
    made: EstimateMade,
    *,
    now: datetime,
) -> None:
    session.execute(
        insert(TokenEstimationEventRow).values(
            call_id=row.call_id, run_id=phase.run_id, phase_id=phase.phase_id, timestamp=now, category=phase.task_category,
            complexity=phase.complexity, deliverable_count=len(phase.scope.deliverables),
            deliverables_json=list(phase.scope.deliverables), features_json=made.features,
            estimator_version=made.version, predicted_output_tokens=made.predicted_output_tokens,
            selected_budget=row.request_max_tokens, actual_output_tokens=result.usage.output_tokens,
            truncated=result.is_truncated, stop_reason=result.finish_reason, model=result.model or row.model,
            provider_mode=row.provider_mode, base_output_tokens=made.base_output_tokens,
            reasoning_level=made.reasoning_level, model_family=made.model_family, budget_source=made.budget_source,
            target_rate=made.target_rate, alpha=made.alpha, is_complete=result.completion is not None,
        )
    )  # fmt: skip
    if made.escalated_from is not None:
        session.execute(
            insert(TokenBudgetEscalationRow).values(
                call_id=row.call_id, run_id=phase.run_id, phase_id=phase.phase_id, timestamp=now, reason="truncated",
                from_budget=made.escalated_from, to_budget=row.request_max_tokens, model=result.model or row.model,
            )
        )  # fmt: skip


def settle_attempt(session: Session, attempt_id: str, *, passed: bool, dead: bool) -> bool:
    """The attempt has ended: its open reservations are abandoned, and its builder calls learn their outcome.

    The last builder answer of an attempt that passed became the work; every other one did not. The calls of a
    dead attempt are judged by the attempt that uses their answers next. Returns whether there was such an answer.
    """
    for row in session.scalars(_STILL_RESERVED, {"attempt": attempt_id}).all():
        _abandon(session, row)
    if dead:
        return False
    table = TokenEstimationEventRow
    answers = session.scalars(_BUILDER_ANSWERS, {"attempt": attempt_id}).all()
    if answers:
        session.execute(update(table).where(table.call_id.in_(answers)).values(success=False))
    if answers and passed:
        session.execute(update(table).where(table.call_id == answers[-1]).values(success=True))
    return bool(answers)


def credit_earlier_answer(session: Session, run_id: str, phase_id: str) -> None:
    """The phase passed without an answer of this try's own: a dead try had committed, or a person approved the plan."""
    used, table = LlmResponseRow, TokenEstimationEventRow
    query = select(used.call_id).where(
        used.run_id == run_id, used.phase_id == phase_id, used.role == Role.BUILDER
    )
    last = session.scalar(query.order_by(used.created_at.desc()).limit(1))
    session.execute(update(table).where(table.call_id == last).values(success=True))


def _abandon(session: Session, row: LlmUsageEventRow) -> None:
    session.execute(
        update(LlmUsageEventRow)
        .where(LlmUsageEventRow.call_id == row.call_id, LlmUsageEventRow.status == "reserved")
        .values(status="abandoned", usage_source="missing", is_complete=False, error="no answer was recorded")
    )
    change = caps.Change(
        tokens_freed=row.reserved_tokens, nanos_freed=money.nanos(row.reserved_cost_usd or 0.0),
        calls_of_unknown_usage=int(_is_live(row)),
    )  # fmt: skip
    caps.apply(session, row, change)


def telemetry_counts(session: Session, run_id: str, phase_id: str | None = None) -> dict[str, int]:
    """Rows in the two telemetry tables, for a run or one of its phases."""
    counts: dict[str, int] = {}
    tables: list[type[Any]] = [LlmUsageEventRow, TokenEstimationEventRow]
    for table in tables:
        query = select(func.count()).select_from(table).where(table.run_id == run_id)
        if phase_id is not None:
            query = query.where(table.phase_id == phase_id)
        counts[table.__tablename__] = session.scalar(query) or 0
    return counts
