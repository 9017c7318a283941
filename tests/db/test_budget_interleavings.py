"""Whatever workers do in whatever order, run and day hold what a plain ledger kept by hand says, and no cap is passed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autopack.db import daily
from autopack.db.tables import DailyUsageRow, RunRow
from autopack.domain import money
from autopack.domain.caps import day_of
from autopack.domain.messages import ProviderMode, Usage
from autopack.domain.phases import AttemptOutcome, Claim
from autopack.errors import BudgetReached
from tests.db.support_queue import START, Queue, failed
from tests.support import phase, plan

WORKERS = 3
ENDS = ("answered", "unknown", "cut", "refused")
_numbers = count(1)
Amounts = tuple[int, int]
"""Tokens and nano-dollars."""

workers = st.integers(0, WORKERS - 1)
reservations = st.tuples(
    st.just("reserve"), workers, st.integers(0, 900), st.floats(0, 0.9), st.sampled_from([*ProviderMode])
)
settlements = st.tuples(st.just("settle"), st.integers(0, 30), st.sampled_from(ENDS), st.floats(0, 1))
endings = st.tuples(st.sampled_from(["lose", "lose", "finish"]), workers)
steps = st.lists(
    st.one_of(reservations, reservations, settlements, endings, endings), min_size=12, max_size=25
)


@dataclass
class Call:
    owner: Claim
    call_id: str
    live: bool
    reserved: Amounts
    held: Amounts
    used: Amounts = (0, 0)
    status: str = "reserved"
    unknown: bool = False


@dataclass
class Book:
    """The same story, kept by hand."""

    queue: Queue
    run_id: str
    caps: dict[str, Any]
    claims: list[Claim] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    came_late: bool = False

    def reserve(self, worker: int, tokens: int, cost: float, mode: ProviderMode) -> None:
        wanted = (tokens, money.nanos_at_most(cost))
        request = {
            "reserve_tokens": tokens, "reserve_cost_usd": cost, "provider_mode": mode,
            "request_key": f"{next(_numbers)}",
        }  # fmt: skip
        fits = all(
            each + more <= cap for each, more, cap in self._limits(wanted, live=mode == ProviderMode.LIVE)
        )
        try:
            call = self.queue.reserve(self.claims[worker], **request)
        except BudgetReached:
            assert not fits
            return
        assert fits
        live = mode == ProviderMode.LIVE
        self.calls.append(Call(self.claims[worker], call.call_id, live, reserved=wanted, held=wanted))

    def _limits(self, wanted: Amounts, *, live: bool) -> Iterator[tuple[int, int, int]]:
        """What is held, what is wanted and what is allowed, for each cap."""
        for of_day in (False, True) if live else (False,):
            held = self.sums(of_day=of_day)
            suffix = "_of_day" if of_day else ""
            yield held["tokens_used"] + held["tokens_reserved"], wanted[0], self.caps[f"tokens{suffix}"]
            cap = money.nanos(self.caps[f"cost{suffix}"])
            yield held["cost_usd"] + held["cost_reserved_usd"], wanted[1], cap

    def settle(self, number: int, end: str, share: float) -> None:
        if not self.calls:
            return
        unsettled = [call for call in self.calls if call.status in ("reserved", "abandoned")] or self.calls
        call = unsettled[number % len(unsettled)]
        tokens, nanos = (int(each * share) for each in call.reserved)
        self.queue.settle(call.owner, call.call_id, **_result(end, tokens, money.dollars(nanos)))
        if call.status in ("answered", "failed"):
            return
        late, paid = call.status == "abandoned", end != "refused"
        self.came_late = self.came_late or late
        call.status = "failed" if end in ("cut", "refused") else "answered"
        call.used = (tokens, nanos) if end == "answered" else (0, 0)
        call.unknown = call.live and end in ("unknown", "cut")
        call.held = call.held if paid and end != "answered" and not late else (0, 0)

    def finish(self, worker: int) -> None:
        self.queue.finish(self.claims[worker], AttemptOutcome.INTERRUPTED)
        self._abandoned(worker)

    def lose(self, worker: int) -> None:
        """Its lease ends, and the next claim finds its phase."""
        for pause in (0, 30):
            self.queue.tick(seconds=pause)
            for number, claim in enumerate(self.claims):
                if not pause or number != worker:
                    self.queue.renew(claim)
        self.queue.tick(seconds=31)
        self._abandoned(worker)

    def _abandoned(self, worker: int) -> None:
        for call in self.calls:
            if call.owner is self.claims[worker] and call.status == "reserved":
                call.status, call.held, call.unknown = "abandoned", (0, 0), call.live
        self.claims[worker] = self.queue.claim(run_id=self.run_id)

    def sums(self, *, of_day: bool) -> dict[str, int]:
        mine = [call for call in self.calls if call.live or not of_day]
        return {
            "tokens_used": sum(call.used[0] for call in mine), "tokens_reserved": sum(call.held[0] for call in mine),
            "cost_usd": sum(call.used[1] for call in mine), "cost_reserved_usd": sum(call.held[1] for call in mine),
        }  # fmt: skip

    def check(self) -> None:
        with self.queue.session() as session:
            run = session.get_one(RunRow, self.run_id, populate_existing=True)
            today = session.get(DailyUsageRow, day_of(self.queue.now), populate_existing=True)
            assert _amounts(run) == self.sums(of_day=False)
            if today is not None:
                assert _amounts(today) == self.sums(of_day=True)
            assert run.calls_of_unknown_usage == sum(call.unknown for call in self.calls)
        if not self.came_late:
            assert all(held <= cap for held, _, cap in self._limits((0, 0), live=True))


def _amounts(row: RunRow | DailyUsageRow) -> dict[str, int]:
    """Exactly: a column gives back the nano-dollars that it was given."""
    cost, held = row.cost_usd, row.cost_reserved_usd
    assert (cost, held) == (money.dollars(money.nanos(cost)), money.dollars(money.nanos(held)))
    return {
        "tokens_used": row.tokens_used, "tokens_reserved": row.tokens_reserved,
        "cost_usd": money.nanos(cost), "cost_reserved_usd": money.nanos(held),
    }  # fmt: skip


def _result(end: str, tokens: int, cost: float) -> dict[str, Any]:
    if end == "answered":
        return {"usage": Usage(input_tokens=tokens, output_tokens=0), "cost_usd": cost}
    if end == "unknown":
        return {"usage": Usage(), "usage_source": "missing", "cost_usd": None, "cost_source": None}
    return failed(end, paid=end == "cut")


@given(
    steps=steps,
    caps=st.fixed_dictionaries({
        "tokens": st.integers(400, 6000), "cost": st.floats(0.4, 6), "tokens_of_day": st.integers(400, 6000),
        "cost_of_day": st.floats(0.4, 6),
    }),
)  # fmt: skip
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_of_events_leaves_the_sums_right_and_the_caps_unpassed(
    queue: Queue, steps: list[tuple[Any, ...]], caps: dict[str, Any]
) -> None:
    number = next(_numbers)
    queue.now = START + timedelta(days=number)  # a day and a run of this example's own
    caps = {name: value if "tokens" in name else round(value, 9) for name, value in caps.items()}
    book = Book(queue, f"run{number}", caps)
    phases = [phase(f"p{each}", max_attempts=100) for each in range(WORKERS)]
    queue.create(plan(book.run_id, phases, token_cap=caps["tokens"], cost_cap_usd=caps["cost"]))
    with queue.session() as session:
        daily.set_caps(
            session, token_cap=caps["tokens_of_day"], cost_cap_usd=caps["cost_of_day"], actor="Ann", now=queue.now
        )  # fmt: skip
    book.claims = [queue.claim(run_id=book.run_id) for _ in range(WORKERS)]
    for name, *arguments in steps:
        getattr(book, name)(*arguments)
        book.check()
    for worker in range(WORKERS):
        book.finish(worker)
    book.check()
