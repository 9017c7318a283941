"""Usage, caps, exports, and the estimator's versions."""

from collections.abc import AsyncIterator
from dataclasses import replace

from autopack import schemas
from autopack.client.http import Conversation, body_of, id_part
from autopack.domain.calibrate import Calibration
from autopack.domain.caps import DailyAccount
from autopack.domain.estimators import EstimatorVersion, NewVersion
from autopack.domain.telemetry import E, ExportCursor, Selection, TelemetryTable, UsageEvent
from autopack.domain.usage import Grouping, UsageReport, UsageSelection
from autopack.schemas import telemetry as told


class TelemetryCalls(Conversation):
    async def telemetry_pages(
        self, table: TelemetryTable[E], selection: Selection, *, limit: int = 1000
    ) -> AsyncIterator[list[E]]:
        """All that is selected, in the order of its ids, never more than a page at once."""
        after = 0
        while True:
            page = await self._call(
                list[table.kind],  # type: ignore[name-defined]
                "GET", f"/telemetry/{table.name}", run_id=selection.run_id, phase_id=selection.phase_id,
                since=selection.since, until=selection.until, after=after, limit=limit,
            )  # fmt: skip
            if page:
                after = table.position_of(page[-1])
                yield page
            if len(page) < limit:
                return

    async def final_usage(self, *, after: int, limit: int) -> list[UsageEvent]:
        """The next calls that nothing before can still come or change."""
        return await self._call(list[UsageEvent], "GET", "/telemetry/usage/final", after=after, limit=limit)

    async def usage(self, by: Grouping, selection: UsageSelection) -> UsageReport:
        """All totals, page by page; those of everything are the first page's."""
        first = await self._usage(by, selection, after=None)
        rows, after = list(first.rows), first.next
        while after is not None:
            page = await self._usage(by, selection, after=after)
            rows += page.rows
            after = page.next
        return replace(first, rows=tuple(rows), next=None)

    async def _usage(self, by: Grouping, selection: UsageSelection, *, after: str | None) -> UsageReport:
        return await self._call(
            UsageReport, "GET", "/usage", by=by, after=after, limit=1000, **vars(selection)
        )

    async def daily_caps(self) -> DailyAccount:
        return await self._call(DailyAccount, "GET", "/daily-caps")

    async def set_daily_caps(
        self, *, by: str, reason: str | None = None, **caps: float | None
    ) -> DailyAccount:
        """`token_cap`, `cost_cap_usd` or both; None is no cap, and the one that is not named stays."""
        body = body_of(told.DailyCapsBody, by=by, reason=reason, **caps)
        content = {"by": body.by, "reason": body.reason, **body.caps}
        return self._decode(DailyAccount, await self._send("PATCH", "/daily-caps", content, {}))

    async def export_cursor(self, name: str) -> ExportCursor | None:
        return (await self._call(told.CursorAnswer, "GET", "/telemetry/cursor", name=name)).cursor

    async def move_export_cursor(
        self, name: str, *, expected: int | None, position: int, mapping_version: str
    ) -> ExportCursor:
        """Raises Conflict when another export moved it."""
        body = body_of(
            told.CursorBody, name=name, expected=expected, position=position, mapping_version=mapping_version
        )  # fmt: skip
        return await self._call(ExportCursor, "PUT", "/telemetry/cursor", body)

    async def calibrate(
        self, *, target: float, min_samples: int, present: EstimatorVersion | None = None
    ) -> Calibration:
        """What this database's events propose instead of `present`, or of what is in force in it. Writes nothing."""
        instead = present and {"coefficients": present.coefficients.to_json(), "data_hash": present.data_hash}
        body = body_of(told.CalibrateBody, target=target, min_samples=min_samples, present=instead)
        return await self._call(Calibration, "POST", "/calibrations", body)

    async def estimator_versions(self) -> list[EstimatorVersion]:
        """The one that ships with the package first, then in the order in which they were added."""
        return await self._call(list[EstimatorVersion], "GET", "/estimator/versions")

    async def add_estimator_version(
        self, new: NewVersion, *, by: str = "a person", reason: str | None = None
    ) -> tuple[EstimatorVersion, bool]:
        """The version, in force now, and whether that is new. Raises Conflict when its parent is not in force."""
        body = body_of(
            told.EstimatorVersionBody, parent=new.parent, coefficients=new.coefficients.to_json(),
            data_hash=new.data_hash, metrics=new.metrics, by=by, reason=reason,
        )  # fmt: skip
        response = await self._send("POST", "/estimator/versions", body.model_dump(mode="json"), {})
        return self._decode(EstimatorVersion, response), response.status_code == 201

    async def activate_estimator(
        self, name: str, *, by: str = "a person", reason: str | None = None
    ) -> EstimatorVersion:
        body = body_of(schemas.ActorBody, by=by, reason=reason)
        return await self._call(
            EstimatorVersion, "POST", f"/estimator/versions/{id_part(name)}/activate", body
        )
