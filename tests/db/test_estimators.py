"""Versions of the estimator: one in force, whatever happens at once, and a way back by name. On both databases."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from autopack.db import estimators
from autopack.db.tables import EstimatorVersionRow
from autopack.domain.calibrate import Present
from autopack.domain.estimate import SHIPPED, Coefficients
from autopack.domain.estimators import EstimatorVersion, NewVersion, version_name
from autopack.errors import Conflict, InvalidInput, NotFound
from tests.db.support_queue import ON_BOTH, ON_POSTGRESQL, Queue

SHIPPED_NAME = SHIPPED.version


def new(tokens: float, parent: str = SHIPPED_NAME, data: str = "d" * 64) -> NewVersion:
    coefficients = replace(SHIPPED, other_weight=tokens)
    coefficients = replace(coefficients, version=version_name(coefficients, data))
    return NewVersion(parent=parent, coefficients=coefficients, data_hash=data, metrics={"target": 0.05})


def add(queue: Queue, version: NewVersion) -> tuple[EstimatorVersion, bool]:
    with queue.session() as session:
        return estimators.add(session, version, now=queue.now)


def activate(queue: Queue, name: str) -> EstimatorVersion:
    with queue.session() as session:
        return estimators.activate(session, name, now=queue.now)


def in_force(queue: Queue) -> Coefficients:
    with queue.session() as session:
        return estimators.active(session)


def listed(queue: Queue) -> list[tuple[str, bool]]:
    with queue.session() as session:
        return [(each.version, each.is_active) for each in estimators.versions(session)]


@ON_BOTH
def test_without_a_version_the_shipped_coefficients_are_in_force(queue: Queue) -> None:
    assert in_force(queue) == SHIPPED
    assert listed(queue) == [(SHIPPED_NAME, True)]
    with queue.session() as session:
        assert estimators.present(session) == Present(coefficients=SHIPPED)


@ON_BOTH
def test_a_new_version_is_in_force_and_can_be_gone_back_from_by_name(queue: Queue) -> None:
    first = new(60.0)
    stored, changed = add(queue, first)
    assert (changed, stored.is_active, stored.parent, stored.metrics) == (
        True,
        True,
        SHIPPED_NAME,
        {"target": 0.05},
    )
    assert in_force(queue) == first.coefficients
    with queue.session() as session:
        assert estimators.present(session) == Present(coefficients=first.coefficients, data_hash="d" * 64)
    queue.tick(seconds=1)
    name = first.coefficients.version
    second = new(70.0, parent=name)
    add(queue, second)
    assert listed(queue) == [(SHIPPED_NAME, False), (name, False), (second.coefficients.version, True)]
    assert activate(queue, name) == stored
    assert in_force(queue) == first.coefficients
    assert activate(queue, SHIPPED_NAME).is_active
    assert in_force(queue) == SHIPPED
    assert listed(queue) == [(SHIPPED_NAME, True), (name, False), (second.coefficients.version, False)]
    rows = {row["version"]: row for row in queue.rows(EstimatorVersionRow)}
    assert (rows[SHIPPED_NAME]["parent"], rows[SHIPPED_NAME]["metrics"]) == (None, None)


@ON_BOTH
def test_the_same_version_twice_is_one_and_after_going_back_it_is_in_force_again(queue: Queue) -> None:
    version = new(60.0)
    first, _ = add(queue, version)
    rows = queue.rows(EstimatorVersionRow)
    queue.tick(seconds=9)
    assert add(queue, version) == (first, False)
    assert queue.rows(EstimatorVersionRow) == rows
    activate(queue, SHIPPED_NAME)
    assert add(queue, version) == (first, True)
    assert queue.rows(EstimatorVersionRow) == rows


@ON_BOTH
def test_what_was_made_from_another_version_than_is_in_force_is_refused(queue: Queue) -> None:
    add(queue, new(60.0))
    before = queue.rows(EstimatorVersionRow)
    with pytest.raises(Conflict, match="calibrate again"):
        add(queue, new(70.0))
    with pytest.raises(Conflict, match="is in force now"):
        add(queue, new(70.0, parent="linear-2-ffffffff"))
    assert queue.rows(EstimatorVersionRow) == before


@pytest.mark.parametrize(
    "changed",
    [{"data_hash": "e" * 64}, {"coefficients": replace(new(60.0).coefficients, other_weight=61.0)}],
    ids=["other data", "other coefficients"],
)
def test_a_name_stands_for_its_data_and_its_coefficients(queue: Queue, changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="are version linear-2-"):
        add(queue, replace(new(60.0), **changed))
    assert queue.rows(EstimatorVersionRow) == []


def test_a_version_that_is_not_there_is_not_activated(queue: Queue) -> None:
    add(queue, new(60.0))
    with pytest.raises(NotFound, match="estimator list"):
        activate(queue, "linear-2-00000000")
    assert [active for _, active in listed(queue)] == [False, True]


@ON_POSTGRESQL
def test_of_several_at_once_one_is_in_force_and_the_others_are_told(queue: Queue) -> None:
    """READ COMMITTED would let each see no active version and put its own in force."""
    started, refused = threading.Barrier(4), []

    def apply(number: int) -> None:
        started.wait()
        try:
            add(queue, new(60.0 + number))
        except Conflict:
            refused.append(number)

    threads = [threading.Thread(target=apply, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(refused) == 3
    assert [active for _, active in listed(queue)] == [False, True]
