"""An earlier database's rows into the tables of a new one: in which order, and what depends on what."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from sqlalchemy import func, select, update

from autopack.db.adopt import names, plans, telemetry
from autopack.db.adopt.known import KnownIds
from autopack.db.adopt.plans import Carried, EarlierRun, became
from autopack.db.adopt.source import Row, Source
from autopack.db.adopt.tiers import Tiers, tier_back
from autopack.db.adopt.values import Value, integer, key_of, moment
from autopack.db.adopt.writer import Writer
from autopack.db.columns import Base
from autopack.db.tables import (
    EventRow,
    LlmUsageEventRow,
    PhaseRow,
    RunRow,
    TierRow,
    TokenBudgetEscalationRow,
    TokenEstimationEventRow,
)
from autopack.domain.phases import PhaseState

DEFINITIONS = "sqlite_schema"
"""Under this name the statements that made the earlier tables, views, indexes and triggers are kept."""
PLANS = ("runs", "tiers", "phases")
USAGE, ESTIMATIONS, ESCALATIONS = TELEMETRY = (
    "llm_usage_events",
    "token_estimation_v2_events",
    "token_budget_escalation_events",
)
_NO_RUN = "its run does not exist"
_REASONS = {
    "approval_requests": "an approval of the earlier system binds nothing here",
    "governance_requests": "an approval of the earlier system binds nothing here",
    "users": "there are no accounts here",
    "sqlite_sequence": "SQLite's own bookkeeping",
}
_NO_PLACE = "there is no table for it here"
_LAST = 2**63
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

_Event = Callable[..., Carried | str]
_GivesBack = Callable[[Mapping[str, Any]], dict[str, Value]]


class Carrier:
    """What the rows of one table have to know of those of another. Keys are ids as they were there."""

    def __init__(self, source: Source, writer: Writer, now: datetime) -> None:
        self.source, self.writer, self.now = source, writer, now
        self.tiers = Tiers()
        self.runs: dict[str, EarlierRun] = {}
        self._known = KnownIds()
        self._states: dict[str, list[tuple[int, PhaseState]]] = defaultdict(list)

    def carry(self) -> None:
        """Every row of every table goes to its place, or to `legacy_rows`."""
        for table in self.source.tables:
            self.writer.tally(table)
        self._find_runs()
        self._find_tiers()
        self._phases()
        self._usage()
        self._events(ESTIMATIONS, TokenEstimationEventRow, telemetry.estimation, telemetry.estimation_back)
        self._events(ESCALATIONS, TokenBudgetEscalationRow, telemetry.escalation, telemetry.escalation_back)
        self._write_runs()
        self._leave_the_rest()
        self.writer.flush()

    def _find_runs(self) -> None:
        rows: dict[str, Row] = {}
        for row in self.source.rows("runs"):
            key = key_of(row.get("id"))
            if key is None or key in rows:
                self.writer.set_aside(
                    "runs", row, "it has no id" if key is None else "another run has the same id"
                )
            else:
                rows[key] = row
        mentioned = (each for table in TELEMETRY for each in self.source.named(table, "run_id"))
        for key, run_id in zip(rows, self._known.add_runs(list(rows), mentioned), strict=True):
            self.runs[key] = plans.earlier_run(rows[key], run_id, self.now)

    def _find_tiers(self) -> None:
        for row in self.source.rows("tiers"):
            key = key_of(row.get("run_id"))
            if key is None or key not in self.runs:
                self.writer.set_aside("tiers", row, _NO_RUN)
            else:
                self.tiers.add(key, row)

    def _phases(self) -> None:
        seen = set()
        for key, rows in self._phases_by_run():
            if key is not None and key in self.runs:
                self._plan(key, rows)
                seen.add(key)
            else:
                for row in rows:
                    self.writer.set_aside("phases", row, _NO_RUN)
        for key in self.runs:
            if key not in seen:
                self._plan(key, [])

    def _phases_by_run(self) -> Iterator[tuple[str | None, list[Row]]]:
        """Each run once. Only the few rows whose run id is a real or a blob have to wait for the others."""
        waiting: dict[str | None, list[Row]] = defaultdict(list)
        for key, rows in groupby(
            self.source.rows("phases", by="run_id"), key=lambda row: key_of(row.get("run_id"))
        ):
            together = list(rows)
            if isinstance(together[-1].get("run_id"), float | bytes):
                waiting[key] += together
            else:
                yield key, waiting.pop(key, []) + together
        yield from waiting.items()

    def _plan(self, key: str, rows: list[Row]) -> None:
        """The tiers and phases of one run, numbered in the order in which they are due."""
        run = self.runs[key]
        tier_of = [self.tiers.of(key, row) for row in rows]
        place = self._write_tiers(key, run)
        phase_ids = self._known.add_phases(key, [key_of(row.get("phase_id")) for row in rows])
        order = sorted(range(len(rows)), key=lambda each: (place[tier_of[each][0]][0], *_order(rows[each])))
        for phase_index, each in enumerate(order):
            tier, notes = tier_of[each]
            phase = plans.phase(rows[each], run, phase_ids[each])
            tier_index, tier_id = place[tier]
            values = phase.values | {"phase_index": phase_index, "tier_index": tier_index, "tier_id": tier_id}
            self._states[key].append((tier_index, values["state"]))
            self.writer.carry(
                "phases", rows[each], into=PhaseRow, values=values, gives_back=plans.phase_back,
                changes=(*phase.changes, *notes), key=str(rows[each].number),
            )  # fmt: skip

    def _write_tiers(self, key: str, run: EarlierRun) -> dict[Any, tuple[int, str]]:
        """Where each tier comes, and what it is called."""
        tiers = self.tiers.in_order(key)
        tier_ids = names.ids([tier.said_id for tier in tiers], "tier")
        for index, (tier, tier_id) in enumerate(zip(tiers, tier_ids, strict=True)):
            values = {"run_id": run.run_id, "tier_id": tier_id, "tier_index": index, "name": tier.name}
            if tier.row is None:
                self.writer.insert(TierRow, values)
                continue
            self.writer.carry(
                "tiers", tier.row, into=TierRow, values=values, gives_back=tier_back,
                changes=became("tier_id", tier.row.get("tier_id"), tier_id), key=f"{run.run_id}/{tier_id}",
            )  # fmt: skip
        return {
            tier: (index, tier_id) for index, (tier, tier_id) in enumerate(zip(tiers, tier_ids, strict=True))
        }

    def _usage(self) -> None:
        self._events(USAGE, LlmUsageEventRow, telemetry.usage, telemetry.usage_back)

    def _events(self, table: str, into: type[Base], read: _Event, gives_back: _GivesBack) -> None:
        for row in self.source.rows(table):
            run_key = key_of(row.get("run_id"))
            run = self.runs.get(run_key) if run_key is not None else None
            found = read(
                row, run_id=self._known.run_id(row.get("run_id")),
                phase_id=self._known.phase_id(run_key, row.get("phase_id")), lineage=self.source.lineage,
                undated=(moment(run.row.get("created_at")) if run else None) or _LONG_AGO,
            )  # fmt: skip
            if isinstance(found, str):
                self.writer.set_aside(table, row, found)
                continue
            self.writer.carry(
                table, row, into=into, values=found.values, gives_back=gives_back, changes=found.changes, key=str(row.number)
            )  # fmt: skip

    def _write_runs(self) -> None:
        self.writer.flush()
        used = self._used()
        for key, found in self.runs.items():
            tokens, unknown = used.get(found.run_id, (0, 0))
            run = plans.run(
                found, self._states[key], tokens_used=tokens, unknown=unknown, label=self.writer.label, now=self.now
            )  # fmt: skip
            self.writer.carry(
                "runs", found.row, into=RunRow, values=run.values, gives_back=plans.run_back, changes=run.changes,
                key=found.run_id,
            )  # fmt: skip
            detail = {"source": self.writer.label, "was": found.called, "state": run.values["state"]}
            self.writer.insert(
                EventRow,
                {"run_id": found.run_id, "kind": "adopted", "actor": "autopack", "detail": detail, "created_at": self.now},
            )  # fmt: skip

    def _used(self) -> dict[str, tuple[int, int]]:
        """Tokens by run, and calls whose tokens are unknown; each phase gets its own on the way."""
        usage, connection = LlmUsageEventRow, self.writer.connection
        total = func.coalesce(func.sum(usage.total_tokens), 0)
        of_phase = select(total).where(usage.run_id == PhaseRow.run_id, usage.phase_id == PhaseRow.phase_id)
        connection.execute(update(PhaseRow).values(tokens_used=of_phase.scalar_subquery()))
        by_run = select(usage.run_id, total, func.count() - func.count(usage.total_tokens)).group_by(usage.run_id)  # fmt: skip
        return {
            run_id: (tokens or 0, unknown)
            for run_id, tokens, unknown in connection.execute(by_run)
            if run_id is not None
        }

    def _leave_the_rest(self) -> None:
        for table in self.source.tables:
            if table not in (*PLANS, *TELEMETRY):
                for row in self.source.rows(table):
                    self.writer.set_aside(table, row, _REASONS.get(table, _NO_PLACE))
        for each in self.source.definitions:
            made: dict[str, Value] = {"type": each.kind, "name": each.name, "sql": each.sql}
            self.writer.keep(
                DEFINITIONS, f"{each.kind} {each.name}", "a definition of the earlier database", made
            )


def _order(row: Row) -> tuple[int, int]:
    index = integer(row.get("phase_index"))
    return (_LAST if index is None else index, row.number)
