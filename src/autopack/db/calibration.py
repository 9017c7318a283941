"""The estimation events that a calibration learns from, read at once and made into values when the database is free."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Text, cast, func, select
from sqlalchemy.orm import Session

from autopack.db.tables import TokenEstimationEventRow
from autopack.domain.estimate import Features
from autopack.domain.observations import Event, read_features

_TABLE = TokenEstimationEventRow
MOST_READ = 250_000
"""More would fill the memory of a server, and calibration looks at the newest of them only."""
_FEATURES = "features"
_COLUMNS = (
    _TABLE.event_id, _TABLE.run_id, _TABLE.phase_id, _TABLE.estimator_version, _TABLE.selected_budget,
    _TABLE.actual_output_tokens, _TABLE.success, _TABLE.truncated, _TABLE.model, _TABLE.provider_mode,
    _TABLE.model_family, _TABLE.budget_source, _TABLE.target_rate, _TABLE.is_complete, _TABLE.source_database_id,
    # As text: deliverables are much alike, and each text needs to be read once only.
    cast(_TABLE.features_json, Text).label(_FEATURES),
)  # fmt: skip
_NAMES = tuple(column.key for column in _COLUMNS)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Rows of the newest events, oldest first, and how many older ones there are."""

    rows: Sequence[Row[*tuple[Any, ...]]]
    older: int

    def events(self) -> Iterator[Event]:
        known: dict[str | None, Features | None] = {None: None}
        for row in self.rows:
            values = dict(zip(_NAMES, row, strict=True))
            text = values[_FEATURES]
            if text not in known:
                known[text] = read_features(json.loads(text))
            values[_FEATURES] = known[text]
            yield Event(**values)


def read(session: Session) -> Stored:
    """By time, not by id: what was merged from elsewhere lies between what was recorded here."""
    count = session.scalar(select(func.count()).select_from(_TABLE)) or 0
    newest = select(*_COLUMNS).order_by(_TABLE.timestamp.desc(), _TABLE.event_id.desc()).limit(MOST_READ)
    rows = session.execute(newest).all()
    return Stored(rows=rows[::-1], older=count - len(rows))
