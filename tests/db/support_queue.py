"""The queue's functions over a real database, with a clock that is moved by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from autopack.db import attempts, calls, claims, phases, runs
from autopack.db.attempts import Renewed
from autopack.db.columns import Base
from autopack.db.engine import Database
from autopack.db.tables import AttemptRow, RunRow
from autopack.domain.calls import CallRequest, CallResult, Reservation
from autopack.domain.messages import ProviderMode, Role, Usage
from autopack.domain.phases import Attempt, AttemptOutcome, Claim, Idle, Outcome, Phase
from autopack.schemas import PlanBody

START = datetime(2026, 1, 1, tzinfo=UTC)
BASE = "b" * 40
_POSTGRESQL = pytest.param("postgres_url", marks=pytest.mark.postgres)
ON_BOTH = pytest.mark.parametrize("queue", ["sqlite_url", _POSTGRESQL], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("queue", [_POSTGRESQL], indirect=True)


@dataclass
class Queue:
    database: Database
    now: datetime = START
    ids: Iterator[int] = field(default_factory=lambda: count(1))

    def new_id(self, kind: str = "id") -> str:
        return f"{kind}-{next(self.ids):028}"[:32]

    def tick(self, **duration: float) -> None:
        self.now += timedelta(**duration)

    @contextmanager
    def session(self) -> Iterator[Session]:
        with self.database.transaction() as session:
            yield session

    def create(self, plan: dict[str, Any]) -> None:
        with self.session() as session:
            runs.create(session, PlanBody.model_validate(plan).to_domain(), actor="test", now=self.now)

    def claim_in(self, session: Session, **more: Any) -> Claim | Idle:
        values = {
            "run_id": "r1", "worker": "w1", "lease_seconds": 60.0, "base_commit": BASE,
            "attempt_id": self.new_id("a"), "lease_token": self.new_id("t"), "now": self.now,
        }  # fmt: skip
        return claims.claim(session, **(values | more))

    def ask(self, **more: Any) -> Claim | Idle:
        with self.session() as session:
            return self.claim_in(session, **more)

    def claim(self, **more: Any) -> Claim:
        found = self.ask(**more)
        assert isinstance(found, Claim), found
        return found

    def claim_again(self, claim: Claim) -> Claim:
        """The same request once more, as after an answer that was lost."""
        return self.claim(lease_token=claim.lease_token)

    def idle(self, **more: Any) -> Idle:
        found = self.ask(**more)
        assert isinstance(found, Idle), f"{found.phase.phase_id} was claimed"
        return found

    def finish(self, claim: Claim, outcome: AttemptOutcome = AttemptOutcome.COMPLETE, **more: Any) -> Phase:
        with self.session() as session:
            return attempts.finish(
                session, claim.attempt_id, claim.lease_token, Outcome(outcome=outcome, **more),
                request_id=self.new_id("q"), now=self.now,
            )  # fmt: skip

    def renew(self, claim: Claim, lease_seconds: float = 60.0, step: str | None = None) -> Renewed:
        with self.session() as session:
            return attempts.renew(
                session, claim.attempt_id, claim.lease_token, lease_seconds=lease_seconds, step=step, now=self.now
            )  # fmt: skip

    def lost(self, claim: Claim, worker: str = "w1") -> bool:
        with self.session() as session:
            return attempts.give_back(session, claim.attempt_id, worker=worker, now=self.now)

    def reserve(self, claim: Claim, **more: Any) -> Reservation:
        with self.session() as session:
            return calls.reserve(
                session, claim.attempt_id, claim.lease_token, self.request(**more), now=self.now
            )

    def request(self, **more: Any) -> CallRequest:
        values: dict[str, Any] = {
            "call_id": self.new_id("c"), "role": Role.BUILDER, "provider": "openai", "model": "openai:m",
            "provider_mode": ProviderMode.LIVE, "request_key": "k" * 64, "max_tokens": 100, "reserve_tokens": 1000,
            "reserve_cost_usd": 1.0,
        }  # fmt: skip
        return CallRequest(**(values | more))

    def settle(self, claim: Claim, call_id: str, **more: Any) -> None:
        with self.session() as session:
            calls.settle(session, call_id, claim.lease_token, answer(**more), now=self.now)

    def phase(self, phase_id: str) -> Phase:
        with self.session() as session:
            return phases.get(session, "r1", phase_id)

    def tries(self, phase_id: str) -> list[Attempt]:
        with self.session() as session:
            return attempts.of_phase(session, "r1", phase_id)

    def run(self) -> dict[str, Any]:
        return self.rows(RunRow)[0]

    def rows(self, table: type[Base]) -> list[dict[str, Any]]:
        order = AttemptRow.number if table is AttemptRow else next(iter(table.__table__.primary_key))
        with self.session() as session:
            return [
                dict(row) for row in session.execute(select(*table.__table__.c).order_by(order)).mappings()
            ]


def answer(text: str = "an answer", **more: Any) -> CallResult:
    values: dict[str, Any] = {
        "completion": {"text": text}, "usage": Usage(input_tokens=30, output_tokens=12), "usage_source": "provider",
        "finish_reason": "stop", "cost_usd": 0.25, "cost_source": "table",
    }  # fmt: skip
    return CallResult(**(values | more))


def failed(error: str, *, paid: bool) -> dict[str, Any]:
    """What `settle` takes for a call without an answer."""
    return {
        "completion": None, "usage": Usage(), "usage_source": "missing", "finish_reason": None, "cost_usd": None,
        "cost_source": None, "error": error, "may_have_been_paid": paid,
    }  # fmt: skip
