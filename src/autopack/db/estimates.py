"""What stored events teach about the next builder call: the last samples, and how often the promise was kept."""

from collections.abc import Sequence

from sqlalchemy import Select, bindparam, func, or_, select
from sqlalchemy.orm import Session

from autopack.db import estimators
from autopack.db.tables import TokenEstimationEventRow
from autopack.domain import budget
from autopack.domain.budget import Promise
from autopack.domain.conformal import CONFORMAL, WINDOW, Sample
from autopack.domain.estimate import Coefficients, Estimate, Features
from autopack.domain.messages import ProviderMode
from autopack.domain.observations import ESCALATED, PARTIAL, Event, Observation, observations

_TABLE = TokenEstimationEventRow
# An observation is one event, or two where its answer was cut: the last number holds the window for certain.
_READ = (WINDOW + WINDOW // 4, 2 * WINDOW)
_COLUMNS = tuple(
    _TABLE.features_json if name == "features" else getattr(_TABLE, name) for name in Event._fields
)
_LATEST = (
    select(*_COLUMNS)
    .where(
        _TABLE.provider_mode == ProviderMode.LIVE, _TABLE.is_complete.is_(True), _TABLE.actual_output_tokens.is_not(None),
        _TABLE.features_json.is_not(None), func.coalesce(_TABLE.budget_source, "") != PARTIAL,
        or_(_TABLE.truncated.is_(True), _TABLE.success.is_(True), _TABLE.budget_source == ESCALATED),
    )
    # By time: what was merged from elsewhere has later numbers than what was recorded here, and may be older.
    .order_by(_TABLE.timestamp.desc(), _TABLE.event_id.desc())
    .limit(bindparam("limit"))
)  # fmt: skip


def estimate(
    session: Session, features: Features, model: str, *, output_limit: int, target: float
) -> Estimate:
    coefficients = estimators.active(session)
    return budget.estimate(
        features, model, coefficients=coefficients, samples=_samples(session, coefficients),
        promise=promise(session, target), output_limit=output_limit,
    )  # fmt: skip


def _samples(session: Session, coefficients: Coefficients) -> Sequence[Sample]:
    found: list[Observation] = []
    for limit in _READ:
        newest_first = [Event._make(row) for row in session.execute(_LATEST, {"limit": limit})]
        found, _ = observations(reversed(newest_first))
        if len(found) >= WINDOW or len(newest_first) < limit:
            break
    return [each.sample(coefficients) for each in found[-WINDOW:]]


def promise(session: Session, target: float) -> Promise:
    """Whole answers and cut ones to budgets that aimed at this very target. Another database keeps a promise of its own."""
    counts = {row.truncated: row.calls for row in session.execute(_counts(target))}
    return Promise(target=target, asked=sum(counts.values()), missed=counts.get(True, 0))


def _counts(target: float) -> Select[bool, int]:
    return (
        select(_TABLE.truncated, func.count().label("calls"))
        .where(
            _TABLE.origin == "local", _TABLE.provider_mode == ProviderMode.LIVE, _TABLE.budget_source == CONFORMAL,
            _TABLE.target_rate == target, _TABLE.is_complete.is_(True),
        )
        .group_by(_TABLE.truncated)
    )  # fmt: skip
