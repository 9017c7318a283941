"""A version of the estimator beside the one before it, from what its calibration kept."""

from datetime import UTC, datetime
from typing import Any

import pytest

from autopack.domain.compared import compared
from autopack.domain.estimate import SHIPPED
from autopack.domain.estimators import EstimatorVersion, shipped

BEFORE = {"truncated": {"rate": 0.03}, "waste": 3.0, "thrown_away_tokens": 5000, "pinball": 0.2}
AFTER = {"truncated": {"rate": 0.05}, "waste": 2.0, "thrown_away_tokens": 5000, "pinball": 0.1}


def version(metrics: Any) -> EstimatorVersion:
    return EstimatorVersion(
        version="v2", parent=SHIPPED.version, coefficients=SHIPPED, data_hash=None, metrics=metrics, is_active=True,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


def test_less_is_better_and_the_same_is_neither():
    (line,) = compared(
        [version({"target": 0.05, "events": {"used": 900}, "present": BEFORE, "proposed": AFTER})]
    )
    assert [(each.before, each.after, each.is_better) for each in line.measures] == [
        (0.03, 0.05, False), (3.0, 2.0, True), (5000.0, 5000.0, None), (0.2, 0.1, True),
    ]  # fmt: skip
    assert (line.events, line.target, line.is_active) == (900, 0.05, True)


def test_the_shipped_version_was_never_measured():
    (line,) = compared([shipped(is_active=True)])
    assert (line.parent, line.measures) == (None, ())


@pytest.mark.parametrize(
    "odd", [None, [], {"present": 1, "proposed": {"truncated": "x", "waste": True}, "events": 3}]
)
def test_what_is_not_of_the_known_form_is_unknown(odd: Any):
    (line,) = compared([version(odd)])
    assert all(each.before is None and each.after is None for each in line.measures)
