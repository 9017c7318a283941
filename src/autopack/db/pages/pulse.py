"""Whether anything that a page shows may have changed: one cheap look for all pages that are open."""

from dataclasses import dataclass

from sqlalchemy import Float, cast, func, select
from sqlalchemy.orm import Session

from autopack.db.tables import AttemptRow, EventRow, LlmUsageEventRow, RunRow


@dataclass(frozen=True, kw_only=True)
class Beat:
    """Two that are equal: nothing has changed in between. Not all that happens is an event: steps and spending are not."""

    event_id: int
    calls: int
    tokens: float
    steps: tuple[tuple[str, str | None], ...]


def beat(session: Session) -> Beat:
    # As a float: rows of other databases may add up to more than 63 bits.
    spent = func.sum(cast(RunRow.tokens_used, Float) + cast(RunRow.tokens_reserved, Float))
    open_attempts = (
        select(AttemptRow.id, AttemptRow.step)
        .join(RunRow, RunRow.id == AttemptRow.run_id)
        .where(RunRow.completed_at.is_(None), AttemptRow.outcome.is_(None))
        .order_by(AttemptRow.id)
    )
    return Beat(
        event_id=last_event(session),
        calls=session.scalar(select(func.max(LlmUsageEventRow.id))) or 0,
        tokens=session.scalar(select(spent)) or 0.0,
        steps=tuple((id_, step) for id_, step in session.execute(open_attempts)),
    )


def last_event(session: Session) -> int:
    return session.scalar(select(func.max(EventRow.id))) or 0
