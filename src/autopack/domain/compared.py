"""What a version of the estimator changed, as its calibration measured it: the version before, and itself. Pure.

Both were back-tested over the same events. Measures of other releases may be missing, and are then unknown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from autopack.domain.estimators import EstimatorVersion


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Of both versions; less is better. `unit` is "share", "tokens" or "number"."""

    name: str
    unit: str
    before: float | None
    after: float | None

    @property
    def is_better(self) -> bool | None:
        if self.before is None or self.after is None or self.before == self.after:
            return None
        return self.after < self.before


@dataclass(frozen=True, kw_only=True)
class VersionLine:
    version: str
    parent: str | None
    is_active: bool
    created_at: datetime | None
    events: int | None
    """How many were learned from."""
    target: float | None
    measures: tuple[Measure, ...]


def compared(versions: Sequence[EstimatorVersion]) -> list[VersionLine]:
    """In the order in which they are given."""
    return [_line(version) for version in versions]


def _line(version: EstimatorVersion) -> VersionLine:
    metrics = _mapping(version.metrics)
    before, after = _mapping(metrics.get("present")), _mapping(metrics.get("proposed"))
    events = _number(_mapping(metrics.get("events")).get("used"))
    measures = [
        Measure(name="answers cut", unit="share", before=_share(before), after=_share(after)),
        *(
            Measure(name=name, unit=unit, before=_number(before.get(key)), after=_number(after.get(key)))
            for name, unit, key in (
                ("tokens allowed for each that was needed", "number", "waste"),
                ("tokens of cut answers, thrown away", "tokens", "thrown_away_tokens"),
                ("mean pinball loss", "number", "pinball"),
            )
        ),
    ]
    return VersionLine(
        version=version.version, parent=version.parent, is_active=version.is_active, created_at=version.created_at,
        events=None if events is None else int(events), target=_number(metrics.get("target")),
        measures=tuple(measures) if before or after else (),
    )  # fmt: skip


def _share(trial: Mapping[str, Any]) -> float | None:
    return _number(_mapping(trial.get("truncated")).get("rate"))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
