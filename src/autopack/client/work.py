"""What a worker says and asks while it drains: claims, renewals, model calls, ends, and what it proves them by."""

from collections.abc import Sequence
from dataclasses import asdict

from autopack import schemas
from autopack.client.http import Conversation, body_of, id_part
from autopack.client.reports import cut, reported
from autopack.domain.calls import CallRequest, CallResult, Reservation
from autopack.domain.estimate import Estimate, Features
from autopack.domain.phases import Attempt, JsonObject, Outcome, Phase
from autopack.domain.storable import storable, storable_text
from autopack.schemas import telemetry as told


class WorkCalls(Conversation):
    async def claim(self, body: schemas.ClaimBody) -> schemas.ClaimAnswer:
        return await self._call(schemas.ClaimAnswer, "POST", "/phases/claim", body)

    async def renew(
        self, attempt_id: str, lease_token: str, lease_seconds: float, step: str | None = None
    ) -> schemas.RenewAnswer:
        """`step`: what is being done, if that is to be told."""
        told_step = None if step is None else storable_text(step)[: schemas.MAX_STEP_CHARS]
        body = body_of(
            schemas.RenewBody, lease_token=lease_token, lease_seconds=lease_seconds, step=told_step
        )
        return await self._call(schemas.RenewAnswer, "POST", f"/attempts/{id_part(attempt_id)}/renew", body)

    async def reserve(self, attempt_id: str, lease_token: str, request: CallRequest) -> Reservation:
        body = body_of(schemas.ReserveBody, lease_token=lease_token, request=request)
        return await self._call(Reservation, "POST", f"/attempts/{id_part(attempt_id)}/calls", body)

    async def estimate(self, features: Features, model: str, *, output_limit: int, target: float) -> Estimate:
        """The budget of a builder call, from what came of all earlier ones."""
        body = body_of(
            told.EstimateBody, features=asdict(features), model=model, output_limit=output_limit, target=target
        )  # fmt: skip
        return await self._call(Estimate, "POST", "/estimates", body)

    async def settle(self, call_id: str, lease_token: str, result: CallResult) -> None:
        body = body_of(schemas.SettleBody, lease_token=lease_token, result=result)
        await self._send("POST", f"/calls/{id_part(call_id)}/settle", body.model_dump(mode="json"), {})

    async def finish(
        self, attempt_id: str, lease_token: str, outcome: Outcome, claim_next: schemas.ClaimBody | None = None
    ) -> schemas.FinishAnswer:
        body = body_of(
            schemas.FinishBody, lease_token=lease_token, outcome=reported(outcome), claim_next=claim_next
        )
        return await self._call(schemas.FinishAnswer, "POST", f"/attempts/{id_part(attempt_id)}/finish", body)

    async def report_lost(self, attempt_id: str, worker: str) -> bool:
        body = body_of(schemas.LostBody, worker=worker)
        answer = await self._call(dict[str, bool], "POST", f"/attempts/{id_part(attempt_id)}/lost", body)
        return bool(answer["given_back"])

    async def report_budget(
        self, attempt_id: str, lease_token: str, reason: str, request: CallRequest | None = None
    ) -> bool:
        """Whether the run is paused for it now; False where `request` fits by now, or calls under way may still make room."""
        body = body_of(
            schemas.BudgetBody, lease_token=lease_token, reason=cut(storable_text(reason)), request=request
        )
        answer = await self._call(dict[str, bool], "POST", f"/attempts/{id_part(attempt_id)}/budget", body)
        return bool(answer["paused"])

    async def open_attempts(self, run_id: str) -> list[Attempt]:
        return await self._call(list[Attempt], "GET", f"/runs/{id_part(run_id)}/attempts")

    async def undone(
        self, run_id: str, phase_id: str, *, commit: str, undo_commit: str, by: str, reason: str | None = None,
        holds: Sequence[str] = (),
    ) -> Phase:  # fmt: skip
        """The phase whose `commit` was taken back by `undo_commit`: CANCELLED from now on.

        The run's work ends there where its head is among `holds`, commits below `undo_commit`.
        """
        body = body_of(
            schemas.UndoneBody, commit=commit, undo_commit=undo_commit, by=by, reason=reason,
            holds=tuple(holds[: schemas.MAX_HELD]),
        )  # fmt: skip
        return await self._call(
            Phase, "POST", f"/runs/{id_part(run_id)}/phases/{id_part(phase_id)}/undone", body
        )

    async def baseline(self, run_id: str, base_commit: str, checks_hash: str) -> JsonObject | None:
        """What the checks said of the base itself; None while nobody has run them."""
        path = f"/runs/{id_part(run_id)}/baselines/{id_part(base_commit)}/{id_part(checks_hash)}"
        return (await self._call(schemas.BaselineAnswer, "GET", path)).report

    async def store_baseline(
        self, run_id: str, base_commit: str, checks_hash: str, report: JsonObject
    ) -> JsonObject:
        """The report to go on with: of several workers that store one, the first one's."""
        path = f"/runs/{id_part(run_id)}/baselines/{id_part(base_commit)}/{id_part(checks_hash)}"
        body = body_of(schemas.BaselineBody, report=storable(report))
        kept = (await self._call(schemas.BaselineAnswer, "PUT", path, body)).report
        return report if kept is None else kept

    async def telemetry(self, run_id: str, phase_id: str | None = None) -> told.TelemetryCounts:
        return await self._call(
            told.TelemetryCounts, "GET", f"/runs/{id_part(run_id)}/telemetry", phase_id=phase_id
        )
