"""A new version of the estimator proposed from what calls needed, and accepted only if it would have served. Pure.

The fit that is proposed saw all events, so that judging it on the same ones would flatter it. What is back-tested is
the way it is made: each block of events is budgeted with coefficients that were fitted on the blocks before it.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from autopack.domain.backtest import Gain, PointErrors, Score, as_asked, bounds, compared, point_errors
from autopack.domain.estimate import Coefficients
from autopack.domain.estimators import version_name
from autopack.domain.fit import Fit, Point, Term, fit
from autopack.domain.observations import Observation
from autopack.domain.rates import Rate

BLOCKS = 5
MOST_EVENTS = 10_000
"""The newest so many are back-tested: more would cost time, and tell of models that are no longer asked."""
MOST_FITTED = 5_000
"""And of those before the moment of a fit the newest so many are fitted."""
MIN_SAMPLES = 20
TARGET = 0.05
_SURE = 1.645
"""So many standard errors chance alone gains once in twenty times."""


class Decision(StrEnum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    """The back-test speaks against it."""
    TOO_FEW = "too_few"
    """Too few events to fit or to judge by."""
    NOTHING_NEW = "nothing_new"
    """The present version was made from these very events, or the fit leaves it as it is."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A version in the back-test, and how far its bases alone lie from the truth."""

    version: str
    score: Score
    errors: PointErrors


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a calibration found. `reasons` say why it is not accepted, in whole sentences.

    Of `events`, `usable` can be learned from, and the newest `used` of them were; `joined` are answers to raised budgets,
    which tell the true length of a usable one. `asked` are the budgets that were really asked for; `present` and `proposed` are back-tested over the same events.
    """

    target: float
    min_samples: int
    events: int
    left_out: Mapping[str, int]
    usable: int
    used: int
    data_hash: str
    present_version: str
    decision: Decision
    reasons: tuple[str, ...]
    joined: int = 0
    asked: Score | None = None
    present: Trial | None = None
    proposed: Trial | None = None
    gain: Gain | None = None
    """Of the proposed one over the present one."""
    coefficients: Coefficients | None = None
    """What is proposed, under the name of its version."""
    terms: tuple[Term, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Present:
    """The version in force. Of one that was fitted, the hash of the events that it came from."""

    coefficients: Coefficients
    data_hash: str | None = None


def calibrate(
    observations: Sequence[Observation], left_out: Mapping[str, int], present: Present, *,
    events: int, target: float, min_samples: int,
) -> Calibration:  # fmt: skip
    """`observations` are the usable ones of `events`, oldest first."""
    newest = observations[-MOST_EVENTS:]
    found = Calibration(
        target=target, min_samples=min_samples, events=events, left_out=dict(sorted(left_out.items())),
        usable=len(observations), joined=events - len(observations) - sum(left_out.values()), used=len(newest), data_hash=hash_of(newest),
        present_version=present.coefficients.version, decision=Decision.TOO_FEW, reasons=(),
    )  # fmt: skip
    if len(newest) < events_needed(target, min_samples):
        return replace(found, reasons=(_too_few(found),))
    if present.data_hash == found.data_hash:
        why = f"{found.present_version}, which is in force, was made from these very events."
        return replace(found, decision=Decision.NOTHING_NEW, reasons=(why,))
    return _proposed(found, newest, present.coefficients)


def events_needed(target: float, min_samples: int) -> int:
    """Each block must be long enough to show a rate as low as the target."""
    return max(min_samples, BLOCKS * math.ceil(1 / target))


def hash_of(observations: Sequence[Observation]) -> str:
    """The same events in the same order, in whichever database, have the same hash."""
    hasher = hashlib.sha256()
    for seen in observations:
        group, features = seen.group, seen.features
        facts = (
            seen.run_id, seen.phase_id, features.task_category, features.complexity, features.reasoning_level,
            features.files, group.model_family, seen.actual, seen.censored, seen.missed, seen.budget, seen.thrown_away,
        )  # fmt: skip
        hasher.update(repr(facts).encode())
    return hasher.hexdigest()


def _proposed(found: Calibration, observations: Sequence[Observation], present: Coefficients) -> Calibration:
    points = [Point(features=o.features, actual=o.actual, censored=o.censored) for o in observations]
    ends = bounds(len(points), BLOCKS)[1:]
    *earlier, whole = (
        fit(points[max(0, end - MOST_FITTED) : end], present, min_samples=found.min_samples) for end in ends
    )
    found = replace(found, terms=whole.terms)
    if not whole.changed and _most_samples(whole) >= found.min_samples:
        why = "the coefficients in force fit these events: none of them would change."
        return replace(found, decision=Decision.NOTHING_NEW, reasons=(why,))
    if untried := _untried(whole, earlier, found):
        return replace(found, reasons=(untried,))
    coefficients = _named(whole.coefficients, found.data_hash)
    by_block = [present, *(each.coefficients for each in earlier)]
    before, after, gain = compared(observations, [present] * BLOCKS, by_block, target=found.target)
    found = replace(
        found, coefficients=coefficients, asked=as_asked(observations, BLOCKS, target=found.target), gain=gain,
        present=_trial(present, before, observations), proposed=_trial(coefficients, after, observations),
    )  # fmt: skip
    reasons = _objections(found)
    return replace(found, decision=Decision.REFUSED if reasons else Decision.ACCEPTED, reasons=reasons)


def _named(coefficients: Coefficients, data_hash: str) -> Coefficients:
    return replace(coefficients, version=version_name(coefficients, data_hash))


def _trial(version: Coefficients, score: Score, observations: Sequence[Observation]) -> Trial:
    return Trial(version=version.version, score=score, errors=point_errors(observations, version))


def _too_few(found: Calibration) -> str:
    needed = events_needed(found.target, found.min_samples)
    return (
        f"{found.used} of {found.events} events can be used, and {needed} are needed to show a rate of "
        f"{found.target:.6g}: {needed - found.used} are missing."
    )


def _most_samples(whole: Fit) -> int:
    return max((term.samples for term in whole.terms), default=0)


def _untried(whole: Fit, earlier: Sequence[Fit], found: Calibration) -> str | None:
    if not whole.changed:
        most = _most_samples(whole)
        return (
            f"no coefficient has {found.min_samples} events that speak for it; the one with most has {most}, "
            f"{found.min_samples - most} are missing."
        )
    if not any(each.changed for each in earlier):
        return (
            f"no coefficient has {found.min_samples} events early enough to try it on later ones; calibrate again "
            "when there are more."
        )
    return None


def _objections(found: Calibration) -> tuple[str, ...]:
    assert found.present is not None
    assert found.proposed is not None
    assert found.gain is not None
    before, score, gain = found.present.score, found.proposed.score, found.gain
    rate, undecided = Rate(count=score.missed, total=score.decided), score.events - score.decided
    objections = []
    if rate.low > found.target:
        objections.append(
            f"{rate.count} of {rate.total} answers would have been cut, {rate.low:.2%} to {rate.high:.2%} with 95 % "
            f"confidence: more than the target of {found.target:.6g}."
        )
    if undecided > found.target * score.events:
        objections.append(
            f"of {undecided} of {score.events} answers it is not known how long they would have been: too many to "
            f"tell a rate of {found.target:.6g}."
        )
    if gain.pinball <= _SURE * gain.standard_error:
        objections.append(
            f"the mean pinball loss would have been {score.pinball:.6g}, and {before.pinball:.6g} with {found.present.version}: "
            f"a gain of {gain.pinball:.3g} with a standard error of {gain.standard_error:.3g} may be chance."
        )
    return tuple(objections)
