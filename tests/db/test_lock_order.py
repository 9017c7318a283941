"""On PostgreSQL requests run side by side: whoever takes several locks takes them in one order, so none waits for ever."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from autopack.db import approvals, idle, phases, runs
from autopack.domain.phases import AttemptOutcome, Idle
from autopack.errors import Conflict, DatabaseBusy
from tests.db.support_queue import ON_POSTGRESQL, Queue
from tests.db.test_approvals import REJECTS, wait_in_gate
from tests.support import phase, plan

_WAITING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


def claim_next(queue: Queue, session: Session) -> None:
    queue.claim_in(session)


def claim_named(queue: Queue, session: Session) -> None:
    queue.claim_in(session, phase_id="p4", force=True)


def cancel(queue: Queue, session: Session) -> None:
    runs.cancel(session, "r1", actor="Bob", now=queue.now)


def cap_phases(queue: Queue, session: Session) -> None:
    runs.change(session, "r1", {"max_phases": 4}, actor="Bob", now=queue.now)


def look(queue: Queue, session: Session) -> None:
    approvals.page(session, run_id=None, status=None, now=queue.now)


def _until_it_waits(queue: Queue, other: threading.Thread) -> None:
    deadline = time.monotonic() + 20
    while other.is_alive() and time.monotonic() < deadline:
        with queue.session() as session:
            if session.scalar(_WAITING):
                return
        time.sleep(0.01)


@ON_POSTGRESQL
@pytest.mark.parametrize(
    ("act", "held"),
    [
        (claim_next, "p1"),
        (claim_named, "p4"),
        (cancel, "p1"),
        (cancel, "p4"),
        (cap_phases, "p4"),
        (look, "p1"),
    ],
)
def test_who_waits_for_a_phase_does_not_hold_its_run(
    queue: Queue, act: Callable[[Queue, Session], None], held: str
) -> None:
    """A decision, a requeue or a skip holds a phase and wants its run; a claim finds a lost worker and what ran out."""
    queue.create(plan(phases=[phase(f"p{n}") for n in range(1, 5)]))
    wait_in_gate(queue, "p1", **REJECTS)
    queue.claim(phase_id="p2")
    failing = queue.claim(phase_id="p4")
    queue.finish(failing, AttemptOutcome.FAILED, retryable=False)
    queue.claim(phase_id="p3")
    queue.tick(minutes=31)
    said: list[str] = []

    def other() -> None:
        try:
            with queue.session() as session:
                act(queue, session)
            said.append("done")
        except (Conflict, DatabaseBusy) as error:
            said.append(type(error).__name__)

    thread = threading.Thread(target=other)
    with queue.session() as session:
        phases.get(session, "r1", held, lock=True)
        thread.start()
        _until_it_waits(queue, thread)
        runs.row(session, "r1", lock=True)
    thread.join(30)
    assert said == ["done"]


@ON_POSTGRESQL
def test_a_claim_under_way_counts_for_a_cap_on_phases_that_is_set_meanwhile(queue: Queue) -> None:
    """A run has no count to keep until somebody sets the cap: what is claimed at that moment must not slip through."""
    queue.create(plan(phases=[phase(f"p{n}") for n in range(1, 4)]))
    queue.claim()

    def other() -> None:
        with queue.session() as session:
            runs.change(session, "r1", {"max_phases": 2}, actor="Bob", now=queue.now)

    thread = threading.Thread(target=other)
    with queue.session() as session:
        queue.claim_in(session)
        thread.start()
        _until_it_waits(queue, thread)
    thread.join(30)
    assert queue.idle().detail == "max_phases is 2, and that many phases were started"


@ON_POSTGRESQL
def test_a_claim_that_takes_its_phase_after_the_cap_was_set_sees_it(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.create(plan(phases=[phase("p1"), phase("p2")]))
    queue.claim()
    stopped = idle.stopped

    def set_meanwhile(*about: Any) -> Idle | None:
        """The claim has read the run, and has taken nothing yet."""
        with queue.session() as session:
            runs.change(session, "r1", {"max_phases": 1}, actor="Bob", now=queue.now)
        return stopped(*about)

    monkeypatch.setattr(idle, "stopped", set_meanwhile)
    assert queue.idle().detail == "max_phases is 1, and that many phases were started"
