"""What is open of a run, and what finished phases took: a few statements over bounded rows."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from autopack.db import estimators, runs
from autopack.db.caps import nanos
from autopack.db.tables import AttemptRow, EventRow, LlmUsageEventRow, PhaseDependencyRow, PhaseRow
from autopack.domain.estimate import Coefficients, base_tokens, features
from autopack.domain.looks.outlook import Outlook, Past, Price, look_ahead
from autopack.domain.messages import ProviderMode
from autopack.domain.phases import UNJUDGED, PhaseState

_LAST = 200  # finished phases that are asked
_LAST_EVENTS = 1000
_WEIGHED = 1000  # of the open phases
_LAST_CALLS = 1000
_OPEN = (PhaseState.QUEUED, PhaseState.EXECUTING)
_MADE_OF = (PhaseRow.task_category, PhaseRow.complexity, PhaseRow.scope)
_Call = LlmUsageEventRow


def look(session: Session, run_id: str) -> Outlook:
    """Raises NotFound."""
    run = runs.row(session, run_id)
    coefficients = estimators.active(session)
    tier_of = _open(session, run_id)
    return look_ahead(
        run_id, tier_of=tier_of, waits_for=_dependencies(session, run_id) if tier_of else (),
        weight=_open_weight(session, run_id, len(tier_of), coefficients), mine=_past(session, _of_run(session, run_id), coefficients),
        others=_past(session, _of_all(session), coefficients), my_price=_price(session, run_id),
        other_price=_price(session, None), concurrency=run.concurrency or _at_work(session, run_id),
    )  # fmt: skip


def _open(session: Session, run_id: str) -> dict[str, int]:
    """The place of its tier for each open phase. All of them: two short columns, read in one go."""
    query = select(PhaseRow.phase_id, PhaseRow.tier_index).where(
        PhaseRow.run_id == run_id, PhaseRow.state.in_(_OPEN)
    )
    return {row.phase_id: row.tier_index for row in session.execute(query)}


def _dependencies(session: Session, run_id: str) -> list[tuple[str, str]]:
    """Of the whole run: which of them are between open phases costs less to see here than to ask for."""
    table = PhaseDependencyRow
    query = select(table.phase_id, table.depends_on).where(table.run_id == run_id)
    return [(phase_id, depends_on) for phase_id, depends_on in session.execute(query)]


def _open_weight(session: Session, run_id: str, number: int, coefficients: Coefficients) -> float:
    """Of very many that of the first, taken for all."""
    is_open = (PhaseRow.run_id == run_id, PhaseRow.state.in_(_OPEN))
    first = session.execute(select(*_MADE_OF).where(*is_open).order_by(PhaseRow.phase_index).limit(_WEIGHED))
    weights = [_weight(row, coefficients) for row in first]
    return sum(weights) * number / len(weights) if weights else 0.0


def _weight(row: Any, coefficients: Coefficients) -> float:
    """What the files are at the base nobody knows here: each counts as a new one."""
    made_of = features(
        task_category=row.task_category, complexity=row.complexity, existing=(),
        deliverables=row.scope.get("deliverables", ()),
    )  # fmt: skip
    return base_tokens(made_of, coefficients)


def _of_run(session: Session, run_id: str) -> Sequence[Any]:
    return session.execute(
        select(PhaseRow.run_id, PhaseRow.phase_id, PhaseRow.tokens_used, *_MADE_OF)
        .where(PhaseRow.run_id == run_id, PhaseRow.state == PhaseState.COMPLETE)
        .order_by(PhaseRow.phase_index.desc())
        .limit(_LAST)
    ).all()


def _of_all(session: Session) -> Sequence[Any]:
    """By the newest events: phases are not kept in the order of their ends."""
    newest = (
        select(EventRow.run_id, EventRow.phase_id, EventRow.kind)
        .order_by(EventRow.id.desc())
        .limit(_LAST_EVENTS)
        .subquery()
    )
    ended = (
        select(newest.c.run_id, newest.c.phase_id).where(newest.c.kind == "finished").distinct().subquery()
    )
    return session.execute(
        select(PhaseRow.run_id, PhaseRow.phase_id, PhaseRow.tokens_used, *_MADE_OF)
        .join(ended, (ended.c.run_id == PhaseRow.run_id) & (ended.c.phase_id == PhaseRow.phase_id))
        .where(PhaseRow.state == PhaseState.COMPLETE)
        .order_by(PhaseRow.completed_at.desc())
        .limit(_LAST)
    ).all()


def _past(session: Session, rows: Sequence[Any], coefficients: Coefficients) -> Past:
    """Only phases that asked a model tell what one takes; all of them tell how long it lasts."""
    asked = [row for row in rows if row.tokens_used]
    times = list(_times(session, rows))
    return Past(
        phases=len(asked), weight=sum(_weight(row, coefficients) for row in asked),
        tokens=sum(row.tokens_used for row in asked), timed_phases=len({key for key, _ in times}),
        time=sum((spent for _, spent in times), timedelta()),
    )  # fmt: skip


def _times(session: Session, rows: Sequence[Any]) -> Iterable[tuple[tuple[str, str], timedelta]]:
    """How long each try of these phases lasted; of those that were given back nobody knows."""
    wanted = {(row.run_id, row.phase_id) for row in rows}
    for run_id in {run_id for run_id, _ in wanted}:
        tries = select(AttemptRow.phase_id, AttemptRow.claimed_at, AttemptRow.finished_at).where(
            AttemptRow.run_id == run_id,
            AttemptRow.phase_id.in_([phase_id for of_run, phase_id in wanted if of_run == run_id]),
            AttemptRow.outcome.is_not(None),
            AttemptRow.outcome.not_in(UNJUDGED),
        )
        for row in session.execute(tries):
            yield (run_id, row.phase_id), row.finished_at - row.claimed_at


def _price(session: Session, run_id: str | None) -> Price:
    """Of live calls whose cost is known; of a run, or of the last ones of all runs."""
    known = (_Call.cost_usd.is_not(None), _Call.total_tokens.is_not(None))
    calls = select(_Call.total_tokens, nanos(_Call.cost_usd).label("nanos")).where(
        _Call.provider_mode != ProviderMode.REPLAY, *known
    )
    of_whom = calls.where(_Call.run_id == run_id) if run_id else calls.order_by(_Call.id.desc())
    found = of_whom.limit(_LAST_CALLS).subquery()
    tokens, cost = session.execute(select(func.sum(found.c.total_tokens), func.sum(found.c.nanos))).one()
    replayed = run_id is not None and not tokens and _only_replays(session, run_id)
    return Price(tokens=int(tokens or 0), nanos=int(cost or 0), replayed=replayed)


def _only_replays(session: Session, run_id: str) -> bool:
    modes = select(_Call.provider_mode).where(_Call.run_id == run_id).distinct()
    return list(session.scalars(modes)) == [ProviderMode.REPLAY]


def _at_work(session: Session, run_id: str) -> int:
    """How many phases are worked on at this moment: the drain's own number is known to nobody else."""
    under_way = select(func.count()).where(AttemptRow.run_id == run_id, AttemptRow.outcome.is_(None))
    return max(1, session.scalar(under_way) or 0)
