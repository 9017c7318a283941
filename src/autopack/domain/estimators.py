"""Versions of the estimator: what is kept of each, so that any can be gone back to by its name."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from autopack.domain.estimate import SHIPPED, Coefficients
from autopack.domain.phases import JsonObject

SHORT_HASH = 8


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """Coefficients to be used from now on, instead of those of `parent`; `data_hash` is of the events they came from."""

    parent: str
    coefficients: Coefficients
    data_hash: str
    metrics: JsonObject


@dataclass(frozen=True, kw_only=True)
class EstimatorVersion:
    """A version as it is kept. The one that ships with the package has no parent, no data and no date."""

    version: str
    parent: str | None
    coefficients: Coefficients
    data_hash: str | None
    metrics: JsonObject | None
    is_active: bool
    created_at: datetime | None


def shipped(*, is_active: bool) -> EstimatorVersion:
    return EstimatorVersion(
        version=SHIPPED.version, parent=None, coefficients=SHIPPED, data_hash=None, metrics=None, is_active=is_active,
        created_at=None,
    )  # fmt: skip


def canonical(value: Any) -> str:
    """JSON that is the same for the same value, on any machine."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def version_name(coefficients: Coefficients, data_hash: str) -> str:
    """The same data and the same coefficients are the same version."""
    numbers = {name: each for name, each in coefficients.to_json().items() if name != "version"}
    return f"{SHIPPED.version}-{digest([numbers, data_hash])[:SHORT_HASH]}"
