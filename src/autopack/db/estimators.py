"""Versions of the estimator: which one is in force, a new one, and back to an earlier one. At most one row is active;
while none is, the coefficients that ship with the package are in force.
"""

from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from autopack.db import events
from autopack.db.tables import DatabaseIdentityRow, EstimatorVersionRow
from autopack.domain.calibrate import Present
from autopack.domain.estimate import SHIPPED, Coefficients
from autopack.domain.estimators import EstimatorVersion, NewVersion, shipped, version_name
from autopack.errors import Conflict, InvalidInput, NotFound

_Table = EstimatorVersionRow
# Asked before each builder call; building a statement costs more than running it.
_ACTIVE = select(_Table.coefficients).where(_Table.is_active)


def active(session: Session) -> Coefficients:
    """The coefficients in force."""
    stored = session.scalar(_ACTIVE)
    return SHIPPED if stored is None else Coefficients.from_json(stored)


def present(session: Session) -> Present:
    """The same, and what they were made from."""
    row = session.execute(select(_Table.coefficients, _Table.data_hash).where(_Table.is_active)).first()
    if row is None:
        return Present(coefficients=SHIPPED)
    return Present(coefficients=Coefficients.from_json(row.coefficients), data_hash=row.data_hash)


def versions(session: Session) -> list[EstimatorVersion]:
    """All of them, the shipped one first, then in the order in which they were added."""
    rows = session.scalars(select(_Table).order_by(_Table.created_at, _Table.version)).all()
    first = shipped(is_active=not any(row.is_active for row in rows))
    return [first, *(_version(row) for row in rows if row.version != SHIPPED.version)]


def add(
    session: Session, new: NewVersion, *, now: datetime, actor: str = "a person", reason: str | None = None
) -> tuple[EstimatorVersion, bool]:
    """The version, in force from now on, and whether that changed anything.

    Raises Conflict where its parent is not in force (any more), or where its name stands for something else.
    """
    _check_name(new)
    _lock(session)
    name = new.coefficients.version
    known = session.get(_Table, name)
    if known is not None and (known.coefficients, known.data_hash) != (
        new.coefficients.to_json(),
        new.data_hash,
    ):
        raise Conflict(f"there is another estimator version {name} already; nothing was changed")
    if known is not None and known.is_active:
        return _version(known), False
    _check_parent(session, new)
    if known is None:
        _store(session, new, now=now)
    _record(session, new.parent, name, actor=actor, now=now, reason=reason)
    return _switch(session, name), True


def activate(
    session: Session, name: str, *, now: datetime, actor: str = "a person", reason: str | None = None
) -> EstimatorVersion:
    """The version of that name, in force from now on; the shipped version's name leaves no row active."""
    _lock(session)
    if name != SHIPPED.version and session.get(_Table, name) is None:
        raise NotFound(
            f"there is no estimator version {name}; `autopack estimator list` shows those there are"
        )
    if (before := _in_force(session)) != name:
        _record(session, before, name, actor=actor, now=now, reason=reason)
    if name == SHIPPED.version:
        session.execute(update(_Table).where(_Table.is_active).values(is_active=False))
        return shipped(is_active=True)
    return _switch(session, name)


def _in_force(session: Session) -> str:
    return session.scalar(select(_Table.version).where(_Table.is_active)) or SHIPPED.version


def _record(
    session: Session, before: str, name: str, *, actor: str, now: datetime, reason: str | None
) -> None:
    events.record(
        session, run_id=None, kind="estimator_activated", actor=actor, now=now, version=name, before=before,
        reason=reason,
    )  # fmt: skip


def _check_name(new: NewVersion) -> None:
    expected = version_name(new.coefficients, new.data_hash)
    if new.coefficients.version != expected:
        raise InvalidInput(
            f"these coefficients of these data are version {expected}, not {new.coefficients.version}"
        )


def _check_parent(session: Session, new: NewVersion) -> None:
    present = _in_force(session)
    if present != new.parent:
        raise Conflict(
            f"{new.coefficients.version} was made from {new.parent}, but {present} is in force now; calibrate again"
        )


def _store(session: Session, new: NewVersion, *, now: datetime) -> None:
    if new.parent == SHIPPED.version and session.get(_Table, SHIPPED.version) is None:
        # A parent is a row. Later releases may ship other coefficients; what these were stays to be read.
        _insert(session, SHIPPED, parent=None, data_hash=None, metrics=None, now=now)
    _insert(
        session, new.coefficients, parent=new.parent, data_hash=new.data_hash, metrics=new.metrics, now=now
    )


def _insert(
    session: Session, coefficients: Coefficients, *, parent: str | None, data_hash: str | None,
    metrics: dict[str, object] | None, now: datetime,
) -> None:  # fmt: skip
    known = (
        {} if metrics is None else {"metrics": metrics}
    )  # left out it is NULL, and not the JSON text "null"
    session.execute(
        insert(_Table).values(
            version=coefficients.version, parent=parent, coefficients=coefficients.to_json(), data_hash=data_hash,
            is_active=False, created_at=now, **known,
        )
    )  # fmt: skip


def _lock(session: Session) -> None:
    """One change of versions at a time. There may be no row of a version to lock, but there is always this one."""
    session.execute(select(DatabaseIdentityRow.singleton).with_for_update())


def _switch(session: Session, name: str) -> EstimatorVersion:
    session.execute(update(_Table).values(is_active=_Table.version == name))
    row = session.get(_Table, name, populate_existing=True)
    assert row is not None
    return _version(row)


def _version(row: EstimatorVersionRow) -> EstimatorVersion:
    return EstimatorVersion(
        version=row.version, parent=row.parent, coefficients=Coefficients.from_json(row.coefficients),
        data_hash=row.data_hash, metrics=row.metrics, is_active=row.is_active, created_at=row.created_at,
    )  # fmt: skip
