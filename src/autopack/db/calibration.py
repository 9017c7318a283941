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
# In the order of an event's fields. Features as text: deliverables are much alike, and each text is read once only.
_COLUMNS = tuple(
    cast(_TABLE.features_json, Text) if name == "features" else getattr(_TABLE, name)
    for name in Event._fields
)
_FEATURES = Event._fields.index("features")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Rows of the newest events, oldest first, and how many older ones there are."""

    rows: Sequence[Row[*tuple[Any, ...]]]
    older: int

    def events(self) -> Iterator[Event]:
        known: dict[str | None, Features | None] = {None: None}
        for row in self.rows:
            text = row[_FEATURES]
            if text not in known:
                known[text] = read_features(json.loads(text))
            yield Event._make((*row[:_FEATURES], known[text], *row[_FEATURES + 1 :]))


def read(session: Session) -> Stored:
    """By time, not by id: what was merged from elsewhere lies between what was recorded here."""
    count = session.scalar(select(func.count()).select_from(_TABLE)) or 0
    newest = select(*_COLUMNS).order_by(_TABLE.timestamp.desc(), _TABLE.event_id.desc()).limit(MOST_READ)
    rows = session.execute(newest).all()
    return Stored(rows=rows[::-1], older=count - len(rows))
